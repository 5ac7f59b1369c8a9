"""What training minimises. The whole objective of [FS24] is :func:`head_distillation` plus one line.

    L = mean( s · ((h − h_hat) / σ_c)² )  +  lmbda · bits(y_hat) / input pixels

lmbda weighs the *rate*, as in the paper: a larger one buys fewer bytes. Dividing by the teacher's
spread σ_c per channel and by the number of elements makes one lmbda mean the same for every backbone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fsplit_lib.system import ForwardPass, FrankenSplit

__all__ = ["OBJECTIVES", "Loss", "cross_entropy", "head_distillation", "loss_of"]


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
        saliency: s, (B, 1, h, w) >= 0, or None for 1 everywhere.

    >>> import torch
    >>> h = torch.ones(1, 2, 4, 4)
    >>> head_distillation(h, torch.zeros_like(h), spread=torch.tensor(0.5)).item()
    4.0
    """
    error = ((h - h_hat) / spread) ** 2
    return error.mean() if saliency is None else (saliency * error).mean()


def _head_distillation(system: FrankenSplit, out: ForwardPass, labels: Tensor | None) -> Tensor:  # noqa: ARG001
    return head_distillation(system.backbone.head(out.x), out.h_hat, system.decoder.spread)


def cross_entropy(system: FrankenSplit, out: ForwardPass, labels: Tensor | None) -> Tensor:
    """Cross-entropy of the label behind the frozen tail, in nats: the direct objective."""
    if labels is None:
        raise ValueError("cross-entropy needs labels; this data set has none")
    return F.cross_entropy(system.backbone.tail(out.h_hat), labels)


OBJECTIVES: dict[str, Callable[[FrankenSplit, ForwardPass, Tensor | None], Tensor]] = {
    "head_distillation": _head_distillation,
    "cross_entropy": cross_entropy,
}


def loss_of(objective: str, system: FrankenSplit, out: ForwardPass, labels: Tensor | None, lmbda: float) -> Loss:
    """Distortion plus lmbda times rate, Eq. (4) of chapter 05."""
    distortion = OBJECTIVES[objective](system, out, labels)
    rate = out.bits_per_pixel.mean()
    return Loss(distortion, rate, distortion + lmbda * rate)
