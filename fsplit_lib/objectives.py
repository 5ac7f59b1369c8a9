"""What training minimises. The whole objective of [FS24] is :func:`head_distillation` plus one line.

    L = mean( s · ((h − h_hat) / σ_c)² )  +  lmbda · bits(y_hat) / input pixels

lmbda weighs the *rate*, as in the paper: a larger one buys fewer bytes. Dividing by the teacher's
spread σ_c per channel and by the number of elements makes one lmbda mean the same for every backbone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fsplit_lib.system import ForwardPass, FrankenSplit

__all__ = ["OBJECTIVES", "Loss", "cross_entropy", "head_distillation", "loss_of", "tail_distillation"]


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


def _tail_distillation(system: FrankenSplit, out: ForwardPass, labels: Tensor | None) -> Tensor:  # noqa: ARG001
    with torch.no_grad():
        teacher = system.backbone(out.x)
    return tail_distillation(teacher, system.backbone.tail(out.h_hat))


def _head_and_tail(system: FrankenSplit, out: ForwardPass, labels: Tensor | None) -> Tensor:  # noqa: ARG001
    """Head distillation, and the teacher's answer behind the frozen tail: beyond the paper."""
    with torch.no_grad():
        h = system.backbone.head(out.x)
        teacher = system.backbone.tail(h)
    distortion = head_distillation(h, out.h_hat, system.decoder.spread)
    return distortion + TAIL_WEIGHT * tail_distillation(teacher, system.backbone.tail(out.h_hat))


def cross_entropy(system: FrankenSplit, out: ForwardPass, labels: Tensor | None) -> Tensor:
    """Cross-entropy of the label behind the frozen tail, in nats: the direct objective."""
    if labels is None:
        raise ValueError("cross-entropy needs labels; this data set has none")
    return F.cross_entropy(system.backbone.tail(out.h_hat), labels)


OBJECTIVES: dict[str, Callable[[FrankenSplit, ForwardPass, Tensor | None], Tensor]] = {
    "head_distillation": _head_distillation,
    "tail_distillation": _tail_distillation,
    "head_and_tail": _head_and_tail,
    "cross_entropy": cross_entropy,
}


def loss_of(
    objective: str, system: FrankenSplit, out: ForwardPass, labels: Tensor | None, lmbda: float | Tensor
) -> Loss:
    """Distortion plus lmbda times rate, Eq. (4) of chapter 05; ``lmbda`` may be one (B,) a picture."""
    distortion = OBJECTIVES[objective](system, out, labels)
    rate = out.bits_per_pixel
    return Loss(distortion, rate.mean(), distortion + (lmbda * rate).mean())
