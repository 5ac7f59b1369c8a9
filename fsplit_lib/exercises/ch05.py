"""Exercises of chapter 05: bits of a latent, the price of a byte, why noise, the loss in your own hand."""

import math
from typing import Any

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

P = (0.5, 0.25, 0.125, 0.125)


def _cases() -> list[tuple]:
    """Features, their reconstruction, and a spread for each of three channels."""
    import torch

    generator = torch.Generator().manual_seed(int(inputs(5).integers(2**31)))
    h, h_hat = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    return [(h, h_hat, torch.rand(1, 3, 1, 1, generator=generator) + 0.5)]


def _distillation(h: Any, h_hat: Any, spread: Any) -> float:
    from fsplit_lib.objectives import head_distillation

    return head_distillation(h, h_hat, spread).item()


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "05.1",
        expected=sum(-math.log2(p) for p in P),
        hint="Eq. (2): each symbol costs −log2 of its probability, and costs add up.",
        why="1 + 2 + 3 + 3 = 9 bits. On average four symbols of this source cost 7, since the cheap ones come more often; no coder can do better than that.",
        traps=(
            Trap(sum(-math.log(p) for p in P), "Those are nats (natural logarithm). Bits need log2: divide by ln 2."),
            Trap(sum(-math.log2(p) for p in P) / len(P), "That is the mean per symbol; the packet pays the sum."),
            Trap(
                sum(math.log2(p) for p in P), "A probability is at most 1, so its log is negative: mind the minus sign."
            ),
            Trap(
                sum(-p * math.log2(p) for p in P),
                "That is an entropy, the expected cost of one symbol. These four were sent.",
            ),
        ),
    ),
    Exercise.number(
        "05.2",
        expected=0.3 * 8 / 1024,
        relative=0.03,
        hint="Eq. (4) counts bits per input pixel, and the padded picture has 32 × 32 of them.",
        why="A byte is worth its money if it lowers the distortion by more than 0.0023: this is the exchange rate that lmbda sets.",
        traps=(
            Trap(0.3 / 1024, "That is the price of one bit; a byte has eight."),
            Trap(0.3 * 8 / 784, "Fashion-MNIST has 28 × 28 pixels, but the codec sees the padded 32 × 32."),
            Trap(0.3 * 8 / 64, "64 is the number of latent positions; the rate is counted per input pixel."),
            Trap(0.3 * 8, "Divide by the number of input pixels: the loss counts bits per pixel."),
        ),
    ),
    Exercise.choice(
        "05.3",
        expected="b",
        options={
            "a": "Rounding is as fast as adding noise; speed is not the reason.",
            "c": "The entropy coder codes integers, and in use they are: the packet never sees the noise.",
            "d": "Noise regularises a little, but that is a side effect: dropout would do that too.",
        },
        hint="What is the derivative of a staircase?",
        why="The derivative of rounding is 0 wherever it exists, so no gradient would reach the encoder; noise of the same width "
        "has the same error statistics and a gradient.",
    ),
    Exercise.function(
        "05.4",
        right=_distillation,
        cases=_cases,
        hint="Divide the error by the spread, square it, average over all elements: one line of torch.",
        why="This line is the paper's head distillation, per element and in units of the spread; everything else in training is bookkeeping.",
        traps=(
            Trap(
                lambda h, h_hat, spread: (((h - h_hat) / spread) ** 2).sum(),
                "You summed. The mean over elements makes one lmbda mean the same for every backbone.",
            ),
            Trap(
                lambda h, h_hat, spread: ((h - h_hat) / spread).abs().mean(),
                "That is the mean absolute error; Eq. (3) squares.",
            ),
            Trap(
                lambda h, h_hat, spread: ((h - h_hat) / spread).mean(),
                "Errors of both signs cancel: square before you average.",
            ),
            Trap(
                lambda h, h_hat, _: ((h - h_hat) ** 2).mean(),
                "You left out the spread: channels with large values would drown the others.",
            ),
            Trap(
                lambda h, h_hat, spread: (((h - h_hat) * spread) ** 2).mean(),
                "You multiplied by the spread; divide by it.",
            ),
            Trap(
                lambda h, h_hat, spread: ((h - h_hat) ** 2 / spread).mean(),
                "The spread stands inside the square: divide before you square.",
            ),
        ),
        same=lambda got, expected: math.isclose(float(got), expected, rel_tol=1e-4),  # single precision
    ),
    Exercise.choice(
        "05.5",
        expected="a",
        options={
            "b": "The symbols that arrive are the same, so decoder and tail see what they saw before.",
            "c": "The bytes, yes. But the symbols that arrive are the same, and so is the answer.",
            "d": "Agreement makes the symbols arrive. It does not make them cheap.",
        },
        hint="Which symbols come out of the entropy decoder, and how many bits did they take?",
        why="An entropy model that is wrong on both ends costs bytes; one that differs between them costs the answer.",
    ),
)
