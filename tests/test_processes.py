"""Training on several processes: torchrun starts two, and the curve is that of one with the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import fashion_mnist
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import ParameterError
from fsplit_lib.system import build_system
from fsplit_lib.training import ArraySource, TrainConfig, fit, train_system

HERE = Path(__file__).parent
CONFIG = TrainConfig(
    steps=12, batch=8, learning_rate=4e-3, seed=3, quantiser="straight_through", rate_warmup=0.3, optimiser="muon"
)
CODEC = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1), lmbda=0.3, anchors=(0.1, 0.3, 1.0))


def run(config, out, checkpoint=None):
    """Train, and let the first process write what came of it."""
    torch.set_num_threads(1)
    system = build_system(load_backbone("fashion_resnet"), CODEC, DecoderConfig(1, 1, 16), config.seed)
    source = ArraySource(*(part[:300] for part in fashion_mnist("train")), augment=True)
    log = train_system(system, source, config, checkpoint=checkpoint, checkpoint_every=5)
    rank = os.environ.get("RANK", "0")
    Path(out, f"log-{rank}.json").write_text(json.dumps([row.values for row in log]), encoding="utf-8")
    torch.save([system.codec.state_dict(), system.decoder.state_dict()], Path(out, f"weights-{rank}.pt"))


def torchrun(out, *arguments):
    """This file, in two processes that talk over the loopback."""
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    command += [__file__, str(out), *map(str, arguments)]
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)


def curves(out, rank=0):
    return json.loads((out / f"log-{rank}.json").read_text())


def test_two_processes_have_the_curve_of_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    threads = torch.get_num_threads()
    run(CONFIG, one)
    torch.set_num_threads(threads)
    done = torchrun(two, two / "run.ckpt")
    assert done.returncode == 0, done.stderr[-3000:]
    assert curves(two, 0) == curves(two, 1)  # both tell of the global batch
    assert len(curves(two)) == CONFIG.steps
    for alone, shared in zip(curves(one), curves(two), strict=True):
        assert shared == pytest.approx(alone, rel=1e-4)
    ours, first, second = (
        torch.load(path) for path in (one / "weights-0.pt", two / "weights-0.pt", two / "weights-1.pt")
    )
    for a, b, c in zip(ours, first, second, strict=True):
        assert all(torch.equal(b[k], c[k]) for k in b)  # tables, statistics and all
        assert all(torch.allclose(a[k], b[k], atol=1e-4) for k in a if a[k].is_floating_point())
    state = torch.load(two / "run.ckpt")
    assert state["step"] == CONFIG.steps and len(state["log"]) == CONFIG.steps


def test_processes_share_a_batch_evenly_or_not_at_all(monkeypatch):
    monkeypatch.setattr("fsplit_lib.training.loop._fabric", lambda *_: SimpleNamespace(world_size=3))
    with pytest.raises(ParameterError, match="3 processes cannot share a batch of 8 evenly"):
        fit(torch.nn.Linear(1, 1), {}, None, None, CONFIG)


if __name__ == "__main__":
    run(CONFIG, sys.argv[1], Path(sys.argv[2]))
