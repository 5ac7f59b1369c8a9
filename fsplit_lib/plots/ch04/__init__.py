"""Figures of chapter 04."""

from fsplit_lib.plots.ch04.arms import arm_curves, arm_deltas, equal_lambda, outcome, told
from fsplit_lib.plots.ch04.maps import NAMES, explained, map_grid, overlay, swin_axes
from fsplit_lib.plots.ch04.trials import ruined, sanity, spoiling
from fsplit_lib.plots.ch04.weight import along_the_curve, factor_figure, move_factor

__all__ = [
    "NAMES",
    "along_the_curve",
    "arm_curves",
    "arm_deltas",
    "equal_lambda",
    "explained",
    "factor_figure",
    "map_grid",
    "move_factor",
    "outcome",
    "overlay",
    "ruined",
    "sanity",
    "spoiling",
    "swin_axes",
    "told",
]
