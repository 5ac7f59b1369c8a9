"""The book's colours, for eyes of every kind: apart when red or green is missing, and never alone."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from fsplit_lib import plots
from fsplit_lib.chapters import ch02, ch08
from fsplit_lib.plots import METHODS
from fsplit_lib.plots.style import TEMPLATE, look_of
from fsplit_lib.plots.waterfall import PARTS, end_numbers

# Machado, Oliveira & Fernandes (2009), doi:10.1109/TVCG.2009.113: linear RGB as it is seen without one kind of cone
SEEN = {
    "all cones": np.eye(3),
    "no M cones": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "no L cones": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
}  # fmt: skip
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
APART = 12.0  # in CIELAB; some 2.3 is what the eye can just tell in two patches side by side


def lab(colour, seen):
    """CIELAB (L, a, b) of "#rrggbb" under D65."""
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = XYZ @ (seen @ linear).clip(0, 1) / XYZ.sum(1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, other):
    """Distance of two colours for the eye that tells them worst."""
    return min(np.linalg.norm(lab(one, seen) - lab(other, seen)) for seen in SEEN.values())


def test_the_yardstick():
    assert lab("#FFFFFF", SEEN["all cones"]) == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("#FF0000", SEEN["all cones"]) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)  # as tables have it
    assert apart("#D00000", "#608000") < 30 < np.linalg.norm(lab("#D00000", np.eye(3)) - lab("#608000", np.eye(3)))


IN_08 = {name: look_of(name) for name in ("FrankenSplit", "JPEG", "WebP", "AVIF", "PNG")} | ch08.EXTRA
SETS = {
    "methods": {n: (look.color, look.dash, look.symbol) for n, look in METHODS.items() if n not in ("rate", "distortion")},
    "chapter 08": {n: (look.color, look.dash, look.symbol) for n, look in IN_08.items()},
    "stages": {n: (colour, pattern) for n, (colour, pattern) in ch08.STAGES.items()},
    "parts": {n: (colour, pattern) for n, colour, pattern in PARTS},
    "networks": {n: (colour, symbol) for n, (_, colour, symbol, _) in ch02.NETWORKS.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_colours_are_apart_for_every_eye_and_never_alone(name):
    for (a, x), (b, y) in itertools.combinations(SETS[name].items(), 2):
        assert apart(x[0], y[0]) >= APART, (a, b)
        assert x[1:] != y[1:], (a, b)


def test_kinds_of_a_map_are_apart():
    for x, y in itertools.combinations(ch02.KINDS.values(), 2):
        assert apart(x, y) >= APART


def test_the_page_reads_from_the_last_row():
    layout = TEMPLATE.layout
    assert layout.font.size >= 16 and layout.title.font.size > layout.font.size and layout.legend.font.size >= 15
    source = "".join(path.read_text() for path in Path(plots.__file__).parent.rglob("*.py"))
    assert len(re.findall(r"\btemplate=", source)) == 1  # one template, set in one place


def test_a_bar_that_runs_out_of_the_plot_keeps_its_number():
    near, far = end_numbers({"a": 5.0, "b": 50.0}, ["5", "50"], 10.0)
    assert (near["x"], near["xref"], near["text"]) == (5.0, "x", "5")
    assert (far["x"], far["xref"], far["text"], far["y"]) == (1, "paper", "→ 50", "b")
