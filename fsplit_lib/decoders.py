"""What the server runs before its tail: restoration blocks, then transformation blocks, then 1×1.

    y_hat (B, 48, h, w) ──► restoration ──► transformation ──► project ──► × σ + μ ──► h_hat (B, C_h, h, w)

Restoration blocks recover the signal and are the same for every backbone. Transformation blocks are
those of the target's own family, since features come out best from layers that share its bias [FS24].
No block upsamples: the latent has the stride of the features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from fsplit_lib.backbones import FeatureSpec
from fsplit_lib.errors import ParameterError

__all__ = ["Decoder", "DecoderConfig", "build_decoder"]

Kind = Literal["depthwise", "dense"]


@dataclass(frozen=True)
class DecoderConfig:
    """How deep and wide a decoder is.

    Attributes:
        restoration: number of restoration blocks.
        transformation: number of transformation blocks of the backbone's family.
        width: channels inside.
        kind: of the restoration blocks. "dense" trains faster on a CPU, whose depthwise gradients are slow.
    """

    restoration: int = 2
    transformation: int = 2
    width: int = 96
    kind: Kind = "depthwise"


class Affine(nn.Module):
    """x · weight + bias per channel, where these families normalise over the batch.

    It has no batch statistics, so training behaves the same at any batch size and on any number of
    machines; a small first ``weight`` at the end of a residual branch keeps deep stacks stable.
    """

    def __init__(self, channels: int, weight: float = 1.0, act: nn.Module | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, channels, 1, 1), weight))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.act = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x * self.weight + self.bias)


BRANCH = 0.2  # first weight of a residual branch


class RestorationBlock(nn.Module):
    """A residual branch around a skip.

    depthwise   7×7 depthwise → 1×1 (×3) → GELU → 1×1: a wide view in few multiplications
    dense       3×3 → GELU → 3×3, as the paper's restoration blocks
    """

    def __init__(self, width: int, kind: str):
        super().__init__()
        layers = {
            "depthwise": lambda: [
                nn.Conv2d(width, width, 7, padding=3, groups=width),
                nn.Conv2d(width, 3 * width, 1),
                nn.GELU(),
                nn.Conv2d(3 * width, width, 1),
            ],
            "dense": lambda: [nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)],
        }[kind]
        self.branch = nn.Sequential(*layers(), Affine(width, BRANCH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def _efficientnet_block(width: int) -> nn.Module:
    """Timm's inverted residual as in Lite0's own stage: 1×1 (×3), 5×5 depthwise, 1×1."""
    block = InvertedResidual(width, width, dw_kernel_size=5, exp_ratio=3.0, norm_layer=_affine_norm)
    block.bn1.act, block.bn2.act = nn.ReLU6(), nn.ReLU6()
    nn.init.constant_(block.bn3.weight, BRANCH)
    return block


def _resnet_block(width: int) -> nn.Module:
    """Timm's BasicBlock: two 3×3 convolutions around a skip."""
    block = BasicBlock(width, width, norm_layer=_affine_norm)
    nn.init.constant_(block.bn2.weight, BRANCH)
    return block


def _affine_norm(channels: int, **_: object) -> Affine:
    """An Affine for timm, which asks for a norm with an activation inside."""
    return Affine(channels)


TRANSFORMATION: dict[str, Callable[[int], nn.Module]] = {
    "efficientnet": _efficientnet_block,
    "resnet": _resnet_block,
}


class Decoder(nn.Module):
    """g_s: latent to one backbone's features.

    Args:
        latent_channels: C of y_hat.
        spec: the features to produce.
        config: depth and width.
    """

    def __init__(self, latent_channels: int, spec: FeatureSpec, config: DecoderConfig):
        super().__init__()
        self.spec, self.config = spec, config
        self.widen = nn.Conv2d(latent_channels, config.width, 3, padding=1)
        self.restore = nn.Sequential(*(RestorationBlock(config.width, config.kind) for _ in range(config.restoration)))
        block = TRANSFORMATION[spec.family]
        self.transform = nn.Sequential(*(block(config.width) for _ in range(config.transformation)))
        self.project = nn.Conv2d(config.width, spec.channels, 1)
        nn.init.zeros_(self.project.weight)  # the first guess is the teacher's mean: distortion 1
        nn.init.zeros_(self.project.bias)
        self.register_buffer("mean", torch.zeros(1, spec.channels, 1, 1))
        self.register_buffer("spread", torch.ones(1, spec.channels, 1, 1))

    @torch.no_grad()
    def fit_statistics(self, h: Tensor) -> None:
        """Take mean and spread σ_c of each channel from teacher features h (B, C_h, h, w)."""
        self.mean.copy_(h.mean(dim=(0, 2, 3)).view_as(self.mean))
        self.spread.copy_(h.std(dim=(0, 2, 3)).clamp_min(1e-3).view_as(self.spread))

    def forward(self, y_hat: Tensor) -> Tensor:
        """Latent (B, C, h, w) to features h_hat (B, C_h, h, w) in the teacher's own scale."""
        out = self.project(self.transform(self.restore(self.widen(y_hat))))
        return out * self.spread + self.mean


def build_decoder(latent_channels: int, spec: FeatureSpec, config: DecoderConfig = DecoderConfig()) -> Decoder:
    """A decoder for a backbone's features.

    Raises:
        ParameterError: no transformation block is known for the family, or a count is negative.

    >>> decoder = build_decoder(48, FeatureSpec("efficientnet", 40, 8))
    >>> decoder(torch.zeros(1, 48, 28, 28)).shape
    torch.Size([1, 40, 28, 28])
    """
    if spec.family not in TRANSFORMATION:
        raise ParameterError(
            f"no decoder blocks for family {spec.family!r}; there are some for {', '.join(TRANSFORMATION)}"
        )
    if config.restoration < 0 or config.transformation < 0 or config.width < 1:
        raise ParameterError(f"block counts must be >= 0 and width >= 1, got {config}")
    if config.kind not in get_args(Kind):
        raise ParameterError(f"kind must be one of {', '.join(get_args(Kind))}, got {config.kind!r}")
    return Decoder(latent_channels, spec, config)
