"""Exercises of chapter 06: interpolated gains, deltas and intervals, how many photos it takes, what may be compared."""

import math
from collections.abc import Callable

import numpy as np
from scipy.interpolate import PchipInterpolator

from fsplit_lib.exercises.core import Exercise, Trap, inputs

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


def _mean_over_quality(
    anchor_bytes: np.ndarray,
    anchor_quality: np.ndarray,
    test_bytes: np.ndarray,
    test_quality: np.ndarray,
    log: bool = True,
) -> float:
    """The mean, over the quality that both curves reach, of the log ratio of their bytes, or of the ratio itself."""
    low, high = (f((anchor_quality[n], test_quality[n])) for f, n in ((max, 0), (min, -1)))
    q = np.linspace(low, high, 2001)
    curves = ((anchor_quality, anchor_bytes), (test_quality, test_bytes))
    anchor, test = (PchipInterpolator(quality, np.log(size))(q) for quality, size in curves)
    return float((test - anchor if log else np.exp(test - anchor)).mean())


def _delta(*case: np.ndarray) -> float:
    from fsplit_lib.evaluation import bd_rate

    return bd_rate(*case)


def _curve_cases() -> list[tuple]:
    """Two rising curves of five points each, whose ratio of bytes changes much over the quality that both reach."""
    draw, quality = inputs(16), np.array([0.4, 0.52, 0.63, 0.75, 0.85])
    slope = draw.uniform(3, 4)
    sizes = 300 * np.exp(slope * (quality - 0.4)), 150 * np.exp((slope + 2.5) * (quality - 0.4))
    return [(sizes[0], quality, sizes[1] * draw.uniform(0.5, 0.7), quality + draw.uniform(0.03, 0.06))]


def _interval(values: np.ndarray, draws: int, rng: np.random.Generator, ends: tuple = (2.5, 97.5)) -> np.ndarray:
    picks = rng.integers(len(values), size=(draws, len(values)))
    return np.percentile(values[picks].mean(axis=1), ends)


def _interval_cases() -> list[tuple]:
    draw = inputs(17)
    return [(draw.exponential(800, 120), 10_000, np.random.default_rng(int(draw.integers(2**31))))]


def _as_ends(answer: Callable, values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Both ends of an interval, in standard errors from the mean."""
    ends = np.asarray(answer(values, draws, rng), float)
    return (ends - values.mean()) / (values.std() / math.sqrt(len(values)))


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
    Exercise.function(
        "06.6",
        right=_delta,
        cases=_curve_cases,
        hint="Interpolate the log of the bytes over quality for both curves, average the difference over the shared quality, then 100 · (exp − 1).",
        why="Within half a percent of the package that this book's tables are made with: Eq. (4) is all there is to it.",
        same=lambda got, expected: math.isclose(1 + got / 100, 1 + expected / 100, rel_tol=5e-3),
        traps=(
            Trap(
                lambda *case: 100 * _mean_over_quality(*case),
                "That is the mean of the logs: it still has to go through exp, minus one.",
            ),
            Trap(
                lambda *case: 100 * (_mean_over_quality(*case, log=False) - 1),
                "You averaged the ratio itself; Eq. (4) averages its logarithm.",
            ),
            Trap(lambda *case: _delta(*case) / 100, "That is a share; asked are percent."),
            Trap(lambda *case: _delta(*case[2:], *case[:2]), "That is the anchor against the test; swap the two."),
            Trap(
                lambda a, _, b, __: 100 * (math.exp(np.log(b / a).mean()) - 1),
                "You compared setting with setting; Eq. (4) compares at equal quality.",
            ),
        ),
    ),
    Exercise.function(
        "06.7",
        right=_interval,
        cases=_interval_cases,
        use=_as_ends,
        form=lambda ends, *_: None if ends.shape == (2,) else f"Return two numbers; yours have shape {ends.shape}.",
        same=lambda got, expected: np.allclose(got, expected, rtol=0, atol=0.16),  # two sets of draws differ a little
        hint="rng.integers(n, size=(draws, n)) picks the photos; np.percentile(means, [2.5, 97.5]) cuts off both ends.",
        why="No formula, no assumption about the shape of the values: the photos themselves say how far their mean may wander.",
        traps=(
            Trap(
                lambda v, draws, rng: _interval(v, draws, rng, (5, 95)),
                "Those ends leave 5 % out on each side: 95 % in the middle leave 2.5 %.",
            ),
            Trap(
                lambda v, draws, rng: np.percentile(v[rng.integers(len(v), size=draws)], (2.5, 97.5)),
                "That is the spread of single photos; asked is that of the mean of as many photos as there are.",
            ),
            Trap(
                lambda v, _, rng: (rng.permutation(v).mean(),) * 2,
                "Your draws all hold the same photos: draw with replacement.",
            ),
            Trap(
                lambda v, draws, rng: _interval(v, draws, rng, (0, 100)),
                "That is the least and the largest of all draws; asked are the middle 95 %.",
            ),
        ),
    ),
)
