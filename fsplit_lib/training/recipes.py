"""The named runs behind `fsplit train`: each makes one of the shipped weights again."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.backbones import OWN, load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import caltech101, fashion_mnist
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.system import build_system, save_system
from fsplit_lib.training.loop import LogRow, TrainConfig, fit, train_system
from fsplit_lib.training.machine import machine
from fsplit_lib.training.sources import ArraySource, Batch, FolderSource

__all__ = ["FASHION_CODEC", "RECIPES", "Job", "run_recipe"]

FASHION_CODEC = CodecConfig(strides=(2, 2, 1), lmbda=1.0)


@dataclass(frozen=True)
class Recipe:
    """A named run: what it trains and how to start it."""

    name: str
    summary: str
    run: Callable[["Job"], zoo.Card]


@dataclass(frozen=True)
class Job:
    """Where one run of a recipe reads and writes, and whom it tells.

    Attributes:
        out: folder for weights and card.
        data: folder of photos, for recipes that need one.
        work: folder for the checkpoint.
        progress: called with every step and the number of steps.
        workers: loader processes.
    """

    out: Path
    data: Path | None
    work: Path
    progress: Callable[[LogRow, int], None] | None = None
    workers: int = 0

    def options(self, config: TrainConfig) -> dict:
        """The keywords that :func:`fit` takes."""
        self.work.mkdir(parents=True, exist_ok=True)
        told = (lambda row: self.progress(row, config.steps)) if self.progress else None
        return {"progress": told, "checkpoint": self.work / f"{self.out.name}.ckpt", "workers": self.workers}


def run_recipe(name: str, job: Job) -> zoo.Card:
    """Run a recipe to the end, resuming its checkpoint if there is one.

    Raises:
        ParameterError: no such recipe.
    """
    if name not in RECIPES:
        raise ParameterError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name].run(job)


def _fashion_resnet(job: Job) -> zoo.Card:
    config = TrainConfig(steps=3750, batch=128, learning_rate=4e-3, weight_decay=0.05, seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = OWN["fashion_resnet"]()

    def loss(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"total": F.cross_entropy(module(2 * batch.x - 1), batch.labels, label_smoothing=0.1)}

    log = fit(
        network,
        {"network": network},
        loss,
        ArraySource(*fashion_mnist("train"), augment=True),
        config,
        **job.options(config),
    )
    images, labels = fashion_mnist("test")
    correct = sum(
        int((network(x.expand(-1, 3, -1, -1) / 127.5 - 1).argmax(1) == y).sum())
        for x, y in zip(
            torch.from_numpy(images.copy()).float().unsqueeze(1).split(500),
            torch.from_numpy(labels.copy()).split(500),
            strict=True,
        )
    )
    card = zoo.Card(
        name="fashion_resnet",
        kind="backbone",
        summary="timm's ResNet with BasicBlocks (2, 2, 2, 1) of widths 32, 64, 96, 128 for Fashion-MNIST at 32x32.",
        command="fsplit train fashion_resnet",
        data="Fashion-MNIST, 60,000 training images (MIT licence)",
        training={**asdict(config), "samples": config.steps * config.batch, "minutes": round(log[-1].seconds / 60, 1)},
        architecture={"backbone": "fashion_resnet"},
        scores=[{"data": "Fashion-MNIST test", "n": len(labels), "top1": correct / len(labels)}],
        limits=["one seed", "trained on pictures padded from 28x28; other fashions it has never seen"],
        machine=machine(),
    )
    return zoo.write_model(job.out, card, {"network.safetensors": network.state_dict()})


def _photo_first(job: Job) -> zoo.Card:
    if job.data is None:
        raise DataError("this recipe trains on Caltech-101: give its folder with --data")
    config = TrainConfig(
        steps=3600, batch=16, learning_rate=1e-3, seed=0, quantiser="straight_through", lmbda=0.3, rate_warmup=0.3
    )
    folder = caltech101(job.data)
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig(lmbda=config.lmbda), DecoderConfig(2, 2, 128), config.seed)
    log = train_system(system, FolderSource(folder, crop=160), config, **job.options(config))
    tail = log[-200:]
    card = zoo.Card(
        name=job.out.name,
        kind="codec",
        summary="The first photo codec: plain head distillation for a good half hour; a beginning, not a good codec.",
        command="fsplit train photo-first --data FOLDER_OF_CALTECH101",
        data=f"Caltech-101 without its background class, {len(folder):,} photos (Fei-Fei et al. 2004; CC BY 4.0)",
        training={
            **asdict(config),
            "crops": config.steps * config.batch,
            "crop_pixels": 160,
            "minutes": round(log[-1].seconds / 60, 1),
            "final_distortion": sum(r.values["distortion"] for r in tail) / len(tail),
            "final_bits_per_pixel": sum(r.values["rate"] for r in tail) / len(tail),
        },
        architecture={},
        machine=machine(),
    )
    return save_system(job.out, system, card)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fashion_resnet", "the ResNet teacher of chapter 05", _fashion_resnet),
        Recipe("photo-first", "the first photo codec, on Caltech-101", _photo_first),
    )
}
