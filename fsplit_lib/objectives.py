"""What training minimises: :func:`loss_of` holds the whole objective, top to bottom.

    L = mean( s · ((h − h_hat) / σ_c)² )  +  lmbda · bits(y_hat) / input pixels

lmbda weighs the *rate*, as in the paper [FS24]: a larger one buys fewer bytes. Dividing by the teacher's standard
deviation σ_c per channel and by the number of elements makes one lmbda mean the same for every backbone.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fsplit_lib.backbones import Backbone, Tail
from fsplit_lib.system import ForwardPass, FrankenSplit

Objective = Literal[
    "head_distillation", "generalised_head_distillation", "tail_distillation", "head_and_tail", "head_and_contrast",
    "cross_entropy",
]  # fmt: skip
Guidance = Literal["unguided", "guided", "constant", "shuffled"]
TAIL_WEIGHT = 0.2  # of the answer beside the features, in "head_and_tail"
CONTRAST_WEIGHT = 0.1  # of telling the batch's pictures apart beside the features, in "head_and_contrast"
TEMPERATURE = 0.1  # of that contrast: cosines are divided by it


@dataclass
class Loss:
    """One value of an objective and its two parts, as scalars with gradient."""

    distortion: Tensor  # 1.0 is what the teacher's mean features would score (head distillation), or nats
    rate: Tensor  # bits per input pixel
    total: Tensor  # distortion + lmbda · rate


def head_distillation(h: Tensor, h_hat: Tensor, spread: Tensor, saliency: Tensor | None = None) -> Tensor:
    """Compute the mean squared error to the teacher's features, in units of their standard deviation.

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


def stage_distillation(tail: Tail, h: Tensor, h_hat: Tensor) -> Tensor:
    """Compute the squared error behind the stages of the frozen tail, each in units of the teacher's variance there.

    Together with :func:`head_distillation` of the features (B, C, h, w) it is generalised head network distillation
    (Matsubara & Levorato 2021, "Neural Compression and Filtering for Edge-assisted Real-time Object Detection in
    Challenged Networks").
    """
    with torch.no_grad():
        wanted = tail.stages(h)
    errors = [F.mse_loss(ours, theirs) / theirs.var() for ours, theirs in zip(tail.stages(h_hat), wanted, strict=True)]
    return torch.stack(errors).mean()


def tail_distillation(teacher: Tensor, logits: Tensor) -> Tensor:
    """Compute the mean KL divergence from the teacher's answer to the split network's, logits (B, classes), in nats.

    >>> import torch
    >>> half, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    >>> round(tail_distillation(sure, half).item(), 4)  # ln 2
    0.6931
    """
    return F.kl_div(logits.log_softmax(1), teacher.log_softmax(1), reduction="batchmean", log_target=True)


def info_nce(z: Tensor, z_hat: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Compute how badly each vector finds its partner among the batch, and the partner finds it, in nats.

    Implements Eq. (2) of chapter 09: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) on cosines, the mean of
    both directions, as CLIP computes it (Radford et al. 2021, arXiv 2103.00020).

    Args:
        z: (B, D), a vector a picture.
        z_hat: (B, D), its partner in the same row; all other rows are negatives. Vectors shorter than 0.01 are not
            stretched to length 1, since their direction is noise.
        temperature: > 0; a small one looks at the closest negatives only.

    >>> import torch
    >>> round(info_nce(torch.eye(3), torch.eye(3), temperature=1.0).item(), 4)  # ln(1 + 2 / e)
    0.5514
    """
    logits = F.normalize(z, eps=0.01) @ F.normalize(z_hat, eps=0.01).T / temperature  # (B, B)
    partner = torch.arange(len(z), device=z.device)
    return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2


def cross_entropy(logits: Tensor, labels: Tensor | None) -> Tensor:
    """Compute the cross-entropy of labels (B,) under logits (B, classes), in nats: the direct objective.

    Raises:
        ValueError: there are no labels, or a photo has none (-1).
    """
    if labels is None or bool((labels < 0).any()):
        raise ValueError("cross-entropy needs labels; this data set has none")
    return F.cross_entropy(logits, labels)


@torch.no_grad()
def channel_sensitivity(backbone: Backbone, x: Tensor, spread: Tensor) -> Tensor:
    """Estimate how far an error in each channel moves the answer behind the frozen tail, relative to the mean channel.

    To second order, KL(teacher ‖ split) = ½ δᵀ F δ for a small feature error δ, with F the Fisher
    information of the answer; its diagonal, in units of σ_c and averaged over places and pictures, is
    the weight. One answer per picture is drawn from the teacher's own probabilities, so no label is needed.

    Photos x (B, 3, H, W) and ``spread``, σ_c (1, C, 1, 1), give weights (1, C, 1, 1) with mean 1.
    """
    h = backbone.head(x)
    with torch.enable_grad():
        h.requires_grad_()
        shares = backbone.tail(h).log_softmax(1)
        drawn = torch.multinomial(shares.detach().exp(), 1, generator=torch.Generator().manual_seed(0))
        (slope,) = torch.autograd.grad(shares.gather(1, drawn).sum(), h)
    fisher = (slope * spread).square().mean(dim=(0, 2, 3), keepdim=True)
    return fisher / fisher.mean()


def saliency_weight(saliency: Tensor, guidance: Guidance) -> Tensor | None:
    """Compute the weight of every place in the distortion: (1 + s) / 2, as in the paper's code, Eq. (4) of chapter 04.

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
    """Compute the factor by which a constant map of this mean multiplies lmbda, Eq. (6) of chapter 04.

    >>> lmbda_factor(0.0), lmbda_factor(1.0)
    (2.0, 1.0)
    """
    return 2 / (1 + saliency)


def warm_up(lmbda: float | Tensor, step: int, warm: float) -> float | Tensor:
    """Compute a rate weight as it counts at a step: it grows linearly over the first ``warm`` steps.

    >>> [warm_up(1.0, step, 4) for step in (0, 2, 4, 9)]
    [0.2, 0.6, 1.0, 1.0]
    """
    return lmbda if step >= warm else lmbda * (step + 1) / (warm + 1)


def loss_of(
    objective: Objective,
    system: FrankenSplit,
    out: ForwardPass,
    labels: Tensor | None,
    lmbda: float | Tensor,
    weight: Tensor | None = None,
) -> Loss:
    """Compute distortion plus lmbda times rate, Eq. (4) of chapter 05.

    Args:
        objective: "head_distillation" is the paper's; "tail_distillation" compares answers behind the frozen tail;
            "head_and_tail" adds both, and "head_and_contrast" adds :func:`info_nce` between the teacher's and the
            decoded features, each averaged over the picture: both are beyond the paper;
            "generalised_head_distillation" compares features at the cut and behind every later stage, as the Entropic
            Student is trained; "cross_entropy" is the direct objective.
        system: codec, decoder and frozen backbone.
        out: one pass through them.
        labels: (B,) classes, for "cross_entropy".
        lmbda: weight of the rate; may be one (B,) per picture.
        weight: of every place in the feature distortion, from :func:`saliency_weight`, of every channel, from
            :func:`channel_sensitivity`, or their product.

    Raises:
        ValueError: "cross_entropy" without labels.

    >>> from fsplit_lib.system import load_system
    >>> system = load_system("label-head")
    >>> loss = loss_of("head_distillation", system, system(torch.rand(2, 3, 32, 32)), None, lmbda=2.0)
    >>> torch.allclose(loss.total, loss.distortion + 2 * loss.rate)
    True
    """
    teacher = system.backbone
    if objective == "cross_entropy":
        distortion = cross_entropy(system.tail(out.h_hat), labels)
    else:
        with torch.no_grad():
            h = teacher.head(out.x)  # (B, C, h, w): what the decoder has to produce
        distortion = torch.zeros(())
        if objective != "tail_distillation":
            distortion = head_distillation(h, out.h_hat, system.decoder.spread, weight)
        if objective == "generalised_head_distillation":
            distortion = (distortion + stage_distillation(teacher.tail, h, out.h_hat)) / 2
        if objective == "head_and_contrast":
            z, z_hat = (((f - system.decoder.mean) / system.decoder.spread).mean(dim=(2, 3)) for f in (h, out.h_hat))
            distortion = distortion + CONTRAST_WEIGHT * info_nce(z, z_hat)  # (B, C_h) each
        if objective in ("tail_distillation", "head_and_tail"):
            with torch.no_grad():
                answer = teacher.tail(h)
            share = TAIL_WEIGHT if objective == "head_and_tail" else 1.0
            distortion = distortion + share * tail_distillation(answer, system.tail(out.h_hat))
    rate = out.bits_per_pixel  # (B,)
    return Loss(distortion, rate.mean(), distortion + (lmbda * rate).mean())
