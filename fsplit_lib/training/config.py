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
    """What a run is; two runs of the same configuration end with the same weights on the same machine.

    Attributes:
        steps: optimiser steps.
        batch: samples per step, over all processes together.
        learning_rate: the highest, reached after the first 5 % of the steps and left on a cosine to 0.
        seed: of first weights, order, augmentation and noise.
        objective: see :func:`fsplit_lib.objectives.loss_of`.
        quantiser: see :meth:`fsplit_lib.codec.FeatureCodec.quantise`.
        lmbda: weight of the rate, in distortion per bit and input pixel; a codec with gains is trained
            over the whole range of its anchors instead, one weight per sample, uniform on a log scale.
        rate_warmup: share of the steps over which the weight of the rate grows from 0 to ``lmbda``.
        weight_decay: decoupled; not of densities and gains.
        dropout: share of the latent's numbers that the decoder does not see at a step of training; the others grow by
            1 / (1 - dropout).
        optimiser: "adamw", or "muon" for dense layers with AdamW for everything else.
        guidance: where the feature distortion counts, see :func:`fsplit_lib.objectives.saliency_weight`;
            all but "unguided" need maps.
        maps: where these come from: the "photo", made once and cropped with it, from a source that has them; the very
            "crop"; or the "decoded" features. The last two are made at every step, by
            :func:`fsplit_lib.training.dynamic.feature_map`.
        channels: "equal", or "sensitive" for channels weighted by :func:`fsplit_lib.objectives.channel_sensitivity`.
        precision: Lightning Fabric's name: "32-true", or "bf16-mixed" for convolutions and linear layers in
            bfloat16, which processors with such instructions run almost twice as fast; likelihoods and
            weights stay in float32. "auto" becomes one of the two when the configuration is made, by what this
            processor has, so that checkpoints and cards hold what was taken.
        prior_rate: learning rate of the densities, in units of ``learning_rate``.
        gains_rate: the same for the gains; with Muon's high rates 3 leaves them rough, 0.5 does not.
    """

    steps: int
    batch: int = 16
    learning_rate: float = 1e-3
    seed: int = 0
    objective: Objective = "head_distillation"
    quantiser: Quantiser = "noise"
    lmbda: float = 1.0
    rate_warmup: float = 0.0
    weight_decay: float = 0.0
    dropout: float = 0.0
    optimiser: Literal["adamw", "muon"] = "adamw"
    guidance: Guidance = "unguided"
    maps: Literal["photo", "crop", "decoded"] = "photo"
    channels: Literal["equal", "sensitive"] = "equal"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "32-true"
    prior_rate: float = 10.0
    gains_rate: float = 3.0

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
        if not 0 <= self.dropout < 1:
            raise ParameterError(f"dropout must be in 0 to 1, and below 1, got {self.dropout}")
        if not (0 <= self.lmbda < math.inf and 0 <= self.weight_decay < math.inf and 0 <= self.rate_warmup <= 1):
            raise ParameterError(f"lmbda and weight_decay must be >= 0 and rate_warmup in 0 to 1, got {self}")

    def learning_rate_at(self, step: int) -> float:
        """Compute the learning rate: linear warm-up over 5 % of the steps, then half a cosine down to 0."""
        warm = max(1, self.steps // 20)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
