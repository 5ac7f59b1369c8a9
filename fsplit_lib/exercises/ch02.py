"""Exercises of chapter 02: bytes of an activation, a break-even link, why early layers inflate, the best route."""

from collections.abc import Callable

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

SENT, JPEG = 5_000, 20_000  # bytes
COST = 0.030 - 0.003  # seconds that the bottleneck takes on the device, less those that it saves at the server


ROUTES = ((0.0, 30_000, 0.01), (0.02, 400_000, 0.009), (0.05, 5_000, 0.006), (0.2, 0, 0.0))  # device, bytes, server


def _cases() -> list[tuple[list[float], list[float], list[float], float]]:
    rng, cases = inputs(2), []
    for _ in range(3):
        routes = [[value * rng.uniform(0.8, 1.25) for value in ROUTES[i]] for i in rng.permutation(4)]
        cases += [(*map(list, zip(*routes, strict=True)), rate) for rate in (1e5, 1e6, 1e7, 1e9)]
    return cases


def _least(score: Callable[[float, float, float, float], float]) -> Callable[..., int]:
    """The route of least score of its seconds on the device, bytes, seconds at the server, and the link's rate."""
    return lambda d, b, s, rate: min(range(len(d)), key=lambda i: score(d[i], b[i], s[i], rate))


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "02.1",
        expected=512 * 28 * 28,
        hint="Eq. (1): channels times height times width, at one byte a value.",
        why="401,408 bytes: the picture itself, raw, has 150,528. Splitting alone made it larger.",
        traps=(
            Trap(4 * 512 * 28 * 28, "Those are 32-bit floats; with 8 bits a value each takes one byte."),
            Trap(8 * 512 * 28 * 28, "Those are bits; a byte has eight."),
            Trap(512 * 28, "The map has 28 rows of 28 values: height and width."),
            Trap(512 * 224 * 224, "The map has 28 x 28 positions, not the picture's 224 x 224."),
        ),
    ),
    Exercise.number(
        "02.2",
        expected=8 * (JPEG - SENT) / COST / 1e6,
        hint="Set Eq. (3) of both routes equal. The bytes saved are worth 8 · Δbytes / r seconds; computing costs 27 ms net.",
        why="4.4 Mbit/s: below it the bottleneck is faster, above it the wire is so fast that bytes are not worth computing for.",
        relative=0.01,
        traps=(
            Trap((JPEG - SENT) / COST / 1e6, "Those are megabytes a second; links are counted in bits."),
            Trap(8 * SENT / COST / 1e6, "Only the difference in bytes counts: 15,000 fewer."),
            Trap(
                8 * (JPEG - SENT) / 0.030 / 1e6,
                "The bottleneck costs 30 ms on the device, but saves 3 ms at the server.",
            ),
            Trap(
                8 * (JPEG - SENT) / 0.003 / 1e6,
                "The 3 ms at the server are saved; what is paid are 30 ms on the device.",
            ),
            Trap(8 * (JPEG - SENT) / COST, "Right, in bits a second; the question asks for Mbit/s."),
        ),
    ),
    Exercise.choice(
        "02.3",
        expected="a",
        options={
            "b": "Activations are stored as floats in memory, but the figure counts 8 bits a value.",
            "c": "Padding adds a pixel at the border, a few per cent.",
            "d": "Weights stay where they are; only activations would be sent.",
        },
        hint="Stride 2 leaves a quarter of the positions. What happens to the channels meanwhile?",
        why="Three channels become 64 or more while positions fall to a quarter or a sixteenth: more values, not fewer.",
    ),
    Exercise.function(
        "02.4",
        right=_least(lambda d, b, s, rate: d + 8 * b / rate + s),
        cases=_cases,
        hint="For each route: device + 8 · bytes / rate + server; then the index of the smallest.",
        why="Four lines decide where a network should be cut; everything hard is in measuring their inputs.",
        traps=(
            Trap(
                _least(lambda d, b, s, rate: d + b / rate + s), "Links are counted in bits a second: a byte has eight."
            ),
            Trap(
                _least(lambda d, b, s, rate: b),  # noqa: ARG005
                "You chose the smallest thing to send; time on the device counts as well.",
            ),
            Trap(
                _least(lambda d, b, s, rate: -(d + 8 * b / rate + s)), "That is the slowest: you want the least total."
            ),
        ),
    ),
)
