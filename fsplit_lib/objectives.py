# ruff: noqa: ARG001  (every objective is called alike, and few need everything)
"""What training minimises. The whole objective of [FS24] is :func:`head_distillation` plus one line.

    L = mean( s · ((h − h_hat) / σ_c)² )  +  lmbda · bits(y_hat) / input pixels

lmbda weighs the *rate*, as in the paper: a larger one buys fewer bytes. Dividing by the teacher's
spread σ_c per channel and by the number of elements makes one lmbda mean the same for every backbone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.system import ForwardPass, FrankenSplit

__all__ = [
    "OBJECTIVES",
    "Guidance",
    "Loss",
    "channel_sensitivity",
    "cross_entropy",
    "head_distillation",
    "lmbda_factor",
    "loss_of",
    "saliency_weight",
    "tail_distillation",
]


@dataclass
class Loss:
    """One value of an objective and its two parts, as scalars with gradient.

    Attributes:
        distortion: 1.0 is what the teacher's mean features would score (head distillation), or nats
            (cross-entropy).
        rate: bits per input pixel.
        total: distortion + lmbda · rate.
    """

    distortion: Tensor
    rate: Tensor
    total: Tensor


def head_distillation(h: Tensor, h_hat: Tensor, spread: Tensor, saliency: Tensor | None = None) -> Tensor:
    """Mean squared error to the teacher's features, in units of their spread.

    Implements Eq. (3) of chapter 05: the distortion of [FS24], weighted by saliency where given.

    Args:
        h: teacher features (B, C, h, w).
        h_hat: decoded features, same shape.
        spread: σ_c, broadcastable to h.
        saliency: s, (B, 1, h, w) >= 0, or None for 1 everywhere; times channel weights (1, C, 1, 1), if any.

    >>> import torch
    >>> h = torch.ones(1, 2, 4, 4)
    >>> head_distillation(h, torch.zeros_like(h), spread=torch.tensor(0.5)).item()
    4.0
    """
    error = ((h - h_hat) / spread) ** 2
    return error.mean() if saliency is None else (saliency * error).mean()


Maybe = Tensor | None


@torch.no_grad()
def channel_sensitivity(backbone: Backbone, x: Tensor, spread: Tensor) -> Tensor:
    """How much an error in each channel moves the answer behind the frozen tail, relative to the mean channel.

    To second order, KL(teacher ‖ split) = ½ δᵀ F δ for a small feature error δ, with F the Fisher
    information of the answer; its diagonal, in units of σ_c and averaged over places and pictures, is
    the weight. One answer a picture is drawn from the teacher's own shares, so no label is needed.

    Args:
        backbone: the teacher.
        x: (B, 3, H, W) photos.
        spread: σ_c, (1, C, 1, 1).

    Returns:
        (1, C, 1, 1), with mean 1.
    """
    h = backbone.head(x)
    with torch.enable_grad():
        h.requires_grad_()
        shares = backbone.tail(h).log_softmax(1)
        drawn = torch.multinomial(shares.detach().exp(), 1, generator=torch.Generator().manual_seed(0))
        (slope,) = torch.autograd.grad(shares.gather(1, drawn).sum(), h)
    fisher = (slope * spread).square().mean(dim=(0, 2, 3), keepdim=True)
    return fisher / fisher.mean()


Guidance = Literal["unguided", "guided", "constant", "shuffled"]


def saliency_weight(saliency: Tensor, guidance: Guidance) -> Tensor | None:
    """The weight of every place in the distortion, Eq. (4) of chapter 04: (1 + s) / 2, as the paper's code has it.

    Args:
        saliency: s, (B, 1, h, w) in [0, 1]; for "shuffled" already another photo's.
        guidance: "constant" spreads each picture's mean weight evenly: a control that knows how much,
            and not where.

    Returns:
        (B, 1, h, w) in [1/2, 1], or None for "unguided".

    >>> import torch
    >>> s = torch.tensor([[[[0.0, 1.0]]]])
    >>> saliency_weight(s, "guided").tolist(), saliency_weight(s, "constant").tolist()
    ([[[[0.5, 1.0]]]], [[[[0.75, 0.75]]]])
    """
    if guidance == "unguided":
        return None
    weight = (1 + saliency) / 2
    return weight.mean(dim=(2, 3), keepdim=True).expand_as(weight) if guidance == "constant" else weight


def lmbda_factor(saliency: float) -> float:
    """What a map of this mean multiplies lmbda with if it is the same everywhere, Eq. (6) of chapter 04.

    >>> lmbda_factor(0.0), lmbda_factor(1.0)
    (2.0, 1.0)
    """
    return 2 / (1 + saliency)


def _head_distillation(system: FrankenSplit, out: ForwardPass, labels: Maybe, weight: Maybe) -> Tensor:
    return head_distillation(system.backbone.head(out.x), out.h_hat, system.decoder.spread, weight)


def tail_distillation(teacher: Tensor, logits: Tensor) -> Tensor:
    """Mean KL divergence from the teacher's answer to the split network's, in nats.

    Args:
        teacher: (B, classes) logits of the whole backbone.
        logits: (B, classes) of the same tail on decoded features.

    >>> import torch
    >>> half, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    >>> round(tail_distillation(sure, half).item(), 4)  # ln 2
    0.6931
    """
    return F.kl_div(logits.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)


TAIL_WEIGHT = 0.2


def _tail_distillation(system: FrankenSplit, out: ForwardPass, labels: Maybe, weight: Maybe) -> Tensor:
    with torch.no_grad():
        teacher = system.backbone(out.x)
    return tail_distillation(teacher, system.backbone.tail(out.h_hat))


def _head_and_tail(system: FrankenSplit, out: ForwardPass, labels: Maybe, weight: Maybe) -> Tensor:
    """Head distillation, and the teacher's answer behind the frozen tail: beyond the paper."""
    with torch.no_grad():
        h = system.backbone.head(out.x)
        teacher = system.backbone.tail(h)
    distortion = head_distillation(h, out.h_hat, system.decoder.spread, weight)
    return distortion + TAIL_WEIGHT * tail_distillation(teacher, system.backbone.tail(out.h_hat))


def cross_entropy(system: FrankenSplit, out: ForwardPass, labels: Maybe, weight: Maybe = None) -> Tensor:
    """Cross-entropy of the label behind the frozen tail, in nats: the direct objective."""
    if labels is None or bool((labels < 0).any()):  # -1: a photo of a folder without classes
        raise ValueError("cross-entropy needs labels; this data set has none")
    return F.cross_entropy(system.backbone.tail(out.h_hat), labels)


OBJECTIVES: dict[str, Callable[[FrankenSplit, ForwardPass, Tensor | None, Tensor | None], Tensor]] = {
    "head_distillation": _head_distillation,
    "tail_distillation": _tail_distillation,
    "head_and_tail": _head_and_tail,
    "cross_entropy": cross_entropy,
}

UNWEIGHTED = ("tail_distillation", "cross_entropy")  # know no places and no channels


def loss_of(
    objective: str,
    system: FrankenSplit,
    out: ForwardPass,
    labels: Tensor | None,
    lmbda: float | Tensor,
    weight: Tensor | None = None,
) -> Loss:
    """Distortion plus lmbda times rate, Eq. (4) of chapter 05.

    Args:
        objective: a key of :data:`OBJECTIVES`.
        system: the line.
        out: one pass through it.
        labels: (B,) classes, for the objectives that ask for them.
        lmbda: weight of the rate; may be one (B,) a picture.
        weight: of every place in the feature distortion, from :func:`saliency_weight`, of every channel,
            from :func:`channel_sensitivity`, or their product.
    """
    distortion = OBJECTIVES[objective](system, out, labels, weight)
    rate = out.bits_per_pixel
    return Loss(distortion, rate.mean(), distortion + (lmbda * rate).mean())
