"""The live lab of the chapters: Fashion-MNIST in seconds, by the classes and the loop of the photo codec."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.codec import CodecConfig, Quantiser
from fsplit_lib.data.fashion import fashion_mnist
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.entropy.models import FactorizedPrior
from fsplit_lib.objectives import head_distillation
from fsplit_lib.system import FrankenSplit, build_system
from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.loop import LogRow, train_system
from fsplit_lib.training.sources import ArraySource

LAB_WIDTHS = (16, 32, 16)
LAB_DECODER = DecoderConfig(restoration=1, transformation=1, width=48, window=4)


@dataclass
class LabRun:
    """A system trained in the lab and how it got there."""

    system: FrankenSplit
    config: TrainConfig
    log: list[LogRow]


def train_lab(
    backbone: Backbone,
    lmbda: float,
    steps: int,
    seed: int = 0,
    objective: str = "head_distillation",
    quantiser: Quantiser = "straight_through",
    progress: Callable[[LogRow], None] | None = None,
    widths: tuple[int, int, int] = LAB_WIDTHS,
    anchors: tuple[float, ...] = (),
    maps: Tensor | None = None,
) -> LabRun:
    """Train an encoder of strides 2, 2, 1 (latent 8×8) and a decoder for a frozen backbone, by ``steps`` of 64 pictures.

    The backbone is cut at stride 4, for 32×32 pictures; the photo encoder's ``widths`` are (48, 64, 48). With
    ``anchors`` the codec is of continuous rate, trained between the first and the last; with ``maps``, saliency
    (N, 1, 8, 8) of the training pictures, their weights guide the distortion. All else is as in :class:`TrainConfig`.
    """
    config = TrainConfig(
        steps=steps, batch=64, learning_rate=6e-3, seed=seed, objective=objective, quantiser=quantiser, lmbda=lmbda,
        rate_warmup=0.3, guidance="unguided" if maps is None else "guided",
    )  # fmt: skip
    codec = CodecConfig(widths, (2, 2, 1), lmbda=max(lmbda, 1e-3), anchors=anchors)  # the wire's code starts at 0.001
    system = build_system(backbone, codec, LAB_DECODER, seed)
    log = train_system(system, ArraySource(*fashion_mnist("train"), maps=maps), config, progress=progress)
    return LabRun(system, config, log)


@torch.no_grad()
def without_quantile_update(run: LabRun) -> LabRun:
    """Return the run with tables made from quantiles that nobody has moved since the model was new."""
    system = copy.deepcopy(run.system)
    quantiles = system.codec.prior.density.quantiles
    quantiles.copy_(FactorizedPrior(len(quantiles)).density.quantiles)  # training itself never moves them
    system.codec.update(update_quantiles=False, keep_grid=run.config.quantiser == "straight_through")
    return replace(run, system=system)


@torch.no_grad()
def distortion_in_use(system: FrankenSplit, images: np.ndarray) -> float:
    """Compute head distillation's distortion with rounded latents of grey images (N, H, W) uint8: Eq. (3), chapter 05.

    >>> from fsplit_lib.system import load_system
    >>> distortion_in_use(load_system("label-head"), np.zeros((2, 32, 32), np.uint8)) < 1  # that of mean features
    True
    """
    total = 0.0
    for part in np.split(images, range(500, len(images), 500)):
        x = images_to_tensor(part)
        total += head_distillation(system.backbone.head(x), system(x).h_hat, system.decoder.spread).item() * len(x)
    return total / len(images)
