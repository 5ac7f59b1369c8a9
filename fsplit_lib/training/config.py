"""What a training run is: one frozen dataclass, and the schedule of its learning rate."""

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from fsplit_lib.codec import Quantiser
from fsplit_lib.errors import ParameterError
from fsplit_lib.objectives import Guidance, Objective
from fsplit_lib.training.machine import fast_precision


@dataclass(frozen=True)
class TrainConfig:
    """What a run is; two runs of the same configuration end with the same weights on the same machine."""

    steps: int  # optimiser steps
    batch: int = 16  # samples per step, over all processes together
    learning_rate: float = 1e-3  # the highest, reached after the first 5 % of the steps and left on a cosine to 0
    seed: int = 0  # of first weights, order, augmentation and noise
    objective: Objective = "head_distillation"  # see :func:`fsplit_lib.objectives.loss_of`
    quantiser: Quantiser = "noise"  # see :meth:`fsplit_lib.codec.FeatureCodec.quantise`
    # weight of the rate, in distortion per bit and input pixel; a codec with gains is trained over the whole range of
    # its anchors instead, one weight per sample, uniform on a log scale
    lmbda: float = 1.0
    rate_warmup: float = 0.0  # share of the steps over which the weight of the rate grows from 0 to ``lmbda``
    weight_decay: float = 0.0  # decoupled; not of densities and gains
    # share of the latent's numbers that the decoder does not see at a step of training; the others grow by
    # 1 / (1 - dropout)
    dropout: float = 0.0
    optimiser: Literal["adamw", "muon"] = "adamw"  # "muon" for dense layers, with AdamW for everything else
    # where the feature distortion counts (:func:`fsplit_lib.objectives.saliency_weight`); all but "unguided" need maps
    guidance: Guidance = "unguided"
    # where these come from: the "photo", made once and cropped with it, from a source that has them; the very "crop";
    # or the "decoded" features. The last two are made at every step, by :mod:`fsplit_lib.training.dynamic`
    maps: Literal["photo", "crop", "decoded"] = "photo"
    # "sensitive" for channels weighted by :func:`fsplit_lib.objectives.channel_sensitivity`
    channels: Literal["equal", "sensitive"] = "equal"
    # Lightning Fabric's name: "bf16-mixed" for convolutions and linear layers in bfloat16, which processors with such
    # instructions run almost twice as fast; likelihoods and weights stay in float32. "auto" becomes one of the others
    # when the configuration is made, by what this processor has, so that checkpoints and cards hold what was taken
    precision: Literal["auto", "32-true", "bf16-mixed"] = "32-true"
    # decay of the running mean of the weights that the run ends with; 0 for the weights of the last step (Polyak and
    # Juditsky 1992, "Acceleration of stochastic approximation by averaging")
    averaging: float = 0.0
    # where the rate weights of a codec with gains are drawn: all of its range alike, or more of them at its "ends"
    drawn: Literal["evenly", "ends"] = "evenly"
    prior_rate: float = 10.0  # learning rate of the densities, in units of ``learning_rate``
    gains_rate: float = 3.0  # the same for the gains; with Muon's high rates 3 leaves them rough, 0.5 does not

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if (known := get_args(kind)) and getattr(self, name) not in known:
                raise ParameterError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.precision == "auto":
            object.__setattr__(self, "precision", fast_precision())
        weighted = self.objective not in ("tail_distillation", "cross_entropy")
        if not weighted and (self.guidance, self.channels) != ("unguided", "equal"):
            raise ParameterError(
                f"{self.objective} has no feature distortion that guidance or channels could weigh: leave both out"
            )
        rates = (self.learning_rate, self.prior_rate, self.gains_rate)
        if self.steps < 1 or self.batch < 1 or not all(0 < rate < math.inf for rate in rates):
            raise ParameterError(f"steps, batch and learning rates must be positive and finite, got {self}")
        for name in ("dropout", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise ParameterError(f"{name} must be in 0 to 1, and below 1, got {getattr(self, name)}")
        if not (0 <= self.lmbda < math.inf and 0 <= self.weight_decay < math.inf and 0 <= self.rate_warmup <= 1):
            raise ParameterError(f"lmbda and weight_decay must be >= 0 and rate_warmup in 0 to 1, got {self}")

    def learning_rate_at(self, step: int) -> float:
        """Compute the learning rate: linear warm-up over 5 % of the steps, then half a cosine down to 0."""
        warm = max(1, self.steps // 20)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
