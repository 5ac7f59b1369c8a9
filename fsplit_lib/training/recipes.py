"""The named runs behind `fsplit train`: each makes one of the shipped weights again."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.backbones import OWN, Backbone, load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import caltech101, fashion_mnist
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.evaluation import RatePoint, rate_point, top1_of_images
from fsplit_lib.system import FrankenSplit, build_system, load_codec, load_system, save_system
from fsplit_lib.training.lab import LabRun
from fsplit_lib.training.loop import LogRow, TrainConfig, fit, train_system
from fsplit_lib.training.machine import machine
from fsplit_lib.training.side_information import WIDTH, train_entropy_models
from fsplit_lib.training.sources import ArraySource, Batch, FolderSource
from fsplit_lib.training.sweep import FASHION_SWEEP, LABEL_BITS, Sweep, run_sweep

__all__ = ["RECIPES", "Job", "run_recipe"]


@dataclass(frozen=True)
class Recipe:
    """A named run: what it trains and how to start it."""

    name: str
    summary: str
    run: Callable[["Job"], str]


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


def run_recipe(name: str, job: Job) -> str:
    """Run a recipe to the end, resuming where a killed run stopped; returns one sentence on the result.

    Raises:
        ParameterError: no such recipe.
    """
    if name not in RECIPES:
        raise ParameterError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name].run(job)


def _fashion_resnet(job: Job) -> str:
    config = TrainConfig(steps=3750, batch=128, learning_rate=4e-3, weight_decay=0.05, seed=0)
    smoothing = 0.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = OWN["fashion_resnet"]()

    def loss(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"total": F.cross_entropy(module(2 * batch.x - 1), batch.labels, label_smoothing=smoothing)}

    source = ArraySource(*fashion_mnist("train"), augment=True)
    log = fit(network, {"network": network}, loss, source, config, **job.options(config))
    network.load_state_dict(zoo.as_stored(network.state_dict()))
    images, labels = fashion_mnist("test")
    decided = top1_of_images(Backbone("fashion_resnet", network, stride=4), images)
    point = rate_point("Fashion-MNIST test", "teacher", "raw", np.full(len(labels), 32 * 32), decided, decided, labels)
    card = zoo.Card(
        name="fashion_resnet",
        kind="backbone",
        summary="timm's ResNet with BasicBlocks (2, 2, 2, 1) of widths 32, 64, 96, 128 for Fashion-MNIST at 32x32.",
        command="fsplit train fashion_resnet",
        data="Fashion-MNIST, 60,000 training images, shifted by up to 2 pixels and flipped (MIT licence)",
        training={
            "objective": f"cross-entropy of the labels, smoothed by {smoothing}",
            "steps": config.steps,
            "batch": config.batch,
            "learning_rate": config.learning_rate,
            "weight_decay": config.weight_decay,
            "seed": config.seed,
            "samples": config.steps * config.batch,
            "minutes": round(log[-1].seconds / 60, 1),
        },
        architecture={"backbone": "fashion_resnet"},
        scores=[asdict(point)],
        limits=["one seed; its spread over seeds is not measured yet"],
        machine=machine(),
    )
    zoo.write_model(job.out, card, {"network.safetensors": network.state_dict()})
    return f"{job.out}: {point.top1:.2%} of {point.n:,} test pictures"


FLATTERED = (
    "scores on the development photos flatter teacher and codec alike: those photos are 500 of the 1,000 pictures "
    "of the public set imagenet-sample-images (names and sha256 in data/results/development_photos.csv), "
    "probably from the teacher's own training set (about 75 % is published for ImageNet's validation set)"
)


def _photo_first(job: Job) -> str:
    config = TrainConfig(
        steps=3600, batch=16, learning_rate=1e-3, seed=0, quantiser="straight_through", lmbda=0.3, rate_warmup=0.3
    )
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig(lmbda=config.lmbda), DecoderConfig(2, 2, 128), config.seed)
    summary = "The first photo codec: plain head distillation for a good half hour; a beginning, not a good codec."
    limits = [
        "one seed, one lmbda, a short training",
        "no labels were used; the decoder saw straight-through rounding, where the paper's sees noise",
        FLATTERED,
    ]
    return _train_on_caltech(job, config, system, "photo-first", summary, limits)


ANCHORS = (0.1, 0.3, 1.0, 3.0)


def _photo(job: Job) -> str:
    config = TrainConfig(
        steps=4500, batch=16, learning_rate=7e-4, seed=1, quantiser="straight_through", objective="head_and_tail"
    )
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig(lmbda=0.6, anchors=ANCHORS), DecoderConfig(2, 2, 128), config.seed)
    first = load_system("photo-first", backbone)
    system.codec.encoder.load_state_dict(first.codec.encoder.state_dict())
    system.codec.prior.density.load_state_dict(first.codec.prior.density.state_dict())
    system.codec.prior.density.quantiles[:, :, 1] = 0
    system.decoder.load_state_dict(first.decoder.state_dict())
    summary = f"One encoder for every rate: lmbda {ANCHORS[0]:g} to {ANCHORS[-1]:g} at run time, trained through head and tail."
    limits = [
        "one seed; started from photo-first, whose 57,600 crops come on top",
        "no labels were used; the objective also looks through the frozen tail, which the paper's does not",
        FLATTERED,
    ]
    return _train_on_caltech(job, config, system, "photo", summary, limits)


def _train_on_caltech(
    job: Job, config: TrainConfig, system: FrankenSplit, name: str, summary: str, limits: list[str]
) -> str:
    if job.data is None:
        raise DataError("this recipe trains on Caltech-101: give its folder with --data")
    folder = caltech101(job.data)
    log = train_system(system, FolderSource(folder, crop=160), config, **job.options(config))
    tail = log[-200:]
    card = zoo.Card(
        name=job.out.name,
        kind="codec",
        summary=summary,
        command=f"fsplit train {name} --data FOLDER_OF_CALTECH101",
        data=f"Caltech-101 without its background class, {len(folder):,} photos (Fei-Fei et al. 2004; CC BY 4.0)",
        training={
            **asdict(config),
            "lmbda": system.codec.config.anchors or config.lmbda,  # a range where there are gains
            "crops": config.steps * config.batch,
            "crop_pixels": 160,
            "minutes": round(log[-1].seconds / 60, 1),
            "final_distortion": sum(r.values["distortion"] for r in tail) / len(tail),
            "final_bits_per_pixel": sum(r.values["rate"] for r in tail) / len(tail),
        },
        architecture={},
        limits=limits,
        machine=machine(),
    )
    save_system(job.out, system, card)
    return f"{job.out}: {card.training['final_bits_per_pixel']:.3f} bits per pixel, distortion {card.training['final_distortion']:.3f}"


def _side_information(job: Job) -> str:
    if job.data is None:
        raise DataError("this recipe trains on Caltech-101: give its folder with --data")
    config = TrainConfig(steps=5000, batch=8, learning_rate=2e-3, seed=0)
    folder, codec = caltech101(job.data), load_codec("photo-first")
    options = job.options(config)
    models, log = train_entropy_models(
        codec, FolderSource(folder, crop=160), config, options["progress"], options["checkpoint"]
    )
    card = zoo.Card(
        name=job.out.name,
        kind="entropy models",
        summary="Factorised prior, scale and mean-scale hyperprior, trained on the latents of photo-first's frozen encoder.",
        command="fsplit train side-information --data FOLDER_OF_CALTECH101",
        data=f"Caltech-101 without its background class, {len(folder):,} photos (Fei-Fei et al. 2004; CC BY 4.0)",
        training={
            "steps": config.steps,
            "batch": config.batch,
            "learning_rate": config.learning_rate,
            "seed": config.seed,
            "crops": config.steps * config.batch,
            "crop_pixels": 160,
            "minutes": round(log[-1].seconds / 60, 1),
        },
        architecture={"codec": "photo-first", "z_channels": WIDTH},
        limits=[
            "the encoder was trained with a factorised prior and did not learn to use side information",
            "one seed, a short training",
        ],
        machine=machine(),
    )
    zoo.write_model(job.out, card, {"models.safetensors": models.state_dict()})
    return f"{job.out}: bytes a crop " + ", ".join(f"{k} {v:.0f}" for k, v in log[-1].values.items() if k != "total")


def _sweep(sweep: Sweep, job: Job) -> str:
    table = job.out.with_suffix(".csv")

    def keep(run: LabRun, point: RatePoint) -> None:
        card = zoo.Card(
            name=f"label-{run.config.objective.split('_')[0]}",
            kind="codec",
            summary=f"One cell of the sweep {sweep.name}: {run.config.objective.replace('_', ' ')} at lmbda {run.config.lmbda:g}.",
            command=f"fsplit train {sweep.name}",
            data="Fashion-MNIST, 60,000 training images padded to 32x32 (MIT licence)",
            training=asdict(run.config) | {"pictures": run.config.steps * run.config.batch},
            architecture={},
            scores=[asdict(point)],
            limits=["one seed, one lmbda, a short training; made to be compared with its siblings"],
            machine=machine(),
        )
        save_system(job.out.parent / card.name, run.system, card)

    return f"{table}: {len(run_sweep(sweep, table, job.progress, keep))} runs"


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("fashion_resnet", "the ResNet teacher of chapter 05", _fashion_resnet),
        Recipe(
            "fashion_sweep", "rate and accuracy by objective and lmbda, for chapter 05", partial(_sweep, FASHION_SWEEP)
        ),
        Recipe("label_bits", "bits that each objective spends on a label, for chapter 01", partial(_sweep, LABEL_BITS)),
        Recipe("photo-first", "the first photo codec, on Caltech-101", _photo_first),
        Recipe("side-information", "three entropy models of one latent, for chapter 03", _side_information),
        Recipe("photo", "the photo codec of continuous rate, on Caltech-101", _photo),
    )
}
