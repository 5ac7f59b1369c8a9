"""Figures of chapter 02: what the layers weigh, where the time goes, and which route is best when."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.latency import Plan, Route, SplitPoint, best, can_win
from fsplit_lib.plots.style import finish

__all__ = [
    "NETWORKS",
    "decision_map",
    "empty_waterfall",
    "end_numbers",
    "fill_waterfall",
    "layer_bytes",
    "macs_against_seconds",
    "move_waterfall",
    "waterfall",
    "winning_line",
]

NETWORKS = {
    "ResNet-50": ("resnet50", "#0072B2", "circle", "solid"),
    "ConvNeXt-T": ("convnext_tiny", "#009E73", "square", "solid"),
    "Swin-T": ("swin_tiny_patch4_window7_224", "#CC79A7", "diamond-open", "dash"),
    "EfficientNet-B0": ("efficientnet_b0", "#E69F00", "triangle-up", "solid"),
    "EfficientNet-Lite0": ("tf_efficientnet_lite0", "#56B4E9", "triangle-down-open", "dash"),
}
PARTS = (("device", "#D55E00", ""), ("wire", "#0072B2", "/"), ("server", "#8b949e", "x"))
KINDS = {"remote": "#0072B2", "split": "#D55E00", "local": "#8b949e", "compressed": "#009E73"}


def layer_bytes(profiles: dict[str, list[SplitPoint]], images: dict[str, float]) -> go.Figure:
    """Size of every activation at 8 bits a value, over the share of the work done before it.

    Args:
        profiles: network to split points.
        images: name to bytes of the picture itself, raw or coded.
    """
    figure = go.Figure()
    told = []
    for name, points in profiles.items():
        _, colour, symbol, dash = NETWORKS[name]
        whole = points[-1].macs
        figure.add_trace(
            go.Scatter(
                x=[100 * p.macs / whole for p in points[:-1]], y=[p.bytes() for p in points[:-1]], name=name,
                mode="lines+markers", line={"color": colour, "width": 2, "dash": dash}, marker={"symbol": symbol, "size": 8},
                text=[p.name for p in points[:-1]], hovertemplate="%{text}<br>%{x:.0f} % of the work<br>%{y:,.0f} B",
            )
        )  # fmt: skip
        below = next((p for p in points[1:-1] if p.bytes() < min(images.values())), None)
        told.append(
            f"{name} never goes below" if below is None else f"{name} after {below.macs / whole:.0%} of its work"
        )
    for name, size in images.items():
        figure.add_hline(y=size, line={"color": "#1b1f24", "dash": "dot"})
        figure.add_annotation(x=1, xref="paper", y=np.log10(size), text=name, showarrow=False, xshift=4, xanchor="left")
    figure.update_xaxes(title_text="share of the multiply-adds done on the device (%)", range=[-2, 102])
    figure.update_yaxes(title_text="bytes, 8 bits a value", type="log", dtick=1)
    small = min(images, key=images.get)
    alt = (
        f"Activations get smaller than {small} ({images[small]:,.0f} bytes) late or not at all: "
        + "; ".join(told)
        + "."
    )
    finish(figure, "What every layer would send", alt, height=540)
    above = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}  # the lines' names need the right side
    return figure.update_layout(legend=above, margin={"t": 95, "r": 90})


def winning_line(profiles: dict[str, list[SplitPoint]], photo_bytes: float) -> go.Figure:
    """Size over share of the time: a split can win only below the straight line.

    Args:
        profiles: network to split points.
        photo_bytes: of the coded photo.
    """
    figure, told = go.Figure(), []
    for name, points in profiles.items():
        _, colour, symbol, dash = NETWORKS[name]
        figure.add_trace(
            go.Scatter(
                x=[100 * p.seconds / points[-1].seconds for p in points[1:-1]],
                y=[p.bytes() / photo_bytes for p in points[1:-1]], name=name, mode="lines+markers",
                line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 8}, text=[p.name for p in points[1:-1]],
            )
        )  # fmt: skip
        told.append(f"{name} {len(can_win(points, photo_bytes))}")
    figure.add_trace(
        go.Scatter(x=[0, 100], y=[1, 0], name="a split wins below", mode="lines", line={"color": "#1b1f24", "width": 3},
                   fill="tozeroy", fillcolor="rgba(0,158,115,0.15)")
    )  # fmt: skip
    figure.update_xaxes(title_text="share of the time spent on the device (%)", range=[-1, 101])
    figure.update_yaxes(title_text="size, in coded photos", range=[0, 6])
    alt = f"Layers below the line from one photo of {photo_bytes:,.0f} bytes to nothing: " + ", ".join(told) + "."
    return finish(figure, "Where a split can win", alt, height=440)


def macs_against_seconds(profiles: dict[str, list[SplitPoint]]) -> go.Figure:
    """Seconds over multiply-adds, along each network: how far counting replaces measuring."""
    figure = go.Figure()
    speeds = {}
    for name, points in profiles.items():
        _, colour, symbol, dash = NETWORKS[name]
        figure.add_trace(
            go.Scatter(
                x=[p.macs / 1e9 for p in points], y=[1000 * p.seconds for p in points], name=name, mode="lines+markers",
                line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 7},
            )
        )  # fmt: skip
        speeds[name] = points[-1].macs / points[-1].seconds / 1e9
    figure.update_xaxes(title_text="multiply-adds so far (billions)")
    figure.update_yaxes(title_text="time so far, one thread (ms)")
    alt = (
        "Billions of multiply-adds a second on this machine: "
        + ", ".join(f"{n} {v:.0f}" for n, v in speeds.items())
        + "."
    )
    return finish(figure, "Work is not time", alt, height=420)


def waterfall(plans: list[Plan], title: str) -> go.Figure:
    """Device, wire and server time of every route, stacked."""
    figure = empty_waterfall(title, len(plans), row_height=26, font_size=14)
    move_waterfall(figure, plans)
    return figure


def empty_waterfall(title: str, rows: int, row_height: int, font_size: int) -> go.Figure:
    """Stacked bars of device, wire and server before any times are in them.

    Args:
        title: of the figure.
        rows: bars to make room for.
        row_height: in pixels.
        font_size: of the names beside the bars.
    """
    figure = go.Figure(
        [
            go.Bar(name=part, orientation="h", marker={"color": colour, "pattern": {"shape": pattern}})
            for part, colour, pattern in PARTS
        ]
    )
    figure.update_layout(
        barmode="stack",
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
    )
    figure.update_xaxes(title_text="photo in, answer out (ms)")
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": font_size})
    finish(figure, title, "", height=190 + row_height * max(rows, 6))
    return figure.update_layout(margin={"t": 95, "r": 75})


def end_numbers(ends: Mapping[str, float], texts: Sequence[str], far: float) -> list[dict]:
    """Annotations: a number at the end of every bar, beyond the plot's edge where the bar runs out of it.

    Args:
        ends: name of the bar to where it ends.
        texts: the numbers.
        far: the last end that is shown; the axis goes a little further.
    """
    inside = {"xref": "x", "bgcolor": "rgba(255,255,255,0.85)"}
    return [
        {"y": name, "text": text, "showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 14}}
        | ({"x": end} | inside if end <= far else {"x": 1, "xref": "paper", "text": f"→ {text}"})
        for (name, end), text in zip(ends.items(), texts, strict=True)
    ]


def fill_waterfall(figure: go.Figure, plans: Sequence[Plan]) -> list[str]:
    """Put times into an :func:`empty_waterfall`, in place; returns the names, the fastest with a star."""
    fastest = min(plans, key=lambda one: one.total)
    names = [("★ " if one is fastest else "") + one.route.name for one in plans]
    with figure.batch_update():
        for trace, (part, _, _) in zip(figure.data, PARTS, strict=True):
            trace.y, trace.x = names, [1000 * getattr(one, part) for one in plans]
    return names


def move_waterfall(figure: go.Figure, plans: list[Plan]) -> str:
    """Put other times into a :func:`waterfall`, in place; returns the sentence."""
    fastest, names = min(plans, key=lambda one: one.total), fill_waterfall(figure, plans)
    remote = next(one for one in plans if one.route.kind == "remote")
    local = [one for one in plans if one.route.kind == "local"][-1]  # "stay on the device" is listed last
    far = 1000 * min(max(one.total for one in plans), 4 * max(local.total, remote.total, fastest.total))
    figure.layout.xaxis.range = [0, 1.12 * far]  # the contenders stay readable beside hopeless routes
    ends = {name: 1000 * one.total for one, name in zip(plans, names, strict=True)}
    figure.layout.annotations = end_numbers(ends, [f"{ms:,.0f}" for ms in ends.values()], far)
    alt = (
        f"Fastest: {fastest.route.name}, {1000 * fastest.total:,.0f} ms ({fastest.route.kind}); "
        f"sending the photo takes {1000 * remote.total:,.0f} ms and staying on the device {1000 * local.total:,.0f} ms."
    )
    figure.layout.meta = {"alt": alt}
    return alt


def decision_map(
    candidates: list[Route], rates: np.ndarray, speedups: np.ndarray, slowdown: float, title: str
) -> go.Figure:
    """Which kind of route is fastest, over link rate and server speed.

    Args:
        candidates: the routes to choose from.
        rates: (R,) bits a second.
        speedups: (S,) of the server over the reference machine.
        slowdown: of the device under the reference machine.
        title: of the figure.
    """
    kinds = list(KINDS)
    grid = np.array([[kinds.index(best(candidates, rate, s, slowdown).route.kind) for rate in rates] for s in speedups])
    edges = np.linspace(0, 1, len(kinds) + 1)
    scale = [[edges[i + side], colour] for i, colour in enumerate(KINDS.values()) for side in (0, 1)]
    figure = go.Figure(
        go.Heatmap(
            x=rates / 1e6, y=speedups, z=grid, zmin=-0.5, zmax=len(kinds) - 0.5, colorscale=scale,
            colorbar={"tickvals": list(range(len(kinds))), "ticktext": kinds, "title": "fastest"},
        )
    )  # fmt: skip
    for i, kind in enumerate(kinds):  # the region's name in its middle, for whom the colours say nothing
        rows, columns = np.nonzero(grid == i)
        if len(rows) >= 0.03 * grid.size:
            row = int(np.quantile(rows, 0.5, method="lower"))  # one that is there: a mean of two need not be
            figure.add_annotation(
                x=np.log10(rates[int(np.median(columns[rows == row]))] / 1e6), y=np.log10(speedups[row]), text=kind, showarrow=False,
                font={"size": 15, "color": "#1b1f24"}, bgcolor="rgba(255,255,255,0.8)", borderpad=1,
            )  # fmt: skip
    figure.update_xaxes(title_text="link (Mbit/s)", type="log", dtick=1)
    figure.update_yaxes(title_text="server, times the device", type="log", dtick=1)
    shares = {kind: float((grid == i).mean()) for i, kind in enumerate(kinds)}
    alt = (
        "Share of the map where each kind is fastest: "
        + ", ".join(f"{k} {v:.0%}" for k, v in shares.items() if v)
        + "."
    )
    return finish(figure, title, alt, height=420)
