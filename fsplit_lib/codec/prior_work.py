"""Encoders of earlier split computing, at about the work of the paper's own, to compare with.

    gdn         x ──► 5×5, stride 2 ──► GDN ──► 5×5, stride 2 ──► GDN ──► 2×2 ──► y, stride 4     138,672 parameters
    patch-N     x ──► 8×8, stride 8 ──► N residual blocks ──► 1×1 ──► y, stride 8                 N = 4: 623,552
    reduction   x ──► 7×7, stride 2 ──► max-pool, stride 2 ──► 2×2, stride 2 ──► y of few channels
    compressai  x ──► 5×5, stride 2 ──► GDN (three times) ──► 5×5, stride 2 ──► y, stride 16      1,493,312 parameters

At 224 x 224 they do 589, 488 (N = 4), 119 and 2,116 million multiply-adds; the paper's encoder does 530.

Sources: Matsubara, Yang, Levorato & Mandt 2022, "Supervised Compression for Resource-Constrained Edge Computing
Systems" (gdn, the Entropic Student); Duan & Zhu 2022, "Efficient Feature Compression for Edge-Cloud Systems"
(patch); Matsubara, Callegaro, Singh, Levorato & Restuccia 2022, "BottleFit", and Matsubara & Levorato 2020, "Neural
Compression and Filtering for Edge-assisted Real-time Object Detection in Challenged Networks" (reduction); Ballé et al.
2018, "Variational image compression with a scale hyperprior", at the smallest size that CompressAI has (compressai).
"""

from torch import nn

from fsplit_lib.codec.lean import dense_block
from fsplit_lib.entropy.models import GDN1, ImageCodec


def gdn_encoder(widths: tuple[int, int, int], strides: tuple[int, int, int]) -> nn.Sequential:
    """Build the Entropic Student's encoder: generalised divisive normalisation between strided convolutions.

    Its 2 × 2 convolution sees one row and one column of zeros more than the authors', so that the latent keeps
    the grid of the packet. Widths and strides are those of its three convolutions; the third stride is 1.

    >>> import torch
    >>> encoder = gdn_encoder((96, 48, 24), (2, 2, 1))
    >>> sum(p.numel() for p in encoder.parameters()), encoder(torch.zeros(1, 3, 224, 224)).shape
    (138672, torch.Size([1, 24, 56, 56]))
    """
    first, second, latent = widths
    return nn.Sequential(
        nn.Conv2d(3, first, 5, strides[0], padding=2, bias=False),
        GDN1(first),
        nn.Conv2d(first, second, 5, strides[1], padding=2, bias=False),
        GDN1(second),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(second, latent, 2, strides[2], bias=False),
    )


def patch_encoder(widths: tuple[int, int, int], strides: tuple[int, int, int], blocks: int) -> nn.Sequential:
    """Build an encoder of one convolution per patch, then residual blocks at the latent's own stride.

    Widths are the channels of the patches, inside the blocks, and of the latent; strides the patch's side, then 1. The
    authors measured 0, 4 and 8 blocks.

    >>> import torch
    >>> patch_encoder((128, 64, 64), (8, 1, 1), blocks=4)(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 64, 28, 28])
    """
    stem, inside, latent = widths
    return nn.Sequential(
        nn.Conv2d(3, stem, strides[0], strides[0]),
        *(dense_block(stem, inside, nn.GELU) for _ in range(blocks)),
        nn.Conv2d(stem, latent, 1),
    )


def reduction_encoder(widths: tuple[int, int, int], strides: tuple[int, int, int]) -> nn.Sequential:
    """Build a channel reduction: a narrow last layer is the bottleneck, and 8 bits per value are the rate.

    Widths are the channels after the stem, twice, and of the latent; strides those of stem, pooling and last
    convolution.

    >>> import torch
    >>> reduction_encoder((64, 64, 3), (2, 2, 2))(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 3, 28, 28])
    """
    stem, inside, latent = widths
    if inside != stem:
        raise ValueError(f"pooling keeps the stem's channels: the second width must be {stem}, got {inside}")
    return nn.Sequential(
        nn.Conv2d(3, stem, 7, strides[0], padding=3),
        nn.ReLU(),
        nn.MaxPool2d(3, strides[1], padding=1),
        nn.Conv2d(stem, latent, 2, strides[2]),
    )


def analysis_transform(widths: tuple[int, int, int], strides: tuple[int, int, int]) -> nn.Sequential:
    """Build the encoder of CompressAI's image codecs: four strided convolutions with divisive normalisation.

    The widths are those inside, twice, and of the latent; the first stride counts for two convolutions.

    >>> import torch
    >>> encoder = analysis_transform((128, 128, 192), (4, 2, 2))
    >>> sum(p.numel() for p in encoder.parameters()), encoder(torch.zeros(1, 3, 64, 64)).shape
    (1493312, torch.Size([1, 192, 4, 4]))
    """
    inside, again, latent = widths
    if inside != again or strides != (4, 2, 2):
        raise ValueError(f"the first two widths must be equal and the strides 4, 2, 2, got {widths} and {strides}")
    return ImageCodec(inside, latent).g_a
