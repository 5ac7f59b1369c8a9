"""Figures of chapter 06: whole curves, deltas between them, gains, and one photo at one rate."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import BDRate, RatePoint
from fsplit_lib.plots.pictures import HATCH, top_names
from fsplit_lib.plots.style import Look, finish, look_of

__all__ = [
    "PICTURES",
    "answer_traces",
    "bd_rates",
    "empty_explorer",
    "gains",
    "rate_accuracy",
    "shown",
    "sizes_over_lmbda",
]

PICTURES = ("the crop", "where the bits go", "JPEG", "AVIF")  # two lines once there is an answer
BARS = (
    ("teacher", "no compression", ""),
    ("FrankenSplit", "packet", "/"),
    ("JPEG", "JPEG", "x"),
    ("AVIF", "AVIF", "."),
)
BYTE_TICKS = [500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10000]


def rate_accuracy(points: list[RatePoint], main: str, quality: str = "kept") -> go.Figure:
    """Kept decisions (or top-1) over bytes, a curve a method, with Wilson's 95 % intervals.

    Args:
        points: rows of ``photos.csv``.
        main: weights of the codec to draw as FrankenSplit; others of ours are thin.
        quality: "kept" or "top1".
    """
    figure, curves = go.Figure(), {}
    for point in points:
        if point.method != "teacher" and getattr(point, quality) is not None:
            curves.setdefault(_curve(point), []).append(point)
    told = []
    for name, rows in curves.items():
        rows.sort(key=lambda p: p.bytes)
        look = look_of("FrankenSplit") if name == main else _look(name)
        share, low, high = (100 * np.array([getattr(p, quality + end) for p in rows]) for end in ("", "_low", "_high"))
        figure.add_trace(
            go.Scatter(
                x=[p.bytes for p in rows], y=share, name=f"FrankenSplit ({name})" if name not in _looks() else name,
                mode="lines+markers", line={"color": look.color, "dash": look.dash, "width": 3.5 if name == main else 2},
                marker={"symbol": look.symbol, "size": 10 if name == main else 8},
                error_y={"array": high - share, "arrayminus": share - low, "color": look.color, "thickness": 1, "width": 3},
                text=[p.setting for p in rows], hovertemplate="%{text}<br>%{x:,.0f} bytes<br>%{y:.1f} %",
            )
        )  # fmt: skip
        told.append(
            f"{name} goes from {share[0]:.0f} % at {rows[0].bytes:,.0f} bytes to {share[-1]:.0f} % at {rows[-1].bytes:,.0f}"
        )
    title = "decisions of the teacher kept (%)" if quality == "kept" else "top-1 accuracy (%)"
    figure.update_xaxes(
        title_text="mean bytes of the whole packet or file", type="log", tickvals=BYTE_TICKS, range=[2.65, 4.1]
    )
    figure.update_yaxes(title_text=title, range=[20, 100])
    n = points[0].n
    if quality == "top1":
        teacher = next(p for p in points if p.method == "teacher")
        look = look_of("teacher")
        figure.add_hline(
            y=100 * teacher.top1, line={"color": look.color, "dash": look.dash}, annotation_text="no compression"
        )
    finish(figure, f"What a byte buys on {n} photos", "; ".join(told) + f"; n = {n}.", height=560)
    return figure.update_layout(legend={"x": 1.01, "y": 1})


def _looks() -> set[str]:
    return {"JPEG", "JPEG, no tables", "WebP", "AVIF", "JPEG 2000", "JPEG XL", "HEIC"}


def _look(name: str) -> Look:
    """Of a codec of the world, or of ours beside the main one: its colour, another dash and symbol each."""
    if name in _looks():
        return look_of(name)
    dash, symbol = {"photo-head": ("dot", "circle-open"), "photo-first": ("dash", "diamond-open")}.get(
        name, ("dashdot", "star-open")
    )
    return Look(look_of("FrankenSplit").color, dash, symbol)


def _curve(point: RatePoint) -> str:
    return point.setting.split(",")[0] if point.method == "FrankenSplit" else point.method


def bd_rates(deltas: list[BDRate], method: str) -> go.Figure:
    """Bytes that one method needs more or less than others at equal kept decisions, with bootstrap intervals.

    Args:
        deltas: rows of the table of BD-rates.
        method: the tested curve.
    """
    mine = sorted((d for d in deltas if d.method == method and d.percent is not None), key=lambda d: d.percent)
    figure, told = go.Figure(), []
    for delta in mine:
        look = _look(delta.against)
        known = delta.low is not None
        figure.add_trace(
            go.Scatter(
                x=[delta.percent], y=[f"against {delta.against}"], mode="markers+text",
                marker={"color": look.color, "symbol": look.symbol, "size": 14},
                error_x={"array": [delta.high - delta.percent], "arrayminus": [delta.percent - delta.low], "width": 6} if known else None,
                text=[f"{delta.percent:+.0f} %"], textposition="top center", cliponaxis=False, showlegend=False,
                hovertemplate=f"kept {delta.kept_from:.0%} to {delta.kept_to:.0%}<br>%{{x:.1f}} %<extra></extra>",
            )
        )  # fmt: skip
        interval = f" (95 % interval {delta.low:+.0f} to {delta.high:+.0f})" if known else f" ({delta.doubt})"
        told.append(f"{delta.percent:+.0f} % bytes against {delta.against}{interval}")
    figure.add_vline(x=0, line={"color": "#8b949e", "dash": "dot"})
    figure.update_xaxes(title_text="bytes more (+) or less (−) for the same kept decisions (%)", range=[-100, 40])
    figure.update_yaxes(automargin=True)
    alt = "At equal kept decisions: " + "; ".join(told) + "." if told else "No two curves share any quality."
    return finish(figure, "Bjøntegaard delta rates", alt, height=160 + 62 * max(1, len(mine)))


def gains(lmbdas: Sequence[float], gain: np.ndarray, anchors: Sequence[float]) -> go.Figure:
    """What the control turns: the gain of every channel over lambda.

    Args:
        lmbdas: (L,).
        gain: (L, C).
        anchors: where gains were learned.
    """
    figure = go.Figure()
    spread = gain.max(axis=0) / gain.min(axis=0)
    marked = {"most steered": int(spread.argmax()), "least steered": int(spread.argmin())}
    rest = np.vstack([gain, np.full((1, gain.shape[1]), np.nan)])
    xs = np.tile([*lmbdas, np.nan], gain.shape[1])
    figure.add_trace(
        go.Scatter(x=xs, y=rest.T.ravel(), mode="lines", line={"color": "#c9d1d9", "width": 1}, name="every channel")
    )
    for (name, channel), method in zip(marked.items(), ("FrankenSplit", "rate"), strict=True):
        look = look_of(method)
        figure.add_trace(
            go.Scatter(x=lmbdas, y=gain[:, channel], mode="lines", line={"color": look.color, "dash": look.dash, "width": 3}, name=f"{name} (channel {channel})")
        )  # fmt: skip
    at = [int(np.argmin(np.abs(np.log(np.array(lmbdas) / a)))) for a in anchors]
    figure.add_trace(
        go.Scatter(x=list(anchors), y=[float(np.exp(np.log(gain[i]).mean())) for i in at], mode="markers",
                   marker={"color": "#1b1f24", "symbol": "diamond", "size": 11}, name="anchors (geometric mean)")
    )  # fmt: skip
    figure.update_xaxes(
        title_text="lambda (distortion per bit and pixel)", type="log", tickvals=[0.1, 0.2, 0.3, 0.5, 1, 2, 3]
    )
    figure.update_yaxes(
        title_text="gain before rounding", type="log", tickvals=[0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
    )
    alt = (
        f"From lambda {lmbdas[0]:.2g} to {lmbdas[-1]:.2g} the channels' gains fall; the most steered one by a factor of "
        f"{spread.max():.1f}, the least by {spread.min():.1f}, the geometric mean by {np.exp(np.log(spread).mean()):.1f}."
    )
    return finish(figure, f"One number steers {gain.shape[1]} gains", alt, height=440)


def sizes_over_lmbda(lmbdas: np.ndarray, sizes: dict[str, np.ndarray]) -> go.Figure:
    """Bytes of the whole packet over lambda, a line a photo."""
    figure = go.Figure()
    for (name, size), dash in zip(
        sizes.items(), ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px 2px"), strict=False
    ):
        figure.add_trace(go.Scatter(x=lmbdas, y=size, mode="lines", name=name, line={"dash": dash, "width": 2.5}))
    figure.update_xaxes(
        title_text="lambda (distortion per bit and pixel)", type="log", tickvals=[0.1, 0.2, 0.3, 0.5, 1, 2, 3]
    )
    figure.update_yaxes(title_text="bytes of the packet", type="log", tickvals=[300, *BYTE_TICKS])
    first = np.array([s[0] for s in sizes.values()])
    last = np.array([s[-1] for s in sizes.values()])
    alt = (
        f"At lambda {lmbdas[0]:.2g} the {len(sizes)} photos take {first.min():,.0f} to {first.max():,.0f} bytes, "
        f"at lambda {lmbdas[-1]:.2g} {last.min():,.0f} to {last.max():,.0f}."
    )
    return finish(figure, "The same lambda, other photos", alt, height=440)


def shown(image: Image.Image) -> str:
    """A picture as data URI, light enough to travel with every move of a slider."""
    buffer = io.BytesIO()
    bare = image.copy()
    bare.info = {}
    bare.save(buffer, "JPEG", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def answer_traces(answers: dict[str, np.ndarray], names: Sequence[str]) -> list[go.Bar]:
    """One group of bars a class that the network ranks among its first five, without or with compression.

    Args:
        answers: the four of BARS, by method; a missing one is all zero.
        names: of the classes.
    """
    order, labels = top_names((answers["teacher"], answers["FrankenSplit"]), names)
    answers = {method: answers.get(method, np.zeros(len(names))) for method, _, _ in BARS}
    return [
        go.Bar(
            x=labels, y=[100 * float(answers[method][i]) for i in order], name=title,
            marker={"color": look_of(method).color, "pattern": {**HATCH, "shape": shape}},
            hovertemplate="%{x}: %{y:.1f} %<extra>" + title + "</extra>",
        )
        for method, title, shape in BARS
    ]  # fmt: skip


def empty_explorer(names: Sequence[str], stride: int, side: int) -> go.Figure:
    """The live figure before a photo is loaded: four pictures above the answers and the size.

    Traces: crop, crop again and the heat map on it, JPEG, AVIF, four bars, the curve of sizes, its marker.
    """
    figure = make_subplots(
        2, 4, specs=[[{}, {}, {}, {}], [{"colspan": 3}, None, None, {}]], subplot_titles=(*PICTURES, "", "bytes over lambda"),
        row_heights=[0.5, 0.5], horizontal_spacing=0.05, vertical_spacing=0.13,
    )  # fmt: skip
    grey = shown(Image.new("RGB", (side, side), "#d0d7de"))
    for column in (1, 2):
        figure.add_trace(go.Image(source=grey, hoverinfo="skip"), 1, column)
    half = (stride - 1) / 2
    figure.add_trace(
        go.Heatmap(z=np.zeros((side // stride,) * 2), x0=half, dx=stride, y0=half, dy=stride, colorscale="Cividis", opacity=0.72,
                   zmin=0, showscale=False, hovertemplate="%{z:.1f} bits<extra></extra>"), 1, 2,
    )  # fmt: skip
    for column in (3, 4):
        figure.add_trace(go.Image(source=grey, hoverinfo="skip"), 1, column)
    nothing = {method: np.zeros(len(names)) for method, _, _ in BARS}
    figure.add_traces(answer_traces(nothing, names), rows=2, cols=1)
    line, mark = look_of("rate"), look_of("FrankenSplit")
    figure.add_trace(
        go.Scatter(
            x=[0.1, 3], y=[1000, 1000], mode="lines", line={"color": line.color, "width": 2.5}, showlegend=False
        ),
        2,
        4,
    )
    figure.add_trace(
        go.Scatter(x=[1], y=[1000], mode="markers", marker={"color": mark.color, "size": 14}, showlegend=False), 2, 4
    )
    figure.update_xaxes(visible=False, row=1, range=[-0.5, side - 0.5])
    figure.update_yaxes(visible=False, row=1, range=[side - 0.5, -0.5])
    figure.update_yaxes(title_text="share of the answer (%)", range=[0, 100], row=2, col=1)
    figure.update_xaxes(title_text="lambda", type="log", tickvals=[0.1, 0.3, 1, 3], row=2, col=4)
    figure.update_yaxes(title_text="bytes", rangemode="tozero", row=2, col=4)
    finish(figure, "", "No photo yet.", height=660)
    figure.update_annotations(font_size=15)
    return figure.update_layout(
        barmode="group",
        bargap=0.2,
        legend={"orientation": "h", "x": 0, "y": 0.45, "yanchor": "bottom"},
        margin={"l": 60, "r": 15, "t": 75, "b": 60},
    )
