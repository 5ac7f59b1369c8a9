"""The settings of chapter 08's table: for each method the one that reaches the same agreement."""

from collections.abc import Iterable

import numpy as np

from fsplit_lib.device.benchmark import OURS
from fsplit_lib.evaluation import RatePoint
from fsplit_lib.evaluation.curves import monotone


def settings_at(points: Iterable[RatePoint], level: float, codec: str) -> dict[str, float]:
    """Find for each method the quality or rate weight of a given agreement, between two measured points.

    Qualities are interpolated linearly and rate weights on a log scale, both on the monotone curve through the points.

    Args:
        points: rows of ``photos.csv``.
        level: the agreement, in (0, 1).
        codec: weights of ours; it is called FrankenSplit in the result.

    Returns:
        Methods that reach the level, each with its setting.
    """
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for point in points:
        if point.quality is not None:
            curves.setdefault(point.codec, []).append((point.bytes, point.agreement, point.quality))
        elif point.codec == codec:
            curves.setdefault(OURS, []).append((point.bytes, point.agreement, point.lmbda))
    found = {}
    for method, rows in curves.items():
        size, agreement, knob = np.array(sorted(rows)).T
        agreement = monotone(size, agreement)[1]
        if agreement[0] <= level <= agreement[-1]:
            at = np.interp(level, agreement, np.log(knob) if method == OURS else knob)
            found[method] = float(np.exp(at)) if method == OURS else float(round(at))
    return found
