"""From a latent to a packet and back, in numpy: phone and server run this code on these arrays.

    y ──► × gain ──► − median ──► round ──► symbols ──► entropy code ──► Packet
    y_hat ◄── × inverse ◄── + median ◄── symbols ◄── entropy decode ◄── Packet

A :class:`~fsplit_lib.codec.FeatureCodec` makes its packer from its weights; a device bundle stores one as ``codec.npz``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fsplit_lib.entropy.coding import Tables, decode_symbols, encode_symbols, symbol_bits
from fsplit_lib.entropy.context import Context
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.packet import Packet, check_size, code_to_lmbda, lmbda_to_code

LARGEST = np.float32(2**30)  # symbols beyond it are clipped: no table and no escape is made for them


def to_symbols(u: np.ndarray, medians: np.ndarray) -> np.ndarray:
    """Round a latent u (..., C, N) float32, already multiplied by its gain, to the integers on the wire, int32.

    The medians (C,) float32 are the centres of the rounding grid.

    Raises:
        ValueError: the latent holds NaN or infinity.
    """
    if not np.isfinite(u).all():
        raise ValueError("the latent holds NaN or infinity: the picture or the encoder's weights are damaged")
    return np.clip(np.rint(u - medians[:, None]), -LARGEST, LARGEST).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Packer:
    """All of a codec but its networks."""

    codec_id: bytes  # 4 bytes, as in its packets
    stride: int  # pixels per latent position and side
    lmbda: float  # that the codec packs with unless told otherwise
    first_code: int  # the least lmbda code that it has tables for
    gains: np.ndarray  # (L, C) float32, one row per code
    inverse_gains: np.ndarray  # (L, C) float32, the same for the way back
    medians: np.ndarray  # (C,) float32, centres of the rounding grid
    tables: Tables  # of all codes, C rows each
    context: Context | None = None  # chooses tables by a symbol's neighbours; None takes its channel's own
    # kept, since building the coder's models costs more than coding
    _tables_by_code: dict[int, Tables] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        levels, channels = self.gains.shape
        fit = (levels, channels), (channels,), levels * channels
        if (got := (self.inverse_gains.shape, self.medians.shape, self.tables.channels)) != fit:
            raise ValueError(f"inverse gains, medians and tables for gains {fit[0]} must be {fit}, got {got}")
        if self.context is not None and len(self.context.groups) != levels:
            raise ValueError(f"a context of {len(self.context.groups)} rate weights does not fit {levels}")

    @classmethod
    def from_arrays(cls, stored: Mapping[str, np.ndarray]) -> "Packer":
        """Read what :meth:`to_arrays` wrote; errors as in :meth:`Tables.from_arrays`."""
        plain = {name: stored[name].item() for name in ("stride", "lmbda", "first_code")}
        arrays = {name: stored[name] for name in ("gains", "inverse_gains", "medians")}
        context = Context.from_arrays(stored, "context_") if "context_groups" in stored else None
        return cls(stored["codec_id"].tobytes(), **plain, **arrays, tables=Tables.from_arrays(stored), context=context)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Write the packer as named arrays, for ``numpy.savez``."""
        fields = {k: np.asarray(v) for k, v in vars(self).items() if isinstance(v, int | float | np.ndarray)}
        context = {} if self.context is None else self.context.to_arrays("context_")
        return {"codec_id": np.frombuffer(self.codec_id, np.uint8), **fields, **self.tables.to_arrays(), **context}

    @property
    def codes(self) -> range:
        """The lmbda codes that there are tables for, see :func:`fsplit_lib.packet.lmbda_to_code`."""
        return range(self.first_code, self.first_code + len(self.gains))

    def code(self, lmbda: float | None) -> int:
        """Compute the wire's code of a rate weight; of the codec's own by default."""
        return lmbda_to_code(self.lmbda if lmbda is None else lmbda)

    def tables_at(self, code: int) -> Tables:
        """Look up the tables of one lmbda code, C rows.

        Raises:
            ParameterError: the codec has none for it.
        """
        if code not in self.codes:
            ends = dict.fromkeys(f"{code_to_lmbda(c):.3g}" for c in (self.codes[0], self.codes[-1]))
            raise ParameterError(f"this codec packs with lmbda {' to '.join(ends)}, got {code_to_lmbda(code):.3g}")
        if code not in self._tables_by_code:
            first = (code - self.first_code) * len(self.medians)
            rows = (part[first : first + len(self.medians)] for part in self.tables.to_arrays().values())
            self._tables_by_code[code] = Tables(*rows)
        return self._tables_by_code[code]

    def symbols(self, y: np.ndarray, code: int) -> np.ndarray:
        """Compute the integers on the wire (C, h·w) int32 of a latent (C, h, w) float32, at a lmbda code.

        Raises:
            ParameterError: the codec has no tables for the code.
            ValueError: a latent that is no number.
        """
        self.tables_at(code)  # a code below the first would index the gains from their end
        return to_symbols(y.reshape(len(y), -1) * self.gains[code - self.first_code, :, None], self.medians)

    def pack(self, y: np.ndarray, lmbda: float | None = None) -> Packet:
        """Make the packet of a latent (C, h, w) float32, at a rate weight; the codec's own by default.

        Raises:
            ParameterError: lmbda outside the codec's range.
            ValueError: a latent that is no number.
        """
        code = self.code(lmbda)
        return self.pack_symbols(self.symbols(y, code), code, *y.shape[1:])

    def pack_symbols(self, symbols: np.ndarray, code: int, height: int, width: int) -> Packet:
        """Make the packet of symbols (C, h·w) of a latent of ``height`` by ``width``."""
        stream = self.encode(symbols, code, height, width)
        return Packet(self.codec_id, height * self.stride, width * self.stride, code, (stream,))

    def encode(self, symbols: np.ndarray, code: int, height: int, width: int) -> bytes:
        """Entropy-code symbols (C, h·w) of a latent of ``height`` by ``width``."""
        tables = self.tables_at(code)
        if self.context is None:
            return encode_symbols(symbols, tables)
        return self.context.encode(symbols.reshape(-1, height, width), tables, code - self.first_code)

    def symbol_bits(self, symbols: np.ndarray, code: int, height: int, width: int) -> np.ndarray:
        """Compute −log2 of the probability of every symbol (C, h·w) of a latent of ``height`` by ``width``, escapes in full."""
        tables = self.tables_at(code)
        if self.context is None:
            return symbol_bits(symbols, tables)
        bits = self.context.symbol_bits(symbols.reshape(-1, height, width), tables, code - self.first_code)
        return bits.reshape(symbols.shape)

    def read_symbols(self, packet: Packet) -> np.ndarray:
        """Read the symbols (C, h·w) int32 of a packet.

        Raises:
            PacketError: it belongs to another codec, contradicts itself, or does not decode.
        """
        if packet.codec_id != self.codec_id:
            raise PacketError(
                f"the packet was made by codec {packet.codec_id.hex()}, this is codec {self.codec_id.hex()}: "
                "both ends must load the same checkpoint"
            )
        if len(packet.streams) != 1:
            raise PacketError(f"a packet of this codec holds one stream, got {len(packet.streams)}")
        try:
            check_size(packet.height, packet.width, self.stride)
            tables = self.tables_at(packet.lmbda_code)
        except ValueError as error:
            raise PacketError(f"the packet's picture size or lmbda is impossible: {error}") from error
        (stream,), height, width = packet.streams, packet.height // self.stride, packet.width // self.stride
        if self.context is None:
            return decode_symbols(stream, tables, height * width)
        symbols = self.context.decode(stream, tables, packet.lmbda_code - self.first_code, height, width)
        return symbols.reshape(len(symbols), -1)

    def unpack(self, packet: Packet) -> np.ndarray:
        """Read the quantised latent y_hat (C, h, w) float32 of a packet.

        Raises:
            PacketError: see :meth:`read_symbols`.
        """
        u_hat = self.read_symbols(packet).astype(np.float32) + self.medians[:, None]
        y_hat = u_hat * self.inverse_gains[packet.lmbda_code - self.first_code, :, None]
        return y_hat.reshape(-1, packet.height // self.stride, packet.width // self.stride)
