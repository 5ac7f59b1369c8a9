"""Panels of chapter 01: slide beta along the bottleneck, and guesswork into the bounds."""

from collections.abc import Sequence

import numpy as np

from fsplit_lib.panels.base import LogNumber, Number, Panel
from fsplit_lib.plots.ch01 import bottleneck_view, bound_gaps, move_bottleneck
from fsplit_lib.theory import Bottleneck

__all__ = ["bottleneck_panel", "bounds_panel"]


def bottleneck_panel(solutions: list[Bottleneck], beta: float, names: Sequence[str]) -> Panel:
    """Slide beta: the point moves along the curve, groups split and merge.

    Args:
        solutions: the curve, by rising beta.
        beta: first position.
        names: of the values of X.
    """
    betas = np.array([s.beta for s in solutions])

    def nearest(value: float) -> Bottleneck:
        return solutions[int(np.abs(betas - value).argmin())]

    def update(beta: float) -> str:
        return move_bottleneck(panel.figure, nearest(beta), names)

    low, high = (float(exponent) for exponent in np.log10(betas[[0, -1]]))
    control = LogNumber("beta (bits per bit)", low - 1e-9, high + 1e-9, beta, 0.005)  # the ends themselves are legal
    panel = Panel({"beta": control}, bottleneck_view(solutions, nearest(beta), names), update)
    panel.refresh()
    return panel


def bounds_panel(
    wrongness: np.ndarray, rate_bounds: np.ndarray, relevance_bounds: np.ndarray, true: Bottleneck
) -> Panel:
    """Slide guesswork into prior and decoder: the bounds leave the truth, never to the wrong side."""
    figure = bound_gaps(wrongness, rate_bounds, relevance_bounds, true)
    figure.add_scatter(mode="markers", name="here", marker={"size": 14, "color": "#000000"})

    def update(guesswork: float) -> str:
        at = int(np.abs(wrongness - guesswork).argmin())
        with panel.figure.batch_update():
            panel.figure.data[2].x = [wrongness[at]] * 2
            panel.figure.data[2].y = [rate_bounds[at], relevance_bounds[at]]
        return (
            f"With {wrongness[at]:.0%} guesswork the rate is bounded by {rate_bounds[at]:.2f} bits (it is {true.rate:.2f}) "
            f"and the relevance by {relevance_bounds[at]:.2f} (it is {true.relevance:.2f})."
        )

    panel = Panel({"guesswork": Number("guesswork (share)", 0.0, 1.0, 0.3, 0.05)}, figure, update)
    panel.refresh()
    return panel
