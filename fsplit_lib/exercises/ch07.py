"""Exercises of chapter 07: what a block weighs, one packet for two servers, who changes, units, the smallest decoder."""

import operator
from typing import Any

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

WIDTH = 48
RESNET, NEXT = 2 * 9 * WIDTH**2, 49 * WIDTH + 2 * 4 * WIDTH**2

CASES = (
    ({"a": 0.850, "b": 0.846, "c": 0.8455, "d": 0.80}, {"a": 900, "b": 300, "c": 400, "d": 100}, 0.005),
    ({"a": 0.850, "b": 0.846, "c": 0.8455, "d": 0.80}, {"a": 900, "b": 300, "c": 400, "d": 100}, 0.1),
    ({"wide": 0.50, "deep": 0.75, "tiny": 0.5, "odd": 0.74}, {"wide": 70, "deep": 60, "tiny": 5, "odd": 90}, 0.25),
    ({"a": 0.850, "b": 0.8454}, {"a": 900, "b": 300}, 0.005),
    ({"one": 0.9}, {"one": 7}, 0.0),
    ({"a": 0.9, "b": 0.8999, "c": 0.87}, {"a": 900, "b": 300, "c": 100}, 0.05),
)


def _cases() -> list[tuple[dict, dict, float]]:
    """Made cases with ties and edges, then drawn ones."""
    rng, names = inputs(7), [f"decoder {n}" for n in range(6)]
    drawn = []
    for _ in range(4):
        scores, parameters = rng.uniform(0.8, 0.9, 6).tolist(), (rng.permutation(900)[:6] + 1).tolist()
        drawn.append((dict(zip(names, scores, strict=True)), dict(zip(names, parameters, strict=True)), 0.05))
    return [*CASES, *drawn]


def _within(scores: dict, loss: float) -> list[str]:
    return [name for name in scores if scores[name] >= max(scores.values()) - loss]


def _smallest(scores: dict, parameters: dict, loss: float) -> str:
    return min(_within(scores, loss), key=parameters.get)


def _name(result: Any, scores: dict, *_: Any) -> str | None:
    known = isinstance(result, str) and result in scores
    return None if known else "Return a decoder's name: one of the keys of scores."


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "07.1",
        expected=RESNET / NEXT,
        hint="The first has 2 · 9 · 48² weights. In the second, the 7×7 convolution has one filter a channel, and two 1×1 layers follow.",
        why="2.00: blueprints of equal depth and width do not weigh the same, so the experiment with foreign blocks compares bias and size at once.",
        traps=(
            Trap(RESNET / (57 * WIDTH**2), "A depthwise convolution has one 7×7 filter a channel: 49 · 48 weights."),
            Trap(RESNET / (49 * WIDTH + 2 * WIDTH**2), "The 1×1 layers go to four times the width and back."),
            Trap(RESNET / 2 / NEXT, "The ResNet block has two 3×3 convolutions."),
            Trap(RESNET / (49 * WIDTH + 4 * WIDTH**2), "There are two 1×1 layers: to four times the width, and back."),
            Trap((RESNET + 2 * WIDTH) / (NEXT + 6 * WIDTH), "That counts biases too; leave them out."),
            Trap(NEXT / RESNET, "The question is how many times as many the ResNet block has: turn it around."),
        ),
    ),
    Exercise.number(
        "07.2",
        expected=40.0,
        hint="One packet has to be good enough for both servers. How large is it, and how large are the two others together?",
        why="40 %: 72 bytes instead of 120. A foreign codec may be dearer than a native one and still be the cheapest way to ask two servers.",
        traps=(
            Trap(50.0, "The second server needs a fifth more bytes than its own codec would: 72, not 60."),
            Trap(60.0, "That is what is left of the bytes; asked is the saving."),
            Trap(48.0, "Those are bytes; asked is the share of the 120."),
            Trap(45.0, "There is no packet of the average size: the one that is sent has to serve the dearer server."),
            Trap(72.0, "That is the size of the one packet, in bytes; asked is what it saves of the two."),
            Trap(0.4, "That is a share; the answer is asked in per cent."),
            Trap(-40.0, "A saving counts as positive here."),
            Trap(-20.0, "That compares with one native packet; the phone would have to send two."),
        ),
    ),
    Exercise.choice(
        "07.3",
        expected="c",
        options={
            "a": "The encoder goes from pixels to the latent and runs no part of any network; the server learns to read its packets.",
            "b": "The tables describe the latent's symbols, and those come from the encoder, which has not changed.",
            "d": "Mean and spread belong to the decoder, at the server; the phone knows no features.",
        },
        hint="What does the codec id hash, and whose parameters does train_decoder hand to the optimiser?",
        why="Nothing: encoder, gains and tables are the codec, and the codec id says that both ends hold the same one.",
    ),
    Exercise.number(
        "07.4",
        expected=9.0,
        hint="How does a squared error grow if everything is three times as large? The other term of the loss is in bits, and does not grow.",
        why="Nine times: without the division by the spread, every backbone would need a lambda of its own, and one grid of lambdas would compare nothing.",
        traps=(
            Trap(3.0, "The error grows three times; the distortion is its square."),
            Trap(1 / 9, "The distortion grows, so bits have to become dearer, not cheaper, to keep the balance."),
            Trap(1.0, "That is so with the spread divided out, as in our loss; here it is left out."),
            Trap(27.0, "A square, not a cube: D is a mean of squared errors, however many elements there are."),
        ),
    ),
    Exercise.function(
        "07.5",
        right=_smallest,
        cases=_cases,
        hint="Find the best score, keep the names whose score is at least that minus the loss, return the one of fewest parameters.",
        why="This rule chose the star in the panel; mind that it looks at one seed, which is why the winner was trained with two more.",
        traps=(
            Trap(
                lambda s, *_: max(s, key=s.get),
                "That is the best decoder; asked is the smallest one that is nearly as good.",
            ),
            Trap(
                lambda _, p, __: min(p, key=p.get),
                "That is the smallest of all: first leave out those that lose too much.",
            ),
            Trap(
                lambda s, p, x: _smallest(s, p, x * max(s.values())),
                "The loss is no share of the best: best minus loss.",
            ),
            Trap(lambda s, p, x: _smallest(s, p, x / 100), "Scores and loss are both shares: do not divide by 100."),
            Trap(lambda s, p, _: _smallest(s, p, 0.005), "The loss is an argument; your function always uses 0.005."),
            Trap(lambda s, p, x: max(_within(s, x), key=p.get), "You take the largest in reach; take the smallest."),
            Trap(lambda s, p, x: _smallest(s, p, max(x - 1e-9, 0)), "Best minus loss itself is still within: use >=."),
            Trap(
                lambda s, _, x: min(_within(s, x), key=s.get),
                "Among those within the loss you take the one of the lowest score; take the one of fewest parameters.",
            ),
        ),
        same=operator.eq,
        form=_name,
    ),
)
