"""Entropy coding of a latent with integer frequency tables, one per channel.

    symbols (C, N) int32 ──► index in the table, or escape ──► constriction's ANS coder ──► bytes

A table covers the symbols that training found likely. Its last entry is the *escape*: a symbol beyond
the table is announced by it and follows at the end of the stream in full, so nothing is ever clipped.

The coder is a stack: what was written last is read first, so the encoder works backwards. It stops
within 4 bytes of the ideal, which its sibling, constriction's range coder, does not on short streams.

Source: asymmetric numeral systems, Duda 2013 (arXiv 1311.2540); constriction, Bamler 2022 (arXiv 2201.01741).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import constriction
import numpy as np

from fsplit_lib.errors import PacketError
from fsplit_lib.packet import read_varint, varint

PRECISION = 16  # frequencies of a table add up to 2**16
TABLE_ARRAYS = ("frequencies", "lengths", "offsets")
ESCAPE_BITS = 8  # an escaped symbol travels as a zig-zag varint, in bytes
AnsCoder = constriction.stream.stack.AnsCoder
_Categorical = constriction.stream.model.Categorical
_BYTE = constriction.stream.model.Uniform(2**ESCAPE_BITS)


@dataclass(frozen=True, eq=False)
class Tables:
    """Integer frequency tables: all that both ends must share to the last bit.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([-1], "i4"))
    >>> t.probabilities(0, np.array([-1, 99])).tolist()  # 99 is no symbol of the table
    [0.5, 0.0]
    """

    # (C, L) int32; row c holds `lengths[c]` positive entries that add up to 2**16, the last one the escape; then zeros
    frequencies: np.ndarray
    lengths: np.ndarray  # (C,) int32, entries in use, escape included
    offsets: np.ndarray  # (C,) int32, the symbol that entry 0 stands for

    def __post_init__(self) -> None:
        rows, columns = self.frequencies.shape
        if not len(self.lengths) == len(self.offsets) == rows or (self.lengths > columns).any():
            raise ValueError(
                f"tables need one length of at most {columns} and one offset for each of the {rows} rows of frequencies, "
                f"got lengths {self.lengths} and {len(self.offsets)} offsets"
            )
        used = np.arange(columns) < self.lengths[:, None]
        sums = np.where(used, self.frequencies, 0).sum(axis=1)
        if (self.lengths < 2).any() or (self.frequencies[used] <= 0).any() or (sums != 2**PRECISION).any():
            raise ValueError("each table needs at least 2 positive frequencies that add up to 2**16")

    @property
    def channels(self) -> int:
        """C, the number of tables."""
        return len(self.lengths)

    @cached_property
    def models(self) -> list:
        """One constriction model a channel, built once: building costs more than coding with it."""
        rows = zip(self.frequencies, self.lengths, strict=True)
        return [_Categorical(row[:n].astype(np.float64) / 2**PRECISION, perfect=False) for row, n in rows]

    def probabilities(self, channel: int, symbols: np.ndarray) -> np.ndarray:
        """Compute what one table gives each of ``symbols`` (N,); 0 where it would have to escape."""
        at = np.asarray(symbols) - self.offsets[channel]
        inside = (at >= 0) & (at < self.lengths[channel] - 1)
        return np.where(inside, self.frequencies[channel][np.where(inside, at, 0)], 0) / 2**PRECISION

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Write the tables as named arrays."""
        return {name: getattr(self, name) for name in TABLE_ARRAYS}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, np.ndarray], prefix: str = "") -> "Tables":
        """Read what :meth:`to_arrays` wrote, from names that begin with ``prefix``.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays contradict each other.
        """
        return cls(*(stored[prefix + name] for name in TABLE_ARRAYS))

    def to_bytes(self) -> bytes:
        """Write the tables as canonical little-endian bytes, for hashing."""
        return b"".join(part.astype("<i4").tobytes() for part in self.to_arrays().values())

    def __getstate__(self) -> dict:
        return {name: part for name, part in vars(self).items() if name != "models"}  # constriction's cannot be copied


def encode_symbols(symbols: np.ndarray, tables: Tables, index: np.ndarray | None = None) -> bytes:
    """Encode symbols (C, N) int32 of any values to bytes, with one table a channel.

    Or symbols (N,) with an index (N,), the table of each, where a side channel chose it; both ends have to know it.

    Raises:
        ValueError: symbols that are no whole numbers of 32 bits, or an index that names no table.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([0], "i4"))
    >>> decode_symbols(encode_symbols(np.array([[0, 1, 1, 99]], "i4"), t), t, 4)
    array([[ 0,  1,  1, 99]], dtype=int32)
    """
    coder = AnsCoder()
    push_symbols(coder, symbols, tables, index)
    return stream_of(coder)


def decode_symbols(
    stream: bytes, tables: Tables, count: int = 0, check: bool = True, index: np.ndarray | None = None
) -> np.ndarray:
    """Decode bytes to symbols int32, (C, count) or of the index's shape: the inverse of :func:`encode_symbols`.

    Without the check it returns whatever is read, to see what wrong tables do.

    Raises:
        PacketError: the stream is not one that ``encode_symbols`` could have written with these tables.
        ValueError: an index that names no table.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([0], "i4"))
    >>> stream = encode_symbols(np.ones((1, 800), "i4"), t)
    >>> len(stream), int(decode_symbols(stream, t, 800).sum())  # of 1 bit each
    (103, 800)
    """
    _check_index(index, tables)
    with reading(stream) as coder:
        symbols = pop_symbols(coder, tables, count, index)
    if check:
        check_same(encode_symbols(symbols, tables, index), stream)
    return symbols


def push_symbols(coder: AnsCoder, symbols: np.ndarray, tables: Tables, index: np.ndarray | None = None) -> None:
    """Write symbols on top of what a coder holds, table by table, the escaped ones in full below them.

    Arguments and errors as in :func:`encode_symbols`.
    """
    _check_index(index, tables)
    order, chosen, groups = _by_table(tables, symbols.shape[-1], index)
    entries, escaped = table_entries(symbols[order], tables, chosen)
    if escaped.any():
        coder.encode_reverse(_varints(symbols[order][escaped]), _BYTE)
    for table, first, end in groups[::-1]:
        coder.encode_reverse(entries.ravel()[first:end], tables.models[table])


def pop_symbols(coder: AnsCoder, tables: Tables, count: int = 0, index: np.ndarray | None = None) -> np.ndarray:
    """Read the symbols that :func:`push_symbols` wrote last, and take them off the coder; arguments as for decoding.

    Raises:
        ValueError: a stream that ends too early.
        PacketError: an escaped symbol that cannot be one.
    """
    order, chosen, groups = _by_table(tables, count, index)
    read = [coder.decode(tables.models[table], end - first) for table, first, end in groups]
    entries = np.concatenate([np.empty(0, np.int32), *read])
    entries = entries.reshape(tables.channels, count) if index is None else entries
    at = np.s_[:, None] if index is None else chosen
    values = (entries + tables.offsets[at]).astype(np.int32)
    escaped = entries == tables.lengths[at] - 1
    if escaped.any():
        values[escaped] = _read_varints(coder, int(escaped.sum()))
    symbols = np.empty_like(values)
    symbols[order] = values
    return symbols


def symbol_bits(symbols: np.ndarray, tables: Tables, index: np.ndarray | None = None) -> np.ndarray:
    """Compute −log2 of the tables' own probability of every symbol, escapes in full, of the symbols' shape.

    Arguments as in :func:`encode_symbols`.
    """
    entries, escaped = table_entries(symbols, tables, index)
    at = np.arange(len(entries))[:, None] if index is None else index
    bits = PRECISION - np.log2(tables.frequencies[at, entries])
    bits[escaped] += [ESCAPE_BITS * len(_varints(np.array([value]))) for value in symbols[escaped]]
    return bits


def ideal_bits(symbols: np.ndarray, tables: Tables) -> float:
    """Compute the sum of :func:`symbol_bits`, which no coder can go below, for symbols (C, N).

    >>> t = Tables(np.array([[32768, 16384, 16384]], "i4"), np.array([3], "i4"), np.array([0], "i4"))
    >>> ideal_bits(np.array([[0, 1]]), t), ideal_bits(np.array([[7]]), t)  # 1 + 2 bits; an escape and a byte
    (3.0, 10.0)
    """
    return float(symbol_bits(symbols, tables).sum())


def table_entries(
    symbols: np.ndarray, tables: Tables, index: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find each symbol's entry in its table, int32, and the mask of those that have to be escaped, both of their shape.

    Arguments as in :func:`encode_symbols`.

    Raises:
        ValueError: symbols of another shape, or that are no whole numbers of 32 bits.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([0], "i4"))
    >>> [part.tolist() for part in table_entries(np.array([[0, 1, 99]]), t)]
    [[[0, 1, 2]], [[False, False, True]]]
    """
    if index is None and (symbols.ndim != 2 or symbols.shape[0] != tables.channels):
        raise ValueError(f"symbols must be ({tables.channels}, N), got {symbols.shape}")
    at = np.s_[:, None] if index is None else index
    escape = (tables.lengths - 1)[at]
    whole = symbols.astype(np.int32, copy=False)
    if whole is not symbols and not np.array_equal(whole, symbols):
        raise ValueError("symbols must be whole numbers of 32 bits; others would come back as something else")
    indices = whole - tables.offsets[at]
    escaped = indices.view(np.uint32) >= escape.view(np.uint32)  # as unsigned, below the table is far above it
    return np.where(escaped, escape, indices), escaped


@contextmanager
def reading(stream: bytes) -> Iterator[AnsCoder]:
    """Open a stream; what cannot be read from it in the block becomes a :class:`~fsplit_lib.errors.PacketError`."""
    try:
        words = np.frombuffer(stream + bytes(-len(stream) % 4), dtype="<u4").astype(np.uint32)
        yield AnsCoder(words)
    except PacketError:
        raise
    except (ValueError, AssertionError, OverflowError) as error:  # constriction: invalid compressed data
        raise PacketError("the stream does not decode with these tables") from error


def check_same(written: bytes, stream: bytes) -> None:
    """Raise PacketError unless symbols are written as the stream they were read from: a coder can read anything."""
    if written != stream:
        raise PacketError("the stream was altered: its symbols would be written as other bytes")


def stream_of(coder: AnsCoder) -> bytes:
    """Take the bytes of what a coder holds."""
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")  # the last word is never 0


def _check_index(index: np.ndarray | None, tables: Tables) -> None:
    if index is not None and len(index) and not 0 <= index.min() <= index.max() < tables.channels:
        raise ValueError(f"index must name tables 0 to {tables.channels - 1}, got {index.min()} to {index.max()}")


def _by_table(
    tables: Tables, count: int, index: np.ndarray | None
) -> tuple[np.ndarray | slice, np.ndarray | None, list[tuple[int, int, int]]]:
    """Sort symbols by table: their order, their index in it, and table, first place and end of each group."""
    if index is None:  # they are: a channel is a group
        return np.s_[:], None, [(channel, channel * count, (channel + 1) * count) for channel in range(tables.channels)]
    sorted_already = (index[1:] >= index[:-1]).all()
    order = np.s_[:] if sorted_already else np.argsort(index.astype(np.uint16), kind="stable")  # 16 bits sort by radix
    ends = [0, *np.searchsorted(index[order], np.arange(tables.channels), side="right").tolist()]
    groups = [(table, first, end) for table, (first, end) in enumerate(pairwise(ends)) if first < end]
    return order, index[order], groups


def _varints(values: np.ndarray) -> np.ndarray:
    """Signed integers to zig-zag LEB128 bytes, as int32 for the coder."""
    zigzag = (2 * value if value >= 0 else -2 * value - 1 for value in values.tolist())
    return np.frombuffer(b"".join(map(varint, zigzag)), np.uint8).astype(np.int32)


def _read_varints(coder: AnsCoder, count: int) -> list[int]:
    values = []
    for _ in range(count):
        number = read_varint(lambda: coder.decode(_BYTE), most=5)
        value = -(number + 1) // 2 if number % 2 else number // 2
        if not -(2**31) <= value < 2**31:
            raise PacketError("an escaped symbol is longer than 32 bits")
        values.append(value)
    return values
