"""How long something takes, told with its spread: medians and quartiles over many runs, rivals in turns.

Two things are compared fairly only if they were timed A B A B ...: a machine that slows down for a second then slows
both. A median whose quartiles lie far apart supports no conclusion, and says so.
"""

import platform
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsplit_lib.errors import ParameterError

ENOUGH_RUNS = 100
WIDEST = 0.2  # interquartile range over median
# names as in /proc/cpuinfo: vectors, products of bytes, bfloat16; first x86, then Arm
TELLING = (
    *("sse4_1", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "amx_bf16"),
    *("neon", "asimd", "asimddp", "sve", "i8mm", "bf16"),
)


@dataclass(frozen=True)
class Timing:
    """A duration."""

    median_ms: float  # over the runs, in milliseconds
    iqr_ms: float  # between the quartiles
    runs: int  # after warming up

    @property
    def spread(self) -> float:
        """Interquartile range over median: Eq. (1) of chapter 08."""
        return self.iqr_ms / self.median_ms if self.median_ms else 0.0

    @property
    def doubt(self) -> str:
        """Why nothing may be concluded from it; "" if something may.

        >>> Timing(10.0, 1.0, 100).doubt, Timing(10.0, 4.0, 100).doubt
        ('', 'too noisy to conclude: the quartiles lie 40 % of the median apart, more than 20 %')
        """
        if self.spread > WIDEST:
            apart = f"the quartiles lie {self.spread:.0%} of the median apart, more than {WIDEST:.0%}"
            return f"too noisy to conclude: {apart}".replace("%", " %")
        return "" if self.runs >= ENOUGH_RUNS else f"a glance, not a measurement: {self.runs} runs, not {ENOUGH_RUNS}"


def interleave(
    calls: dict[str, Callable[[], Any]],
    runs: int = ENOUGH_RUNS,
    warmup: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Timing]:
    """Time several calls in turns: every round runs each of them once; the timings have the calls' names.

    ``runs`` rounds are timed, behind those of ``warmup``; ``progress`` is called with rounds done and rounds in all.

    Raises:
        ParameterError: fewer than 2 runs.

    >>> turns = []
    >>> times = interleave({name: lambda name=name: turns.append(name) for name in "ab"}, runs=2, warmup=1)
    >>> "".join(turns), times["a"].runs
    ('ababab', 2)
    """
    if runs < 2:
        raise ParameterError(f"runs must be at least 2, since one has no spread, got {runs}")
    took, timers = np.zeros((warmup + runs, len(calls))), [timeit.Timer(call) for call in calls.values()]
    for done, row in enumerate(took, start=1):
        row[:] = [timer.timeit(1) for timer in timers]  # without collecting garbage, which would fall on one by chance
        if progress is not None:
            progress(done, len(took))
    low, middle, high = 1000 * np.quantile(took[warmup:], [0.25, 0.5, 0.75], axis=0)
    return {key: Timing(float(m), float(h - lo), runs) for key, m, lo, h in zip(calls, middle, low, high, strict=True)}


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    names = _cpuinfo()
    found = names.get("model name") or names.get("Model") or names.get("Hardware")
    return found or platform.processor() or platform.machine()


def instructions() -> tuple[str, ...]:
    """List the processor's instructions that decide how networks are computed; none where the system does not say."""
    names = _cpuinfo()
    found = (names.get("flags") or names.get("Features") or "").split()
    return tuple(name for name in TELLING if name in found)


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
