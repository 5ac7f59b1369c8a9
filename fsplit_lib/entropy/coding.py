"""Entropy coding of a latent with integer frequency tables, one per channel.

    symbols (C, N) int32 ──► index in the table, or escape ──► constriction's ANS coder ──► bytes

A table covers the symbols that training found likely. Its last entry is the *escape*: a symbol beyond
the table is announced by it and follows at the end of the stream in full, so nothing is ever clipped.

The coder is a stack: what was written last is read first, so the encoder works backwards. It stops
within 4 bytes of the ideal, which its sibling, constriction's range coder, does not on short streams.

Source: asymmetric numeral systems, Duda 2013 (arXiv 1311.2540); constriction, Bamler 2022 (arXiv 2201.01741).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import constriction
import numpy as np

from fsplit_lib.errors import PacketError

PRECISION = 16  # frequencies of a table add up to 2**16
TABLE_ARRAYS = ("frequencies", "lengths", "offsets")
ESCAPE_BITS = 8  # an escaped symbol travels as a zig-zag varint, in bytes
_Categorical = constriction.stream.model.Categorical
_BYTE = constriction.stream.model.Uniform(2**ESCAPE_BITS)


@dataclass(frozen=True, eq=False)
class Tables:
    """Integer frequency tables: all that both ends must share to the last bit.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([-1], "i4"))
    >>> t.probabilities(0, np.array([-1, 99])).tolist()  # 99 is no symbol of the table
    [0.5, 0.0]
    """

    # (C, L) int32; row c holds `lengths[c]` positive entries that add up to 2**16, the last of them the escape; zeros
    # behind
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
        used = np.arange(self.frequencies.shape[1]) < self.lengths[:, None]
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

    def rows(self, first: int, end: int) -> "Tables":
        """Take some of the tables, from ``first`` up to ``end``."""
        return Tables(self.frequencies[first:end], self.lengths[first:end], self.offsets[first:end])

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
        parts = (self.frequencies, self.lengths, self.offsets)
        return b"".join(np.ascontiguousarray(part, dtype="<i4").tobytes() for part in parts)

    def __getstate__(self) -> dict:
        return {name: part for name, part in vars(self).items() if name != "models"}  # constriction's cannot be copied


def encode_symbols(symbols: np.ndarray, tables: Tables) -> bytes:
    """Encode symbols (C, count) to bytes.

    Args:
        symbols: (C, N) int32, any values.
        tables: one table a channel.

    Returns:
        The stream.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([0], "i4"))
    >>> decode_symbols(encode_symbols(np.array([[0, 1, 1, 99]], "i4"), t), t, 4)
    array([[ 0,  1,  1, 99]], dtype=int32)
    """
    coder = constriction.stream.stack.AnsCoder()
    push_symbols(coder, symbols, tables)
    return stream_of(coder)


def decode_symbols(stream: bytes, tables: Tables, count: int, check: bool = True) -> np.ndarray:
    """Decode bytes to symbols (C, count) int32: the inverse of :func:`encode_symbols`.

    Args:
        stream: bytes of one latent.
        tables: those of the encoder.
        count: N, symbols per channel.
        check: False returns whatever is read, to see what wrong tables do.

    Raises:
        PacketError: the stream is not one that ``encode_symbols`` could have written with these tables.

    >>> t = Tables(np.array([[32768, 32767, 1]], "i4"), np.array([3], "i4"), np.array([0], "i4"))
    >>> stream = encode_symbols(np.ones((1, 800), "i4"), t)
    >>> len(stream), int(decode_symbols(stream, t, 800).sum())  # of 1 bit each
    (103, 800)
    """
    with reading(stream) as coder:
        symbols = pop_symbols(coder, tables, count)
    if check:
        check_same(encode_symbols(symbols, tables), stream)
    return symbols


def push_symbols(
    coder: "constriction.stream.stack.AnsCoder",
    symbols: np.ndarray,
    tables: Tables,
    places: Sequence[np.ndarray | slice] | None = None,
) -> None:
    """Write symbols on top of what a coder holds, channel by channel, the escaped ones in full below them.

    Args:
        coder: is changed.
        symbols: (C, N) int32.
        tables: one table a channel.
        places: those of each channel that are written; all of them by default.
    """
    places = places or [np.s_[:]] * len(symbols)
    entries, escaped = table_entries(symbols, tables)
    if escaped.any():
        late = [row[at][mask[at]] for row, mask, at in zip(symbols, escaped, places, strict=True)]
        coder.encode_reverse(_varints(np.concatenate(late)), _BYTE)
    for row, model, at in zip(entries[::-1], tables.models[::-1], places[::-1], strict=True):
        coder.encode_reverse(row[at], model)


def pop_symbols(
    coder: "constriction.stream.stack.AnsCoder",
    tables: Tables,
    count: int,
    places: Sequence[np.ndarray | slice] | None = None,
) -> np.ndarray:
    """Read the symbols (C, count) int32 that :func:`push_symbols` wrote last; where none was written they are 0."""
    entries, known = np.zeros((tables.channels, count), np.int32), np.zeros((tables.channels, count), bool)
    for channel, (model, at) in enumerate(zip(tables.models, places or [np.s_[:]] * tables.channels, strict=True)):
        known[channel, at] = True
        entries[channel, at] = coder.decode(model, int(known[channel].sum()))
    escaped = known & (entries == tables.lengths[:, None] - 1)
    symbols = np.where(known, entries + tables.offsets[:, None], 0).astype(np.int32)
    if escaped.any():
        symbols[escaped] = _read_varints(coder, int(escaped.sum()))
    return symbols


def encode_indexed(symbols: np.ndarray, index: np.ndarray, tables: Tables) -> bytes:
    """Encode symbols to bytes, each with the table that a side channel chose for it.

    Args:
        symbols: (N,) int32.
        index: (N,) the table of each symbol; both ends have to know it.
        tables: any number.

    Raises:
        ValueError: an index that names no table.
    """
    coder = constriction.stream.stack.AnsCoder()
    push_indexed(coder, symbols, index, tables)
    return stream_of(coder)


def decode_indexed(stream: bytes, index: np.ndarray, tables: Tables) -> np.ndarray:
    """Decode bytes to symbols (N,) int32: the inverse of :func:`encode_indexed`.

    Raises:
        PacketError: the stream is not one that was written with this index and these tables.
        ValueError: an index that names no table.
    """
    _check_index(index, tables)
    with reading(stream) as coder:
        symbols = pop_indexed(coder, index, tables)
    check_same(encode_indexed(symbols, index, tables), stream)
    return symbols


def push_indexed(
    coder: "constriction.stream.stack.AnsCoder", symbols: np.ndarray, index: np.ndarray, tables: Tables
) -> None:
    """Write symbols on top of what a coder holds, table by table, the escaped ones in full below them.

    Args:
        coder: is changed.
        symbols: (N,) int32.
        index: (N,) the table of each symbol.
        tables: any number.

    Raises:
        ValueError: an index that names no table.
    """
    _check_index(index, tables)
    order, groups = _by_table(index)
    entries, escaped = table_entries(symbols[order], tables, index[order])
    if escaped.any():
        coder.encode_reverse(_varints(symbols[order][escaped]), _BYTE)
    for table, first, end in groups[::-1]:
        coder.encode_reverse(entries[first:end], tables.models[table])


def pop_indexed(coder: "constriction.stream.stack.AnsCoder", index: np.ndarray, tables: Tables) -> np.ndarray:
    """Read the symbols (N,) int32 that :func:`push_indexed` wrote last, and take them off the coder.

    Raises:
        ValueError: a stream that ends too early.
        PacketError: an escaped symbol that cannot be one.
    """
    order, groups = _by_table(index)
    read = [coder.decode(tables.models[table], end - first) for table, first, end in groups]
    entries, tables_of = np.concatenate([order[:0].astype(np.int32), *read]), index[order]
    values = (entries + tables.offsets[tables_of]).astype(np.int32)
    escaped = entries == tables.lengths[tables_of] - 1
    if escaped.any():
        values[escaped] = _read_varints(coder, int(escaped.sum()))
    symbols = np.empty_like(values)
    symbols[order] = values
    return symbols


def symbol_bits(symbols: np.ndarray, tables: Tables, index: np.ndarray | None = None) -> np.ndarray:
    """Compute −log2 of the tables' own probability of every symbol, escapes in full, of the symbols' shape.

    Args:
        symbols: (C, N) int32, one table a channel; or (N,) with an index.
        tables: see :class:`Tables`.
        index: (N,) the table of each symbol.
    """
    entries, escaped = table_entries(symbols, tables, index)
    bits = PRECISION - np.log2(
        tables.frequencies[np.arange(len(entries))[:, None] if index is None else index, entries]
    )
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
    """Find each symbol's entry in its table, and which symbols have to be escaped.

    Args:
        symbols: (C, N) int32, one table a channel; or (N,) with an index.
        tables: see :class:`Tables`.
        index: (N,) the table of each symbol.

    Returns:
        Entries int32 and mask, both of the symbols' shape.

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
def reading(stream: bytes) -> Iterator["constriction.stream.stack.AnsCoder"]:
    """Open a stream; what cannot be read from it in the block becomes a :class:`~fsplit_lib.errors.PacketError`."""
    try:
        words = np.frombuffer(stream + bytes(-len(stream) % 4), dtype="<u4").astype(np.uint32)
        yield constriction.stream.stack.AnsCoder(words)
    except PacketError:
        raise
    except (ValueError, AssertionError, OverflowError) as error:  # constriction: invalid compressed data
        raise PacketError("the stream does not decode with these tables") from error


def check_same(written: bytes, stream: bytes) -> None:
    """Raise PacketError unless symbols are written as the stream they were read from.

    A coder can read anything; only one stream says this.
    """
    if written != stream:
        raise PacketError("the stream is not the one that its symbols are written as: it was altered")


def stream_of(coder: "constriction.stream.stack.AnsCoder") -> bytes:
    """Take the bytes of what a coder holds."""
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")  # the last word is never 0


def _check_index(index: np.ndarray, tables: Tables) -> None:
    if len(index) and not 0 <= index.min() <= index.max() < tables.channels:
        raise ValueError(f"index must name tables 0 to {tables.channels - 1}, got {index.min()} to {index.max()}")


def _by_table(index: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Sort an index (N,): the order, and table, first place and end of each group of one table in it."""
    order = np.argsort(index.astype(np.uint16), kind="stable")  # 16 bits sort by radix
    found, first, count = np.unique(index[order], return_index=True, return_counts=True)
    return order, list(zip(found.tolist(), first.tolist(), (first + count).tolist(), strict=True))


def _varints(values: np.ndarray) -> np.ndarray:
    """Signed integers to zig-zag LEB128 bytes, as int32 for the coder."""
    out = []
    for value in values.tolist():
        rest = value * 2 if value >= 0 else -value * 2 - 1
        while rest > 127:
            out.append(rest % 128 + 128)
            rest //= 128
        out.append(rest)
    return np.array(out, dtype=np.int32)


def _read_varints(coder: "constriction.stream.stack.AnsCoder", count: int) -> list[int]:
    values = []
    for _ in range(count):
        rest, shift = 0, 0
        while (byte := coder.decode(_BYTE)) > 127:
            rest |= (byte - 128) << shift
            shift += 7
            if shift > 28:
                raise PacketError("an escaped symbol is longer than 32 bits")
        rest |= byte << shift
        value = -(rest + 1) // 2 if rest % 2 else rest // 2
        if not -(2**31) <= value < 2**31:
            raise PacketError("an escaped symbol is longer than 32 bits")
        values.append(value)
    return values
