"""Two encoders that ask less of a phone than the paper's: most of their work happens at the latent's own stride.

    lean    x ──► 7×7, stride 4 ──► 3×3, stride 2 ──► 2 dense residual blocks ──► 1×1 ──► y     137,168 parameters
    tiny    x ──► 8×8, stride 8 ──► 1 depthwise residual block ──► 1×1 ──► y                     33,712 parameters

At 224 x 224 they do 118 and 26 million multiply-adds, where the paper's encoder does 530.

Sources: a patch of 8 × 8 as the whole encoder is Z. Duan and F. Zhu 2022, "Efficient Feature Compression for Edge-Cloud
Systems"; strides up front are what He et al. 2015 do in ResNet's stem.
"""

from torch import Tensor, nn


class Residual(nn.Module):
    """A branch of layers around a skip."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def dense_block(width: int, inside: int, act: type[nn.Module]) -> Residual:
    """Build a residual block of two 3 × 3 convolutions, each behind an activation."""
    return Residual(act(), nn.Conv2d(width, inside, 3, padding=1), act(), nn.Conv2d(inside, width, 3, padding=1))


def lean_encoder(widths: tuple[int, int, int], strides: tuple[int, int, int]) -> nn.Sequential:
    """Build an encoder with strides up front and dense 3 × 3 blocks at stride 8.

    Widths are the channels after the stem, inside the blocks, and of the latent; strides those of the stem, then 1.

    >>> import torch
    >>> encoder = lean_encoder((32, 64, 48), (4, 2, 1))
    >>> sum(p.numel() for p in encoder.parameters()), encoder(torch.zeros(1, 3, 224, 224)).shape
    (137168, torch.Size([1, 48, 28, 28]))
    """
    stem, inside, latent = widths
    return nn.Sequential(
        nn.Conv2d(3, stem, 2 * strides[0] - 1, strides[0], padding=strides[0] - 1),
        nn.ReLU(),
        nn.Conv2d(stem, inside, 3, strides[1], padding=1),
        *(dense_block(inside, 3 * inside // 4, nn.ReLU) for _ in range(2)),
        nn.Conv2d(inside, latent, 1, strides[2]),
    )


def tiny_encoder(widths: tuple[int, int, int], strides: tuple[int, int, int]) -> nn.Sequential:
    """Build an encoder of one convolution per patch and one depthwise block.

    Widths are the channels of the patches, inside the block, and of the latent; strides the patch's side, then 1.

    >>> import torch
    >>> encoder = tiny_encoder((64, 128, 48), (8, 1, 1))
    >>> sum(p.numel() for p in encoder.parameters()), encoder(torch.zeros(1, 3, 224, 224)).shape
    (33712, torch.Size([1, 48, 28, 28]))
    """
    stem, inside, latent = widths
    return nn.Sequential(
        nn.Conv2d(3, stem, strides[0], strides[0]),
        Residual(
            nn.ReLU(),
            nn.Conv2d(stem, stem, 5, padding=2, groups=stem),
            nn.Conv2d(stem, inside, 1),
            nn.ReLU(),
            nn.Conv2d(inside, stem, 1),
        ),
        nn.Conv2d(stem, latent, 1),
    )
