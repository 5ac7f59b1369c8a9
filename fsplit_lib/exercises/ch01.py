"""Exercises of chapter 01: one step of Blahut-Arimoto, the bounds of a mini-batch, the worth of a label, wasted bits, beta."""

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from fsplit_lib import theory
from fsplit_lib.exercises.core import Exercise, Fault, choice, fits, function, inputs, number

OPEN = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1 / 9)  # H(answer | class)
TOLD = math.log2(10) - OPEN
P, Q = (0.5, 0.5), (0.9, 0.1)
FLIPPED = math.log2(10) - theory.entropy(Q)  # as if there were one wrong answer
PQ, QP = theory.kl_divergence(P, Q), theory.kl_divergence(Q, P)
CROSS = "p_xy / p_x[:, None] @ np.log2(np.maximum(p_y_t, 1e-300)).T"  # the mean of log2 p(y|t) in update_encoder
PAIR = fits(
    lambda result, *_: np.shape(result) == (2,),
    "Return a pair of numbers, each a mean over the samples: return rate, cross_entropy. Your function returned {got}.",
)


def batch_bounds(
    x: np.ndarray, y: np.ndarray, encoder: np.ndarray, prior: np.ndarray, decoder: np.ndarray
) -> tuple[float, float]:
    """Estimate rate and cross-entropy of Eqs. (9) and (10) of chapter 01 from a mini-batch, in bits per sample.

    Integers x and y (N,) are values of X and Y; p(t|x) is the encoder (X, T), r(t) > 0 the prior (T,), q(y|t) > 0 the
    decoder (T, Y).

    >>> batch_bounds(np.array([0, 1]), np.array([0, 1]), np.eye(2), np.full(2, 0.5), np.full((2, 4), 0.25))
    (1.0, 2.0)
    """
    p = encoder[x]  # (N, T)
    rate = (p * np.log2(np.where(p > 0, p, 1) / prior)).sum(1).mean()
    cross_entropy = -(p * np.log2(decoder[:, y].T)).sum(1).mean()
    return float(rate), float(cross_entropy)


def _quietly(answer: Callable, *case: Any) -> Any:
    """Try an answer where 0 · log 0 may come up: its result tells, so numpy need not warn. It may not change its case."""
    before = deepcopy(case)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = answer(*case)
    return result if all(map(np.array_equal, before, case)) else Fault(CHANGED)


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
    if not np.isfinite(new).all() or np.allclose(new.sum(1), 1):
        return None  # 0 · log 0 is told where only that is wrong
    if np.allclose(new.sum(0), 1):
        return "Your columns add up to 1. p(t|x) is a distribution over t for each x, so each row has to: sum(1, keepdims=True)."
    return "The rows of p(t|x) have to add up to 1: divide by their sum, which is what the sign ∝ leaves to you."


def _batches() -> list[tuple[np.ndarray, ...]]:
    """Draw mini-batches with encoders, priors and decoders that do not fit each other."""
    rng, three = inputs(4), np.full(3, 2.0)
    return [
        (rng.integers(4, size=n), rng.integers(5, size=n), rng.dirichlet(three, size=4), rng.dirichlet(three),
         rng.dirichlet(np.full(5, 2.0), size=3)) for n in (7, 16)
    ]  # fmt: skip


def _joint() -> list[tuple[np.ndarray]]:
    return [(inputs(1).dirichlet(np.ones(12)).reshape(3, 4),)]


CHANGED = "Do not change the arrays that you were given: work on a copy, or make a new array."
ZERO, NOT = "0 · log 0 counts as 0, and you returned another number.", "Right, but not where"
HALVES = np.array([[0.5, 0.0], [0.0, 0.5]])
EMPTY_CELLS = ((HALVES, np.array([[1.0, 0.0], [0.5, 0.5]]), 1.5), f"{NOT} p(x,y) or p(y|t) is 0: there {ZERO}")
EDGE = (np.array([0, 1, 1]), np.array([0, 1, 0]), np.eye(2), np.array([0.25, 0.75]), np.array([[0.9, 0.1], [0.3, 0.7]]))

EXERCISES: tuple[Exercise, ...] = (
    function("01.1", theory.update_encoder, _steps, form=_step_form, use=_quietly, edges=EMPTY_CELLS)(
        "p_x = p_xy.sum(1), then p(t) = p_x @ encoder and p(y|t) = encoder.T @ p_xy / p_t[:, None]. "
        "The divergence of every x from every t is an array (X, T).",
        "Two updates of a few lines: no step makes L larger, and repeated until nothing moves they solve the bottleneck. "
        "Blahut and Arimoto found the same pattern for the capacity of a channel.",
        ("np.log2(p_t[used]) + ", ""),
        "You left out p(t) in Eq. (8): a common t is used more often.",
        ("np.log2(p_t[used])", "np.log(p_t[used])", "2.0 **", "np.e **"),
        "Your base is e, but the divergence is in bits: Eq. (8) has 2 to the power.",
        (CROSS, "np.log2(p_xy / p_x[:, None]) @ p_y_t.T - (p_y_t * np.log2(p_y_t)).sum(1)"),
        "That is D(p(y|t) ‖ p(y|x)); exchange the two: p(y|x) is the distribution over which the mean is taken.",
        ("+ beta * cross", "- beta * cross"),
        "The sign of the exponent is turned round: a t that is farther away has to be used less.",
        ("beta * cross", "cross / beta"),
        "You divided by beta; Eq. (8) multiplies by it.",
        ("beta * cross", "cross"),
        "Your result does not depend on beta.",
        ("p_xy / p_x[:, None] @", "p_xy @"),
        "You used p(x,y) in place of p(y|x): divide by p(x).",
        ("p_x @ encoder", "encoder.mean(0)"),
        "Your p(t) is the plain mean over x; Eq. (6) weighs each x by p(x) = p_xy.sum(1).",
        (" / p_t[used, None]", ""),
        "You used p(y,t) or p(t|y) in place of p(y|t): divide by p(t), as Eq. (7) says.",
    ),
    function("01.2", batch_bounds, _batches, form=PAIR, use=_quietly, edges=(EDGE, f"{NOT} p(t|x) = 0: there {ZERO}"))(
        "encoder[x] has one row p(t|x) for each sample, and decoder[:, y].T one row q(y|t). "
        "Sum over t, then take the mean over the samples.",
        "Nothing here needs p(x, y): samples are enough, so the same two terms train a network. "
        "In chapter 05 the rate is the entropy model's, and the cross-entropy gives way to a distance of features.",
        ("float(rate), float(cross_entropy)", "float(cross_entropy), float(rate)"),
        "You returned the two numbers in the wrong order: the rate comes first.",
        ("np.log2", "np.log"),
        "Those are nats: use log2.",
        (".mean()", ".sum()"),
        "Those are sums over the mini-batch. With the mean, lambda does not depend on the size of the batch.",
        ("np.where(p > 0, p, 1) / prior", "1 / prior"),
        "Your rate is the cross-entropy of the prior. Eq. (9) has log2 p(t|x) / r(t): subtract the entropy of p(t|x).",
        ("p * np.log2(np.where(p > 0, p, 1) / prior)", "prior * np.log2(prior / p)"),
        "Your rate is D(r ‖ p): exchange the two, the encoder is the distribution over which the mean is taken.",
        ("(p * np.log2(decoder[:, y].T)).sum(1)", "np.log2((p * decoder[:, y].T).sum(1))"),
        "Your rate is right. You took the logarithm of the mean over t; Eq. (10) takes the mean of the logarithm.",
        ("= -(p", "= (p"),
        "Your rate is right. The cross-entropy is minus the mean of log2 q(y|t), so it is positive.",
        ("(p * np.log2(decoder[:, y].T)).sum(1)", "np.log2(decoder[:, y].T)"),
        "Your rate is right. In the cross-entropy all t count the same; weigh each by p(t|x).",
    ),
    number("01.3", TOLD)(
        "I(X;Y) = H(Y) − H(Y|X). The answers are equally likely overall; what is open, once the class is known?",
        "One wrong answer in ten takes away a quarter of the information, because the receiver does not know which answers are wrong.",
        (math.log2(10), "That is H(Y), as if the answer were always right."),
        (0.9 * math.log2(10), "Nine tenths of H(Y). But a receiver does not know which answers are wrong."),
        (OPEN, "That is H(Y|X), what stays open. Subtract it from H(Y)."),
        (FLIPPED, "You counted whether the answer is wrong, but not which of the nine wrong ones it is."),
        (TOLD * math.log(2), "Those are nats: use log2."),
    ),
    number("01.4", PQ)(
        "Eq. (2): the mean, under p, of log2(p / q).",
        "A code built for the wrong coin wastes three quarters of a bit on every throw.",
        (QP, "That is D(q‖p); the divergence is not symmetric. The coin that is thrown comes first."),
        (PQ * math.log(2), "Those are nats: use log2."),
        (PQ + 1, "That is the whole length of the code, H(p) + D(p‖q); asked is the waste alone."),
        (-PQ, "A divergence is never negative: mind the sign."),
    ),
    number("01.5", (2 - 1) / (1.7 - 0.95))(
        "Write down Eq. (5) for both. B costs one bit more and keeps 0.75 bits more.",
        "From there on three quarters of a bit of relevance are worth a whole bit of rate.",
        (0.75, "Upside down: that is relevance for a bit of rate; beta is rate for a bit of relevance."),
        (2 / 1.7, "There B begins to beat silence; asked is where it begins to beat A."),
        (1 / 0.95, "There A begins to beat silence; asked is where B begins to beat A."),
    ),
    function(
        "01.6", theory.mutual_information, _joint, use=_quietly, edges=((HALVES,), f"{NOT} p(x,y) = 0: there {ZERO}")
    )(
        "Marginals by p_xy.sum(axis, keepdims=True); then Eq. (3), over the cells where p(x,y) > 0.",
        "The same line measures what a packet tells about a label, or a network's answer about the true class.",
        lambda p: theory.mutual_information(p) * math.log(2),
        "Those are nats: use log2.",
        lambda p: -theory.mutual_information(p),
        "The sign is turned round: Eq. (3) divides the joint distribution by the product.",
        theory.entropy,
        "That is H(X,Y). Divide by the product of the marginals inside the logarithm.",
        theory.conditional_entropy,
        "That is H(Y|X), what stays open; I(X;Y) is what was learned.",
        lambda p: np.log2(p / np.outer(p.sum(1), p.sum(0))).mean(),
        "You averaged over the cells; weigh each by p(x,y).",
        lambda p: theory.kl_divergence(np.outer(p.sum(1), p.sum(0)), p),
        "That is D(product ‖ joint): exchange the two.",
    ),
    choice("01.7", "b")(
        "Look at the first chart of *What the bits say*, at cross-entropy: many times 3.32 bits of its symbols are about the label. How can that be?",
        "Several positions know the same about the class, and a factorised code pays for it at each of them. The second chart shows another reason.",
        a="Its parameters are many times more than a linear reader of 10 classes needs; capacity is not what is short.",
        c="Header and checksum are left out of the figure: those are bits of the tables alone.",
        d="The coder comes within 4 bytes of what the tables ask, and *What each objective pays for a label* shows what they ask.",
    ),
)
