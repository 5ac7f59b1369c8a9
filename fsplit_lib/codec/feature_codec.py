"""Everything between the pixels and the wire, and back to y_hat.

x (B, 3, H, W) ──► g_a ──► y (B, 48, H/8, W/8) ──► quantise ──► entropy coder ──► Packet
                           │
                           └──► p(y) ──► bits
"""

import hashlib
from dataclasses import asdict
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.codec.encoder import CodecConfig, Encoder
from fsplit_lib.codec.gains import Gains
from fsplit_lib.entropy.coding import Tables, decode_symbols, encode_symbols, ideal_bits, symbol_bits
from fsplit_lib.entropy.models import FactorizedPrior
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.packet import Packet, check_size, code_to_lmbda, lmbda_to_code

__all__ = ["FeatureCodec", "Quantiser"]

Quantiser = Literal["noise", "straight_through", "none"]


class FeatureCodec(nn.Module):
    """Encoder and entropy model; with anchors, the gains that make its rate a continuous control.

    It knows no backbone. Decoders are separate modules, so the same packet serves any of them.
    """

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.gains = Gains(config.anchors, config.widths[-1]) if config.anchors else None
        self.prior = FactorizedPrior(config.widths[-1])

    @property
    def codes(self) -> range:
        """The lmbda codes that the codec has tables for, see :func:`fsplit_lib.packet.lmbda_to_code`."""
        ends = self.config.anchors or (self.config.lmbda,)
        return range(lmbda_to_code(ends[0]), lmbda_to_code(ends[-1]) + 1)

    @property
    def lmbdas(self) -> list[float]:
        """The rate weights that the wire can name and the codec can use, ascending."""
        return [code_to_lmbda(code) for code in self.codes]

    def tables(self, lmbda: float | None = None) -> Tables:
        """The frozen tables for a rate weight; for the codec's own by default.

        Raises:
            ParameterError: lmbda outside the codec's range.
            RuntimeError: :meth:`freeze` was never called.
        """
        return self.prior.tables_at(self._level(self._code(lmbda)))

    def freeze(self, update_quantiles: bool = True, keep_grid: bool = False) -> None:
        """Make the integer tables, for every code where there are gains; see :meth:`FactorizedPrior.freeze`."""
        if self.gains is None:
            self.prior.freeze(update_quantiles, keep_grid)
            return
        if self.prior.medians.any():
            raise ValueError("a codec of several rates rounds around 0: set the medians to 0 before it is trained")
        with torch.no_grad():
            gain, _ = self.gains(torch.tensor([code_to_lmbda(code) for code in self.codes]))
        self.prior.freeze(update_quantiles, keep_grid=True, gains=gain[:, :, 0, 0])

    @property
    def codec_id(self) -> bytes:
        """4 bytes: SHA-256 of configuration, encoder and gains (as float16), medians and the digest of the tables."""
        used = {k: v for k, v in asdict(self.config).items() if v not in ((), "residual")}  # ids are older than these
        digest = hashlib.sha256(repr(sorted(used.items())).encode())
        for part in (self.encoder, self.gains):
            for parameter in part.state_dict().values() if part is not None else ():
                digest.update(parameter.cpu().half().numpy().astype("<f2").tobytes())
        digest.update(self.prior.medians.cpu().numpy().astype("<f4").tobytes())
        digest.update(self.prior.table_digest)
        return digest.digest()[:4]

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError for a picture that no packet of this codec can hold, see :func:`fsplit_lib.packet.check_size`."""
        check_size(height, width, self.config.stride)

    @torch.no_grad()
    def compress(self, x: Tensor, lmbda: float | None = None) -> list[Packet]:
        """One packet a picture.

        Args:
            x: (B, 3, H, W) float in [0, 1]; H and W multiples of the stride.
            lmbda: rate weight, snapped to the wire's 8-bit code; the codec's own by default.

        Raises:
            ValueError: a size off the grid, or too many pixels.
            ParameterError: lmbda outside the codec's range.
        """
        self.check_size(*x.shape[-2:])
        return self.pack(self.encoder(x.contiguous()), lmbda)

    @torch.no_grad()
    def pack(self, y: Tensor, lmbda: float | None = None) -> list[Packet]:
        """The second half of :meth:`compress`: packets of latents (B, C, h, w) already encoded."""
        height, width = (side * self.config.stride for side in y.shape[-2:])
        code = self._code(lmbda)
        tables, codec_id = self.prior.tables_at(self._level(code)), self.codec_id
        symbols = self.symbols(y, code)
        return [Packet(codec_id, height, width, code, (encode_symbols(one, tables),)) for one in symbols]

    @torch.no_grad()
    def symbols(self, y: Tensor, code: int | None = None) -> np.ndarray:
        """Latents (B, C, h, w) to the integers on the wire (B, C, h·w) int32, at a lmbda code."""
        gain, _ = self._gain(y, None if code is None else torch.tensor([code_to_lmbda(code)]))
        return self.prior.to_symbols(y * gain)

    @torch.no_grad()
    def decompress(self, packets: list[Packet]) -> Tensor:
        """The quantised latents y_hat (B, C, h, w) of packets of one picture size.

        Raises:
            PacketError: there is none, or one belongs to another codec, differs in size, or does not decode.
        """
        sizes = {(packet.height, packet.width) for packet in packets}
        if len(sizes) != 1:
            told = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)) or "no packet"
            raise PacketError(f"one call decodes packets of one picture size, got {told}: call once for each size")
        own = self.codec_id
        return torch.cat([self._decompress_one(packet, own) for packet in packets])

    def _decompress_one(self, packet: Packet, own: bytes) -> Tensor:
        if packet.codec_id != own:
            raise PacketError(
                f"the packet was made by codec {packet.codec_id.hex()}, this is codec {own.hex()}: "
                "both ends must load the same checkpoint"
            )
        if len(packet.streams) != 1:
            raise PacketError(f"a packet of this codec holds one stream, got {len(packet.streams)}")
        try:
            self.check_size(packet.height, packet.width)
            level = self._level(packet.lmbda_code)
        except ValueError as error:
            raise PacketError(f"the packet's picture size or lmbda is impossible: {error}") from error
        height, width = packet.height // self.config.stride, packet.width // self.config.stride
        symbols = decode_symbols(packet.streams[0], self.prior.tables_at(level), height * width)
        u_hat = self.prior.from_symbols(symbols[None], height, width)
        _, inverse = self._gain(u_hat, torch.tensor([code_to_lmbda(packet.lmbda_code)]))
        return u_hat * inverse

    def _code(self, lmbda: float | None) -> int:
        return lmbda_to_code(self.config.lmbda if lmbda is None else lmbda)

    def _level(self, code: int) -> int:
        if code not in self.codes:
            ends = [f"{code_to_lmbda(c):.3g}" for c in (self.codes[0], self.codes[-1])]
            raise ParameterError(
                f"this codec packs with lmbda {' to '.join(dict.fromkeys(ends))}, got {code_to_lmbda(code):.3g}"
            )
        return code - self.codes[0]

    @torch.no_grad()
    def ideal_bits(self, x: Tensor, lmbda: float | None = None) -> list[float]:
        """Bits that the integer tables assign to each picture of x: the floor for any coder."""
        code = self._code(lmbda)
        tables = self.prior.tables_at(self._level(code))
        return [ideal_bits(one, tables) for one in self.symbols(self.encoder(x), code)]

    @torch.no_grad()
    def bits_map(self, y: Tensor, lmbda: float | None = None) -> np.ndarray:
        """Where the bits of latents (B, C, h, w) go: (B, h, w), summed over the channels."""
        code = self._code(lmbda)
        tables = self.prior.tables_at(self._level(code))
        bits = [symbol_bits(one, tables).sum(axis=0) for one in self.symbols(y, code)]
        return np.stack(bits).reshape(len(bits), *y.shape[-2:])

    def _gain(self, y: Tensor, lmbda: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.gains is None:
            one = torch.ones(1, 1, 1, 1, dtype=y.dtype)
            return one, one
        return self.gains(torch.tensor([self.config.lmbda]) if lmbda is None else lmbda)

    def quantise(
        self, y: Tensor, quantiser: Quantiser, noise: Tensor | None, lmbda: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The latent that the decoder sees, and the likelihood of the one that is paid for.

        Args:
            y: (B, C, h, w).
            quantiser: "noise" shows both sides y + U(−½, ½), as [FS24] trains. "straight_through"
                shows the decoder the rounded latent with the gradient of the identity. "none"
                removes the quantiser from training, to see what breaks.
            noise: U(−½, ½) of y's shape; None measures with rounding, as in use.
            lmbda: (B,) rate weights, for a codec with gains; its own by default.

        Returns:
            y_hat and p, both (B, C, h, w).
        """
        gain, inverse = self._gain(y, lmbda)
        u = y * gain
        if noise is None:
            u_hat = u_paid = self.prior.quantise(u)
        elif quantiser == "noise":
            u_hat = u_paid = u + noise
        elif quantiser == "straight_through":
            u_hat, u_paid = u + (self.prior.quantise(u) - u).detach(), u + noise
        else:
            u_hat = u_paid = u
        return u_hat * inverse, self.prior.likelihood(u_paid, gain)
