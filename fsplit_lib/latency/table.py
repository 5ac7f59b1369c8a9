"""The table of chapter 08: one stage of one method a row, at settings that keep the same share of decisions."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fsplit_lib.evaluation import RatePoint
from fsplit_lib.evaluation.curves import monotone

__all__ = ["COMMAND", "LatencyRow", "settings_at"]

COMMAND = "fsplit latency"


@dataclass(frozen=True)
class LatencyRow:
    """One stage of one method.

    Attributes:
        network: whose answer it is, as timm calls it; "" where it makes no difference.
        method: as in the book's figures.
        setting: quality or rate weight; "" where it makes no difference.
        stage: what was timed; "send" for the wire.
        place: "device", "wire" or "server"; "check" for rows that are no part of a method's time.
        engine: what ran it.
        precision: of a network, "" where none runs.
        threads: that the stage could use.
        median_ms: milliseconds; None on the wire, whose time depends on the link.
        iqr_ms: between the quartiles, or None.
        runs: timed, in turns with all other rows.
        level: the agreement that the setting was chosen for; None for methods without a setting.
        bytes: sent, mean over the photos.
        agreement: top-1 agreement with the teacher, measured on the photos; None where there were too few to tell,
            or where a network is untrained and only its time is known.
        n: photos.
        cpu: that ran it.
        versions: of what ran it.
    """

    network: str
    method: str
    setting: str
    stage: str
    place: str
    engine: str
    precision: str
    threads: int
    median_ms: float | None
    iqr_ms: float | None
    runs: int
    level: float | None
    bytes: float
    agreement: float | None
    n: int
    cpu: str
    versions: str


def settings_at(points: Iterable[RatePoint], level: float, codec: str) -> dict[str, float]:
    """For each method, the quality or rate weight that keeps a share of decisions, between two measured points.

    Qualities are interpolated linearly and rate weights on a log scale, both on the monotone curve through the points.

    Args:
        points: rows of ``photos.csv``.
        level: the share, in (0, 1).
        codec: weights of ours; it is called FrankenSplit in the result.

    Returns:
        Methods that reach the level, each with its setting.
    """
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for point in points:
        if point.method == "FrankenSplit" and point.setting.startswith(f"{codec}, lmbda "):
            curves.setdefault(point.method, []).append((point.bytes, point.agreement, float(point.setting.split()[-1])))
        elif point.setting.startswith("q"):
            curves.setdefault(point.method, []).append((point.bytes, point.agreement, float(point.setting[1:])))
    found = {}
    for method, rows in curves.items():
        size, kept, knob = np.array(sorted(rows)).T
        kept = monotone(size, kept)[1]
        if kept[0] <= level <= kept[-1]:
            ours = method == "FrankenSplit"
            at = np.interp(level, kept, np.log(knob) if ours else knob)
            found[method] = float(np.exp(at)) if ours else float(round(at))
    return found
