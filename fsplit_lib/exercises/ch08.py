"""Exercises of chapter 08: a crossover, the largest ratio, the server it takes, a wide spread, the whole journey."""

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]

OURS, JPEG = (12.0, 1_500, 20.0), (3.0, 4_500, 12.0)  # ms on the device, bytes, ms at the server
CROSSING = 8 * (JPEG[1] - OURS[1]) / (OURS[0] + OURS[2] - JPEG[0] - JPEG[2]) / 1e3


def _total(
    device: float, size: float, server: float, rate: float, delay: float, slowdown: float, speedup: float
) -> float:
    return device * slowdown + 8e-3 * size / rate + 2 * delay + server / speedup


CASES = (
    (12.0, 1500, 20.0, 1.0, 10.0, 1.0, 1.0),
    (3.0, 4500, 12.0, 0.25, 0.0, 8.0, 4.0),
    (5.0, 90000, 40.0, 50.0, 35.0, 0.5, 20.0),
)


def _cases() -> list[tuple[float, ...]]:
    rng = inputs(8)
    return [tuple(value * rng.uniform(0.8, 1.25) for value in case) for case in CASES]


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "08.1",
        expected=CROSSING,
        hint="Eq. (4) with S = 1: 8 times the bytes saved, over the milliseconds that the packet costs more elsewhere. Bits per millisecond are kbit/s.",
        why="1.41 Mbit/s: below it, the 3,000 bytes saved take longer than the 17 ms that the packet costs elsewhere.",
        traps=(
            Trap(CROSSING / 8, "A byte has eight bits."),
            Trap(
                8 * 3000 / 9 / 1e3,
                "The server's time counts as well: it has a decoder to run, 8 ms more than the JPEG's.",
            ),
            Trap(8 * 1500 / 17 / 1e3, "Only the difference in bytes counts: 3,000."),
            Trap(CROSSING * 1e3, "Bits per millisecond are kbit/s; divide by 1,000 for Mbit/s."),
            Trap(CROSSING * 1e6, "Right, in bits a second; the question asks for Mbit/s."),
            Trap(8 * 3000 / 32 / 1e3, "The JPEG takes time on device and server too: only the difference counts."),
        ),
    ),
    Exercise.number(
        "08.2",
        expected=3.0,
        hint="Let the rate go to zero: what is left of the two times? Then to infinity.",
        why="Three times, on an endlessly slow link: no link makes a method faster than its bytes allow, unless it also computes less.",
        traps=(
            Trap(15 / 32, "That is the other end, an endlessly fast link: there the packet is slower."),
            Trap(5350 / 2350, "You added the 850 bytes of headers; this exercise leaves them out."),
            Trap(16.0, "That is somebody's claim; with these bytes it cannot be reached."),
            Trap((15 + 36) / (32 + 12), "That is the ratio at 1 Mbit/s; slower links give more."),
            Trap(1 / 3, "The question is how many times as long the JPEG takes: turn it around."),
        ),
    ),
    Exercise.number(
        "08.3",
        expected=10.0,
        hint="On an endlessly fast link without delay: 10 + 20 / s < 12. Solve for s.",
        why="More than ten times: an encoder that costs nearly as much as the network it feeds leaves the server nothing to win.",
        traps=(
            Trap(20 / 12, "The encoder's 10 ms come first; the server has only 2 ms left."),
            Trap(2.0, "Those are the milliseconds that are left; how much faster must 20 ms become to fit into them?"),
            Trap(1.2, "That compares the encoder with the network; the server's work comes on top."),
        ),
    ),
    Exercise.choice(
        "08.4",
        expected="c",
        options={
            "a": "Digits do not make it certain: half of the runs lie outside those quartiles.",
            "b": "The minimum tells what the machine can do undisturbed, which may be worth knowing, but not what users will wait.",
            "d": "A mean is pulled by the few runs that something disturbed; more of them make it no fairer.",
        },
        hint="What could make the quartiles lie so far apart, and would it hit both methods alike?",
        why="First find the cause; timing in turns makes the rest hit both alike; and a spread that stays wide belongs into the sentence.",
    ),
    Exercise.function(
        "08.5",
        right=_total,
        cases=_cases,
        hint="Device times slowdown, plus 8 · bytes / (1000 · rate), plus the delay twice, plus server over speed-up.",
        why="This is the whole model. Everything else in the chapter is in measuring what goes into it.",
        traps=(
            Trap(lambda d, b, s, r, w, k, f: _total(d, b / 8, s, r, w, k, f), "A byte has eight bits."),
            Trap(
                lambda d, b, s, r, w, k, f: _total(d, b, s, r, w / 2, k, f),
                "The answer has to come back: the delay is paid twice.",
            ),
            Trap(
                lambda d, b, s, r, w, k, f: _total(d, 1000 * b, s, r, w, k, f),
                "Mbit/s times milliseconds: 8 · bytes / (1000 · rate) gives milliseconds.",
            ),
            Trap(
                lambda d, b, s, r, w, k, f: _total(d, b, s, r, w, k, 1 / f),
                "A server that is faster takes less: divide by its speed-up.",
            ),
            Trap(
                lambda d, b, s, r, w, k, f: _total(d, b, s, r, w, 1 / k, f),
                "A slower device takes longer: multiply by its slowdown.",
            ),
        ),
    ),
)
