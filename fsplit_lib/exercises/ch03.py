"""Exercises of chapter 03: the width of an interval, the price of wrong tables, noise, likelihood in your own hand."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

MESSAGE = {"A": 0.5, "B": 0.3, "C": 0.2}  # of "ABAC"
WIDTH = 0.5 * 0.3 * 0.5 * 0.2


def _sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def _interval(low: float, high: float) -> Callable[..., float]:
    """The probability of ``v + low`` to ``v + high``."""
    return lambda c, v: c(v + high) - c(v + low)


@cache
def _wandered() -> tuple[Any, Any]:
    """A prior of one channel that has followed its values to 14, with quantiles that have not."""
    import torch

    from fsplit_lib.entropy.models import FactorizedPrior

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


def _bytes(prior: Any, values: Any, update_quantiles: bool = True) -> int:
    from fsplit_lib.entropy.coding import encode_symbols

    prior.update(update_quantiles=update_quantiles)
    return len(encode_symbols(prior.to_symbols(values)[0], prior.tables))


def _same_length(got: Any, expected: float) -> bool:
    """Within two bytes, since machines may differ there; and a stream's length is whole, an estimate is not."""
    return abs(float(got) - expected) <= 2 and float(got).is_integer() == float(expected).is_integer()


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "03.1",
        expected=-math.log2(WIDTH),
        hint="Eq. (4): multiply the probabilities of A, B, A and C; then −log2.",
        why="6.06 bits: a coder ends within two bits of that, for the whole message and not for every symbol.",
        traps=(
            Trap(-math.log(WIDTH), "Those are nats: use log2."),
            Trap(WIDTH, "That is the width of the interval; the bits are −log2 of it."),
            Trap(math.log2(WIDTH), "Widths are below 1, so their log is negative: mind the sign."),
            Trap(-math.log2(WIDTH) / 4, "That is the mean per symbol; asked is the message."),
            Trap(7.0, "That is rounded up to whole bits; asked is −log2 of the width itself."),
            Trap(8.0, "Two bits a symbol is what a code of fixed length would take."),
        ),
    ),
    Exercise.number(
        "03.2",
        expected=37_632 * -math.log2(0.9) / 8,
        hint="Each symbol costs −log2 0.9 bits, and there are 48 × 28 × 28 of them.",
        why="715 bytes for saying 'nothing new' 37,632 times: silence has to be made cheaper than that, and training does.",
        traps=(
            Trap(37_632 * -math.log2(0.9), "Those are bits; a byte has eight."),
            Trap(37_632 * -math.log(0.9) / 8, "Those are nats, divided by eight: use log2."),
            Trap(784 * -math.log2(0.9) / 8, "That is one channel; there are 48."),
            Trap(37_632 / 8, "One bit a symbol is what a code without fractions of a bit would take."),
        ),
    ),
    Exercise.choice(
        "03.3",
        expected="d",
        options={
            "a": "Losing bytes on the wire is what the checksum is for; tables that differ are a different fault.",
            "b": "The stream would be as long: its length was fixed when it was written.",
            "c": "The coder can read anything and never notices. What refused above is our library, which encodes the result again and compares.",
        },
        hint="After each symbol the decoder computes its next state from that symbol's entry. What if the entry is a little off?",
        why="One wrong entry makes one wrong state, and each state is made from the one before. So tables travel as integers, and a hash of them in every packet.",
    ),
    Exercise.function(
        "03.4",
        right=_interval(-0.5, 0.5),
        cases=lambda: [(_sigmoid, v) for v in (0.0, 0.3, *inputs(3).uniform(-5, 5, 2).tolist())],
        hint="A symbol v stands for everything that rounds to it, from v − ½ to v + ½. You are given the cumulative.",
        why="This difference is the density of y plus noise at v as well: one formula serves training and use.",
        traps=(
            Trap(_interval(0.5, -0.5), "The sign is turned round: a probability is not negative."),
            Trap(_interval(-1, 1), "That interval is two symbols wide: half a step to each side is enough."),
            Trap(_interval(0, 1), "That interval starts at v; a rounded symbol stands for half a step to each side."),
            Trap(
                lambda c, v: c(v) * (1 - c(v)),
                "That is the density (or its slope) at a point; a symbol owns an interval.",
            ),
            Trap(lambda c, v: -math.log2(c(v + 0.5) - c(v - 0.5)), "Those are bits; return the probability itself."),
        ),
    ),
    Exercise.function(
        "03.5",
        right=_bytes,
        cases=lambda: [_wandered()],
        hint="Make the tables first, with everything that belongs to it: prior.update(). Then code the symbols and count.",
        why="Three lines, and one of them is the trap: whoever makes tables has to know where the density has gone.",
        traps=(
            Trap(
                partial(_bytes, update_quantiles=False),
                "The quantile update is missing: the tables cover where the density was born, and all symbols escape.",
            ),
            Trap(lambda prior, values: 8 * _bytes(prior, values), "Those are bits; a byte has eight."),
            Trap(
                lambda prior, values: -prior.likelihood(prior.quantise(values)).log2().sum().item() / 8,
                "That is the estimate of the density, not the length of a stream that somebody could read.",
            ),
        ),
        same=_same_length,
    ),
)
