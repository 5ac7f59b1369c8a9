"""Exercises of chapter 04: what a map tells, Grad-CAM in your own hand, an effective lambda, a control, Swin's axes."""

from typing import Any

import numpy as np

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]


def _stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) + 1e-12)


def _cam(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    return (g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0)


def _cases() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = inputs(4)
    a, g = rng.random((5, 6, 7)), rng.normal(size=(5, 6, 7))
    while not _cam(a, g).min() < 0 < _cam(a, g).max():  # else the map is empty, or max(0, ·) changes nothing
        g = rng.normal(size=g.shape)
    return [(a, g)]


def _shape(result: Any, a: np.ndarray, g: np.ndarray) -> str | None:
    shape = np.asarray(result, dtype=float).shape
    if shape == a.shape[1:]:
        return None
    return f"The map of features {a.shape} is {g.shape[1:]}, one number a place; yours is {shape}."


EXERCISES: tuple[Exercise, ...] = (
    Exercise.choice(
        "04.1",
        expected="b",
        options={
            "a": "That is the edge detector. It asks no network, and the smooth places that it spares may matter.",
            "c": "Bits tell how hard a place is to predict, not whether the answer needs it. Guidance lives on the gap.",
            "d": "Nobody showed the network an outline. If its answer rests on the background, the map has to say so.",
        },
        hint="Eq. (1) weighs a channel by a gradient. What does a gradient of the score tell?",
        why="A place is redundant for the answer where changing its features would not move the score.",
    ),
    Exercise.function(
        "04.2",
        right=lambda a, g: _stretched(np.maximum(_cam(a, g), 0)),
        cases=_cases,
        hint="Mean of the gradient over both axes of places, one number a channel; weighted sum of channels; max; stretch.",
        why="Four lines of numpy. Everything else in a CAM library is hooks that fetch activations and gradients.",
        traps=(
            Trap(
                lambda a, g: _stretched(_cam(a, g)),
                "The max(0, ·) is missing: places that speak against the class would count as dark grey, not as 0.",
            ),
            Trap(lambda a, g: np.maximum(_cam(a, g), 0), "Not stretched yet: the largest place should have 1."),
            Trap(
                lambda a, g: _stretched(np.maximum((g * a).sum(axis=0), 0)),
                "That multiplies place by place before the sum, which is HiResCAM; Eq. (1) first takes the mean.",
            ),
            Trap(
                lambda a, g: _stretched(np.maximum(_cam(a, np.abs(g)), 0)),
                "Absolute gradients count against-votes as votes; keep the sign until the sum is made.",
            ),
            Trap(
                lambda a, g: _stretched(np.maximum(_cam(g, a), 0)),
                "Those weights are means of the activations; Eq. (1) takes the mean of the gradient.",
            ),
        ),
        same=lambda got, expected: np.allclose(got, expected, atol=1e-5),
        form=_shape,
    ),
    Exercise.number(
        "04.3",
        expected=2 / 1.25,
        hint="Eq. (4) gives the mean weight, and Eq. (6) divides lambda by it.",
        why="1.6: at this mean every comparison at equal lambda is one between lambda and 1.6 lambda.",
        traps=(
            Trap(0.625, "That is the mean weight; lambda is divided by it."),
            Trap(1.25, "That is 1 + s; the weight is half of it, and lambda is divided by the weight."),
            Trap(0.8, "That is 1 / (1 + s); the ½ of Eq. (4) is missing."),
            Trap(4.0, "That divides lambda by s itself; the weight is (1 + s) / 2."),
            Trap(0.375, "The factor is above 1: a lighter distortion makes bits count for more."),
        ),
    ),
    Exercise.choice(
        "04.4",
        expected="c",
        options={
            "a": "Another seed tells how far runs scatter; both arms still differ in how much *and* where.",
            "b": "The unguided run is what one compares with; its distortion weighs more everywhere.",
            "d": "A smaller lambda for the guided run is a remedy only if you know how much smaller: that is the question.",
        },
        hint="You want two losses that charge the same for distortion on average, and differ in the places alone.",
        why="The constant map pays the same and knows no place. What the guided run gains over it comes from where.",
    ),
    Exercise.number(
        "04.5",
        expected=14,
        hint="The mean runs over axes 2 and 3. Which sizes are left of (1, 14, 20, 384)?",
        why="14 weights, one a row of the photo. The sum over 'channels' then runs over rows, and channels pose as columns.",
        traps=(
            Trap(384, "That is one a channel, what the reshape would give; without it the channels are averaged away."),
            Trap(280, "That is one a place; the mean runs over two axes, one of them a side of the photo."),
            Trap(7680, "20 × 384 numbers go into each mean; asked is how many means there are."),
            Trap(20, "Those are the columns: the mean runs over columns and channels, and rows are left."),
            Trap(1, "That would be the mean over all three axes; the first of the two sides is left."),
        ),
    ),
)
