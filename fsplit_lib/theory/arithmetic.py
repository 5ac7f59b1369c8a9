"""Arithmetic coding with exact fractions: a message is a number, and a likely message is a short one.

    [0, 1) ──'B'──► [low, high) ──'A'──► ... ──► any binary fraction inside is the code

For learning: real coders keep the same interval in a few machine words. No floats, so no rounding.

Source: Rissanen & Langdon 1979, "Arithmetic coding" (doi 10.1147/rd.232.0149); for the stack, Duda 2013, "Asymmetric
numeral systems" (arXiv 1311.2540).
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Step:
    """The interval after one symbol; its width is the probability of all symbols so far."""

    symbol: str
    low: Fraction
    high: Fraction


def _slots(probs: dict[str, Fraction]) -> dict[str, tuple[Fraction, Fraction]]:
    if not probs or any(s <= 0 for s in probs.values()) or sum(probs.values()) != 1:
        raise ValueError(f"probs must be positive fractions that add up to exactly 1, got {probs}")
    edges = itertools.accumulate(probs.values(), initial=Fraction(0))
    return dict(zip(probs, itertools.pairwise(edges), strict=True))


def steps(message: str, probs: dict[str, Fraction]) -> list[Step]:
    """Compute the interval after each symbol of a message, by exact probabilities: Eq. (4) of chapter 03.

    >>> steps("BA", {"A": Fraction(3, 4), "B": Fraction(1, 4)})[-1].low
    Fraction(3, 4)
    """
    slots, low, width, found = _slots(probs), Fraction(0), Fraction(1), []
    for symbol in message:
        if symbol not in slots:
            raise ValueError(f"{symbol!r} has no share; known are {', '.join(slots)}")
        below, above = slots[symbol]
        low, width = low + width * below, width * (above - below)
        found.append(Step(symbol, low, low + width))
    return found


def encode_message(message: str, probs: dict[str, Fraction]) -> str:
    """Find the shortest string of bits whose every continuation lies in the message's interval.

    At most 2 bits longer than −log2 of the message's probability.

    >>> encode_message("AAAA", {"A": Fraction(3, 4), "B": Fraction(1, 4)})
    '00'
    """
    last = [Step("", Fraction(0), Fraction(1)), *steps(message, probs)][-1]
    for bits in itertools.count():
        first = math.ceil(last.low * 2**bits)
        if first + 1 <= last.high * 2**bits:
            return format(first, f"0{bits}b") if bits else ""


def decode_message(bits: str, count: int, probs: dict[str, Fraction]) -> str:
    """Decode the ``count`` symbols that a string of bits stands for: the inverse of :func:`encode_message`.

    >>> decode_message("00", 4, {"A": Fraction(3, 4), "B": Fraction(1, 4)})
    'AAAA'
    """
    slots = _slots(probs)
    value, message = Fraction(int(bits, 2), 2 ** len(bits)) if bits else Fraction(0), ""
    for _ in range(count):
        symbol = next(s for s, (low, high) in slots.items() if low <= value < high)
        low, high = slots[symbol]
        value = (value - low) / (high - low)
        message += symbol
    return message


class AnsStack:
    """Symbols on one large whole number, the last on top: ANS without the machine words, from an earlier stack's bytes.

    >>> stack = AnsStack()
    >>> for symbol in "CAB":
    ...     stack.push("ABC".index(symbol), [32768, 16384, 16384])
    >>> "".join("ABC"[stack.pop([32768, 16384, 16384])] for _ in range(3))
    'BAC'
    """

    def __init__(self, stream: bytes = b""):
        self.number = int.from_bytes(stream, "little")

    def push(self, s: int, f: list[int]) -> None:
        """Put a symbol on top, an index into frequencies that add up to 2**16: log2(2**16 / f[s]) bits more."""
        above, rest = divmod(self.number, f[s])
        self.number = 2**16 * above + sum(f[:s]) + rest

    def pop(self, f: list[int]) -> int:
        """Take the top symbol off: the inverse of :meth:`push` with the same frequencies."""
        above, rest = divmod(self.number, 2**16)
        s = 0
        while rest >= f[s]:
            rest -= f[s]
            s += 1
        self.number = f[s] * above + rest
        return s

    def to_bytes(self) -> bytes:
        """Write the number in as few bytes as it takes, lowest first."""
        return self.number.to_bytes((self.number.bit_length() + 7) // 8, "little")
