"""Exercises of chapter 01: the worth of a label, wasted bits, beta, mutual information in your own hand."""

import math
from typing import Any

import numpy as np

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

OPEN = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1 / 9)  # H(answer | class)
TOLD = math.log2(10) - OPEN
P, Q = (0.5, 0.5), (0.9, 0.1)


def _kl(p: tuple[float, ...], q: tuple[float, ...]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, q, strict=True))


def _information(answer: Any) -> bool | str:
    from fsplit_lib.theory import conditional_entropy, entropy, mutual_information

    if not callable(answer):
        return "Hand over the function itself, without calling it."
    p_xy = inputs(1).dirichlet(np.ones(12)).reshape(3, 4)
    zeros = np.array([[0.5, 0.0], [0.0, 0.5]])
    try:
        got, got_zeros = float(answer(p_xy.copy())), float(answer(zeros.copy()))
    except Exception as error:
        return f"Your function raised {type(error).__name__}: {error}"
    right = mutual_information(p_xy)
    product = p_xy.sum(1, keepdims=True) * p_xy.sum(0, keepdims=True)
    known = {
        right * math.log(2): "Those are nats: use log2.",
        -right: "The sign is turned round: Eq. (3) divides the joint distribution by the product.",
        entropy(p_xy): "That is H(X,Y). Divide by the product of the marginals inside the logarithm.",
        conditional_entropy(p_xy): "That is H(Y|X), what stays open; I(X;Y) is what was learned.",
        float(np.log2(p_xy / product).mean()): "You averaged over the cells; weigh each by p(x,y).",
        float((product * np.log2(product / p_xy)).sum()): "That is D(product ‖ joint): exchange the two.",
    }
    if math.isclose(got, right, rel_tol=1e-6):
        good = math.isclose(got_zeros, 1, rel_tol=1e-9)
        return (
            True
            if good
            else "Right, but not where p(x,y) = 0: there 0 · log 0 counts as 0, and you returned another number."
        )
    return next((message for value, message in known.items() if math.isclose(got, value, rel_tol=1e-6)), False)


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
    Exercise(
        "01.4",
        hint="Marginals by p_xy.sum(axis, keepdims=True); then Eq. (3), over the cells where p(x,y) > 0.",
        grade=_information,
        why="The same line measures a label in a packet, a pixel in a feature, and a class in an answer.",
        drawn=True,
    ),
    Exercise.choice(
        "01.5",
        expected="b",
        options={
            "a": "Its parameters are many times more than a linear reader of 10 classes needs; capacity is not what is short.",
            "c": "Header and checksum are left out of the figure: those are bits of the tables alone.",
            "d": "The coder comes within 4 bytes of what the tables ask, and the figure shows what they ask.",
        },
        hint="Look at the first bar of the last figure: more than 3.32 bits of the symbols are about the label. How can that be?",
        why="Each position says it again, because each is coded as if the others were silent. The other reason is the second bar.",
    ),
)
