"""The encoder on the phone: three residual blocks, 141,696 parameters.

    x (B, 3, H, W) ──► block ──► block ──► block ──► y (B, 48, H/8, W/8)

Source: Furutanpey, Raith & Dustdar, "FrankenSplit: Efficient Neural Feature Compression with Shallow
Variational Bottleneck Injection for Mobile Edge Computing" (arXiv 2302.10681), [FS24] in the chapters.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from timm.layers import SEModule
from torch import Tensor, nn

from fsplit_lib.codec.lean import lean_encoder, tiny_encoder
from fsplit_lib.codec.prior_work import analysis_transform, gdn_encoder, patch_encoder, reduction_encoder
from fsplit_lib.packet import lmbda_to_code

Kind = Literal[
    "residual", "attention", "lean", "tiny", "gdn", "patch-0", "patch-4", "patch-8", "reduction", "compressai"
]
OTHERS = {
    "lean": lean_encoder,
    "tiny": tiny_encoder,
    "gdn": gdn_encoder,
    **{f"patch-{blocks}": partial(patch_encoder, blocks=blocks) for blocks in (0, 4, 8)},
    "reduction": reduction_encoder,
    "compressai": analysis_transform,
}


@dataclass(frozen=True)
class CodecConfig:
    """What an encoder looks like."""

    widths: tuple[int, int, int] = (48, 64, 48)  # channels after each of the three blocks; the last is the latent's C
    strides: tuple[int, int, int] = (2, 2, 2)  # of each block; their product is the latent's stride
    # "standard" activates between the two convolutions of a block and after each block but the last. "official" is what
    # the authors' public code computes: both convolutions, then one ReLU, then the sum (an isinstance test there never
    # holds, so the inner one is lost)
    activation: Literal["standard", "official"] = "standard"
    lmbda: float = 1.0  # rate weight that it was trained with, or packs with unless told otherwise
    anchors: tuple[float, ...] = ()  # ascending rate weights between which Gains steer it; none for one rate weight
    # "residual" is the paper's encoder; "attention" has a Gate behind its second block; "lean" and "tiny" are those of
    # fsplit_lib.codec.lean, all others those of earlier split computing in fsplit_lib.codec.prior_work
    kind: Kind = "residual"
    channels: int = 3  # of the input; 3 for photos, the only ones of other kinds than "residual" and "attention"
    context: bool = False  # whether neighbours choose a symbol's table, see fsplit_lib.entropy.context.Context
    side_information: int = 0  # channels that describe all distributions, see SideInformationCodec; 0 without

    def __post_init__(self) -> None:
        for lmbda in (self.lmbda, *self.anchors):
            lmbda_to_code(lmbda)  # what no packet can name must not be trained
        if self.channels < 1 or (self.channels != 3 and self.kind in OTHERS):
            raise ValueError(f"channels must be 3, or at least 1 for a residual encoder, got {self.channels}")
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.side_information < 0 or (self.side_information and self.context):
            raise ValueError(f"side_information must be >= 0, and 0 beside a context, got {self.side_information}")
        if self.kind in OTHERS and self.kind not in ("reduction", "compressai") and self.strides[2] != 1:
            raise ValueError(f"the third stride of a {self.kind} encoder must be 1, got {self.strides}")
        if len(self.anchors) == 1 or list(self.anchors) != sorted(set(self.anchors)):
            raise ValueError(f"anchors must be none, or two and more in ascending order, got {self.anchors}")
        if self.anchors and not self.anchors[0] <= self.lmbda <= self.anchors[-1]:
            raise ValueError(f"lmbda must lie between the anchors {self.anchors}, got {self.lmbda}")

    @property
    def stride(self) -> int:
        """Input pixels per latent position, per side."""
        return self.strides[0] * self.strides[1] * self.strides[2]

    @classmethod
    def from_dict(cls, fields: dict) -> "CodecConfig":
        """The inverse of ``dataclasses.asdict``, also after a trip through JSON."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


class ResidualBlock(nn.Module):
    """conv 3×3 (stride s) → conv 3×3, plus a 1×1 convolution (stride s) around both.

    It takes (B, inside, H, W) to (B, outside, H/s, W/s), with the activations of :class:`CodecConfig`; where ``last``
    is true, there is none behind the sum.

    >>> block = ResidualBlock(3, 48, 2, last=False)
    >>> sum(p.numel() for p in block.parameters()), block(torch.zeros(1, 3, 224, 224)).shape
    (22320, torch.Size([1, 48, 112, 112]))
    """

    def __init__(self, inside: int, outside: int, stride: int, last: bool, activation: str = "standard"):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1, stride)
        self.official = activation == "official"
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        if self.official:
            return torch.relu(self.conv2(self.conv1(x))) + self.skip(x)
        out = self.conv2(torch.relu(self.conv1(x))) + self.skip(x)
        return out if self.last else torch.relu(out)  # the latent stays signed


class Gate(nn.Module):
    """Weigh every channel by what the whole picture holds, in 0 to 2: timm's squeeze and excitation; at first by 1.

    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks" (arXiv 1709.01507).

    >>> x = torch.rand(1, 64, 4, 4)
    >>> gate = Gate(64)
    >>> sum(p.numel() for p in gate.parameters()), torch.equal(gate(x), x)
    (1096, True)
    """

    def __init__(self, channels: int):
        super().__init__()
        self.attention = SEModule(channels)
        nn.init.zeros_(self.attention.fc2.weight)
        nn.init.zeros_(self.attention.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.attention(x)


class Encoder(nn.Module):
    """g_a of [FS24]: three residual blocks, all that a phone has to run.

    >>> encoder = Encoder(CodecConfig())
    >>> sum(p.numel() for p in encoder.parameters())
    141696
    >>> encoder(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 48, 28, 28])
    """

    def __init__(self, config: CodecConfig):
        super().__init__()
        if config.kind in OTHERS:
            self.blocks = OTHERS[config.kind](config.widths, config.strides)
            return
        inputs = (config.channels, *config.widths[:2])
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(i, o, s, last=n == 2, activation=config.activation)
                for n, (i, o, s) in enumerate(zip(inputs, config.widths, config.strides, strict=True))
            )
        )
        if config.kind == "attention":
            self.blocks.insert(2, Gate(config.widths[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to the latent y (B, C, H/stride, W/stride)."""
        return self.blocks(2 * x - 1)
