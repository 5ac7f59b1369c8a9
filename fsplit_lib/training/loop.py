"""One training loop for every network of the workbook, through Lightning Fabric.

A run is a pure function of its configuration: samples, augmentation and noise are keyed by (seed,
step), so a run killed at any step and resumed ends with the weights of an uninterrupted one.
"""

import hashlib
import io
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from fsplit_lib.codec import Quantiser
from fsplit_lib.data.files import write_atomically
from fsplit_lib.errors import DivergedError, ParameterError, WeightsError
from fsplit_lib.objectives import OBJECTIVES, UNWEIGHTED, Guidance
from fsplit_lib.training.machine import fast_precision, machine
from fsplit_lib.training.muon import Muon, is_matrix
from fsplit_lib.training.sources import Batch, batches

__all__ = ["LogRow", "TrainConfig", "fit"]

DIGEST = 32  # a checkpoint ends with the sha256 of all that comes before


@dataclass(frozen=True)
class TrainConfig:
    """What a run is; two runs of the same configuration end with the same weights on the same machine.

    Attributes:
        steps: optimiser steps.
        batch: samples a step, over all processes together.
        learning_rate: the highest, reached after the first 5 % of the steps and left on a cosine to 0.
        seed: of first weights, order, augmentation and noise.
        objective: a key of :data:`fsplit_lib.objectives.OBJECTIVES`.
        quantiser: see :meth:`fsplit_lib.codec.FeatureCodec.quantise`.
        lmbda: weight of the rate, in distortion per bit and input pixel; a codec with gains is trained
            over the whole range of its anchors instead, one weight a sample, uniform on a log scale.
        rate_warmup: share of the steps over which the weight of the rate grows from 0 to ``lmbda``.
        weight_decay: decoupled.
        optimiser: "adamw", or "muon" for dense layers with AdamW for everything else.
        guidance: where the feature distortion counts, see :func:`fsplit_lib.objectives.saliency_weight`;
            all but "unguided" need a source with saliency maps.
        channels: "equal", or "sensitive" for channels weighted by :func:`fsplit_lib.objectives.channel_sensitivity`.
        precision: Lightning Fabric's name: "32-true", or "bf16-mixed" for convolutions and linear layers in
            bfloat16, which processors with such instructions run almost twice as fast; likelihoods and
            weights stay in float32. "auto" becomes one of the two when the configuration is made, by what this
            processor has, so that checkpoints and cards hold what was taken.
        prior_rate: learning rate of the densities, in units of ``learning_rate``.
        gains_rate: likewise of the gains; with Muon's high rates 3 leaves them rough, 0.5 does not.
    """

    steps: int
    batch: int = 16
    learning_rate: float = 1e-3
    seed: int = 0
    objective: str = "head_distillation"
    quantiser: Quantiser = "noise"
    lmbda: float = 1.0
    rate_warmup: float = 0.0
    weight_decay: float = 0.0
    optimiser: Literal["adamw", "muon"] = "adamw"
    guidance: Guidance = "unguided"
    channels: Literal["equal", "sensitive"] = "equal"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "32-true"
    prior_rate: float = 10.0
    gains_rate: float = 3.0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ParameterError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        if self.quantiser not in ("noise", "straight_through", "none"):
            raise ParameterError(f"quantiser must be noise, straight_through or none, got {self.quantiser!r}")
        if self.optimiser not in ("adamw", "muon"):
            raise ParameterError(f"optimiser must be adamw or muon, got {self.optimiser!r}")
        if self.guidance not in get_args(Guidance):
            raise ParameterError(f"guidance must be one of {', '.join(get_args(Guidance))}, got {self.guidance!r}")
        if self.channels not in ("equal", "sensitive"):
            raise ParameterError(f"channels must be equal or sensitive, got {self.channels!r}")
        if self.objective in UNWEIGHTED and (self.guidance, self.channels) != ("unguided", "equal"):
            raise ParameterError(
                f"{self.objective} has no feature distortion that guidance or channels could weigh: leave both out"
            )
        if self.precision == "auto":
            object.__setattr__(self, "precision", fast_precision())
        if self.precision not in ("32-true", "bf16-mixed"):
            raise ParameterError(f"precision must be auto, 32-true or bf16-mixed, got {self.precision!r}")
        rates = (self.learning_rate, self.prior_rate, self.gains_rate)
        if self.steps < 1 or self.batch < 1 or not all(0 < rate < math.inf for rate in rates):
            raise ParameterError(f"steps, batch and learning rates must be positive and finite, got {self}")
        if not (0 <= self.lmbda < math.inf and 0 <= self.weight_decay < math.inf and 0 <= self.rate_warmup <= 1):
            raise ParameterError(f"lmbda and weight_decay must be >= 0 and rate_warmup in 0 to 1, got {self}")

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up over 5 % of the steps, then half a cosine down to 0."""
        warm = max(1, self.steps // 20)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def warmed(self, lmbda: float | Tensor, step: int) -> float | Tensor:
        """A rate weight as it counts at a step."""
        warm = self.rate_warmup * self.steps
        return lmbda if step >= warm else lmbda * (step + 1) / (warm + 1)


@dataclass(frozen=True)
class LogRow:
    """One step as the loop saw it: ``values`` holds what the objective reports, ``seconds`` the run's age."""

    step: int
    values: dict[str, float]
    seconds: float


def fit(
    module: nn.Module,
    pieces: dict[str, nn.Module],
    loss: Callable[[nn.Module, Batch], dict[str, Tensor]],
    source: Dataset,
    config: TrainConfig,
    *,
    rate_factors: dict[str, float] | None = None,
    progress: Callable[[LogRow], None] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 500,
    made_of: dict[str, object] | None = None,
    workers: int = 0,
    fabric: Fabric | None = None,
) -> list[LogRow]:
    """Train ``pieces`` of ``module`` and return the log.

    Args:
        module: is called inside ``loss``; Fabric wraps it, and several processes share gradients through that.
        pieces: the parts that learn and are checkpointed, by name.
        loss: returns scalars, of which ``"total"`` is minimised.
        source: of samples.
        config: of the run.
        rate_factors: of the learning rate, by piece; 1 where not given.
        progress: is called after every step.
        checkpoint: file to resume from if it exists, and to write, whole or not at all.
        checkpoint_every: steps between two checkpoints.
        made_of: what else the run depends on, such as a frozen network's fingerprint; a checkpoint keeps it, with
            the source's digest, and is refused where either differs.
        workers: loader processes.
        fabric: for processes and precision, on CPUs; by default one process of ``config.precision``, or as many as
            torchrun has started, which then share every global batch. BatchNorm sees only its process's share;
            codec and decoders have none.

    Raises:
        ParameterError: the processes cannot share the batch evenly, or are not on CPUs.
        WeightsError: the checkpoint is broken or belongs to another configuration, data set or network.
        DivergedError: the loss is no longer finite.
    """
    fabric = fabric or _fabric(config)
    if config.batch % fabric.world_size:
        raise ParameterError(f"{fabric.world_size} processes cannot share a batch of {config.batch} evenly")
    if fabric.device.type != "cpu":
        raise ParameterError(f"batches, noise and tables are made on the CPU, and so is training; got {fabric.device}")
    optimisers = _optimisers(pieces, rate_factors or {}, config)
    parameters = [p for o in optimisers for group in o.param_groups for p in group["params"]]
    wrapped, *optimisers = fabric.setup(module, *optimisers)
    run = asdict(config) | ({"data": source.digest, **(made_of or {})} if checkpoint else {})
    start, log = _resume(checkpoint, pieces, optimisers, run) if checkpoint else (0, [])
    if fabric.broadcast(start) != start:
        raise WeightsError(f"process {fabric.global_rank} does not see the checkpoint {checkpoint} of the first one")
    logging.getLogger(__name__).info("training in %s on %s, from step %d", config.precision, machine(), start)
    begun = time.perf_counter() - (log[-1].seconds if log else 0.0)
    module.train()
    stream = batches(
        source, config.batch, start, config.steps, config.seed, fabric.global_rank, fabric.world_size, workers
    )
    for batch in stream:
        for group in (group for o in optimisers for group in o.param_groups):
            group["lr"] = config.learning_rate_at(batch.step) * group["factor"]
        with fabric.autocast():
            values = loss(wrapped, batch)
        told = fabric.all_reduce(torch.stack([v.detach().float() for v in values.values()]), reduce_op="mean").tolist()
        row = LogRow(batch.step, dict(zip(values, told, strict=True)), time.perf_counter() - begun)
        if not math.isfinite(row.values["total"]):
            raise DivergedError(f"the loss became {row.values['total']} at step {batch.step}; lower the learning rate")
        for optimiser in optimisers:
            optimiser.zero_grad()
        fabric.backward(values["total"])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        log.append(row)
        if progress is not None:
            progress(row)
        done = batch.step + 1
        if checkpoint and (done % checkpoint_every == 0 or done == config.steps) and fabric.is_global_zero:
            _save(checkpoint, pieces, optimisers, run, done, log)
    module.eval()
    return log


def _fabric(config: TrainConfig) -> Fabric:
    """One process on one CPU, or what torchrun says in the environment."""
    world, here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if world == 1:
        return Fabric(accelerator="cpu", devices=1, precision=config.precision)
    fabric = Fabric(
        accelerator="cpu", strategy="ddp", devices=here, num_nodes=world // here, precision=config.precision
    )
    fabric.launch()
    return fabric


def _optimisers(
    pieces: dict[str, nn.Module], rate_factors: dict[str, float], config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for dense layers and AdamW for what is left."""
    kinds: dict[bool, list[dict]] = {False: [], True: []}
    for name, piece in pieces.items():
        for matrix, groups in kinds.items():
            chosen = [p for p in piece.parameters() if p.requires_grad and _takes_muon(p, config) == matrix]
            if chosen:
                groups.append({"params": chosen, "factor": rate_factors.get(name, 1.0)})
    made = [torch.optim.AdamW(kinds[False], lr=config.learning_rate, weight_decay=config.weight_decay)]
    return [*made, Muon(kinds[True], config.learning_rate, weight_decay=config.weight_decay)] if kinds[True] else made


def _takes_muon(parameter: Tensor, config: TrainConfig) -> bool:
    return config.optimiser == "muon" and is_matrix(parameter)


def _save(
    path: Path,
    pieces: dict[str, nn.Module],
    optimisers: list[torch.optim.Optimizer],
    run: dict[str, object],
    step: int,
    log: list[LogRow],
) -> None:
    state = {
        "pieces": {name: piece.state_dict() for name, piece in pieces.items()},
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "run": run,
        "step": step,
        "log": [asdict(row) for row in log],
    }
    content = io.BytesIO()
    torch.save(state, content)
    payload = content.getvalue()
    write_atomically(path, payload + hashlib.sha256(payload).digest())


def _resume(
    path: Path, pieces: dict[str, nn.Module], optimisers: list[torch.optim.Optimizer], run: dict[str, object]
) -> tuple[int, list[LogRow]]:
    if not path.exists():
        return 0, []
    content = path.read_bytes()
    payload, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        raise WeightsError(f"the checkpoint {path} is damaged (wrong sha256); delete it to start again")
    try:
        state = torch.load(io.BytesIO(payload), weights_only=True)
        theirs = dict(state["run"])
    except Exception as error:  # torch raises a dozen kinds on damaged files
        raise WeightsError(f"the checkpoint {path} is damaged; delete it to start again") from error
    if theirs != run:
        changed = [k for k in run | theirs if theirs.get(k) != run.get(k)]
        raise WeightsError(
            f"the checkpoint {path} belongs to another run ({', '.join(changed)} differ); delete or rename it"
        )
    try:
        for name, piece in pieces.items():
            piece.load_state_dict(state["pieces"][name])
        for optimiser, theirs in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(theirs)
    except (KeyError, ValueError, RuntimeError) as error:  # what torch says of names and shapes that do not fit
        raise WeightsError(f"the checkpoint {path} was written for another network; delete or rename it") from error
    return state["step"], [LogRow(**row) for row in state["log"]]
