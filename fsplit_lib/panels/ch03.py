"""Panels of chapter 03: read a message symbol by symbol; slide lmbda and watch densities sharpen."""

from collections.abc import Callable

import numpy as np

from fsplit_lib.panels.base import LogNumber, Number, Panel
from fsplit_lib.plots.ch03 import coder_steps, density_at_lmbda, move_coder, move_density
from fsplit_lib.theory import Step

__all__ = ["coder_panel", "density_panel"]


def coder_panel(steps: list[Step], shares: dict[str, float], read: int) -> Panel:
    """Read a message one symbol at a time and see its interval shrink."""

    def update(read: int) -> str:
        return move_coder(panel.figure, steps, shares, read)

    control = Number("symbols read", 0, len(steps), read, 1)
    panel = Panel({"read": control}, coder_steps(steps, shares, read), update)
    panel.refresh()
    return panel


def density_panel(
    probabilities: Callable[[float], list[np.ndarray]],
    channels: list[int],
    grid: np.ndarray,
    lmbdas: np.ndarray,
    sizes: np.ndarray,
    lmbda: float,
) -> Panel:
    """Slide lmbda along a codec of continuous rate.

    Args:
        probabilities: of the symbols of ``grid`` in each channel, for a lmbda.
        channels: shown.
        grid: symbols.
        lmbdas: at which bytes were measured.
        sizes: mean bytes there.
        lmbda: first position.
    """

    def update(lmbda: float) -> str:
        return move_density(panel.figure, probabilities(lmbda), lmbdas, sizes, lmbda)

    low, high = np.log10(lmbdas[0]), np.log10(lmbdas[-1])
    control = LogNumber("lmbda", float(low), float(high), lmbda, 0.02)
    panel = Panel({"lmbda": control}, density_at_lmbda(channels, grid), update)
    panel.refresh()
    return panel
