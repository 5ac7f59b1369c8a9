"""Recipes of the three teachers on Fashion-MNIST, and their spread over seeds."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.backbones import FASHION_NETWORKS, SPEECH_NETWORKS, Backbone
from fsplit_lib.data import fashion_mnist
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import PerImageResult, RatePoint, top1_of_images
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.runner.grid import Cell
from fsplit_lib.training import ArraySource, Batch, LogRow, TrainConfig, fit

SMOOTHING = 0.1
RECORDED = ("steps", "batch", "learning_rate", "weight_decay", "optimiser", "precision", "seed")
MUON = TrainConfig(steps=3750, batch=128, learning_rate=1e-2, weight_decay=0.05, optimiser="muon", precision="auto")
TEACHERS = {
    "fashion_resnet": (
        "timm's ResNet with BasicBlocks (2, 2, 2, 1) of widths 32, 64, 96, 128 for Fashion-MNIST at 32x32.",
        TrainConfig(steps=3750, batch=128, learning_rate=4e-3, weight_decay=0.05),
    ),
    "fashion_convnext": (
        "timm's ConvNeXt with blocks (3, 2, 2, 1) of widths 64, 96, 128, 160 for Fashion-MNIST at 32x32.",
        replace(MUON, learning_rate=2e-2),
    ),
    "fashion_swin": (
        "timm's SwinTransformer with blocks (2, 2, 1) of widths 48, 96, 192 and windows of 4x4 for Fashion-MNIST at 32x32.",
        MUON,
    ),
}


def fit_teacher(
    name: str,
    source: ArraySource,
    config: TrainConfig,
    options: dict,
    dataset: str,
    test: tuple[np.ndarray, np.ndarray],
) -> tuple[nn.Module, RatePoint, list[LogRow]]:
    """Train a network of ours on labels; return it as its file will hold it, its score on test images, and the log."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = (FASHION_NETWORKS | SPEECH_NETWORKS)[name]()

    def loss(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"total": F.cross_entropy(module(2 * batch.x - 1), batch.labels, label_smoothing=SMOOTHING)}

    log = fit(network, {"network": network}, loss, source, config, **options)
    network.load_state_dict(zoo.as_stored(network.state_dict()))
    images, labels = test
    decided = top1_of_images(Backbone(name, network, stride=4 if name in FASHION_NETWORKS else 8), images)
    sizes = np.full(len(labels), images[0].size)
    point = PerImageResult(dataset, "teacher", None, None, name, sizes, decided, decided, labels).point()
    return network, point, log


def write_teacher(run: RunContext, name: str, network: nn.Module, point: RatePoint, card: zoo.Card) -> None:
    """Store what :func:`fit_teacher` made."""
    card.name, card.architecture, card.scores = name, {"backbone": name}, [asdict(point)]
    card.training = {"objective": f"cross-entropy of the labels, smoothed by {SMOOTHING}"} | card.training
    zoo.write_model(run.out, card, {"network.safetensors": network.state_dict()})


def _fit(name: str, config: TrainConfig, options: dict) -> tuple[nn.Module, RatePoint, list[LogRow]]:
    source = ArraySource(*fashion_mnist("train"), augment=True)
    return fit_teacher(name, source, config, options, "Fashion-MNIST test", fashion_mnist("test"))


def _teacher(name: str, run: RunContext) -> str:
    summary, config = TEACHERS[name]
    network, point, log = _fit(name, config, run.options(config))
    recorded = {key: getattr(config, key) for key in RECORDED}
    recorded |= {"samples": config.steps * config.batch, "minutes": round(log[-1].seconds / 60, 1)}
    data = "Fashion-MNIST, 60,000 training images, shifted by up to 2 pixels and flipped (MIT licence)"
    limits = ["one seed; its spread over seeds is not measured yet"]
    write_teacher(run, name, network, point, run.card("backbone", summary, name, data, recorded, limits))
    return f"{run.out}: {point.top1:.2%} of {point.n:,} test pictures"


def teacher_cell(name: str, seed: int, steps: int, work: Path) -> dict:
    """Train one more seed of a teacher; return its accuracy, and no weights."""
    work.mkdir(parents=True, exist_ok=True)
    config = replace(TEACHERS[name][1], seed=seed, steps=steps)
    _, point, log = _fit(name, config, {"checkpoint": work / f"{name}-{seed}.ckpt"})
    return {"top1": point.top1, "minutes": round(log[-1].seconds / 60, 1)}


def _seeds(run: RunContext) -> str:
    """Seeds 1 and 2 of every teacher, written into the cards beside ``run.out``."""
    missing = [name for name in TEACHERS if not (run.out.parent / name / "card.json").is_file()]
    if missing:
        raise DataError(
            f"no card of {', '.join(missing)} in {run.out.parent}: train them first, or name their place with --out"
        )
    cells = {
        f"{name}-seed{seed}": Cell(teacher_cell, {"name": name, "seed": seed, "steps": config.steps, "work": run.work})
        for name, (_, config) in TEACHERS.items()
        for seed in (1, 2)
    }
    results, sentences = run.grid(cells), []
    for name in TEACHERS:
        card = zoo.read_card(run.out.parent / name)
        found = [card.scores[0]["top1"], *(results[f"{name}-seed{seed}"]["top1"] for seed in (1, 2))]
        card.training["top1_by_seed"] = found
        card.training["top1_spread"] = round(max(found) - min(found), 5)
        card.limits = ["these weights are one of three runs, which differ in nothing but the seed; see top1_by_seed"]
        zoo.write_model(run.out.parent / name, card, {})
        sentences.append(f"{name} " + ", ".join(f"{top1:.2%}" for top1 in found))
    return "; ".join(sentences)


TEACHER_RECIPES = (
    *(Recipe(name, f"the teacher {name} on Fashion-MNIST", partial(_teacher, name)) for name in TEACHERS),
    Recipe("fashion_seeds", "two more seeds of each teacher, into their cards beside --out (a grid)", _seeds),
)
