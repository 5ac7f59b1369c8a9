"""The training loop: every network of the workbook is trained by :func:`fit`, through Lightning Fabric.

    train_system     encoder, entropy model, gains and decoder learn
    train_decoder    the decoder learns; every phone keeps its encoder, every packet its bytes
    fine_tune        the decoder and a copy of the tail learn, as in prior split computing

A run is a pure function of its configuration: samples, augmentation and noise are keyed by (seed, step), so a run
killed at any step and resumed ends with the weights of an uninterrupted one. So a chapter that runs again need not train
again: where the environment variable ``FSPLIT_RUNS`` names a folder, it keeps finished trainings of codecs and decoders, and
one of the same networks, data and configuration is read from it.
"""

import copy
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from fsplit_lib import zoo
from fsplit_lib.errors import DivergedError, ParameterError, WeightsError
from fsplit_lib.objectives import channel_sensitivity, loss_of, saliency_weight, warm_up
from fsplit_lib.system import FrankenSplit
from fsplit_lib.training import checkpoint as checkpoints
from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.dynamic import DynamicWeight
from fsplit_lib.training.machine import machine
from fsplit_lib.training.muon import Muon, is_matrix
from fsplit_lib.training.sources import Batch, batches


@dataclass(frozen=True)
class LogRow:
    """One step of the loop: ``values`` holds what the objective reports, ``seconds`` the run's age."""

    step: int
    values: dict[str, float]
    seconds: float


def train_system(system: FrankenSplit, source: Dataset, config: TrainConfig, **options: object) -> list[LogRow]:
    """Train codec and decoder, in place, against the frozen backbone, then build the entropy tables.

    The ``options`` are those of :func:`fit`. Returns the log, with ``distortion``, ``rate`` (bits per input pixel) and
    ``total`` of every step.

    >>> import numpy as np
    >>> from fsplit_lib.backbones import load_backbone
    >>> from fsplit_lib.codec import CodecConfig
    >>> from fsplit_lib.decoders import DecoderConfig
    >>> from fsplit_lib.system import build_system
    >>> from fsplit_lib.training import ArraySource
    >>> codec, decoder = CodecConfig((8, 8, 4), (2, 2, 1)), DecoderConfig(1, 0, 8)
    >>> system = build_system(load_backbone("fashion_resnet"), codec, decoder, seed=0)
    >>> source = ArraySource(np.zeros((4, 32, 32), np.uint8), np.zeros(4, int))
    >>> log = train_system(system, source, TrainConfig(steps=2, batch=2))
    >>> len(log), list(log[-1].values)
    (2, ['distortion', 'rate', 'total'])
    """
    log = _train(system, system.trainable(), source, config, options)
    system.codec.update(keep_grid=config.quantiser == "straight_through")
    return log


def train_decoder(system: FrankenSplit, source: Dataset, config: TrainConfig, **options: object) -> list[LogRow]:
    """Train only the decoder, Eq. (2) of chapter 07: the codec was trained with another backbone, and stays bit for bit.

    Arguments and log are those of :func:`train_system`; only the decoder of ``system`` changes. The rate is a constant
    here; with the quantiser "straight_through" the decoder sees rounded latents, as in use.

    Raises:
        RuntimeError: the codec has no tables yet, or is no longer the one that it was.
    """
    return _train_behind(system, {"decoder": system.decoder}, source, config, options)


def fine_tune(system: FrankenSplit, source: Dataset, config: TrainConfig, **options: object) -> list[LogRow]:
    """Train the decoder and a tail of its own behind a codec that stays bit for bit, as prior split computing does.

    The second stage of Matsubara et al. 2022 (Entropic Student, BottleFit): the encoder is frozen, and decoder and
    tail learn the teacher's answers, by the objective "tail_distillation". Arguments, log and errors are those of
    :func:`train_decoder`; ``system.tuned`` becomes a copy of the teacher whose tail learns.
    """
    system.tuned = copy.deepcopy(system.backbone)
    parts = {"decoder": system.decoder, "tail": system.tuned.tail.learnable().requires_grad_(True)}
    return _train_behind(system, parts, source, config, options)


def _train_behind(
    system: FrankenSplit, parts: dict[str, nn.Module], source: Dataset, config: TrainConfig, options: dict
) -> list[LogRow]:
    """Train what is behind the packet; the codec stays as it is."""
    codec, before = system.codec, system.codec.codec_id
    learned = nn.ParameterList(p for p in codec.parameters() if p.requires_grad).requires_grad_(False)
    try:
        log = _train(system, parts, source, config, options)
    finally:
        learned.requires_grad_(True)
    if codec.codec_id != before:
        raise RuntimeError(f"codec {before.hex()} became {codec.codec_id.hex()} while only a decoder was trained")
    return log


def _train(
    system: FrankenSplit, parts: dict[str, nn.Module], source: Dataset, config: TrainConfig, options: dict
) -> list[LogRow]:
    codec, decoder, backbone = system.codec, system.decoder, system.backbone
    anchors, stride = codec.config.anchors, codec.config.stride
    first = next(batches(source, min(128, len(source)), 0, 1, config.seed))
    if config.guidance != "unguided" and config.maps == "photo" and first.saliency is None:
        raise ParameterError(f"guidance {config.guidance!r} needs a source with saliency maps")
    made_of = {"network": backbone.fingerprint, "codec": asdict(codec.config), "decoder": asdict(decoder.config)}
    if "encoder" in parts:
        made_of["start"] = zoo.fingerprint(codec.state_dict() | decoder.state_dict())
    else:  # a decoder may start from a fit that rounds by the number of threads: no digest of its weights
        made_of["codec_id"] = codec.codec_id.hex()
    if system.tuned is None:  # a decoder that is fine-tuned has its statistics
        with torch.no_grad():
            decoder.fit_statistics(backbone.head(first.x))
    sensitive = config.channels == "sensitive"
    sensitivity = channel_sensitivity(backbone, first.x, decoder.spread) if sensitive else None  # (1, C, 1, 1)

    def loss(module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        ends = config.drawn == "ends"
        lmbda = batch.log_uniform(anchors[0], anchors[-1], ends) if anchors else None  # (B,), one per picture
        places = batch.x.shape[-2] // stride, batch.x.shape[-1] // stride
        keep = None
        if config.dropout:
            drawn = batch.noise((codec.config.widths[-1], *places), key=5) + 0.5  # (B, C, h, w)
            keep = (drawn >= config.dropout) / (1 - config.dropout)
        noise = batch.noise((codec.noise_channels, *places))
        out = module(batch.x, config.quantiser, noise, lmbda, keep)
        seen = batch.saliency
        if config.guidance != "unguided" and config.maps != "photo":
            with torch.no_grad():
                features = out.h_hat if config.maps == "decoded" else backbone.head(batch.x)
            seen = DynamicWeight(backbone.tail, 1).map(features)  # (B, 1, h, w)
        weight = None if seen is None else saliency_weight(seen, config.guidance)
        if sensitive:
            here = sensitivity.to(batch.x)
            weight = here if weight is None else weight * here
        price = warm_up(config.lmbda if lmbda is None else lmbda, batch.step, config.rate_warmup * config.steps)
        return vars(loss_of(config.objective, system, out, batch.labels, price, weight))

    kept = _kept(system, parts, source, config, options)
    known = kept is not None and kept.exists()
    rates = {"prior": config.prior_rate, "gains": config.gains_rate}
    options = options | ({"checkpoint": kept, "checkpoint_every": config.steps} if kept else {})
    log = fit(system, parts, loss, source, config, rate_factors=rates, made_of=made_of, **options)
    for row in log if known and options.get("progress") else ():
        options["progress"](row)
    return log


def _kept(
    system: FrankenSplit, parts: dict[str, nn.Module], source: Dataset, config: TrainConfig, options: dict
) -> Path | None:
    """Where FSPLIT_RUNS keeps this training: named by all that it starts from, the weights that it changes included."""
    folder = os.environ.get("FSPLIT_RUNS")
    if not folder or options.get("checkpoint"):
        return None
    state = [zoo.fingerprint(module.state_dict()) for module in (system.codec, system.decoder, *parts.values())]
    start = [repr(system), *state, system.backbone.fingerprint, repr(config), source.digest]
    return Path(folder) / f"{hashlib.sha256(repr(start).encode()).hexdigest()[:24]}.ckpt"


def fit(
    module: nn.Module,
    parts: dict[str, nn.Module],
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
    accelerator: str = "cpu",
) -> list[LogRow]:
    """Train ``parts`` of ``module`` and return the log.

    The module is called inside ``loss``, which returns scalars, of which ``"total"`` is minimised; Fabric wraps it, and
    several processes share gradients through that. ``rate_factors`` are those of the learning rate, by part; 1 where not
    given. ``progress`` is called after every step, and ``workers`` are loader processes.

    The run resumes from the file ``checkpoint`` if it exists, and writes it, whole or not at all. It keeps what the run
    depends on: the source's digest and ``made_of``, such as a frozen network's fingerprint; where either differs it is
    refused.

    The ``accelerator`` is "cpu", "cuda", or "auto" for a GPU where there is one. Samples and noise are drawn on the CPU
    in any case, so a run may be resumed on another device; afterwards the module is on the CPU again. As many processes
    as torchrun has started share every global batch. BatchNorm sees only its process's share; codec and decoders have
    none.

    Raises:
        ParameterError: the processes cannot share the batch evenly, or there is no such accelerator.
        WeightsError: the checkpoint is broken or belongs to another configuration, data set or network.
        DivergedError: the loss is no longer finite.
    """
    fabric = _fabric(config, accelerator)
    if config.batch % fabric.world_size:
        raise ParameterError(f"{fabric.world_size} processes cannot share a batch of {config.batch} evenly")
    wrapped, *optimisers = fabric.setup(module, *_optimisers(parts, rate_factors or {}, config))
    run = asdict(config) | ({"data": source.digest, **(made_of or {})} if checkpoint else {})
    running = get_ema_multi_avg_fn(config.averaging)
    means = {name: AveragedModel(part, multi_avg_fn=running) for name, part in parts.items() if config.averaging}
    kept = parts | {f"mean of {name}": mean for name, mean in means.items()}
    start, told = checkpoints.resume(checkpoint, kept, optimisers, run) if checkpoint else (0, [])
    if fabric.broadcast(start) != start:
        raise WeightsError(f"process {fabric.global_rank} does not see the checkpoint {checkpoint} of the first one")
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    log, where = [LogRow(**row) for row in told], machine(fabric.device)
    logging.getLogger(__name__).info("training in %s on %s, from step %d", config.precision, where, start)
    begun = time.perf_counter() - (log[-1].seconds if log else 0.0)
    module.train()
    stream = batches(
        source, config.batch, start, config.steps, config.seed, fabric.global_rank, fabric.world_size, workers
    )
    for batch in stream:
        batch.to(fabric.device)
        with fabric.autocast():
            values = loss(wrapped, batch)
        shown = fabric.all_reduce(torch.stack([v.detach().float() for v in values.values()]), reduce_op="mean")
        row = LogRow(batch.step, dict(zip(values, shown.tolist(), strict=True)), time.perf_counter() - begun)
        if not math.isfinite(row.values["total"]):
            raise DivergedError(f"the loss became {row.values['total']} at step {batch.step}; lower the learning rate")
        for optimiser in optimisers:
            optimiser.zero_grad()
        fabric.backward(values["total"])
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        for group in groups:
            group["lr"] = config.learning_rate_at(batch.step) * group["factor"]
        for optimiser in optimisers:
            optimiser.step()
        for name, mean in means.items():
            mean.update_parameters(parts[name])
        log.append(row)
        if progress is not None:
            progress(row)
        done = batch.step + 1
        if checkpoint and (done % checkpoint_every == 0 or done == config.steps) and fabric.is_global_zero:
            checkpoints.save(checkpoint, kept, optimisers, run, done, [asdict(row) for row in log])
    with torch.no_grad():
        for name, mean in means.items():
            for last, mean_weight in zip(parts[name].parameters(), mean.parameters(), strict=True):
                last.copy_(mean_weight)
    module.eval().cpu()
    return log


def _fabric(config: TrainConfig, accelerator: str) -> Fabric:
    """One process on one device, or what torchrun says in the environment."""
    if accelerator not in ("auto", "cpu", "cuda") or (accelerator == "cuda" and not torch.cuda.is_available()):
        raise ParameterError(f"accelerator must be auto, cpu, or cuda where there is a GPU, got {accelerator!r}")
    kind = "cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu"
    world, here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if world == 1:
        return Fabric(accelerator=kind, devices=1, precision=config.precision)
    fabric = Fabric(accelerator=kind, strategy="ddp", devices=here, num_nodes=world // here, precision=config.precision)
    fabric.launch()
    return fabric


def _optimisers(
    parts: dict[str, nn.Module], rate_factors: dict[str, float], config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for dense convolutions and linear layers and AdamW for what is left."""
    groups: dict[bool, list[dict]] = {False: [], True: []}
    for name, part in parts.items():
        decay, factor = (0.0, rate_factors[name]) if name in rate_factors else (config.weight_decay, 1.0)
        learned = [p for p in part.parameters() if p.requires_grad]
        for takes_muon, found in groups.items():
            if chosen := [p for p in learned if (config.optimiser == "muon" and is_matrix(p)) == takes_muon]:
                found.append({"params": chosen, "factor": factor, "weight_decay": decay})
    made = [torch.optim.AdamW(groups[False], lr=config.learning_rate)]
    return [*made, Muon(groups[True], config.learning_rate)] if groups[True] else made
