"""Training: seeded, resumable after kill -9 at any step, the same on any number of processes."""

import errno
import hashlib
import io
import itertools
import logging
import math
import multiprocessing
import os
import time
from dataclasses import asdict, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig, Gains
from fsplit_lib.data import ImageFolder, fashion_mnist
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.device import timing
from fsplit_lib.errors import DataError, FsplitError, ParameterError, WeightsError
from fsplit_lib.objectives import loss_of, warm_up
from fsplit_lib.recipes import RECIPES, RunContext, run_recipe
from fsplit_lib.system import FrankenSplit, build_system, load_codec
from fsplit_lib.training import ArraySource, FolderSource, TrainConfig, loop, train_system
from fsplit_lib.training.checkpoint import DIGEST, resume
from fsplit_lib.training.dynamic import DynamicWeight
from fsplit_lib.training.lab import train_lab
from fsplit_lib.training.side_information import load_entropy_models, stream_sizes, train_entropy_models
from fsplit_lib.training.sources import batches

SMALL = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1))
CONFIG = TrainConfig(steps=40, batch=8, seed=3, quantiser="straight_through", rate_warmup=0.3, optimiser="muon")
SHORT = TrainConfig(steps=7, batch=4)


def run(config=CONFIG, **options):
    system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 16), config.seed)
    source = ArraySource(*(part[:500] for part in fashion_mnist("train")))
    log = train_system(system, source, config, checkpoint_every=7, **options)
    return system, log


def signed(content):
    return content + hashlib.sha256(content).digest()


def weights(system):
    return {**system.codec.state_dict(), **{f"d.{k}": v for k, v in system.decoder.state_dict().items()}}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order round otherwise
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight():
    return run()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(straight):
    torch.manual_seed(99)  # the global generator has no say
    twin, log = run()
    other, _ = run(replace(CONFIG, seed=4))
    assert same(weights(straight[0]), weights(twin))
    assert [row.values for row in log] == [row.values for row in straight[1]]
    assert not torch.equal(twin.decoder.widen.weight, other.decoder.widen.weight)
    assert not torch.equal(twin.codec.encoder.blocks[0].conv1.weight, other.codec.encoder.blocks[0].conv1.weight)


def test_a_chapter_that_runs_again_reads_what_it_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("FSPLIT_RUNS", str(tmp_path))
    short, told = replace(CONFIG, steps=3), []
    first, log = run(short)
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "loss_of", None)  # a step would raise
        again, same_log = run(short, progress=told.append)
        with pytest.raises(TypeError):
            run(replace(short, lmbda=0.2))
        with pytest.raises(TypeError):  # other first weights
            source = ArraySource(*(part[:500] for part in fashion_mnist("train")))
            train_system(
                build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 16), 77), source, short
            )
    assert same(weights(first), weights(again)) and log == same_log == told
    assert list(tmp_path.iterdir()) == [kept]
    other, _ = run(replace(short, seed=4))
    assert len(list(tmp_path.iterdir())) == 2 and not same(weights(first), weights(other))


def run_apart(checkpoint, told, at):
    """Train in a process of its own, tell of every step, and hang in the middle of a checkpoint where asked to."""
    torch.set_num_threads(1)

    def slow(row):
        told.write_text(str(row.step))
        time.sleep(0.05)

    def stuck(descriptor):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        told.write_text("saving")
        time.sleep(600)

    if at == "saving":
        os.fsync = stuck
    system, log = run(checkpoint=checkpoint, progress=slow)
    torch.save(
        [system.codec.state_dict(), system.decoder.state_dict(), [row.step for row in log]], f"{checkpoint}.final"
    )


def test_kill_minus_nine_again_and_again_gives_the_same_weights(straight, tmp_path):
    """Killed before the first checkpoint, between two, and in the middle of writing one."""
    checkpoint, told = tmp_path / "run.ckpt", tmp_path / "told"
    posix = os.name == "posix"
    processes = multiprocessing.get_context("forkserver" if posix else "spawn")
    if posix:
        processes.set_forkserver_preload(["fsplit_lib.recipes"])  # read once for all of them; nothing has run there
    for at, first in ((3, 0), (16, 0), ("saving", 14)):
        told.unlink(missing_ok=True)
        process = processes.Process(target=run_apart, args=(checkpoint, told, at))
        process.start()
        deadline, seen = time.monotonic() + 120, []
        while not seen or (seen[-1] != "saving" if at == "saving" else int(seen[-1]) < at):
            assert process.exitcode is None and time.monotonic() < deadline, (at, seen)
            time.sleep(0.005)
            if told.exists() and (said := told.read_text()) and said not in seen[-1:]:
                seen.append(said)
        process.kill()  # SIGKILL
        process.join()
        assert int(seen[0]) in (first, first + 1)  # it went on from the last checkpoint, not from the start
        assert not (tmp_path / "run.ckpt.final").exists()
        assert checkpoint.exists() == (at != 3)
        assert len(list(tmp_path.glob(".part-*"))) == (at == "saving")
    process = processes.Process(target=run_apart, args=(checkpoint, told, "on"))
    process.start()
    process.join(180)
    assert process.exitcode == 0
    codec, decoder, steps = torch.load(tmp_path / "run.ckpt.final")
    assert same(weights(straight[0]), {**codec, **{f"d.{k}": v for k, v in decoder.items()}})
    assert steps == list(range(CONFIG.steps))


def test_a_finished_run_is_not_run_again(straight, tmp_path):
    run(checkpoint=tmp_path / "run.ckpt")
    told = []
    again, log = run(checkpoint=tmp_path / "run.ckpt", progress=told.append)
    assert told == [] and len(log) == CONFIG.steps
    assert same(weights(straight[0]), weights(again))


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    "accelerator",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA sees no GPU"))],
)
def test_a_run_goes_on_on_another_device(straight, tmp_path, accelerator):
    def stop(row):
        if row.step == 20:
            raise Stopped

    with pytest.raises(Stopped):
        run(checkpoint=tmp_path / "run.ckpt", progress=stop)
    again, log = run(checkpoint=tmp_path / "run.ckpt", accelerator=accelerator)
    assert [row.step for row in log] == list(range(CONFIG.steps))
    tolerance = {"rtol": 0, "atol": 0} if accelerator == "cpu" else {"rtol": 1e-3, "atol": 1e-4}  # other kernels
    for name, value in weights(again).items():
        assert value.device.type == "cpu"
        if value.is_floating_point():
            torch.testing.assert_close(value, weights(straight[0])[name], **tolerance)


def test_a_missing_accelerator_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for wrong in ("cuda", "tpu"):
        with pytest.raises(ParameterError, match="accelerator must be"):
            run(SHORT, accelerator=wrong)


def test_training_learns_and_logs(straight):
    _, log = straight
    assert [row.step for row in log] == list(range(40))
    assert all(a.seconds <= b.seconds for a, b in itertools.pairwise(log))
    assert set(log[0].values) == {"distortion", "rate", "total"}
    assert log[0].values["distortion"] == pytest.approx(1, abs=0.35)
    assert np.mean([r.values["rate"] for r in log[-5:]]) < np.mean([r.values["rate"] for r in log[:5]])


def test_progress_is_told_of_every_step():
    told = []
    _, log = run(SHORT, progress=told.append)
    assert told == log and [row.step for row in told] == list(range(SHORT.steps))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "run.ckpt"
    run(SHORT, checkpoint=path)
    return path


def test_broken_checkpoints_are_refused(checkpoint):
    whole, others = checkpoint.read_bytes(), []
    for other in ([1, 2], {"state_dict": {}}):
        torch.save(other, checkpoint)
        others += [checkpoint.read_bytes(), signed(checkpoint.read_bytes())]
    for broken in (b"", b"not a checkpoint", whole[:100], whole[: len(whole) // 2], whole[:-1], *others):
        checkpoint.write_bytes(broken)
        with pytest.raises(WeightsError, match="damaged"):
            run(SHORT, checkpoint=checkpoint)
        assert checkpoint.read_bytes() == broken


def test_any_flipped_bit_is_noticed(tmp_path, checkpoint):
    """At 300 places drawn over the whole file, at its ends, and in the weights themselves."""
    whole, rng = bytearray(checkpoint.read_bytes()), np.random.default_rng(0)
    first = torch.load(io.BytesIO(whole[:-DIGEST]))["pieces"]["encoder"]["blocks.0.conv1.weight"]
    inside = bytes(whole).index(first.numpy().tobytes())
    places = [0, len(whole) - 1, len(whole) - DIGEST, inside, *map(int, rng.integers(0, len(whole), 300))]
    for place in places:
        whole[place] ^= (bit := 1 << int(rng.integers(8)))
        checkpoint.write_bytes(whole)
        with pytest.raises(WeightsError, match=r"run.ckpt is damaged .wrong sha256.; delete it to start again"):
            resume(checkpoint, {}, [], {})
        whole[place] ^= bit
    checkpoint.write_bytes(whole)
    run(SHORT, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("cpuinfo", "taken"),
    [
        ("flags : sse4_1 avx2 fma", "32-true"), ("flags : avx2 avx512f avx512_vnni", "32-true"), ("flags : avx512f avx512_bf16", "bf16-mixed"),
        ("flags : avx2 amx_bf16", "bf16-mixed"), ("Features : asimd asimddp", "32-true"), ("Features : asimd bf16 i8mm", "bf16-mixed"),
        ("flags : not_avx512_bf16_but_close", "32-true"), ("", "32-true"), (None, "32-true"),
    ],
)  # fmt: skip
def test_auto_takes_bfloat16_where_the_processor_has_it(monkeypatch, tmp_path, caplog, cpuinfo, taken):
    """Of a processor's own description; the log says what was taken, and the other precision does not go on from it."""

    def read_text(path, **_):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return f"processor : 0\nmodel name : a processor\n{cpuinfo}\n"

    with monkeypatch.context() as patch:
        patch.setattr(timing, "Path", lambda path: SimpleNamespace(read_text=partial(read_text, path)))
        config = TrainConfig(steps=2, batch=4, precision="auto")
    assert config.precision == asdict(config)["precision"] == taken
    with caplog.at_level(logging.INFO, "fsplit_lib.training"):
        run(config, checkpoint=tmp_path / "run.ckpt")
    assert f"training in {taken} on " in caplog.text
    other = {"32-true": "bf16-mixed", "bf16-mixed": "32-true"}[taken]
    with pytest.raises(WeightsError, match=r"another run .precision differ"):
        run(replace(config, precision=other), checkpoint=tmp_path / "run.ckpt")


@pytest.mark.parametrize(
    "other",
    [
        {"lmbda": 2.0},
        {"weight_decay": 0.1},
        {"batch": 5},
        {"steps": 9},
        {"objective": "cross_entropy"},
        {"optimiser": "muon"},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_configuration_is_refused(checkpoint, other):
    before = checkpoint.read_bytes()
    with pytest.raises(WeightsError, match=f"belongs to another run .{next(iter(other))} differ"):
        run(replace(SHORT, **other), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(checkpoint):
    source = ArraySource(*(part[:500] for part in fashion_mnist("train")))
    system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 24), 0)
    with pytest.raises(WeightsError, match=r"another run .decoder, start differ"):
        train_system(system, source, SHORT, checkpoint=checkpoint)
    with pytest.raises(WeightsError, match=r"another run .seed, start differ"):
        run(replace(SHORT, seed=5), checkpoint=checkpoint)
    state = torch.load(checkpoint)
    state["pieces"]["decoder"].popitem()
    torch.save(state, checkpoint)
    checkpoint.write_bytes(signed(checkpoint.read_bytes()))
    with pytest.raises(WeightsError, match="written for another network"):
        run(SHORT, checkpoint=checkpoint)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_checkpoint_of_other_first_weights_is_refused(tmp_path, frozen):
    """A codec that is trained on: once the one that it started from was replaced, no older checkpoint continues it."""
    source, checkpoint = ArraySource(*(part[:500] for part in fashion_mnist("train"))), tmp_path / "run.ckpt"

    def trained(part=None):
        system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 16), 0)
        if frozen:
            system.codec.update()
        if part:
            next(system.get_submodule(part).parameters()).data.mul_(1.01)
        train_system(system, source, SHORT, checkpoint=checkpoint)
        return weights(system)

    assert same(trained(), trained())
    for part in ("codec.encoder", "codec.prior", "decoder"):
        with pytest.raises(WeightsError, match=r"another run .start differ"):
            trained(part)


@pytest.mark.parametrize("other", ["pictures", "labels", "network"])
def test_a_checkpoint_of_other_data_or_another_teacher_is_refused(checkpoint, other):
    images, labels = (part[:500].copy() for part in fashion_mnist("train"))
    if other == "pictures":
        images[7, 3, 3] ^= 1
    if other == "labels":
        labels[7] = (labels[7] + 1) % 10
    teacher = load_backbone("fashion_resnet", "random" if other == "network" else "shipped")
    system, before = build_system(teacher, SMALL, DecoderConfig(1, 1, 16), SHORT.seed), checkpoint.read_bytes()
    with pytest.raises(WeightsError, match=f"another run .{'network' if other == 'network' else 'data'} differ"):
        train_system(system, ArraySource(images, labels), SHORT, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_dropout_hides_a_share_of_the_latent_while_it_trains_and_nothing_in_use(monkeypatch):
    seen, forward = [], FrankenSplit.forward

    def listening(system, *given):
        seen.append(given[4])
        return forward(system, *given)

    with monkeypatch.context() as patch:
        patch.setattr(FrankenSplit, "forward", listening)
        system, log = run(replace(SHORT, dropout=0.25))
    assert len(seen) == SHORT.steps and all({0.0, 4 / 3} == set(keep.unique().tolist()) for keep in map(rounded, seen))
    assert torch.stack(seen).mean() == pytest.approx(1, abs=0.03) and not torch.equal(seen[0], seen[1])
    again, _ = run(replace(SHORT, dropout=0.25))
    assert same(weights(system), weights(again)) and not same(weights(system), weights(run(SHORT)[0]))
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = system(x)
        assert torch.equal(out.h_hat, system.decoder(out.y_hat)) and torch.equal(system(x).h_hat, out.h_hat)


def test_a_run_ends_with_the_running_mean_of_its_weights_and_resumes_it(tmp_path):
    config, source = replace(SHORT, averaging=0.75), ArraySource(*(part[:500] for part in fashion_mnist("train")))

    def train(told, **options):
        system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 16), config.seed)
        train_system(system, source, config, progress=lambda row: told(row.step, system), **options)
        return system

    seen = []
    straight = train(lambda _, system: seen.append(system.decoder.widen.weight.detach().clone()))
    mean = seen[0]
    for weight in seen[1:]:
        mean = 0.75 * mean + 0.25 * weight
    torch.testing.assert_close(straight.decoder.widen.weight.detach(), mean)
    assert not torch.allclose(mean, seen[-1], rtol=0.01)

    def stop(step, _):
        if step == 4:
            raise Stopped

    kept = {"checkpoint": tmp_path / "run.ckpt", "checkpoint_every": 3}
    with pytest.raises(Stopped):
        train(stop, **kept)
    assert same(weights(straight), weights(train(lambda *_: None, **kept)))


def rounded(keep):
    return torch.where(keep > 0, torch.tensor(4 / 3, dtype=torch.float64), 0.0)


@pytest.mark.parametrize("maps", ["crop", "decoded"])
def test_maps_of_the_crop_and_of_decoded_features_need_no_source_of_maps(maps, monkeypatch):
    """The teacher sees the crop's features; the split network, at its first step, the teacher's mean."""
    seen, plain = [], DynamicWeight.map
    monkeypatch.setattr(DynamicWeight, "map", lambda self, h: seen.append(h) or plain(self, h))
    system, log = run(replace(SHORT, guidance="guided", maps=maps))
    batch = next(batches(ArraySource(*(part[:500] for part in fashion_mnist("train"))), SHORT.batch, 0, 1, SHORT.seed))
    with torch.no_grad():
        wanted = system.backbone.head(batch.x) if maps == "crop" else system.decoder.mean.expand_as(seen[0])
    assert len(seen) == SHORT.steps and torch.allclose(seen[0], wanted, atol=1e-5)
    free, constant = (run(replace(SHORT, maps=maps, guidance=g))[1] for g in ("unguided", "constant"))
    first = [made[0].values["distortion"] for made in (log, constant, free)]
    least = 0.5 * first[2] * (1 - 1e-6)  # of flat maps, as at first the decoded features have
    assert least < first[0] < first[2] and least < first[1] < first[2] and (maps == "decoded" or first[0] != first[1])
    with pytest.raises(ParameterError, match="needs a source with saliency maps"):
        run(replace(SHORT, guidance="guided"))


def test_densities_and_gains_do_not_decay():
    parts = {"encoder": torch.nn.Linear(2, 2), "prior": torch.nn.Linear(2, 2)}
    config = TrainConfig(1, weight_decay=0.1, optimiser="muon")
    groups = [g for o in loop._optimisers(parts, {"prior": 3.0}, config) for g in o.param_groups]
    assert sorted((g["factor"], g["weight_decay"]) for g in groups) == [(1.0, 0.1)] * 2 + [(3.0, 0.0)] * 2


@pytest.mark.parametrize("change", [{"guidance": "guided"}, {"channels": "sensitive"}])
@pytest.mark.parametrize("objective", ["tail_distillation", "cross_entropy"])
def test_what_has_no_places_cannot_be_guided(objective, change):
    with pytest.raises(ParameterError, match=f"{objective} has no feature distortion"):
        TrainConfig(1, objective=objective, **change)


def test_a_folder_without_classes_has_no_labels_to_train_on(straight):
    out = straight[0](torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="needs labels; this data set has none"):
        loss_of("cross_entropy", straight[0], out, torch.tensor([3, -1]), 1.0)


def test_a_distortion_that_costs_is_learned():
    _, log = run(replace(CONFIG, lmbda=0.0, learning_rate=1e-2))
    first, last = (np.mean([row.values["distortion"] for row in part]) for part in (log[:5], log[-5:]))
    assert last < 0.9 * first


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    checkpoint, sync, kept = tmp_path / "run.ckpt", os.fsync, []

    def full(descriptor):
        if checkpoint.exists():  # the second one finds no room
            kept.append(checkpoint.read_bytes())
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*run.ckpt: No space left on device"):
        run(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == kept[0]
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    assert torch.load(checkpoint)["step"] == 7


def test_a_checkpoint_in_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="cannot write .*run.ckpt: No such file"):
        run(SHORT, checkpoint=tmp_path / "no" / "run.ckpt")


@pytest.mark.parametrize(("size", "world"), [(6, 2), (7, 3)])
def test_processes_share_one_global_batch(size, world):
    source = ArraySource(*(part[:50] for part in fashion_mnist("train")), augment=True)
    whole = list(batches(source, size, 0, 12, seed=1))
    parts = [list(batches(source, size, 0, 12, seed=1, rank=rank, world=world)) for rank in range(world)]
    for one, *shares in zip(whole, *parts, strict=True):
        x, labels = torch.full_like(one.x, -1), torch.full_like(one.labels, -1)
        noise = torch.full_like(one.noise((2, 3, 3)), 9)
        for rank, share in enumerate(shares):
            assert share.step == one.step
            x[rank::world], labels[rank::world] = share.x, share.labels
            noise[rank::world] = share.noise((2, 3, 3))
        assert torch.equal(x, one.x) and torch.equal(labels, one.labels)
        assert torch.equal(noise, one.noise((2, 3, 3)))
        assert noise.abs().max() <= 0.5
    assert not torch.equal(whole[0].noise((4,)), whole[1].noise((4,)))


def test_loader_processes_change_nothing():
    source = ArraySource(*(part[:50] for part in fashion_mnist("train")), augment=True)
    alone, helped = (list(batches(source, 4, 2, 6, seed=1, workers=n)) for n in (0, 2))
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.x, b.x) and torch.equal(a.labels, b.labels) and a.step == b.step


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
    alone, _ = source.__getitems__([(1, 12)])
    assert torch.equal(alone, first[1:])  # whoever else is in the batch


def test_colours_change_crops_and_nothing_else(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    folder, wanted = ImageFolder("x", (tmp_path / "0.png",)), [(0, key) for key in range(40)]
    plain, coloured = FolderSource(folder, 32), FolderSource(folder, 32, colours=True)
    (before, _), (after, _), (again, _) = (source.__getitems__(wanted) for source in (plain, coloured, coloured))
    assert torch.equal(after, again) and not torch.equal(before, after)
    grey = [bool((crop - crop.mean(0)).abs().max() < 0.01) for crop in after]
    assert 2 <= sum(grey) <= 16  # one in five of forty
    pairs = [torch.stack([a.mean(0).flatten(), b.mean(0).flatten()]) for a, b in zip(before, after, strict=True)]
    assert min(torch.corrcoef(pair)[0, 1] for pair in pairs) > 0.7  # the same place of the photo, flipped or not
    assert plain.digest != coloured.digest


def test_schedules():
    config = TrainConfig(steps=100, learning_rate=1.0, lmbda=2.0, rate_warmup=0.5)
    rates = [config.learning_rate_at(s) for s in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.001
    weights = [warm_up(config.lmbda, step, config.rate_warmup * config.steps) for step in (0, 25, 50, 99)]
    assert 0 < weights[0] < weights[1] < weights[2] == weights[3] == 2.0
    assert weights[1] == pytest.approx(1.0, rel=0.05)
    assert [warm_up(2.0, step, 0) for step in range(10)] == [2.0] * 10
    assert TrainConfig(steps=1, learning_rate=0.1).learning_rate_at(0) == 0.1
    middle = 5 + 95 // 2
    cosine = 0.5 * (1 + math.cos(math.pi * (middle - 5) / 95))
    assert rates[middle] == pytest.approx(cosine)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}, {"lmbda": -1.0},
     {"lmbda": math.inf}, {"rate_warmup": 1.5}, {"rate_warmup": -0.1}, {"weight_decay": -1.0},
     {"objective": "luck"}, {"quantiser": "dice"}, {"dropout": 1.0}, {"dropout": -0.1}, {"maps": "old"},
     {"averaging": 1.0}, {"averaging": -0.1}, {"drawn": "dice"}], ids=str,
)  # fmt: skip
def test_illegal_configurations(wrong):
    with pytest.raises(ParameterError):
        TrainConfig(**{"steps": 1, **wrong})


def test_a_diverging_loss_stops_and_the_last_checkpoint_is_sound(tmp_path):
    checkpoint, told = tmp_path / "run.ckpt", []
    system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(0, 0, 4), 0)

    def spoil(row):
        told.append(row.step)
        if row.step == 8:
            with torch.no_grad():
                system.decoder.widen.bias.fill_(float("nan"))

    source = ArraySource(*(part[:100] for part in fashion_mnist("train")))
    with pytest.raises(FsplitError, match="step 9; lower the learning rate"):
        train_system(system, source, CONFIG, checkpoint=checkpoint, checkpoint_every=7, progress=spoil)
    assert told == list(range(9))
    state = torch.load(checkpoint)
    assert state["step"] == 7
    assert all(torch.isfinite(v).all() for v in state["pieces"]["decoder"].values())


def test_recipes_say_what_they_need(tmp_path):
    job = RunContext(tmp_path / "out", None, tmp_path / "work")
    with pytest.raises(ParameterError, match="photo-first"):
        run_recipe("nonsense", job)
    with pytest.raises(DataError, match="--data"):
        run_recipe("photo-first", job)
    with pytest.raises(DataError, match="no Caltech-101"):
        run_recipe("photo-first", replace(job, data=tmp_path))
    assert {"fashion_resnet", "fashion_sweep", "photo-first"} <= set(RECIPES)
    assert list(tmp_path.iterdir()) == []


def test_a_codec_of_continuous_rate_learns_to_spend_less():
    run = train_lab(load_backbone("fashion_resnet"), 0.3, 50, anchors=(0.03, 0.3, 3.0))
    assert "gains" in run.system.trainable()
    first = Gains((0.03, 0.3, 3.0), 16).log_gain
    assert not torch.equal(run.system.codec.gains.log_gain, first)
    images, _ = fashion_mnist("test")
    y = run.system.codec.encoder(images_to_tensor(images[:50]))
    sizes = [sum(p.payload_bytes for p in run.system.codec.pack(y, lmbda)) for lmbda in (0.03, 0.3, 3.0)]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


def test_rate_weights_of_a_batch_cover_their_range_alike_on_any_number_of_processes():
    source = ArraySource(*(part[:64] for part in fashion_mnist("test")))
    (whole,) = batches(source, 16, 0, 1, 5)
    drawn = whole.log_uniform(0.1, 3.0)
    assert torch.equal(drawn, whole.log_uniform(0.1, 3.0)) and 0.1 <= drawn.min() <= drawn.max() <= 3.0
    share = (drawn / 0.1).log() / math.log(30)
    assert sorted((share * 16).int().tolist()) == list(range(16))  # one in each sixteenth
    share = (whole.log_uniform(0.1, 3.0, ends=True) / 0.1).log() / math.log(30)
    assert sorted((2 / math.pi * share.sqrt().asin() * 16).int().tolist()) == list(range(16))
    assert ((share - 0.5).abs() > 0.43).sum() in (4, 5, 6)  # a third of 16 in the first and last 7 %
    parts = [next(batches(source, 16, 0, 1, 5, rank, 2)).log_uniform(0.1, 3.0) for rank in (0, 1)]
    assert torch.equal(torch.stack(parts, 1).flatten(), drawn)


def test_entropy_models_are_trained_and_found_again(tmp_path):
    codec, before = load_codec("photo-first"), load_codec("photo-first").encoder.state_dict()
    source = ArraySource(*(part[:64] for part in fashion_mnist("test")))
    models, log = train_entropy_models(codec, source, TrainConfig(steps=4, batch=4, learning_rate=1e-3))
    assert len(log) == 4 and {"factorised", "scale", "mean_scale", "total"} == set(log[0].values)
    assert all(torch.equal(a, b) for a, b in zip(codec.encoder.state_dict().values(), before.values(), strict=True))
    zoo.write_model(
        tmp_path / "m", zoo.Card("m", "entropy models", "", "", "", {}, {}), {"models.safetensors": models.state_dict()}
    )
    here, there = (load_entropy_models(tmp_path / "m") for _ in range(2))  # stored weights, unlike the ones in memory
    y = 3 * torch.randn(1, 48, 8, 8, generator=torch.Generator().manual_seed(0))
    assert stream_sizes(here, y) == stream_sizes(there, y)
    assert torch.equal(there.mean_scale.decompress(here.mean_scale.compress(y.round()), 8, 8), y.round())
    assert here.factorised.tables.to_bytes() == models.factorised.tables.to_bytes()
