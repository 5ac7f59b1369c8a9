"""Does side information pay? Three entropy models, trained on the latents of one frozen encoder."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fsplit_lib import zoo
from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.entropy.coding import encode_symbols
from fsplit_lib.entropy.hyperprior import Hyperprior
from fsplit_lib.entropy.models import FactorizedPrior
from fsplit_lib.evaluation.evaluate import Progress, silent
from fsplit_lib.evaluation.tables import SideRow
from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.loop import LogRow, fit
from fsplit_lib.training.sources import Batch, batches

WIDTH = 32  # channels of z


class EntropyModels(nn.Module):
    """The three models side by side, over the same latents."""

    def __init__(self, channels: int = 48):
        super().__init__()
        self.factorised = FactorizedPrior(channels)
        self.scale = Hyperprior(channels, WIDTH, means=False)
        self.mean_scale = Hyperprior(channels, WIDTH, means=True)

    def forward(self, y: Tensor, side: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Compute likelihoods of latents y (B, C, h, w) and of the side information with the noise ``side``, by model."""
        parts = {"factorised": (self.factorised.likelihood(y),)}
        return parts | {name: getattr(self, name)(y, side) for name in ("scale", "mean_scale")}


def load_entropy_models(name: str = "side-information") -> EntropyModels:
    """Load trained models, tables and all.

    Raises:
        WeightsError: see :func:`fsplit_lib.zoo.read_weights`.

    >>> models = load_entropy_models()
    >>> sorted(stream_sizes(models, torch.zeros(1, 48, 28, 28)))
    ['factorised', 'mean-scale hyperprior', 'scale hyperprior']
    """
    models = EntropyModels()
    zoo.load_strictly(models, zoo.read_weights(name, "models.safetensors"), f"{name}/models.safetensors")
    return models.eval()


def train_entropy_models(
    codec: FeatureCodec, source: Dataset, config: TrainConfig, **options: object
) -> tuple[EntropyModels, list[LogRow]]:
    """Train the three on the latents that the codec's encoder, which stays as it is, makes of one stream of photos.

    The configuration's lmbda and objective mean nothing here, only bits count; ``options`` are those of
    :func:`~fsplit_lib.training.loop.fit`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        models = EntropyModels(codec.config.widths[-1])
    models.factorised.density.load_state_dict(codec.prior.density.state_dict())
    with torch.no_grad():
        y = codec.encoder(next(batches(source, min(64, len(source)), 0, 1, config.seed)).x).round()
    for model in (models.scale, models.mean_scale):
        model.start_from(y)

    def loss(wrapped: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            y = codec.encoder.to(batch.x.device)(batch.x).round()  # of a frozen encoder, so its true symbols
        side = batch.noise((WIDTH, y.shape[2] // 4, y.shape[3] // 4))
        parts = wrapped(y, side)
        sizes = {name: -sum(p.log2().sum() for p in ps) / len(y) / 8 for name, ps in parts.items()}
        return sizes | {"total": sum(sizes.values()) / 1000}

    pieces = {"factorised": models.factorised}
    for name, model in (("scale", models.scale), ("mean_scale", models.mean_scale)):
        pieces |= {name: nn.ModuleList([model.h_a, model.h_s]), f"{name}_prior": model.prior}
    factors = {"factorised": 5.0, "scale_prior": 5.0, "mean_scale_prior": 5.0}  # densities take larger steps
    made_of = {"codec_id": codec.codec_id.hex()}
    log = fit(models, pieces, loss, source, config, rate_factors=factors, made_of=made_of, **options)
    codec.encoder.cpu()
    models.factorised.update(keep_grid=True)  # the grid that the decoder knows
    models.scale.update()
    models.mean_scale.update()
    return models, log


@torch.no_grad()
def measure_side_information(
    models: EntropyModels, codec: FeatureCodec, photos: ImageFolder, progress: Progress = silent
) -> list[SideRow]:
    """Measure real streams of the three models for the same symbols of a codec, on the centre crops of a folder."""
    sizes = []
    for done in range(len(photos)):
        sizes.append(stream_sizes(models, codec.encoder(photo_tensor(center_crop(photos[done])))))
        progress(done + 1, len(photos))
    means = {name: np.mean([one[name] for one in sizes], axis=0).tolist() for name in sizes[0]}
    return [SideRow(photos.name, name, *values, len(photos)) for name, values in means.items()]


@torch.no_grad()
def stream_sizes(models: EntropyModels, y: Tensor) -> dict[str, tuple[int, int]]:
    """Count the bytes of latent and side information of one latent (1, C, h, w), rounded first, by model."""
    y = y.round()
    plain = encode_symbols(models.factorised.to_symbols(y)[0], models.factorised.tables)
    sizes = {"factorised": (len(plain), 0)}
    for name, model in (("scale hyperprior", models.scale), ("mean-scale hyperprior", models.mean_scale)):
        streams = model.compress(y)
        sizes[name] = (len(streams.y), len(streams.z))
    return sizes
