"""Training a whole system, or only the decoder of another backbone for a codec that stays as it is.

train_system     encoder, entropy model, gains and decoder learn
train_decoder    the decoder learns; every phone keeps its encoder, every packet its bytes
"""

from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fsplit_lib import zoo
from fsplit_lib.errors import ParameterError
from fsplit_lib.objectives import channel_sensitivity, loss_of, saliency_weight
from fsplit_lib.system import FrankenSplit
from fsplit_lib.training.loop import LogRow, TrainConfig, fit
from fsplit_lib.training.sources import Batch, batches

__all__ = ["train_decoder", "train_system"]


def train_system(
    system: FrankenSplit, source: Dataset, config: TrainConfig, *, update_quantiles: bool = True, **options: object
) -> list[LogRow]:
    """Train codec and decoder against the frozen backbone, then freeze the entropy tables.

    Args:
        system: from :func:`fsplit_lib.system.build_system`; changed in place.
        source: of photos.
        config: of the run.
        update_quantiles: see :meth:`fsplit_lib.entropy.models.FactorizedPrior.freeze`.
        options: as in :func:`fit`.

    Returns:
        The log, with ``distortion``, ``rate`` (bits per input pixel) and ``total`` of every step.
    """
    log = _train(system, system.trainable(), source, config, options)
    system.codec.freeze(update_quantiles, keep_grid=config.quantiser == "straight_through")
    return log


def train_decoder(system: FrankenSplit, source: Dataset, config: TrainConfig, **options: object) -> list[LogRow]:
    """Train only the decoder, Eq. (2) of chapter 07: the codec was trained with another backbone, and stays bit for bit.

    Args:
        system: a trained codec, with a new decoder and its backbone; only the decoder changes.
        source: of photos.
        config: of the run. The rate is a constant here; with "straight_through" the decoder sees rounded
            latents, as in use.
        options: as in :func:`fit`.

    Returns:
        The log, as of :func:`train_system`.

    Raises:
        RuntimeError: the codec has no tables yet, or is no longer the one that it was.
    """
    codec, before = system.codec, system.codec.codec_id
    learned = [p for p in codec.parameters() if p.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        log = _train(system, {"decoder": system.decoder}, source, config, options)
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
    if codec.codec_id != before:
        raise RuntimeError(f"codec {before.hex()} became {codec.codec_id.hex()} while only a decoder was trained")
    return log


def _train(
    system: FrankenSplit, pieces: dict[str, nn.Module], source: Dataset, config: TrainConfig, options: dict
) -> list[LogRow]:
    made_of = {"network": system.backbone.fingerprint, "codec": asdict(system.codec.config)}
    made_of["decoder"] = asdict(system.decoder.config)
    if "encoder" in pieces:
        made_of["start"] = zoo.fingerprint(system.codec.state_dict() | system.decoder.state_dict())
    else:  # a decoder may start from a fit that rounds by the number of threads: no digest of its weights
        made_of["codec_id"] = system.codec.codec_id.hex()
    first = next(batches(source, min(128, len(source)), 0, 1, config.seed))
    if config.guidance != "unguided" and first.saliency is None:
        raise ParameterError(f"guidance {config.guidance!r} needs a source with saliency maps")
    with torch.no_grad():
        system.decoder.fit_statistics(system.backbone.head(first.x))
    sensitivity = None
    if config.channels == "sensitive":
        sensitivity = channel_sensitivity(system.backbone, first.x, system.decoder.spread)
    height = width = first.x.shape[-1] // system.codec.config.stride
    latent = (system.codec.config.widths[-1], height, width)

    def loss(wrapped: nn.Module, batch: Batch) -> dict[str, Tensor]:
        anchors = system.codec.config.anchors
        lmbda = batch.log_uniform(anchors[0], anchors[-1]) if anchors else None
        out = wrapped(batch.x, config.quantiser, batch.noise(latent), lmbda)
        price = config.warmed(config.lmbda if lmbda is None else lmbda, batch.step)
        weight = None if batch.saliency is None else saliency_weight(batch.saliency, config.guidance)
        if sensitivity is not None:
            weight = sensitivity if weight is None else weight * sensitivity
        value = loss_of(config.objective, system, out, batch.labels, price, weight)
        return {"distortion": value.distortion, "rate": value.rate, "total": value.total}

    factors = {"prior": config.prior_rate, "gains": config.gains_rate}
    return fit(system, pieces, loss, source, config, rate_factors=factors, made_of=made_of, **options)
