"""The variational bottleneck: an encoder of 141,696 parameters, its entropy model, and the wire.

    x (B, 3, H, W) ──► g_a ──► y (B, 48, H/8, W/8) ──► quantise ──► entropy coder ──► Packet
                               │
                               └──► p(y) ──► bits

Source: Furutanpey, Raith & Dustdar, "FrankenSplit: Efficient Neural Feature Compression with Shallow
Variational Bottleneck Injection for Mobile Edge Computing" (arXiv 2302.10681), [FS24] in the chapters.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fsplit_lib.entropy.coding import decode_symbols, encode_symbols, ideal_bits
from fsplit_lib.entropy.models import FactorizedPrior
from fsplit_lib.errors import PacketError
from fsplit_lib.packet import Packet, lmbda_to_code

__all__ = ["CodecConfig", "Encoder", "FeatureCodec", "Quantiser"]

Quantiser = Literal["noise", "straight_through", "none"]
MAX_PIXELS = 2**24  # a packet that claims a larger picture is refused before memory is reserved for it


@dataclass(frozen=True)
class CodecConfig:
    """What an encoder looks like.

    Attributes:
        widths: channels after each of the three blocks; the last is the latent's C.
        strides: of each block; their product is the latent's stride.
        activation: "standard" activates between the two convolutions of a block and after each block
            but the last. "official" is what the authors' public code computes: both convolutions, then
            one ReLU, then the sum (an isinstance test there never holds, so the inner one is lost).
        lmbda: the rate weight that the codec was trained with.
    """

    widths: tuple[int, int, int] = (48, 64, 48)
    strides: tuple[int, int, int] = (2, 2, 2)
    activation: Literal["standard", "official"] = "standard"
    lmbda: float = 1.0

    @property
    def stride(self) -> int:
        """Input pixels per latent position, per side."""
        return self.strides[0] * self.strides[1] * self.strides[2]

    @classmethod
    def from_dict(cls, fields: dict) -> "CodecConfig":
        """The inverse of ``dataclasses.asdict``, also after a trip through JSON."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


class ResidualBlock(nn.Module):
    """conv 3×3 (stride s) → conv 3×3, plus a 1×1 convolution (stride s) around both."""

    def __init__(self, inside: int, outside: int, stride: int, activation: str, last: bool):
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
        inputs = (3, *config.widths[:2])
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(i, o, s, config.activation, last=n == 2)
                for n, (i, o, s) in enumerate(zip(inputs, config.widths, config.strides, strict=True))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to the latent y (B, C, H/stride, W/stride)."""
        return self.blocks(2 * x - 1)


class FeatureCodec(nn.Module):
    """Encoder and entropy model: everything between the pixels and the wire, and back to y_hat.

    It knows no backbone. Decoders are separate modules, so the same packet serves any of them.
    """

    def __init__(self, config: CodecConfig = CodecConfig()):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.prior = FactorizedPrior(config.widths[-1])

    @property
    def codec_id(self) -> bytes:
        """4 bytes: SHA-256 of configuration, encoder (as float16), medians and integer tables."""
        digest = hashlib.sha256(repr(sorted(asdict(self.config).items())).encode())
        for parameter in self.encoder.state_dict().values():
            digest.update(parameter.cpu().half().numpy().astype("<f2").tobytes())
        digest.update(self.prior.medians.cpu().numpy().astype("<f4").tobytes())
        digest.update(self.prior.tables.to_bytes())
        return digest.digest()[:4]

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError unless both sides are positive multiples of the stride."""
        stride = self.config.stride
        if height < stride or width < stride or height % stride or width % stride:
            raise ValueError(
                f"picture sides must be multiples of {stride}, got {height} x {width}; crop or pad it first"
            )

    @torch.no_grad()
    def compress(self, x: Tensor) -> list[Packet]:
        """One packet a picture.

        Args:
            x: (B, 3, H, W) float in [0, 1]; H and W multiples of the stride.
        """
        height, width = x.shape[-2:]
        self.check_size(height, width)
        symbols = self.prior.to_symbols(self.encoder(x.contiguous()))
        codec_id, code = self.codec_id, lmbda_to_code(self.config.lmbda)
        return [Packet(codec_id, height, width, code, (encode_symbols(one, self.prior.tables),)) for one in symbols]

    @torch.no_grad()
    def decompress(self, packets: list[Packet]) -> Tensor:
        """The quantised latents y_hat (B, C, h, w) of packets of one picture size.

        Raises:
            PacketError: a packet belongs to another codec, differs in size, or does not decode.
        """
        own = self.codec_id
        return torch.cat([self._decompress_one(packet, own) for packet in packets])

    def _decompress_one(self, packet: Packet, own: bytes) -> Tensor:
        if packet.codec_id != own:
            raise PacketError(
                f"the packet was made by codec {packet.codec_id.hex()}, this is codec {own.hex()}: "
                "both ends must load the same checkpoint"
            )
        if packet.height * packet.width > MAX_PIXELS or len(packet.streams) != 1:
            raise PacketError(f"a packet of this codec holds one stream of at most {MAX_PIXELS} pixels")
        try:
            self.check_size(packet.height, packet.width)
        except ValueError as error:
            raise PacketError(f"the packet's picture size is impossible: {error}") from error
        height, width = packet.height // self.config.stride, packet.width // self.config.stride
        symbols = decode_symbols(packet.streams[0], self.prior.tables, height * width)
        return self.prior.from_symbols(symbols[None], height, width)

    @torch.no_grad()
    def ideal_bits(self, x: Tensor) -> list[float]:
        """Bits that the integer tables assign to each picture of x: the floor for any coder."""
        return [ideal_bits(one, self.prior.tables) for one in self.prior.to_symbols(self.encoder(x))]

    def quantise(self, y: Tensor, quantiser: Quantiser, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """The latent that the decoder sees and the latent whose likelihood is paid for.

        Args:
            y: (B, C, h, w).
            quantiser: "noise" shows both sides y + U(−½, ½), as [FS24] trains. "straight_through"
                shows the decoder the rounded latent with the gradient of the identity. "none"
                removes the quantiser from training, to see what breaks.
            noise: U(−½, ½) of y's shape; None measures with rounding, as in use.
        """
        if noise is None:
            y_hat = self.prior.quantise(y)
            return y_hat, y_hat
        if quantiser == "noise":
            return y + noise, y + noise
        if quantiser == "straight_through":
            return y + (self.prior.quantise(y) - y).detach(), y + noise
        return y, y
