"""Exercises of chapter 01: the worth of a label, wasted bits, beta, mutual information in your own hand."""

import math

import numpy as np

from fsplit_lib import theory
from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

OPEN = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1 / 9)  # H(answer | class)
TOLD = math.log2(10) - OPEN
P, Q = (0.5, 0.5), (0.9, 0.1)


def _kl(p: tuple[float, ...], q: tuple[float, ...]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True))


def _product(p_xy: np.ndarray) -> np.ndarray:
    return p_xy.sum(1, keepdims=True) * p_xy.sum(0, keepdims=True)


EXERCISES: tuple[Exercise, ...] = (
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
