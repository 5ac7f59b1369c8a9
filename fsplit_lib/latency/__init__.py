"""Where the time goes: honest timing, the cost of every layer, the best place to split, and whole journeys.

:mod:`~fsplit_lib.latency.measuring` fills the table of chapter 08; it needs onnx and is imported by name.
"""

from fsplit_lib.latency.journeys import Circumstances, Journey, journeys, rate_for, ratio, widest_ratio
from fsplit_lib.latency.planning import Plan, Route, best, can_win, plan, routes
from fsplit_lib.latency.profiling import SplitPoint, profile, time_passes
from fsplit_lib.latency.table import LatencyRow, settings_at

__all__ = [
    "Circumstances",
    "Journey",
    "LatencyRow",
    "Plan",
    "Route",
    "SplitPoint",
    "best",
    "can_win",
    "journeys",
    "plan",
    "profile",
    "rate_for",
    "ratio",
    "routes",
    "settings_at",
    "time_passes",
    "widest_ratio",
]
