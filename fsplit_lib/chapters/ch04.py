"""Chapter 04: maps over a photo, maps on trial, the factor on lambda, and the variants of guided training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import Variants
from fsplit_lib.evaluation.tables import MapAgeRow
from fsplit_lib.objectives import lmbda_factor
from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.plots.curves import curve, rate_accuracy
from fsplit_lib.plots.pictures import paint_map, picture, side_by_side
from fsplit_lib.plots.style import BLACK, BLUE, GREEN, ORANGE, Look, below, finish, look_of
from fsplit_lib.saliency import DeletionCurve, concentration

METHODS = {
    "gradcam": "Grad-CAM", "xgradcam": "XGradCAM", "gradcam++": "Grad-CAM++", "hirescam": "HiResCAM",
    "layercam": "LayerCAM", "eigencam": "EigenCAM", "edges": "edge detector",
}  # fmt: skip
MIXED = "all, mixed"
RANKS = ("first", "second", "third")
TESTED = {"gradcam": BLUE, "xgradcam": ORANGE, "eigencam": GREEN, "edges": BLACK}
ORDERS = {"most salient first": ORANGE, "least salient first": BLUE, "at random": Look("#57606a", "dot", "x")}
VARIANTS = {"unguided": BLACK, "guided": ORANGE, "constant": BLUE, "shuffled": GREEN}
REGULARISERS = {
    "guided": ("maps of the crops", ORANGE), "decoded": ("maps of decoded features", GREEN),
    "constant": ("a constant map", BLUE), "dropout": ("dropout", Look("#CC79A7", "dash", "triangle-up")),
    "decay": ("weight decay", Look("#882255", "dash", "triangle-down")), "attention": ("attention", Look("#332288", "dash", "star")),
}  # fmt: skip
COMPARED = {
    ("crop", "photo"): ("crop and photo, both the teacher's", BLACK),
    ("decoded", "crop"): ("decoded features and crop", ORANGE),
    ("decoded", "photo"): ("decoded features and photo", BLUE),
    ("decoded", "decoded"): ("decoded features, and those a point before", GREEN),
}


def overlay(crop: Image.Image, values: np.ndarray) -> Image.Image:
    """Lay a map (H, W) in [0, 1] over the grey photo: dark is 0, bright 1."""
    heat = paint_map(np.clip(values, 0, 1), "Cividis").resize(crop.size, Image.Resampling.BILINEAR)
    return Image.blend(crop.convert("L").convert("RGB"), heat, 0.65)


def map_grid(crop: Image.Image, maps: dict[str, dict[str, np.ndarray]]) -> go.Figure:
    """Draw methods in rows and layers in columns, each map (H, W) in [0, 1] over the photo: method to layer to map."""
    layers = list(next(iter(maps.values())))
    figure = make_subplots(
        len(maps), len(layers), column_titles=layers, horizontal_spacing=0.008,
        row_titles=[METHODS[m] for m in maps], vertical_spacing=0.015,
    )  # fmt: skip
    for row, found in enumerate(maps.values(), start=1):
        for column, one in enumerate(found.values(), start=1):
            figure.add_trace(go.Image(source=picture(overlay(crop, one)), hoverinfo="skip"), row, column)
    bar = {"x": 1.07, "title": "saliency", "tickvals": [0, 0.5, 1], "thickness": 14}
    scale = {"colorscale": "Cividis", "cmin": 0, "cmax": 1, "color": [0], "showscale": True, "colorbar": bar}
    figure.add_scatter(x=[None], y=[None], mode="markers", marker=scale, showlegend=False, row=1, col=1)
    figure.update_xaxes(visible=False).update_yaxes(visible=False).update_annotations(font_size=15)
    told = [f"{METHODS[m]} {concentration(list(found.values())[-1]):.0%}" for m, found in maps.items()]
    alt = (
        f"{len(maps)} methods by {len(layers)} choices of layers over one photo. Half of the map ({layers[-1]}) lies "
        f"on this share of the places: {', '.join(told)}."
    )
    margin = {"l": 10, "r": 110, "t": 105, "b": 10}
    return finish(figure, "Where does the score come from?", alt, 110 + 185 * len(maps), margin=margin)


def spoiling(
    shares: Sequence[float], runs: dict[str, tuple[DeletionCurve, DeletionCurve]], chance: DeletionCurve
) -> go.Figure:
    """Draw the probability of the teacher's first answer as shares of the features are spoiled, one plot per map.

    A run has what was left with a map's most and with its least salient places first, ``chance`` in random order.
    """
    figure = make_subplots(1, len(runs), subplot_titles=list(runs), shared_yaxes=True, horizontal_spacing=0.025)
    half, told = int(np.argmin(np.abs(np.array(shares) - 0.5))), []
    for column, (name, (most, least)) in enumerate(runs.items(), start=1):
        for n, ((way, look), run) in enumerate(zip(ORDERS.items(), (most, least, chance), strict=True)):
            values = 100 * run.share
            mean, middle = values.mean(axis=1), np.arange(len(values)) == half
            ends = [np.where(middle, end, mean) for end in (values.min(axis=1), values.max(axis=1))]
            x, hover = 100 * np.array(shares) + 1.5 * (n - 1), "%{y:.0f} %, %{customdata} answers unchanged"
            style = {"showlegend": column == 1, "customdata": run.agreement.sum(axis=1), "hovertemplate": hover}
            figure.add_trace(curve(way, x, mean, look, ends, **style), 1, column)
        told.append(
            f"{name}: {most.share[half].mean():.0%} most salient first, {least.share[half].mean():.0%} least first "
            f"({most.agreement[half].sum()} and {least.agreement[half].sum()} answers unchanged)"
        )
    figure.update_xaxes(title_text="spoiled places (%)", range=[-4, 100], tickvals=[0, 25, 50, 75])
    figure.update_yaxes(range=[0, 100]).update_yaxes(title_text="probability of the first answer (%)", col=1)
    figure.update_annotations(font_size=15)
    alt = (
        f"The softmax probability of the teacher's first answer, mean over {chance.share.shape[1]} photos, with "
        f"{shares[half]:.0%} of the places spoiled. {'; '.join(told)}; at random: {chance.share[half].mean():.0%}. The "
        "whiskers there go from the least to the largest photo."
    )
    margin = {"b": 125, "t": 85}
    return finish(figure, "Spoil the features, watch the answer", alt, 500, legend=below(-0.3), margin=margin)


def map_ages(ages: Sequence[MapAgeRow]) -> go.Figure:
    """Draw how alike the maps of one training's eight points are to others: the teacher's two, and the point before."""
    plots = {"behind": "layers behind the cut", "cut": "the layer at the cut"}
    figure = make_subplots(1, 2, subplot_titles=list(plots.values()), shared_yaxes=True, horizontal_spacing=0.03)
    told = []
    for column, (layers, title) in enumerate(plots.items(), start=1):
        found = {pair: [r for r in ages if (r.layers, r.first, r.second) == (layers, *pair)] for pair in COMPARED}
        for pair, (label, look) in COMPARED.items():
            rows, style = found[pair], {"showlegend": column == 1, "legendgroup": label}
            if pair == ("crop", "photo"):  # the teacher does not change
                others = found["decoded", "crop"]
                rows = [replace(rows[0], step=others[end].step) for end in (0, -1)]
            ends = [[getattr(row, end) for row in rows] for end in ("correlation_low", "correlation_high")]
            values = [row.correlation for row in rows]
            steps, line = [row.step for row in rows], {"color": look.color, "dash": "dot", "width": 1}
            figure.add_trace(curve(label, steps, values, look, ends, **style), 1, column)
            figure.add_scatter(x=steps, y=[row.control for row in rows], mode="lines", line=line, showlegend=False,
                               name=f"{label}, of another crop", row=1, col=column)  # fmt: skip
            first, last = (
                f"{values[end]:.2f} at step {rows[end].step} (with another crop's map {rows[end].control:.2f})"
                for end in (0, -1)
            )
            told.append(f"{title}, {label}: {first}, {last}")
    thin = {"color": "#57606a", "dash": "dot", "width": 1}
    figure.add_scatter(x=[None], y=[None], mode="lines", line=thin, name="thin: the same with another crop's map")
    figure.update_xaxes(title_text="optimiser steps").update_yaxes(title_text="correlation of two maps", col=1)
    alt = f"Mean correlation of Grad-CAM maps over {ages[0].n} crops, with 95 % intervals. {'; '.join(told)}."
    return finish(figure, "How fast a map goes stale", alt, 480, legend=below(-0.22), margin={"t": 80, "b": 130})


def against_unguided(variants: Variants) -> go.Figure:
    """Draw agreement over bytes as the difference to the unguided run of the same seed at the same bytes.

    The band is the 95 % interval of one unguided point; the black line is one unguided seed against the other.
    """
    first, *later = variants.seeds("unguided")
    pairs = [(name, s, s) for name in list(VARIANTS)[1:] for s in variants.seeds(name) if s in (first, *later)]
    lines = []
    for name, seed, anchor in [("unguided", s, first) for s in later] + pairs:
        sizes, kept = np.array(sorted((p.bytes, p.agreement) for p in variants.curves["unguided", anchor])).T
        shared = (p for p in variants.curves[name, seed] if sizes[0] <= p.bytes <= sizes[-1])
        points, look = sorted(shared, key=lambda p: p.bytes), VARIANTS[name]
        y = [100 * (p.agreement - float(np.interp(np.log(p.bytes), np.log(sizes), kept))) for p in points]
        mark = {"symbol": look.symbol if seed == first else f"{look.symbol}-open", "size": 9}
        hover = "%{x:,.0f} bytes<br>%{y:+.1f} points"
        x = [p.bytes for p in points]
        lines.append(curve(f"{name}, seed {seed}", x, y, look, width=1.5, marker=mark, hovertemplate=hover))
    rows = sorted(variants.curves["unguided", first], key=lambda p: p.bytes)
    label = "agreement minus unguided (points)"
    figure = rate_accuracy({"": lines}, "What each variant adds to unguided training", label, rows[0].n)
    figure.add_scatter(
        x=[p.bytes for p in (*rows, *rows[::-1])], name="interval of one point", mode="lines", line={"width": 0},
        y=100 * np.array([*(p.agreement_low - p.agreement for p in rows), *(p.agreement_high - p.agreement for p in rows[::-1])]),
        fill="toself", fillcolor="rgba(87,96,106,0.15)", hoverinfo="skip",
    )  # fmt: skip
    return figure.add_hline(y=0, line={"color": "#8b949e", "width": 1})


@dataclass(frozen=True)
class Explained:
    """One map and what the panel tells of it."""

    values: np.ndarray  # (H, W) in [0, 1]
    label: str  # of the class
    share: float  # softmax probability of the class
    edges: float  # rank correlation with the edge detector


Explain = Callable[[str, str, tuple[int, ...], int], Explained]


def map_panel(crops: dict[str, Image.Image], explain: Explain, strides: tuple[int, ...], photo: str) -> Panel:
    """Show one of the photos, at first ``photo``, and one map of it; the button asks the network.

    That calls ``explain`` with the photo's name, a method, strides (none for all of them) and the class's rank from 0.
    """
    methods = {name: key for key, name in METHODS.items() if key != "edges"}
    by_name = {MIXED: ()} | {f"stride {s}": (s,) for s in strides}
    controls = {
        "photo": Choice("photo", tuple(crops), photo),
        "method": Choice("method", tuple(methods), METHODS["xgradcam"]),
        "layers": Choice("layers", tuple(by_name), MIXED),
        "answer": Choice("answer", RANKS, RANKS[0]),
    }

    def update(photo: str, method: str, layers: str, answer: str) -> str:
        found = explain(photo, methods[method], by_name[layers], RANKS.index(answer))
        shown, mapped = panel.figure.data
        with panel.figure.batch_update():
            shown.source, mapped.source = picture(crops[photo]), picture(overlay(crops[photo], found.values))
            panel.figure.layout.title.text = (
                f"{method}, {'all layers mixed' if layers == MIXED else layers}: {found.label}"
            )
        half = f"half of the map lies on {concentration(found.values):.0%} of the places"
        return (
            f"{photo}, {method} for the {answer} answer, {found.label} (probability {found.share:.0%}): "
            f"{half if found.values.max() > 0 else 'it is 0 everywhere'}; its rank correlation with the edges is "
            f"{found.edges:.2f}."
        )

    pictures = {"the photo": crops[photo], "the map: dark 0, bright 1": overlay(crops[photo], np.zeros((2, 2)))}
    figure = side_by_side(pictures, "One map", "One photo and a map of it.", 405)
    panel = Panel(controls, figure, update, run="Ask the network")
    return panel.set()


def factor_panel(means: np.ndarray, lmbdas: np.ndarray, sizes: np.ndarray, mean: float, lmbda: float) -> Panel:
    """Slide the mean of a map and see which lambda it amounts to, and the bytes of a codec there.

    The means are those of real maps, the sizes mean bytes at ``lmbdas``; ``mean`` and ``lmbda`` are first positions.
    """
    star, line, dots = map(look_of, ("your guess", "FrankenSplit", "rate"))
    mark = {"symbol": star.symbol, "size": 17, "color": star.color, "line": {"width": 1, "color": "#1b1f24"}}
    figure = make_subplots(1, 2, subplot_titles=("What a map does to lambda", "What lambda does to bytes"))
    grid, maps = np.linspace(0, 1, 51), {"symbol": dots.symbol, "color": dots.color, "size": 9}
    traces = [
        (1, {"x": grid, "y": lmbda_factor(grid), "mode": "lines", "name": "2 / (1 + mean s)",
             "line_color": line.color}),
        (1, {"x": means, "y": lmbda_factor(means), "mode": "markers", "name": "maps of the photos", "marker": maps}),
        (1, {"mode": "markers", "name": "chosen", "marker": mark}),
        (2, {"x": lmbdas, "y": sizes, "mode": "lines", "name": "shipped codec",
             "line": {"color": dots.color, "dash": dots.dash}}),
        (2, {"mode": "markers+lines", "name": "unguided, and as weighted", "showlegend": False,
             "marker": mark | {"symbol": ["circle", star.symbol]}, "line": {"color": star.color}}),
    ]  # fmt: skip
    for column, trace in traces:
        figure.add_scatter(**trace, row=1, col=column)
    figure.update_xaxes(title_text="mean of the map (0 to 1)", col=1)
    figure.update_yaxes(title_text="factor on lambda", range=[0.95, 2.1], col=1)
    figure.update_xaxes(title_text="lambda", type="log", tickvals=[0.1, 0.2, 0.5, 1, 2, 3], col=2)
    figure.update_yaxes(title_text="mean bytes per photo", rangemode="tozero", col=2)
    finish(figure, "A map is also a lambda", "", 480, legend=below(-0.3), margin={"b": 130, "t": 90})

    def update(mean: float, lmbda: float) -> str:
        factor = float(lmbda_factor(mean))
        moved = lmbda * factor
        before, after = (float(np.interp(np.log(at), np.log(lmbdas), sizes)) for at in (lmbda, moved))
        panel.update_trace("chosen", x=[mean], y=[factor])
        panel.update_trace("unguided, and as weighted", x=[lmbda, moved], y=[before, after])
        said = f"A map of mean {mean:.2f} makes lambda {factor:.2f} times larger: "
        if moved > lmbdas[-1] * (1 + 1e-9):
            return said + f"beyond {lmbdas[-1]:g}, where this codec ends."
        return said + (
            f"{lmbda:g} acts like {moved:.2f}, and the shipped codec writes {after:,.0f} bytes instead of "
            f"{before:,.0f}, {abs(1 - after / before):.0%} {'fewer' if after <= before else 'more'}, without knowing any map."
        )

    controls = {
        "mean": Number("mean of s", 0.0, 1.0, mean, 0.05),
        "lmbda": LogNumber("lambda", lmbdas[0], lmbdas[-1], lmbda),
    }
    panel = Panel(controls, figure, update)
    return panel.set()
