"""Panels of chapter 04: choose a photo, a method, a layer and a class; slide the mean of a map."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.plots.ch04 import NAMES, explained, factor_figure, move_factor, overlay
from fsplit_lib.plots.pictures import picture
from fsplit_lib.saliency import concentration

__all__ = ["MIXED", "Explained", "factor_panel", "map_panel"]

MIXED = "all, mixed"
RANKS = ("first", "second", "third")


@dataclass(frozen=True)
class Explained:
    """One map and what the panel tells of it.

    Attributes:
        values: (H, W) in [0, 1].
        label: of the class.
        share: of the class in the answer.
        edges: rank correlation with the edge detector.
    """

    values: np.ndarray
    label: str
    share: float
    edges: float


def map_panel(
    crops: dict[str, Image.Image],
    explain: Callable[[str, str, tuple[int, ...], int], Explained],
    strides: tuple[int, ...],
    photo: str,
) -> Panel:
    """One photo and one map of it; the button asks the network.

    Args:
        crops: the photos by name.
        explain: called with a photo's name, a method, strides (none for all of them) and the class's rank from 0.
        strides: that there are.
        photo: shown first.
    """
    methods = {name: key for key, name in NAMES.items() if key != "edges"}
    layers = {MIXED: ()} | {f"stride {s}": (s,) for s in strides}
    controls = {
        "photo": Choice("photo", tuple(crops), photo),
        "method": Choice("method", tuple(methods), NAMES["xgradcam"]),
        "layers": Choice("layers", tuple(layers), MIXED),
        "answer": Choice("answer", RANKS, RANKS[0]),
    }

    def update(photo: str, method: str, layers: str, answer: str) -> str:
        found = explain(photo, methods[method], chosen[layers], RANKS.index(answer))
        with panel.figure.batch_update():
            panel.figure.data[0].source = picture(crops[photo])
            panel.figure.data[1].source = picture(overlay(crops[photo], found.values))
            panel.figure.layout.title.text = f"{method}, layers: {layers}, for {found.label}"
        if found.values.max() <= 0:
            return f"{photo}: no channel speaks for {found.label} ({found.share:.0%} of the answer); the map is 0 everywhere."
        return (
            f"{photo}, {method} for the {answer} answer, {found.label} ({found.share:.0%}): half of the map lies on "
            f"{concentration(found.values):.0%} of the places; its rank correlation with the edges is {found.edges:.2f}."
        )

    chosen = layers
    panel = Panel(controls, explained(crops[photo], np.zeros((2, 2))), update, run="Ask the network")
    panel.refresh()
    return panel


def factor_panel(means: np.ndarray, lmbdas: np.ndarray, sizes: np.ndarray, mean: float, lmbda: float) -> Panel:
    """Slide the mean of a map and see which lambda it amounts to, and the bytes of a codec there.

    Args:
        means: of real maps.
        lmbdas: at which bytes were measured.
        sizes: mean bytes there.
        mean: first position.
        lmbda: of the loss.
    """

    def update(mean: float, lmbda: float) -> str:
        return move_factor(panel.figure, mean, lmbda, lmbdas, sizes)

    controls = {
        "mean": Number("mean of s", 0.0, 1.0, mean, 0.05),
        "lmbda": LogNumber("lambda", math.log10(lmbdas[0]), math.log10(lmbdas[-1]), lmbda),
    }
    panel = Panel(controls, factor_figure(means, lmbdas, sizes), update)
    panel.refresh()
    return panel
