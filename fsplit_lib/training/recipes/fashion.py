"""Recipes on Fashion-MNIST: the teacher, and the sweeps behind chapters 01 and 05."""

from dataclasses import asdict
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.backbones import OWN, Backbone
from fsplit_lib.data import fashion_mnist
from fsplit_lib.evaluation import RatePoint, rate_point, top1_of_images
from fsplit_lib.system import save_system
from fsplit_lib.training.lab import LabRun
from fsplit_lib.training.loop import TrainConfig, fit
from fsplit_lib.training.machine import machine
from fsplit_lib.training.recipes.job import Job, Recipe
from fsplit_lib.training.sources import ArraySource, Batch
from fsplit_lib.training.sweep import FASHION_SWEEP, LABEL_BITS, Sweep, run_sweep

__all__ = ["FASHION_RECIPES"]


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


FASHION_RECIPES = (
    Recipe("fashion_resnet", "the ResNet teacher of chapter 05", _fashion_resnet),
    Recipe("fashion_sweep", "rate and accuracy by objective and lmbda, for chapter 05", partial(_sweep, FASHION_SWEEP)),
    Recipe("label_bits", "bits that each objective spends on a label, for chapter 01", partial(_sweep, LABEL_BITS)),
)
