"""Exercises of chapter 06: interpolated gains, deltas and intervals, how many photos it takes, what may be compared."""

import math
from collections.abc import Callable

import numpy as np
from scipy.interpolate import PchipInterpolator

from fsplit_lib.evaluation import bd_rate
from fsplit_lib.exercises.core import Exercise, Fault, choice, function, inputs, near, number, one_number, shaped

TWO = "Return two numbers; yours have shape {got}."
ANCHORS, GAINS = (0.1, 0.3, 1.0, 3.0), (2.0, 1.2, 0.5, 0.4)
T = (math.sqrt(0.3) - 0.3) / 0.7  # how far half way in logs is from 0.3 towards 1


def gain_between(lmbda: float, anchors: tuple[float, ...], gains: tuple[float, ...]) -> float:
    """Interpolate the gain between two anchors, Eq. (2) of chapter 06.

    >>> round(gain_between(3.0, (1.0, 9.0), (1.0, 4.0)), 6)
    2.0
    """
    return float(np.exp(np.interp(np.log(lmbda), np.log(anchors), np.log(gains))))


def _a_gain(result: float | None, lmbda: float, *_: tuple[float, ...]) -> str | None:
    if result is None:
        return f"For lmbda = {lmbda:.3g} your function returned None: end it with a `return`, and include both ends."
    return one_number(result)


def delta(
    anchor_bytes: np.ndarray, anchor_quality: np.ndarray, test_bytes: np.ndarray, test_quality: np.ndarray
) -> float:
    """Compute by how many percent a second curve's bytes differ at equal quality, Eq. (4) of chapter 06."""
    q = np.linspace(max(anchor_quality[0], test_quality[0]), min(anchor_quality[-1], test_quality[-1]), 2001)
    curves = (anchor_bytes, anchor_quality), (test_bytes, test_quality)
    anchor, test = (PchipInterpolator(quality, np.log(size))(q) for size, quality in curves)
    return 100 * (np.exp((test - anchor).mean()) - 1)


def _curve_cases() -> list[tuple]:
    """Draw two rising curves of five points each, whose ratio of bytes changes much over quality; the second begins late."""
    draw, quality = inputs(16), np.array([0.4, 0.52, 0.63, 0.75, 0.85])
    slope, late = draw.uniform(3, 4), 0.8 * quality + draw.uniform(0.2, 0.22)
    sizes = 300 * np.exp(slope * (quality - 0.4)), 150 * np.exp((slope + 2.5) * (quality - 0.4))
    return [(sizes[0], quality, sizes[1] * draw.uniform(0.5, 0.7), late)]


def interval(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Compute the 95 % interval of the mean of values (N,) by drawing them anew, with replacement.

    >>> interval(np.repeat([0.0, 1.0], 50), 1000, np.random.default_rng(0)).round(1)
    array([0.4, 0.6])
    """
    picks = rng.integers(len(values), size=(draws, len(values)))
    return np.percentile(values[picks].mean(axis=1), (2.5, 97.5))


def _interval_cases() -> list[tuple]:
    draw = inputs(17)
    skewed = np.append(draw.uniform(0, 100, 14), 2000)  # tells these ends from 1.96 standard errors
    samples = (draw.exponential(800, 120), skewed)
    return [(values, 10_000, np.random.default_rng(int(draw.integers(2**31)))) for values in samples]


def _as_ends(answer: Callable, values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray | Fault:
    """Return both ends of an interval, in standard errors from the mean."""
    before = rng.bit_generator.state
    ends = np.asarray(answer(values, draws, rng), float)
    if rng.bit_generator.state == before:
        return Fault("Your function never drew from rng.")
    return (ends - values.mean()) / (values.std() / math.sqrt(len(values)))


EXERCISES: tuple[Exercise, ...] = (
    function(
        "06.1",
        gain_between,
        lambda: [(v, ANCHORS, GAINS) for v in (0.1, 1.0, 3.0, *10 ** inputs(6).uniform(-1, 0.47, 3))],
        form=_a_gain,
    )(
        "Find the neighbours, t from the logs of lambda, then gain_a ** (1 − t) · gain_b ** t.",
        "This is all that makes one network serve every rate: six lines and 384 learned numbers.",
        ("np.exp", "", "np.log(gains)", "gains"),
        "You interpolate the gains themselves: take their logs, or powers as in Eq. (2).",
        ("np.log(lmbda), np.log(anchors)", "lmbda, anchors"),
        "t runs evenly in lambda: it has to run evenly in log lambda.",
        ("np.exp", "", "np.log", ""),
        "Both are linear: t belongs on the log of lambda, and the mean on the log of the gain.",
        ("np.exp", ""),
        "That is the log of the gain; take the exponential at the end.",
        ("np.exp(", "np.exp(-"),
        "That is the inverse: the gain multiplies y before rounding.",
        ("np.log(anchors), np.log(gains)", "np.log((anchors[0], anchors[-1])), np.log((gains[0], gains[-1]))"),
        "You used the first and the last anchor; use the two around lambda.",
        lambda v, at, gains: gain_between(at[(n := max(1, int(np.searchsorted(at, v)))) - 1] * at[n] / v, at, gains),
        "The powers are swapped: at the left anchor t is 0, and the gain is the left one.",
    ),
    function(
        "06.2",
        bd_rate,
        _curve_cases,
        base=delta,
        same=lambda a, b: math.isclose(1 + a / 100, 1 + b / 100, rel_tol=5e-3),
    )(
        "Interpolate the log of the bytes over quality for both curves, average the difference over the shared quality, then 100 · (exp − 1).",
        "Within half a percent of the package that this book's tables are made with: Eq. (4) is all there is to it.",
        ("(np.exp((test - anchor).mean()) - 1)", "(test - anchor).mean()"),
        "That is the mean of the logs: it still has to go through exp, minus one.",
        (".mean()) - 1)", ".mean()))"),
        "The −1 of Eq. (4) is missing: equal curves give 0 %.",
        ("(quality, np.log(size))", "(np.log(size), quality)"),
        "You interpolated the quality over the bytes; interpolate ln R over q.",
        ("np.exp((test - anchor).mean())", "np.exp(test - anchor).mean()"),
        "You averaged the ratio itself; Eq. (4) averages its logarithm.",
        ("np.log(size)", "np.log10(size)"),
        "You went back with exp from a logarithm to base 10; use np.log.",
        (".mean()", ".mean() * (q[-1] - q[0])"),
        "That is the integral; divide it by q1 − q0, the length of the shared quality.",
        ("max(anchor_quality[0]", "min(anchor_quality[0]", "min(anchor_quality[-1]", "max(anchor_quality[-1]"),
        "Your average runs over quality that only one curve reaches: begin at the larger first value, end at the smaller last one.",
        ("100 * ", ""),
        "That is a share; asked are percent.",
        ("test - anchor", "anchor - test"),
        "That is the anchor against the test; swap the two.",
        ("(test - anchor)", "np.log(test_bytes / anchor_bytes)"),
        "You compared setting with setting; Eq. (4) compares at equal quality.",
    ),
    # two sets of draws differ a little
    function("06.3", interval, _interval_cases, use=_as_ends, form=shaped(lambda *_: (2,), TWO), same=near(0, 0.16))(
        "rng.integers(n, size=(draws, n)) picks the photos; np.percentile(means, [2.5, 97.5]) cuts off both ends.",
        "No formula, no assumption about the shape of the values: the photos themselves say how much their mean may vary.",
        ("(2.5, 97.5)", "(5, 95)"),
        "Those ends leave 5 % out on each side: 95 % in the middle leave 2.5 %.",
        ("(2.5, 97.5)", "(0.025, 0.975)"),
        "np.percentile counts from 0 to 100, so the ends are 2.5 and 97.5.",
        ("(2.5, 97.5)", "(97.5, 2.5)"),
        "The two ends are in the wrong order: return the lower one first.",
        ("mean(axis=1)", "mean(axis=0)"),
        "You averaged each place over the draws; take the mean of each draw, along axis 1.",
        ("size=(draws, len(values))", "size=(draws, 1)"),
        "That is the spread of single photos; asked is that of the mean of as many photos as there are.",
        ("rng.integers(len(values), size=(draws, len(values)))", "[rng.permutation(len(values))]"),
        "Your draws all hold the same photos: draw with replacement.",
        ("(2.5, 97.5)", "(0, 100)"),
        "That is the least and the largest of all draws; asked are the middle 95 %.",
    ),
    number("06.4", math.sqrt(1.2 * 0.5))(
        "First t: how far is the square root of 0.3 from 0.3 towards 1, in logs? Then Eq. (2).",
        "0.775: half way in the log of lambda is half way in the log of the gain.",
        (0.85, "That is the arithmetic mean; gains multiply, so take the geometric one."),
        (1.2 ** (1 - T) * 0.5**T, "Your t runs evenly in lambda; it has to run evenly in its log."),
        (0.6, "That is the product; its square root is missing."),
        (0.6**-0.5, "That is one over the gain. Asked is the gain; the server's inverse gain is learned on its own."),
    ),
    number("06.5", -40.0)(
        "At every quality the ratio of bytes is the same. What does Eq. (4) make of a constant ratio?",
        "Minus 40 %: with a constant ratio the mean of the log ratio is that ratio, and the whole curve says one number.",
        (40.0, "The sign: B needs fewer bytes, and fewer is negative."),
        (200 / 3, "That is A against B; asked is B against A."),
        (60.0, "That is what is left of the bytes; asked is the change."),
        (-0.4, "In percent, please."),
        (100 * math.log(0.6), "The mean of the logs still has to go through the exponential, minus one."),
    ),
    number("06.6", (1.96 / 0.01) ** 2 * 0.75 * 0.25, relative=0.02)(
        "The half width of a share's interval is about 1.96 · sqrt(p (1 − p) / n).",
        "About 7,200. Our 500 give almost ± 4 points, so differences of one or two points here are no differences.",
        ((1.96 / 0.02) ** 2 * 0.75 * 0.25, "That is for ± 2 points: the half width is 0.01."),
        (0.75 * 0.25 / 0.01**2, "The 1.96 of a 95 % interval is missing."),
        ((1.96 / 0.01) ** 2 * 0.25, "That is the worst case p = 1/2; here p is 3/4."),
        (1.96 / 0.01 * 0.75 * 0.25, "Solve for n: the ratio has to be squared."),
    ),
    choice("06.7", "c")(
        "Which of the numbers do the two codecs share, and what is asked?",
        "Saved bytes only mean something at equal quality, and over a whole curve nobody can pick the point that suits.",
        a="Lambda is no quality: another loss makes another trade at the same lambda, as chapter 04 shows with a constant map.",
        b="At equal bytes one compares quality, which is fair at one point; it is not the question of how many bytes are saved.",
        d="More points make the curve smoother; they do not make two different qualities comparable.",
    ),
)
