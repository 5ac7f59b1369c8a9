"""A small causal context: a symbol's neighbours choose its table.

    pass 0   even row, even column     the factorised prior's own table of the channel
    pass 1   odd row, odd column       given its four diagonal neighbours, all of pass 0
    pass 2   the others                given the four next to it, of passes 0 and 1

    (lmbda, pass, channel, neighbours' sum, their absolute sum) ──► one of a few tables that all share

A pass is coded at once, and all arithmetic is that of integers. So both ends choose the same tables whatever machine
they run on; those of a network in floating point (:mod:`fsplit_lib.entropy.hyperprior`) may differ. Channels that
hardly ever say anything are coded in pass 0 as they were. No torch: this runs on the phone.

Source: the passes of He et al. 2021, "Checkerboard context model for efficient learned image compression" (arXiv
2103.15306), with a look into a table in place of its network. :mod:`fsplit_lib.training.context` learns the tables.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import constriction
import numpy as np

from fsplit_lib.entropy.coding import Tables, check_same, pop_symbols, push_symbols, reading, stream_of, symbol_bits

AROUND = {1: ((-1, -1), (-1, 1), (1, -1), (1, 1)), 2: ((-1, 0), (1, 0), (0, -1), (0, 1))}  # neighbours in each pass
WIDEST = 4  # sums beyond it count as this
SUMS = 2 * WIDEST + 1
ACTIVITY = np.searchsorted([1, 2, 3, 4, 5, 7, 10], np.arange(64), side="right")  # class of an absolute sum
CONTEXT_ARRAYS = ("channels", "groups", "choices")
ACTIVITIES = int(ACTIVITY[-1]) + 1


@cache
def places_of(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places (n,) of each pass in a latent of ``height`` by ``width``, counted along its rows.

    >>> [places.tolist() for places in places_of(2, 3)]
    [[0, 2], [4], [1, 3, 5]]
    """
    row, column = np.divmod(np.arange(height * width), width)
    odd = row % 2 + column % 2
    return tuple(np.flatnonzero(mask) for mask in (odd == 0, odd == 2, odd == 1))


def neighbourhoods(symbols: np.ndarray, number: int) -> np.ndarray:
    """Look at the four neighbours of each place of pass 1 or 2; beyond the edge they are 0.

    Takes symbols (C, h, w) int32, of which a later pass's are not looked at, and gives (C, n) integers below
    SUMS · ACTIVITIES: the class of the neighbours' sum and absolute sum.
    """
    height, width = symbols.shape[1:]
    row, column = np.divmod(places_of(height, width)[number], width)
    padded = np.pad(np.clip(symbols, -64, 64), ((0, 0), (1, 1), (1, 1))).reshape(len(symbols), -1)
    total, absolute = 0, 0
    for down, right in AROUND[number]:
        one = padded[:, (row + 1 + down) * (width + 2) + column + 1 + right]
        total, absolute = total + one, absolute + np.abs(one)
    activity = ACTIVITY[np.minimum(absolute, len(ACTIVITY) - 1)]
    return (np.clip(total, -WIDEST, WIDEST) + WIDEST) * ACTIVITIES + activity


@dataclass(frozen=True, eq=False)
class Context:
    """Which table a symbol is coded with."""

    tables: Tables  # that all channels and lmbda codes share
    channels: np.ndarray  # (A,) int32, those that are coded with the context, ascending
    groups: np.ndarray  # (L,) uint8, the row of `choices` of each lmbda code
    choices: np.ndarray  # (G, 2, A, SUMS · ACTIVITIES) uint8, the table of each neighbourhood in passes 1 and 2

    def __post_init__(self) -> None:
        rows = int(self.groups.max()) + 1
        if self.choices.shape != (shape := (rows, 2, len(self.channels), SUMS * ACTIVITIES)):
            raise ValueError(f"choices must be {shape}, got {self.choices.shape}")
        if self.choices.max(initial=0) >= self.tables.channels or (np.diff(self.channels) <= 0).any():
            raise ValueError("a context names a table that is not there, or channels out of order")

    def to_arrays(self, prefix: str = "") -> dict[str, np.ndarray]:
        """Write the context as named arrays, each name after ``prefix``."""
        arrays = {name: getattr(self, name) for name in CONTEXT_ARRAYS} | self.tables.to_arrays()
        return {prefix + name: array for name, array in arrays.items()}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, np.ndarray], prefix: str = "") -> "Context":
        """Read what :meth:`to_arrays` wrote; errors as in :meth:`Tables.from_arrays`."""
        return cls(Tables.from_arrays(stored, prefix), *(stored[prefix + name] for name in CONTEXT_ARRAYS))

    def encode(self, symbols: np.ndarray, first: Tables, level: int) -> bytes:
        """Encode symbols (C, h, w) int32 to bytes.

        ``first`` are the channels' own tables at a lmbda code, ``level`` is the code, counted from the codec's first.
        """
        coder = constriction.stream.stack.AnsCoder()  # a stack: what is read first is written last
        flat, (alone, owner) = symbols.reshape(len(symbols), -1), self._alone(symbols)
        for places, index in reversed(list(self._passes(symbols[self.channels], level))):
            push_symbols(coder, flat[self.channels[:, None], places].ravel(), self.tables, index.ravel())
        push_symbols(coder, flat[alone], first, owner)
        return stream_of(coder)

    def decode(self, stream: bytes, first: Tables, level: int, height: int, width: int) -> np.ndarray:
        """Decode bytes to symbols (C, h, w) int32: the inverse of :meth:`encode`.

        Raises:
            PacketError: the stream is not one that was written with these tables.
        """
        symbols = np.zeros((first.channels, height, width), np.int32)
        flat, (alone, owner) = symbols.reshape(len(symbols), -1), self._alone(symbols)
        with reading(stream) as coder:
            flat[alone] = pop_symbols(coder, first, index=owner)
            chosen = symbols[self.channels]
            for places, index in self._passes(chosen, level):  # each looks at what was read before it
                read = pop_symbols(coder, self.tables, index=index.ravel())
                chosen.reshape(len(chosen), -1)[:, places] = read.reshape(index.shape)
        symbols[self.channels] = chosen
        check_same(self.encode(symbols, first, level), stream)
        return symbols

    def symbol_bits(self, symbols: np.ndarray, first: Tables, level: int) -> np.ndarray:
        """Compute −log2 of the probability of every symbol (C, h, w) given those before it, escapes in full."""
        bits = symbol_bits(symbols.reshape(len(symbols), -1), first)
        chosen = symbols[self.channels]
        for places, index in self._passes(chosen, level):
            part = symbol_bits(chosen.reshape(len(chosen), -1)[:, places].ravel(), self.tables, index.ravel())
            bits[self.channels[:, None], places] = part.reshape(index.shape)
        return bits.reshape(symbols.shape)

    def _passes(self, chosen: np.ndarray, level: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield places (n,) and tables (A, n) of passes 1 and 2."""
        rows = np.arange(len(chosen))[:, None]
        for number in AROUND:
            choices = self.choices[self.groups[level], number - 1]
            yield places_of(*chosen.shape[1:])[number], choices[rows, neighbourhoods(chosen, number)]

    def _alone(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mask (C, h·w) of the places that pass 0 codes, and whose table each takes: its own channel's."""
        mask = np.ones((len(symbols), symbols[0].size), bool)
        mask[self.channels] = False
        mask[self.channels[:, None], places_of(*symbols.shape[1:])[0]] = True
        return mask, np.repeat(np.arange(len(mask)), mask.sum(axis=1))
