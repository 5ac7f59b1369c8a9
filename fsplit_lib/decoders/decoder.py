"""What the server runs before its tail: restoration blocks, then transformation blocks, then 1×1.

    y_hat (B, 48, h, w) ──► restoration ──► transformation ──► project ──► × σ + μ ──► h_hat (B, C_h, h, w)

Restoration blocks recover the signal and are the same for every backbone. Transformation blocks are
those of the target's own family, since features come out best from layers that share its bias [FS24].
No block upsamples: the latent has the stride of the features, or a finer one that the first convolution reduces.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fsplit_lib.backbones import FeatureSpec
from fsplit_lib.backbones.cut import Family
from fsplit_lib.decoders.blocks import TRANSFORMATION, RestorationBlock
from fsplit_lib.entropy.models import ImageCodec
from fsplit_lib.errors import ParameterError

Kind = Literal["depthwise", "dense", "compressai"]


@dataclass(frozen=True)
class DecoderConfig:
    """How deep and wide a decoder is.

    >>> sum(p.numel() for p in build_decoder(48, FeatureSpec("swin", 192, 8), DecoderConfig(width=48)).parameters())
    120098
    """

    restoration: int = 2  # number of restoration blocks
    transformation: int = 2  # number of transformation blocks of the backbone's family
    width: int = 96  # channels inside
    # "dense" restoration trains faster on a CPU, whose depthwise gradients are slow; "compressai" is SynthesisTransform
    kind: Kind = "depthwise"
    family: Family | None = None  # of the transformation blocks; None is the backbone's, others test the shared bias
    window: int = 7  # of Swin's blocks, in latent positions; other families have none


class Decoder(nn.Module):
    """g_s: latent to one backbone's features, Eq. (1) of chapter 07.

    The stride is that of the first convolution, where the latent is finer than the features.
    """

    def __init__(self, latent_channels: int, spec: FeatureSpec, config: DecoderConfig, stride: int = 1):
        super().__init__()
        self.spec, self.config = spec, config
        self.widen = nn.Conv2d(latent_channels, config.width, 3, stride, padding=1)
        self.restore = nn.Sequential(*(RestorationBlock(config.width, config.kind) for _ in range(config.restoration)))
        block = TRANSFORMATION[config.family or spec.family]
        self.transform = nn.Sequential(*(block(config.width, n, config.window) for n in range(config.transformation)))
        self.project = nn.Conv2d(config.width, spec.channels, 1)
        nn.init.zeros_(self.project.weight)  # the first guess is the teacher's mean: distortion 1
        nn.init.zeros_(self.project.bias)
        self._begin_statistics()

    def _begin_statistics(self) -> None:
        self.register_buffer("mean", torch.zeros(1, self.spec.channels, 1, 1))
        self.register_buffer("spread", torch.ones(1, self.spec.channels, 1, 1))

    @torch.no_grad()
    def fit_statistics(self, h: Tensor) -> None:
        """Take mean and spread σ_c of each channel from teacher features h (B, C_h, h, w)."""
        self.mean.copy_(h.mean(dim=(0, 2, 3)).view_as(self.mean))
        self.spread.copy_(h.std(dim=(0, 2, 3)).clamp_min(1e-3).view_as(self.spread))

    @torch.no_grad()
    def fit_projection(self, y_hat: Tensor, h: Tensor) -> None:
        """Take the last layer that is best for these latents (B, C, h, w) and features h, by least squares.

        It follows :meth:`fit_statistics`, and helps where the layers below are trained already.
        """
        inside, outside = self.inner(y_hat), (h - self.mean) / self.spread
        rows, wanted = (t.permute(0, 2, 3, 1).flatten(0, 2) for t in (inside, outside))
        solution = torch.linalg.lstsq(torch.cat([rows, torch.ones_like(rows[:, :1])], 1), wanted).solution
        self.project.weight.copy_(solution[:-1].T[..., None, None])
        self.project.bias.copy_(solution[-1])

    def inner(self, y_hat: Tensor) -> Tensor:
        """Compute what the last layer sees: (B, width, h, w)."""
        return self.transform(self.restore(self.widen(y_hat)))

    def forward(self, y_hat: Tensor) -> Tensor:
        """Decode a latent (B, C, h, w) to features h_hat (B, C_h, h, w) in the teacher's own scale."""
        return self.project(self.inner(y_hat)) * self.spread + self.mean


class SynthesisTransform(Decoder):
    """Decode to pixels as CompressAI's image codecs do, for a network that is cut before its first layer.

    The latent has stride 16, and the features are those of a :class:`fsplit_lib.backbones.PixelBackbone` with patches
    of 16 pixels; the configuration's width is that of all layers.

    >>> decoder = SynthesisTransform(192, FeatureSpec("resnet", 768, 16), DecoderConfig(width=128, kind="compressai"))
    >>> decoder(torch.zeros(1, 192, 4, 4)).shape
    torch.Size([1, 768, 4, 4])
    """

    def __init__(self, latent_channels: int, spec: FeatureSpec, config: DecoderConfig):
        nn.Module.__init__(self)
        self.spec, self.config = spec, config
        self.synthesis = ImageCodec(config.width, latent_channels).g_s  # (B, 3, 16·h, 16·w)
        self._begin_statistics()

    def forward(self, y_hat: Tensor) -> Tensor:
        """Decode a latent (B, C, h, w) to patches of pixels (B, 768, h, w)."""
        return nn.functional.pixel_unshuffle(self.synthesis(y_hat), 16) * self.spread + self.mean


def build_decoder(
    latent_channels: int, spec: FeatureSpec, config: DecoderConfig = DecoderConfig(), stride: int = 1
) -> Decoder:
    """Build a decoder for a backbone's features; see :class:`Decoder`.

    Raises:
        ParameterError: no transformation block is known for the family, or a count is negative.

    >>> decoder = build_decoder(48, FeatureSpec("efficientnet", 40, 8))
    >>> decoder(torch.zeros(1, 48, 28, 28)).shape
    torch.Size([1, 40, 28, 28])
    """
    family = config.family or spec.family
    if family not in TRANSFORMATION:
        raise ParameterError(f"no decoder blocks for family {family!r}; there are some for {', '.join(TRANSFORMATION)}")
    if min(config.restoration, config.transformation) < 0 or min(config.width, config.window) < 1:
        raise ParameterError(f"block counts must be >= 0, width and window >= 1, got {config}")
    if config.kind not in get_args(Kind):
        raise ParameterError(f"kind must be one of {', '.join(get_args(Kind))}, got {config.kind!r}")
    if config.kind == "compressai":
        if (spec.channels, spec.stride, stride) != (768, 16, 1):
            raise ParameterError("a decoder of kind compressai makes pixels from a latent of stride 16, nothing else")
        return SynthesisTransform(latent_channels, spec, config)
    return Decoder(latent_channels, spec, config, stride)
