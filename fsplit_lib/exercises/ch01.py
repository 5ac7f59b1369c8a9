"""Exercises of chapter 01: one step of Blahut-Arimoto, the bounds of a mini-batch, the worth of a label, wasted bits, beta."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fsplit_lib import theory
from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES", "batch_bounds"]

OPEN = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1 / 9)  # H(answer | class)
TOLD = math.log2(10) - OPEN
P, Q = (0.5, 0.5), (0.9, 0.1)


def _kl(p: tuple[float, ...], q: tuple[float, ...]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True))


def _product(p_xy: np.ndarray) -> np.ndarray:
    return p_xy.sum(1, keepdims=True) * p_xy.sum(0, keepdims=True)


def batch_bounds(
    x: np.ndarray, y: np.ndarray, encoder: np.ndarray, prior: np.ndarray, decoder: np.ndarray
) -> tuple[float, float]:
    """Estimate rate and cross-entropy of Eqs. (9) and (10) of chapter 01 from a mini-batch, in bits for each sample.

    Args:
        x: (N,) values of X, integers.
        y: (N,) values of Y, integers.
        encoder: p(t|x), (X, T).
        prior: r(t), (T,), positive.
        decoder: q(y|t), (T, Y), positive.
    """
    p = encoder[x]  # (N, T)
    rate = (p * np.log2(np.where(p > 0, p, 1) / prior)).sum(1).mean()
    cross_entropy = -(p * np.log2(decoder[:, y].T)).sum(1).mean()
    return float(rate), float(cross_entropy)


def _quietly(answer: Callable, *case: Any) -> Any:
    """Try an answer where 0 · log 0 may come up: its result tells, so numpy need not warn."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return answer(*case)


def _steps() -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Draw joint distributions with unequal p(x), encoders with more or fewer values of T, and betas."""
    rng = inputs(3)
    return [
        (rng.dirichlet(np.ones(12)).reshape(4, 3), rng.dirichlet(np.ones(t), size=4), float(rng.uniform(1, 4)))
        for t in (2, 3, 5)
    ]


def _step_form(result: Any, p_xy: np.ndarray, encoder: np.ndarray, _: float) -> str | None:  # noqa: ARG001
    new = np.asarray(result, float)
    if new.shape != encoder.shape:
        return f"Return an encoder of the shape of the one you were given, {encoder.shape}, not {new.shape}."
    if not np.isfinite(new).all():
        return None  # 0 · log 0: told where only that is wrong
    if np.allclose(new.sum(0), 1) and not np.allclose(new.sum(1), 1):
        return "Your columns add up to 1. p(t|x) is a distribution over t for each x, so each row has to: sum(1, keepdims=True)."
    if not np.allclose(new.sum(1), 1):
        return "The rows of p(t|x) have to add up to 1: divide by their sum, which is what the sign ∝ leaves to you."
    return None


def _step_by(exponent: Callable, base: float = 2.0) -> Callable:
    """A step with another Eq. (8): the exponent from p(t), the divergence (X, T) and beta."""

    def step(p_xy: np.ndarray, encoder: np.ndarray, beta: float) -> np.ndarray:
        p_x = p_xy.sum(1)
        p_t = p_x @ encoder
        p_y_x, p_y_t = p_xy / p_x[:, None], encoder.T @ p_xy / p_t[:, None]
        forth = (p_y_x[:, None] * np.log2(p_y_x[:, None] / p_y_t)).sum(2)
        back = (p_y_t * np.log2(p_y_t / p_y_x[:, None])).sum(2)
        weights = base ** exponent(p_t, forth, back, beta)
        return weights / weights.sum(1, keepdims=True)

    return step


def _mean_of_encoder(p_xy: np.ndarray, encoder: np.ndarray, beta: float) -> np.ndarray:
    """The step with a p(t) for which all x count the same."""
    p_t = encoder.mean(0)
    p_y_t = encoder.T @ p_xy / p_t[:, None]
    cross = p_xy / p_xy.sum(1, keepdims=True) @ np.log2(p_y_t).T
    weights = p_t * 2.0 ** (beta * cross)
    return weights / weights.sum(1, keepdims=True)


def _undivided(p_xy: np.ndarray, encoder: np.ndarray, beta: float) -> np.ndarray:
    """The step with p(y, t) in place of p(y|t)."""
    cross = p_xy / p_xy.sum(1, keepdims=True) @ np.log2(encoder.T @ p_xy).T
    weights = p_xy.sum(1) @ encoder * 2.0 ** (beta * cross)
    return weights / weights.sum(1, keepdims=True)


def _batches() -> list[tuple[np.ndarray, ...]]:
    """Draw mini-batches with encoders, priors and decoders that do not fit each other."""
    rng = inputs(4)
    return [
        (
            rng.integers(4, size=n),
            rng.integers(5, size=n),
            rng.dirichlet(np.full(3, 2.0), size=4),
            rng.dirichlet(np.full(3, 2.0)),
            rng.dirichlet(np.full(5, 2.0), size=3),
        )
        for n in (7, 16)
    ]


def _pair_form(result: Any, *_: Any) -> str | None:
    if not isinstance(result, tuple) or np.shape(result) != (2,):
        return f"Return a pair of numbers: return rate, cross_entropy. Your function returned {str(result)[:60]}."
    return None


def _bounds_by(rate: Callable, cross_entropy: Callable) -> Callable:
    """Bounds by other rules, from p(t|x) of the batch (N, T), the prior (T,) and q(y|t) of the batch (N, T)."""

    def bounds(
        x: np.ndarray, y: np.ndarray, encoder: np.ndarray, prior: np.ndarray, decoder: np.ndarray
    ) -> tuple[float, float]:
        p, q = encoder[x], decoder[:, y].T
        return float(rate(p, prior)), float(cross_entropy(p, q))

    return bounds


def _rate(p: np.ndarray, prior: np.ndarray) -> float:
    return (p * np.log2(p / prior)).sum(1).mean()


def _cross_entropy(p: np.ndarray, q: np.ndarray) -> float:
    return -(p * np.log2(q)).sum(1).mean()


EDGE = (np.array([0, 1, 1]), np.array([0, 1, 0]), np.eye(2), np.array([0.25, 0.75]), np.array([[0.9, 0.1], [0.3, 0.7]]))

EXERCISES: tuple[Exercise, ...] = (
    Exercise.function(
        "01.6",
        right=theory.update_encoder,
        cases=_steps,
        hint="p_x = p_xy.sum(1), then p(t) = p_x @ encoder and p(y|t) = encoder.T @ p_xy / p_t[:, None]. "
        "The divergence of every x from every t is an array (X, T).",
        why="Two updates of a few lines: no step makes L larger, and repeated until nothing moves they solve the bottleneck. "
        "Blahut and Arimoto found the same pattern for the capacity of a channel.",
        form=_step_form,
        use=_quietly,
        traps=(
            Trap(
                _step_by(lambda p_t, forth, back, beta: -beta * forth),  # noqa: ARG005
                "You left out p(t) in Eq. (8): a common t is used more often.",
            ),
            Trap(
                _step_by(lambda p_t, forth, back, beta: np.log(p_t) - beta * forth, math.e),  # noqa: ARG005
                "Your base is e, but the divergence is in bits: Eq. (8) has 2 to the power.",
            ),
            Trap(
                _step_by(lambda p_t, forth, back, beta: np.log2(p_t) - beta * back),  # noqa: ARG005
                "That is D(p(y|t) ‖ p(y|x)); exchange the two: p(y|x) is the distribution over which the mean is taken.",
            ),
            Trap(
                _step_by(lambda p_t, forth, back, beta: np.log2(p_t) + beta * forth),  # noqa: ARG005
                "The sign of the exponent is turned round: a t that is farther away has to be used less.",
            ),
            Trap(
                _step_by(lambda p_t, forth, back, beta: np.log2(p_t) - forth / beta),  # noqa: ARG005
                "You divided by beta; Eq. (8) multiplies by it.",
            ),
            Trap(
                _mean_of_encoder,
                "Your p(t) is the plain mean over x; Eq. (6) weighs each x by p(x) = p_xy.sum(1).",
            ),
            Trap(
                _undivided,
                "You used p(y,t) in place of p(y|t): divide by p(t), as Eq. (7) says.",
            ),
        ),
        edges=(
            (
                (np.array([[0.5, 0.0], [0.1, 0.4]]), np.array([[1.0, 0.0], [0.5, 0.5]]), 1.5),
                "Right, but not where p(x,y) = 0: there 0 · log 0 counts as 0, and you returned another number.",
            ),
        ),
    ),
    Exercise.function(
        "01.7",
        right=batch_bounds,
        cases=_batches,
        hint="encoder[x] has one row p(t|x) for each sample, and decoder[:, y].T one row q(y|t). "
        "Sum over t, then take the mean over the samples.",
        why="Nothing here needs p(x, y): samples are enough, so the same two terms train a network. "
        "In chapter 05 the rate is the entropy model's, and the cross-entropy gives way to a distance of features.",
        form=_pair_form,
        use=_quietly,
        traps=(
            Trap(
                lambda *case: tuple(part * math.log(2) for part in batch_bounds(*case)),
                "Those are nats: use log2.",
            ),
            Trap(
                lambda x, *case: tuple(part * len(x) for part in batch_bounds(x, *case)),
                "Those are sums over the mini-batch. With the mean, lambda does not depend on the size of the batch.",
            ),
            Trap(
                _bounds_by(lambda p, r: -(p * np.log2(r)).sum(1).mean(), _cross_entropy),
                "Your rate is the cross-entropy of the prior. Eq. (9) has log2 p(t|x) / r(t): subtract the entropy of p(t|x).",
            ),
            Trap(
                _bounds_by(lambda p, r: (r * np.log2(r / p)).sum(1).mean(), _cross_entropy),
                "Your rate is D(r ‖ p): exchange the two, the encoder is the distribution over which the mean is taken.",
            ),
            Trap(
                _bounds_by(_rate, lambda p, q: -np.log2((p * q).sum(1)).mean()),
                "Your rate is right. You took the logarithm of the mean over t; Eq. (10) takes the mean of the logarithm.",
            ),
            Trap(
                _bounds_by(_rate, lambda p, q: (p * np.log2(q)).sum(1).mean()),
                "Your rate is right. The cross-entropy is minus the mean of log2 q(y|t), so it is positive.",
            ),
            Trap(
                _bounds_by(_rate, lambda p, q: -np.log2(q).mean()),  # noqa: ARG005
                "Your rate is right. In the cross-entropy all t count the same; weigh each by p(t|x).",
            ),
        ),
        edges=(
            (EDGE, "Right, but not where p(t|x) = 0: there 0 · log 0 counts as 0, and you returned another number."),
        ),
    ),
    Exercise.number(
        "01.1",
        expected=TOLD,
        hint="I(X;Y) = H(Y) − H(Y|X). The answers are equally likely overall; what is open, once the class is known?",
        why="One answer in ten wrong costs a quarter of the information: being told 'perhaps' is expensive.",
        traps=(
            Trap(math.log2(10), "That is H(Y), as if the answer were always right."),
            Trap(
                0.9 * math.log2(10), "Nine tenths of the label: but a receiver does not know which answers are wrong."
            ),
            Trap(OPEN, "That is H(Y|X), what stays open. Subtract it from H(Y)."),
            Trap(
                math.log2(10) + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1),
                "You counted whether the answer is wrong, but not which of the nine wrong ones it is.",
            ),
            Trap(TOLD * math.log(2), "Those are nats: use log2."),
        ),
    ),
    Exercise.number(
        "01.2",
        expected=_kl(P, Q),
        hint="Eq. (2): the mean, under p, of log2(p / q).",
        why="A code built for the wrong coin wastes three quarters of a bit on every throw.",
        traps=(
            Trap(_kl(Q, P), "That is D(q‖p); the divergence is not symmetric. The coin that is thrown comes first."),
            Trap(_kl(P, Q) * math.log(2), "Those are nats: use log2."),
            Trap(_kl(P, Q) + 1, "That is the whole length of the code, H(p) + D(p‖q); asked is the waste alone."),
            Trap(-_kl(P, Q), "A divergence is never negative: mind the sign."),
        ),
    ),
    Exercise.number(
        "01.3",
        expected=(2 - 1) / (1.7 - 0.95),
        hint="Write down Eq. (5) for both. B costs one bit more and keeps 0.75 bits more.",
        why="From there on three quarters of a bit of relevance are worth a whole bit of rate.",
        traps=(
            Trap(0.75, "Upside down: that is relevance for a bit of rate; beta is rate for a bit of relevance."),
            Trap(2 / 1.7, "There B begins to beat silence; asked is where it begins to beat A."),
            Trap(1 / 0.95, "There A begins to beat silence; asked is where B begins to beat A."),
        ),
    ),
    Exercise.function(
        "01.4",
        right=theory.mutual_information,
        cases=lambda: [(inputs(1).dirichlet(np.ones(12)).reshape(3, 4),)],
        hint="Marginals by p_xy.sum(axis, keepdims=True); then Eq. (3), over the cells where p(x,y) > 0.",
        why="The same line measures a label in a packet, a pixel in a feature, and a class in an answer.",
        traps=(
            Trap(lambda p: theory.mutual_information(p) * math.log(2), "Those are nats: use log2."),
            Trap(
                lambda p: -theory.mutual_information(p),
                "The sign is turned round: Eq. (3) divides the joint distribution by the product.",
            ),
            Trap(
                lambda p: theory.entropy(p),
                "That is H(X,Y). Divide by the product of the marginals inside the logarithm.",
            ),
            Trap(
                lambda p: theory.conditional_entropy(p),
                "That is H(Y|X), what stays open; I(X;Y) is what was learned.",
            ),
            Trap(lambda p: np.log2(p / _product(p)).mean(), "You averaged over the cells; weigh each by p(x,y)."),
            Trap(
                lambda p: (_product(p) * np.log2(_product(p) / p)).sum(),
                "That is D(product ‖ joint): exchange the two.",
            ),
        ),
        edges=(
            (
                (np.array([[0.5, 0.0], [0.0, 0.5]]),),
                "Right, but not where p(x,y) = 0: there 0 · log 0 counts as 0, and you returned another number.",
            ),
        ),
    ),
    Exercise.choice(
        "01.5",
        expected="b",
        options={
            "a": "Its parameters are many times more than a linear reader of 10 classes needs; capacity is not what is short.",
            "c": "Header and checksum are left out of the figure: those are bits of the tables alone.",
            "d": "The coder comes within 4 bytes of what the tables ask, and *What each objective pays for a label* shows what they ask.",
        },
        hint="Look at the first chart of *What the bits say*, at cross-entropy: many times 3.32 bits of its symbols are about the label. How can that be?",
        why="Each position says it again, because each is coded as if the others were silent. The other reason is the second chart.",
    ),
)
