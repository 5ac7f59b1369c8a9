"""Exercises of chapter 06: interpolated gains, deltas, how many photos it takes, what may be compared."""

import math
from collections.abc import Callable

import numpy as np

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

ANCHORS, GAINS = (0.1, 0.3, 1.0, 3.0), (2.0, 1.2, 0.5, 0.4)
MIDDLE = math.sqrt(0.3)  # half way between 0.3 and 1 on a log scale


def _between(log_axis: bool, log_value: bool) -> Callable[..., float]:
    """The gain between two anchors, with lambda and gain on a log scale or not."""

    def gain(lmbda: float, anchors: tuple[float, ...], gains: tuple[float, ...]) -> float:
        axis, value = (np.log if log_axis else np.asarray), (np.log if log_value else np.asarray)
        found = np.interp(axis(lmbda), axis(anchors), value(gains))
        return float(np.exp(found) if log_value else found)

    return gain


_geometric = _between(True, True)


def _cases() -> list[tuple]:
    drawn = np.exp(inputs(6).uniform(math.log(0.1), math.log(3), 3)).tolist()
    return [(v, ANCHORS, GAINS) for v in (0.1, 1.0, *drawn)]


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "06.1",
        expected=math.sqrt(1.2 * 0.5),
        hint="First t: how far is the square root of 0.3 from 0.3 towards 1, in logs? Then Eq. (2).",
        why="0.775: half way in the log of lambda is half way in the log of the gain.",
        traps=(
            Trap(0.85, "That is the arithmetic mean; gains multiply, so take the geometric one."),
            Trap(
                1.2 ** (1 - (MIDDLE - 0.3) / 0.7) * 0.5 ** ((MIDDLE - 0.3) / 0.7),
                "Your t runs evenly in lambda; it has to run evenly in its log.",
            ),
            Trap(0.6, "That is the product; its square root is missing."),
            Trap(
                1 / math.sqrt(0.6),
                "That is one over the gain. Asked is the gain; the server's inverse gain is learned on its own.",
            ),
        ),
    ),
    Exercise.number(
        "06.2",
        expected=-40.0,
        hint="At every quality the ratio of bytes is the same. What does Eq. (4) make of a constant ratio?",
        why="Minus 40 %: with a constant ratio the mean of the log ratio is that ratio, and the whole curve says one number.",
        traps=(
            Trap(40.0, "The sign: B needs fewer bytes, and fewer is negative."),
            Trap(200 / 3, "That is A against B; asked is B against A."),
            Trap(60.0, "That is what is left of the bytes; asked is the change."),
            Trap(-0.4, "In percent, please."),
            Trap(100 * math.log(0.6), "The mean of the logs still has to go through the exponential, minus one."),
        ),
    ),
    Exercise.number(
        "06.3",
        expected=(1.96 / 0.01) ** 2 * 0.75 * 0.25,
        hint="The half width of a share's interval is about 1.96 · sqrt(p (1 − p) / n).",
        why="About 7,200. Our 500 give almost ± 4 points, so differences of one or two points here are no differences.",
        relative=0.02,
        traps=(
            Trap((1.96 / 0.02) ** 2 * 0.75 * 0.25, "That is for ± 2 points: the half width is 0.01."),
            Trap(0.75 * 0.25 / 0.01**2, "The 1.96 of a 95 % interval is missing."),
            Trap((1.96 / 0.01) ** 2 * 0.25, "That is the worst case p = 1/2; here p is 3/4."),
            Trap(1.96 / 0.01 * 0.75 * 0.25, "Solve for n: the ratio has to be squared."),
        ),
    ),
    Exercise.choice(
        "06.4",
        expected="c",
        options={
            "a": "Lambda is no quality: another loss makes another trade at the same lambda, as chapter 04 shows with a constant map.",
            "b": "At equal bytes one compares quality, which is fair at one point; it is not the question of how many bytes are saved.",
            "d": "More points make the curve smoother; they do not make two different qualities comparable.",
        },
        hint="Which of the numbers do the two codecs share, and what is asked?",
        why="Saved bytes only mean something at equal quality, and over a whole curve nobody can pick the point that suits.",
    ),
    Exercise.function(
        "06.5",
        right=_geometric,
        cases=_cases,
        hint="Find the neighbours, t from the logs of lambda, then gain_a ** (1 − t) · gain_b ** t.",
        why="This is all that makes one network serve every rate: six lines and 384 learned numbers.",
        traps=(
            Trap(
                _between(True, False), "You interpolate the gains themselves: take their logs, or powers as in Eq. (2)."
            ),
            Trap(_between(False, True), "t runs evenly in lambda: it has to run evenly in log lambda."),
            Trap(
                _between(False, False),
                "Both are linear: t belongs on the log of lambda, and the mean on the log of the gain.",
            ),
            Trap(
                lambda *case: math.log(_geometric(*case)),
                "That is the log of the gain; take the exponential at the end.",
            ),
            Trap(lambda *case: 1 / _geometric(*case), "That is the inverse: the gain multiplies y before rounding."),
        ),
    ),
)
