"""Where the time goes: honest timing, the cost of every layer, and the best place to split."""

from fsplit_lib.latency.planning import Link, Plan, Route, best, can_win, plan, routes
from fsplit_lib.latency.profiling import SplitPoint, profile, time_passes

__all__ = ["Link", "Plan", "Route", "SplitPoint", "best", "can_win", "plan", "profile", "routes", "time_passes"]
