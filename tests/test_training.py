"""Training: seeded, resumable after kill -9 at any step, the same on any number of processes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import ImageFolder, fashion_mnist
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError, ParameterError, WeightsError
from fsplit_lib.system import build_system
from fsplit_lib.training import ArraySource, FolderSource, TrainConfig, train_system
from fsplit_lib.training.recipes import RECIPES, Job, run_recipe
from fsplit_lib.training.sources import batches

SMALL = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1))
CONFIG = TrainConfig(steps=30, batch=8, seed=3, quantiser="straight_through", rate_warmup=0.3)

SCRIPT = """
import sys, time, torch
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_training import CONFIG, run
torch.set_num_threads(1)
def slow(row):
    Path(sys.argv[2]).write_text(str(row.step))
    time.sleep(0.05)
system, log = run(checkpoint=Path(sys.argv[1]), progress=slow)
torch.save([system.codec.state_dict(), system.decoder.state_dict(), len(log)], sys.argv[1] + ".final")
"""


def run(config=CONFIG, **options):
    system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 16), config.seed)
    source = ArraySource(*(part[:500] for part in fashion_mnist("train")))
    log = train_system(system, source, config, checkpoint_every=7, **options)
    return system, log


def weights(system):
    return {**system.codec.state_dict(), **{f"d.{k}": v for k, v in system.decoder.state_dict().items()}}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def straight():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    system, log = run()
    torch.set_num_threads(threads)
    return system, log


def test_the_same_seed_gives_the_same_weights_and_another_does_not(straight):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    twin, _ = run()
    other, _ = run(TrainConfig(**{**CONFIG.__dict__, "seed": 4}))
    torch.set_num_threads(threads)
    assert same(weights(straight[0]), weights(twin))
    assert not torch.equal(twin.decoder.widen.weight, other.decoder.widen.weight)


@pytest.mark.parametrize("at", [3, 16, 27])
def test_kill_minus_nine_and_resume_gives_the_same_weights(straight, tmp_path, at):
    checkpoint, step = tmp_path / "run.ckpt", tmp_path / "step"
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(checkpoint), str(step), os.path.dirname(__file__)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (step.exists() and step.read_text() and int(step.read_text()) >= at):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run.ckpt.final").exists()
    assert checkpoint.exists() == (at >= 7)
    subprocess.run(command, check=True, timeout=180)
    codec, decoder, rows = torch.load(tmp_path / "run.ckpt.final")
    assert same(weights(straight[0]), {**codec, **{f"d.{k}": v for k, v in decoder.items()}})
    assert rows == CONFIG.steps


def test_training_learns_and_logs(straight):
    _, log = straight
    assert [row.step for row in log] == list(range(30))
    assert set(log[0].values) == {"distortion", "rate", "total"}
    assert log[0].values["distortion"] == pytest.approx(1, abs=0.35)
    assert np.mean([r.values["rate"] for r in log[-5:]]) < np.mean([r.values["rate"] for r in log[:5]])


def test_broken_and_foreign_checkpoints_are_refused(tmp_path):
    checkpoint = tmp_path / "run.ckpt"
    checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="damaged"):
        run(checkpoint=checkpoint)
    checkpoint.unlink()
    run(TrainConfig(steps=7, batch=4), checkpoint=checkpoint)
    with pytest.raises(WeightsError, match="lmbda differ"):
        run(TrainConfig(steps=7, batch=4, lmbda=2.0), checkpoint=checkpoint)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.ckpt"
    run(TrainConfig(steps=7, batch=4), checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    monkeypatch.setattr(
        torch, "save", lambda state, path: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    from fsplit_lib.training import loop

    with pytest.raises(DataError, match="No space left"):
        loop._save(checkpoint, {}, torch.optim.SGD([torch.zeros(1)]), CONFIG, 1, [])
    assert checkpoint.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_two_processes_share_one_global_batch():
    source = ArraySource(*(part[:50] for part in fashion_mnist("train")), augment=True)
    whole = list(batches(source, 6, 0, 12, seed=1))
    parts = [list(batches(source, 6, 0, 12, seed=1, rank=rank, world=2)) for rank in (0, 1)]
    for one, left, right in zip(whole, *parts, strict=True):
        mixed = torch.empty_like(one.x)
        mixed[0::2], mixed[1::2] = left.x, right.x
        assert torch.equal(mixed, one.x)
        noise = torch.empty_like(one.noise((2, 3, 3)))
        noise[0::2], noise[1::2] = left.noise((2, 3, 3)), right.noise((2, 3, 3))
        assert torch.equal(noise, one.noise((2, 3, 3)))
        assert noise.abs().max() <= 0.5
    assert not torch.equal(whole[0].noise((4,)), whole[1].noise((4,)))


def test_a_later_start_sees_the_same_samples_and_each_epoch_every_sample():
    images, labels = np.arange(20, dtype=np.uint8).repeat(4).reshape(20, 2, 2), np.arange(20)
    source = ArraySource(images, labels)
    whole = [b.labels.tolist() for b in batches(source, 5, 0, 8, seed=1)]
    assert [b.labels.tolist() for b in batches(source, 5, 3, 8, seed=1)] == whole[3:]
    assert sorted(sum(whole[:4], [])) == list(range(20))
    assert sorted(sum(whole[4:], [])) == list(range(20))
    assert whole[:4] != whole[4:]


def test_crops_are_keyed_and_leave_the_global_generator_alone(tmp_path):
    from PIL import Image

    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    source = FolderSource(ImageFolder("x", tuple(sorted(tmp_path.iterdir()))), crop=32)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, _ = source.__getitems__([(0, 11), (1, 12)])
    assert torch.equal(torch.get_rng_state(), before)
    again, labels = source.__getitems__([(0, 11), (1, 12)])
    assert torch.equal(first, again)
    assert first.shape == (2, 3, 32, 32) and first.is_contiguous()
    assert labels.tolist() == [-1, -1]
    assert not torch.equal(source.__getitems__([(0, 13)])[0], first[:1])


def test_schedules():
    config = TrainConfig(steps=100, learning_rate=1.0, lmbda=2.0, rate_warmup=0.5)
    rates = [config.learning_rate_at(s) for s in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.001
    assert config.lmbda_at(0) < config.lmbda_at(25) < config.lmbda_at(50) == config.lmbda_at(99) == 2.0


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"lmbda": -1.0}, {"objective": "luck"}, {"quantiser": "dice"}],
)
def test_illegal_configurations(wrong):
    with pytest.raises(ParameterError):
        TrainConfig(**{"steps": 1, **wrong})


def test_a_diverging_loss_stops():
    config = TrainConfig(steps=3, batch=2)
    system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(0, 0, 4), 0)
    images, labels = (part[:8] for part in fashion_mnist("train"))
    with torch.no_grad():
        system.decoder.widen.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 0"):
        train_system(system, ArraySource(images, labels), config)


def test_recipes_say_what_they_need(tmp_path):
    job = Job(tmp_path / "out", None, tmp_path / "work")
    with pytest.raises(ParameterError, match="photo-first"):
        run_recipe("nonsense", job)
    with pytest.raises(DataError, match="--data"):
        run_recipe("photo-first", job)
    assert set(RECIPES) == {"fashion_resnet", "fashion_sweep", "photo-first"}
