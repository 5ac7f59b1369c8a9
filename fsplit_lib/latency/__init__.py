"""Where the time goes: honest timing, the cost of every layer, the best place to split, and whole journeys.

:mod:`~fsplit_lib.latency.stages` fills the table of chapter 08; it needs onnx and is imported by name.
"""

from fsplit_lib.latency.end_to_end import EndToEnd, Scenario, end_to_end, rate_for, ratio, widest_ratio
from fsplit_lib.latency.planning import Plan, Route, best, can_win, plan, routes
from fsplit_lib.latency.profiling import SplitPoint, profile, time_passes
