"""The blocks of a decoder: restoration blocks recover the signal, transformation blocks carry a family's bias.

All map (B, width, h, w) to the same shape, at any h and w, and none looks at batch statistics.

    restoration    depthwise   7×7 depthwise ► 1×1 (×3) ► GELU ► 1×1      around a skip
                   dense       3×3 ► GELU ► 3×3                           around a skip
    transformation resnet      timm's BasicBlock: two 3×3 convolutions
                   efficientnet timm's InvertedResidual: 1×1 (×3) ► 5×5 depthwise ► 1×1
                   convnext    timm's ConvNeXtBlock: 7×7 depthwise ► LayerNorm ► 1×1 (×4) ► GELU ► 1×1
                   swin        timm's SwinTransformerBlock: attention inside windows, every second one shifted
"""

from collections.abc import Callable

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models.convnext import ConvNeXtBlock
from timm.models.resnet import BasicBlock
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from fsplit_lib.errors import ParameterError

BRANCH = 0.2  # first weight of a residual branch


class Affine(nn.Module):
    """x · weight + bias per channel of (B, C, h, w), then ``act``; ResNet and EfficientNet normalise over the batch.

    It has no batch statistics, so training behaves the same at any batch size and on any number of
    machines; a small first ``weight`` at the end of a residual branch keeps deep stacks stable.

    >>> Affine(8, 0.5)(torch.ones(1, 8, 2, 2)).unique().tolist()
    [0.5]
    """

    def __init__(self, channels: int, weight: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, channels, 1, 1), weight))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.act = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x * self.weight + self.bias)


class RestorationBlock(nn.Module):
    """A residual branch around a skip.

    depthwise   7×7 depthwise → 1×1 (×3) → GELU → 1×1: a wide view in few multiplications
    dense       3×3 → GELU → 3×3; the paper's public code has 3×3 → 3×3, and LeakyReLU after them

    >>> [sum(p.numel() for p in RestorationBlock(96, kind).parameters()) for kind in ("depthwise", "dense")]
    [60672, 166272]
    """

    def __init__(self, width: int, kind: str = "depthwise"):
        super().__init__()
        if kind == "depthwise":
            wide = nn.Conv2d(width, width, 7, padding=3, groups=width)
            layers = [wide, nn.Conv2d(width, 3 * width, 1), nn.GELU(), nn.Conv2d(3 * width, width, 1)]
        elif kind == "dense":
            layers = [nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)]
        else:
            raise ParameterError(f"a restoration block is depthwise or dense, got {kind!r}")
        self.branch = nn.Sequential(*layers, Affine(width, BRANCH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class NextBlock(ConvNeXtBlock):
    """Timm's ConvNeXt block, with a contiguous result for whatever comes next."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).contiguous()


class SwinBlock(nn.Module):
    """Timm's Swin block on (B, C, h, w): (B, h, w, C) inside, padded to whole windows, masks made for each size.

    It has as many heads as give each 32 channels or a little more. Windows, whose side is in latent positions, are
    shifted by half a window to let neighbouring ones talk.
    """

    def __init__(self, width: int, window: int, shifted: bool):
        super().__init__()
        heads = next(n for n in range(max(1, width // 32), 0, -1) if width % n == 0)
        self.block = SwinTransformerBlock(
            width, input_resolution=(window, window), num_heads=heads, window_size=window,
            shift_size=window // 2 if shifted else 0, always_partition=True, dynamic_mask=True,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


def _efficientnet_block(width: int, *_: int) -> nn.Module:
    block = InvertedResidual(width, width, dw_kernel_size=5, exp_ratio=3.0, norm_layer=_affine_norm)
    block.bn1.act, block.bn2.act = nn.ReLU6(), nn.ReLU6()
    nn.init.constant_(block.bn3.weight, BRANCH)
    return block


def _resnet_block(width: int, *_: int) -> nn.Module:
    block = BasicBlock(width, width, norm_layer=_affine_norm)
    nn.init.constant_(block.bn2.weight, BRANCH)
    return block


def _affine_norm(channels: int, **_: object) -> Affine:
    """An Affine for timm, which asks for a norm with an activation inside."""
    return Affine(channels)


TRANSFORMATION: dict[str, Callable[[int, int, int], nn.Module]] = {  # of width, number in its stack, and window
    "efficientnet": _efficientnet_block,
    "resnet": _resnet_block,
    "convnext": lambda width, *_: NextBlock(width, ls_init_value=BRANCH),
    "swin": lambda width, number, window: SwinBlock(width, window, shifted=number % 2 == 1),
}
