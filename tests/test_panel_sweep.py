"""Every panel of every chapter, every control: least, default, most, three random values and illegal ones."""

import importlib
import inspect
import math
import pkgutil
import re
import time
from fractions import Fraction
from functools import cache

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import pytest
from calibration import slowness

from fsplit_lib import chapters, panels
from fsplit_lib.chapters import ch00, ch01, ch02, ch03
from fsplit_lib.chapters.ch04 import Explained, factor_panel, map_panel
from fsplit_lib.chapters.ch05 import TrainingPanel
from fsplit_lib.chapters.ch06 import LambdaPanel
from fsplit_lib.chapters.ch06_prior import WorkPanel
from fsplit_lib.chapters.ch07 import ablation_panel, server_panel
from fsplit_lib.chapters.ch08 import journey_panel
from fsplit_lib.chapters.ch09 import Survived, survival_panel
from fsplit_lib.data import FASHION_CLASSES, PHOTOS, center_crop, data_root, load_photo
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import answer_photo, read_table
from fsplit_lib.evaluation.cross_backbone import read_ablation
from fsplit_lib.evaluation.explorer import RateExplorer
from fsplit_lib.latency import Route
from fsplit_lib.panels.photo_picker import PathField
from fsplit_lib.system import load_system
from fsplit_lib.theory import anneal, at, steps
from fsplit_lib.training.lab import LabRun
from fsplit_lib.training.loop import LogRow

LIMIT = 0.6  # seconds on the machine of the calibration, for what answers at once
LMBDAS = np.geomspace(0.1, 3, 9)


@cache
def photo_system():
    return load_system("photo")


def of_chapter_00():
    system = photo_system()
    return ch00.photo_panel(lambda image: answer_photo(system, image), system.backbone.class_names)


def of_chapter_01():
    p_xy = np.random.default_rng(0).dirichlet(np.full(10, 0.1), size=10) / 10
    return ch01.bottleneck_panel(anneal(p_xy, np.geomspace(0.9, 10, 41)), 1.2, [f"class {n}" for n in range(10)])


def of_chapter_01_bounds():
    p_xy = np.array([[0.3, 0.05, 0.0], [0.28, 0.06, 0.01], [0.0, 0.05, 0.25]])
    wrongness = np.linspace(0, 1, 21)
    return ch01.bounds_panel(wrongness, 1 + wrongness, 0.5 - wrongness / 4, at(p_xy, np.eye(3), 1.0))


def of_chapter_02():
    middle = [Route(f"stage {n}", "split", n / 20, 4e5 / n, 1 - n / 20) for n in range(1, 20)]
    ways = [Route("send the photo", "remote", 0, 1e4, 1.0), *middle, Route("stay", "local", 1.0, 0, 0)]
    return ch02.split_panel({"wide": ways, "narrow": ways[::3] + ways[-1:]}, "wide", 5.0, 10.0)


def of_chapter_03():
    shares = {"A": Fraction(1, 2), "B": Fraction(3, 10), "C": Fraction(1, 5)}
    return ch03.coder_panel(steps("ABACAB", shares), {s: float(p) for s, p in shares.items()}, 6)


def of_chapter_03_densities():
    codec, window = photo_system().codec, np.arange(-6, 7)
    lmbdas = np.array([codec.lmbdas[0], 0.6, codec.lmbdas[-1]])
    told = lambda lmbda: [codec.tables(lmbda).probabilities(channel, window) for channel in (0, 1, 2)]
    return ch03.density_panel(told, [0, 1, 2], window, lmbdas, 1000 / lmbdas, 0.6)


def of_chapter_04():
    crops = {name: center_crop(load_photo(name)) for name in list(PHOTOS)[:3]}

    def explain(photo, method, strides, rank):
        seed = [*map(ord, photo + method), *strides, rank]
        return Explained(np.random.default_rng(seed).random((224, 224)) ** 8, f"class {rank}", 0.5, 0.25)

    return map_panel(crops, explain, (8, 16, 32), "chelsea")


def of_chapter_04_factor():
    return factor_panel(np.array([0.2, 0.4]), LMBDAS, 1000 * LMBDAS**-0.5, 0.3, 0.6)


def of_chapter_05():
    class Point:
        bytes, top1, agreement = 40.0, 0.5, 0.6

    def train(lmbda, objective, watch):  # the real one is run by the tests of chapter 05
        share = {"head_distillation": 0.5, "cross_entropy": 0.4}[objective]
        rows = [LogRow(n, {"distortion": share / (n + 1), "rate": 1 / (lmbda + n + 1)}, n / 9) for n in range(40)]
        for row in rows:
            watch(row)
        return LabRun(None, None, rows)

    return TrainingPanel(train, lambda _: Point)


def of_chapter_06():
    system = photo_system()
    ends = system.codec.lmbdas[0], system.codec.lmbdas[-1]
    return LambdaPanel(lambda image: RateExplorer(system, image, ()), system.backbone.class_names, ends)


def of_chapter_07():
    answer = lambda shift: lambda data: np.eye(10)[(data[0] + shift) % 10]
    whole = lambda picture: np.eye(10)[picture]
    pictures, servers = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3), ("fashion_resnet", "fashion_swin")
    return server_panel(
        pictures, [0, 1, 2, 3], FASHION_CLASSES, lambda picture, lmbda: bytes([picture]) * round(10 / lmbda),
        {name: answer(n) for n, name in enumerate(servers)}, dict.fromkeys(servers, whole), (0.01, 1.0), 0.1,
    )  # fmt: skip


def of_chapter_06_work():
    encoders = ("ablation-base", "ablation-tiny", "prior-student")
    return WorkPanel(read_table("prior_work.csv"), read_table("work.csv"), 45, encoders)


def of_chapter_07_ablation():
    return ablation_panel(read_ablation(data_root() / "results"), "fashion_swin")


def of_chapter_08():
    tables = {"photo": read_table("latency.csv"), "lean": read_table("latency_lean.csv")}
    level = f"{100 * max(row.level for row in tables['lean'] if row.level is not None):g} %"
    return journey_panel(tables, "resnet50", level, "int8", 1.0, 4.0, 4.0)


def of_chapter_09():
    crops = {name: center_crop(load_photo(name)) for name in list(PHOTOS)[:3]}

    def compare(photo, lmbda):
        before, noise = np.random.default_rng([*map(ord, photo)]).random((2, 28, 28)) ** 4
        return Survived(
            before, before + lmbda / 3 * (noise - before), round(1000 / lmbda), photo, photo if lmbda < 1 else "?"
        )

    return survival_panel(crops, compare, (0.1, 3.0), 0.6, "chelsea")


BUILDERS = {
    ch00.photo_panel: of_chapter_00, ch01.bottleneck_panel: of_chapter_01, ch01.bounds_panel: of_chapter_01_bounds, ch02.split_panel: of_chapter_02,
    ch03.coder_panel: of_chapter_03, ch03.density_panel: of_chapter_03_densities, map_panel: of_chapter_04,
    factor_panel: of_chapter_04_factor, TrainingPanel: of_chapter_05,
    LambdaPanel: of_chapter_06, WorkPanel: of_chapter_06_work,
    server_panel: of_chapter_07, ablation_panel: of_chapter_07_ablation, journey_panel: of_chapter_08,
    survival_panel: of_chapter_09,
}  # fmt: skip
UNITS = r"bits|bytes|\bB\b|\bms\b|seconds|%|Mbit/s|share|times|lambda|lmbda|λ|\bsteps?\b|symbols?\b|probability|0 to 1|spread\)?²|standard deviation|\bnats\b|multiply-adds"


def test_every_panel_is_swept():
    there = set()
    for room in (chapters, panels):
        for found in pkgutil.iter_modules(room.__path__):
            if not re.match(r"ch\d\d", found.name):
                continue
            module = importlib.import_module(f"{room.__name__}.{found.name}")
            things = [
                thing for thing in vars(module).values() if getattr(thing, "__module__", "").startswith(module.__name__)
            ]
            there |= {t for t in things if inspect.isclass(t) and issubclass(t, panels.Panel)}
            there |= {
                t for t in things if inspect.isfunction(t) and inspect.signature(t).return_annotation is panels.Panel
            }
    assert there == BUILDERS.keys()


def places(control, rng, photo):
    """Legal values and illegal ones."""
    if isinstance(control, panels.Choice):
        drawn = [control.options[i] for i in rng.integers(len(control.options), size=3)]
        return [control.options[0], control.value, control.options[-1], *drawn], [
            "no such thing",
            None,
            3,
            [],
            math.nan,
        ]
    if isinstance(control, PathField):
        return [photo, "", "/no/such/photo.jpg"], [None, 3, ["x"]]
    low, high = control.low, control.high
    if control.whole:
        drawn = rng.integers(low, high + 1, size=3).tolist()
    elif isinstance(control, panels.LogNumber):
        drawn = np.exp(rng.uniform(np.log(low), np.log(high), size=3)).clip(low, high).tolist()
    else:
        drawn = rng.uniform(low, high, size=3).tolist()
    beyond = [low - 1, high + 1, math.nan, math.inf, -math.inf, str(control.value), None, True, [control.value], 1j]
    return [low, control.value, high, *drawn], beyond + [1.5] * control.whole


def is_sound(figure):
    """Whether all that is drawn is finite, and every visible axis of numbers says what and in which unit."""
    categories = set()
    for trace in figure.data:
        for name in ("x", "y", "z"):
            values = getattr(trace, name, None)
            if values is None:
                continue
            flat = np.ravel(np.array(list(values), dtype=object))
            assert all(v is None or isinstance(v, str) or np.isfinite(v) for v in flat), (trace.name, name)
            if len(flat) and isinstance(flat[0], str):
                categories.add(name + (getattr(trace, f"{name}axis", None) or name)[1:])
        if getattr(trace, "showscale", None) is not False and trace.type == "heatmap":
            assert re.search(UNITS, trace.colorbar.title.text or ""), "a scale without a unit"
    for axis in list(figure.select_xaxes()) + list(figure.select_yaxes()):
        name = axis.plotly_name.replace("axis", "")
        if axis.visible is not False and axis.showticklabels is not False and name not in categories:
            assert re.search(UNITS, axis.title.text or ""), (name, axis.title.text)


def is_told(panel):
    """Whether live figure, static figure and sentence say the same."""
    static = panel.static()
    assert static.layout.meta["alt"] == panel._said and not isinstance(static, go.FigureWidget)
    assert len(panel._said) > 20 and 'role="status"' in panel.summary.value
    assert static.layout.title.text is not None and len(static.data) == len(panel.figure.data)


def named(widget):
    """The widgets that a keyboard reaches and that have no name of their own."""
    if isinstance(widget, widgets.Box):
        return [found for child in widget.children for found in named(child)]
    return [] if isinstance(widget, widgets.HTML) or getattr(widget, "description", "x") else [type(widget).__name__]


@pytest.mark.parametrize("factory", BUILDERS, ids=lambda f: f.__name__)
def test_every_control_at_every_place(factory, tmp_path):
    load_photo("coffee").resize((300, 260)).save(tmp_path / "mine.png")
    panel, rng = BUILDERS[factory](), np.random.default_rng(0)
    first = panel.state()
    took = []
    for name, control in panel.controls.items():
        legal, illegal = places(control, rng, str(tmp_path / "mine.png"))
        seen = set()
        for value in legal:
            begun, worked = time.perf_counter(), time.process_time()
            panel.set(**{name: value})
            took.append(min(time.perf_counter() - begun, time.process_time() - worked))  # a busy machine is no fault
            assert panel.state()[name] == pytest.approx(value)
            is_sound(panel.figure)
            is_told(panel)
            seen.add((panel._said, panel.static().to_json()))
        assert len(seen) > 1, f"{name} moves nothing"
        before, drawn = panel.state(), panel.static()
        for value in illegal:
            with pytest.raises(ParameterError, match=re.escape(control.label)):
                panel.set(**{name: value})
        assert panel.state() == before and panel.static() == drawn
        if isinstance(control, panels.Number):  # what a keyboard can do: the field takes no more than its ends
            field, slider = control.widget.children
            field.value = control.high + 1
            assert control.value == pytest.approx(control.high) and slider.value == pytest.approx(control.high)
        panel.set(**first)
    with pytest.raises(ParameterError, match="no control"):
        panel.set(nothing=1)
    assert panel.button or np.median(took) <= LIMIT * max(1, slowness())
    assert set(named(panel.box)) <= {"IntSlider", "FloatSlider", "FloatLogSlider"}  # whose linked fields have the names
