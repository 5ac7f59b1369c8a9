"""Exercises of chapter 03: an interval, the price of wrong tables, a likelihood, a coder and tables in your own hand."""

import math
from collections.abc import Callable
from functools import cache
from itertools import product, zip_longest
from operator import eq
from typing import Any

import numpy as np
import torch

from fsplit_lib.entropy.coding import Tables, encode_symbols
from fsplit_lib.entropy.models import FactorizedPrior, frequencies_of
from fsplit_lib.exercises.core import Exercise, Fault, choice, free, function, inputs, number, one_number, shaped
from fsplit_lib.theory import AnsStack

WIDTH = 0.5 * 0.3 * 0.5 * 0.2  # of "ABAC", where A, B and C have the probabilities 0.5, 0.3 and 0.2


def _sigmoid(v: Any) -> Any:
    return 1 / (1 + np.exp(-v))


def _mass(c: Callable, v: Any) -> Any:
    return c(v + 0.5) - c(v - 0.5)


@cache
def _wandered() -> tuple[Any, Any]:
    """Train a prior of one channel until it has followed its values to 14, with quantiles that have not; return both."""
    with torch.random.fork_rng(devices=[]):
        rng = inputs(3)
        torch.manual_seed(int(rng.integers(2**31)))
        values, prior = 14 + rng.uniform(1, 1.6) * torch.randn(1, 1, 20, 20), FactorizedPrior(1)
        optimiser = torch.optim.Adam(prior.parameters(), 3e-2)
        for _ in range(250):
            loss = -prior.likelihood(values + torch.rand(values.shape) - 0.5).log2().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return prior, values


def _bytes(prior: FactorizedPrior, values: Any) -> int:
    prior.update()
    return len(encode_symbols(prior.to_symbols(values)[0], prior.tables))


def _same_length(got: Any, expected: float) -> bool:
    """Compare within two bytes, since machines may differ there; a stream's length is whole, an estimate is not."""
    return abs(float(got) - expected) <= 2 and float(got).is_integer() == float(expected).is_integer()


def _one_each(result: Any, _: Any, v: Any) -> str | None:
    """Demand one number where v is one, else one for each of the values."""
    told = "For an array of values {wanted} return as many likelihoods; yours has the shape {got}."
    return shaped(lambda: np.shape(v), told)(result) if np.ndim(v) else one_number(result)


def _messages() -> list[tuple[list[int], list[list[int]]]]:
    """Draw symbols and the table of each: two tables of other lengths, in turn, some 150 bytes in all."""
    rng, tables = inputs(36), []
    for length in (5, 9):
        f = 1 + np.floor((2**16 - length) * rng.dirichlet(np.full(length, 0.7))).astype(int)
        f[f.argmax()] += 2**16 - f.sum()
        tables.append(f.tolist())
    of = [tables[n % 2] for n in range(800)]
    return [([int(rng.choice(len(f) - 1, p=np.array(f[:-1]) / sum(f[:-1]))) for f in of], of)]


BACKWARDS = "to_bytes has the bytes in the wrong order: the lowest byte comes first."
NOTHING = "pop has to return the symbol."
ANOTHER = "push is right, but pop returns another symbol."
UNDONE = (
    "pop returns the right symbol, but leaves another number than the one before the push: "
    "the whole part, times f[s], and the rest inside the stretch."
)
TOO_MANY = "Round the number of bytes up, and no further: 8 bits need 1 byte, 9 bits need 2."


def _pop_fault(coder: Callable, f: list[int]) -> Fault | None:
    """Return the first fault of a coder whose push is right, with each symbol alone on a small number, or nothing."""
    for s, x in product(range(len(f)), (0, 2**20)):
        stack = AnsStack(x.to_bytes(3, "little"))
        stack.push(s, f)
        reader = coder(stack.to_bytes())
        if reader.pop(f) != s:
            return Fault(ANOTHER)
        if int.from_bytes(reader.to_bytes(), "little") != x:
            return Fault(UNDONE)
    return Fault(TOO_MANY) if len(coder(b"\x80").to_bytes()) > 1 else None


def _sent(coder: Callable, symbols: list[int], tables: list[list[int]]) -> tuple[list[int], int] | Fault:
    """Return what comes back of symbols through a coder's bytes, and how many bytes more than constriction's these are."""
    writer, right = coder(b""), AnsStack()
    for s, f in zip(reversed(symbols), reversed(tables), strict=True):
        writer.push(s, f)
        right.push(s, f)
    stream = writer.to_bytes()
    if not isinstance(stream, bytes):
        raise TypeError(f"to_bytes() returned {type(stream).__name__}, not bytes")
    if int.from_bytes(stream, "big") == right.number:
        return Fault(BACKWARDS)
    if coder(stream).pop(tables[0]) is None:
        return Fault(NOTHING)
    if int.from_bytes(stream, "little") == right.number and (fault := _pop_fault(coder, tables[0])):
        return fault
    reader = coder(stream)
    back = [reader.pop(f) for f in tables]
    rows = list(dict.fromkeys(map(tuple, tables)))
    frequencies = np.array(list(zip_longest(*rows, fillvalue=0)), "i4").T.copy()
    all_tables = Tables(frequencies, np.array(list(map(len, rows)), "i4"), np.zeros(len(rows), "i4"))
    index = np.array([rows.index(tuple(f)) for f in tables])
    return back, len(stream) - len(encode_symbols(np.array(symbols, "i4"), all_tables, index))


def _densities() -> list[tuple[list[float]]]:
    """Draw probabilities that leave a little for the escape: broad ones, and peaked ones with entries far below 2**-16."""
    rng, out = inputs(37), []
    for length, spread in ((7, 2.0), (15, 0.45), (41, 4.0)):
        at = np.arange(length) - length // 2 - rng.uniform(-0.4, 0.4)
        out.append((_mass(lambda v, spread=spread: _sigmoid(v / spread), at).tolist(),))
    return out


def _rounded(pmf: list[float]) -> list[int]:
    shares = [*pmf, max(1 - sum(pmf), 0.0)]
    f = [max(1, round(2**16 * p)) for p in shares]
    f[f.index(max(f))] += 2**16 - sum(f)
    return f


READ = 'int.from_bytes(stream, "little")'  # in AnsStack
NO_LIST = "Return a list of whole numbers, one for each probability and one for the escape."
NOT_ALL = "There is no entry for the escape: return one number more than there are probabilities, the last for what they leave."
NOT_SUM = "The frequencies have to add up to 65,536 exactly: after rounding, give what is missing, or take what is too much, at the largest."
A_ZERO = (
    "A frequency is below 1. A symbol without a place in the table cannot be written at all, however rarely it comes."
)
DEAR = "They add up, but cost bits: what rounding left over went where it does harm. Give it to the largest frequency."
FIRST = "The escape's entry has to be the last one."
RARE = "The escape's entry has to hold about 65,536 times the probability that the others leave."


def _judged(answer: Callable, pmf: list[float]) -> Fault | None:
    """Return the first fault of a table, or nothing."""
    found = answer(pmf)
    try:
        f = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        return Fault(NO_LIST)
    if f.ndim != 1 or not np.isfinite(f).all() or (f != f.round()).any():
        return Fault(NO_LIST)
    if len(f) != len(pmf) + 1:
        other = f"Return {len(pmf) + 1} frequencies for {len(pmf)} probabilities."
        return Fault(NOT_ALL if len(f) == len(pmf) else other)
    if f.min() < 1:
        return Fault(A_ZERO)
    if f.sum() != 2**16:
        return Fault(NOT_SUM)
    best = frequencies_of(torch.tensor([pmf]), torch.tensor([len(pmf)]))[0].numpy()
    shares = np.array([*pmf, max(1 - sum(pmf), 0.0)])
    dearer = [(shares * np.log2(best / table)).sum() > 1e-3 for table in (f, np.roll(f, -1))]  # bits a symbol more
    if not dearer[0]:
        return None
    return Fault(RARE if f[-1] == 1 < best[-1] else DEAR if dearer[1] else FIRST)


EXERCISES: tuple[Exercise, ...] = (
    function(
        "03.1",
        _mass,
        lambda: [(_sigmoid, v) for v in (0.0, 0.3, *inputs(3).uniform(-5, 5, 2).tolist(), inputs(4).uniform(-5, 5, 6))],
        form=_one_each,
    )(
        "A symbol v stands for everything that rounds to it, from v − ½ to v + ½. You are given the cumulative.",
        "This difference is the density of y plus noise at v as well: one formula serves training and use.",
        lambda c, v: c(v - 0.5) - c(v + 0.5),
        "The sign is turned round: a probability is not negative.",
        lambda c, v: c(v + 1) - c(v - 1),
        "That interval is two symbols wide: half a step to each side is enough.",
        lambda c, v: c(v + 1) - c(v),
        "That interval starts at v; a rounded symbol stands for half a step to each side.",
        lambda c, v: c(v) * (1 - c(v)),
        "That is the density (or its slope) at a point; a symbol owns an interval.",
        lambda c, v: -np.log2(_mass(c, v)),
        "Those are bits; return the probability itself.",
    ),
    function(
        "03.2",
        AnsStack,
        _messages,
        use=_sent,
        same=lambda a, b: a[0] == b[0] and abs(a[1] - b[1]) <= 1,
        form=free,
        asked="class",
    )(
        "push: divmod(self.number, f[s]) gives the quotient and the rest that the equation asks for. pop: the rest of a division by 65,536 lies in "
        "one symbol's stretch; subtract f[0], f[1], … until what is left is below f[s]. Whole-number division only: / would round.",
        "Your lines code as tightly as constriction, within two bytes. What a real coder adds is speed: machine words for the one large number.",
        ("+ sum(f[:s]) + rest", "+ rest"),
        "push left out the start: each symbol owns the stretch from f[0] + … + f[s − 1] on, f[s] long.",
        ("+ sum(f[:s]) + rest", "+ sum(f[: s + 1]) + rest"),
        "push begins one symbol's stretch too far: F_s is the sum of the entries before s, sum(f[:s]).",
        ("rest >= f[s]", "rest > f[s]"),
        ANOTHER,
        ("f[s] * above + rest", "f[s] * above"),
        UNDONE,
        ("above + rest\n        return s", "above + rest"),
        NOTHING,
        ('8, "little")', '8, "big")'),
        BACKWARDS,
        ("+ 7) // 8", "// 8 + 1)"),
        TOO_MANY,
        ("above + sum(f[:s]) + rest", "self.number + s", "s = 0", "self.number = above; return rest"),
        "It comes back, at 16 bits a symbol: divide by f[s] first, so that a likely symbol adds little.",
        (READ, "int(stream or 0)", "self.number.to_bytes(", "str(self.number).encode() or ("),
        "It comes back, but the number is written in decimal digits: use int.to_bytes, 256 values a byte.",
    ),
    function("03.3", _rounded, _densities, use=_judged, same=eq, form=free)(
        "Append what the probabilities leave for the escape; round 65,536 p, but never below 1; mend the sum at the largest entry.",
        "Any such table can be sent with. Both ends must have the same one, so it is made once and then travels as data.",
        ("+= 2**16 - sum(f)", "+= 0"),
        NOT_SUM,
        ("max(1, round(2**16 * p))", "round(2**16 * p)"),
        A_ZERO,
        ("[*pmf, max(1 - sum(pmf), 0.0)]", "pmf"),
        NOT_ALL,
        ("return f", "return f[-1:] + f[:-1]"),
        FIRST,
        ("max(1 - sum(pmf), 0.0)", "0.0"),
        RARE,
        ("2**16 * p", "2**15 * p", "f.index(max(f))", "-1"),
        DEAR,
    ),
    number("03.4", -math.log2(WIDTH))(
        "Eq. (4): multiply the probabilities of A, B, A and C; then −log2.",
        "6.06 bits: a coder ends within two bits of that, for the whole message and not for every symbol.",
        (-math.log(WIDTH), "Those are nats: use log2."),
        (WIDTH, "That is the width of the interval; the bits are −log2 of it."),
        (math.log2(WIDTH), "Widths are below 1, so their log is negative: mind the sign."),
        (-math.log2(WIDTH) / 4, "That is the mean per symbol; asked is the message."),
        (7.0, "That is rounded up to whole bits; asked is −log2 of the width itself."),
        (8.0, "Two bits a symbol is what a code of fixed length would take."),
    ),
    number("03.5", 37_632 * -math.log2(0.9) / 8)(
        "Each symbol costs −log2 0.9 bits, and there are 48 × 28 × 28 of them.",
        "715 bytes for 37,632 symbols that carry no information. Small packets therefore need a probability much closer to 1 for the most frequent symbol.",
        (37_632 * -math.log2(0.9), "Those are bits; a byte has eight."),
        (37_632 * -math.log(0.9) / 8, "Those are nats, divided by eight: use log2."),
        (784 * -math.log2(0.9) / 8, "That is one channel; there are 48."),
        (37_632 / 8, "One bit a symbol is what a code without fractions of a bit would take."),
    ),
    choice("03.6", "d")(
        "After each symbol the decoder computes its next state from that symbol's entry. What if the entry is a little off?",
        "One wrong entry makes one wrong state, and each state is made from the one before. So tables travel as integers, and a hash of them in every packet.",
        a="Losing bytes on the wire is what the checksum is for; tables that differ are a different fault.",
        b="The stream would be as long: its length was fixed when it was written.",
        c="The coder can read anything and never notices. What refused above is our library, which encodes the result again and compares.",
    ),
    function("03.7", _bytes, lambda: [_wandered()], same=_same_length)(
        "Make the tables first, with everything that belongs to it: prior.update(). Then code the symbols and count.",
        "Three lines, and the first is easily forgotten: without updated quantiles the tables cover the wrong range.",
        ("prior.update()", "prior.update(update_quantiles=False)"),
        "The quantile update is missing: the tables cover where the density was born, and all symbols escape.",
        ("prior.update()\n    ", "", "prior.tables", "(prior.update(), prior.tables)[1]"),
        "You made the symbols before the tables: update() also moves the median from which the symbols are counted.",
        lambda prior, values: 8 * _bytes(prior, values),
        "Those are bits; a byte has eight.",
        lambda prior, values: -prior.likelihood(prior.quantise(values)).log2().sum().item() / 8,
        "That is the estimate of the density, not the length of a stream that somebody could read.",
    ),
)
