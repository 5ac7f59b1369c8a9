"""Restoration blocks and widths of the decoder, against accuracy at equal bytes and decode time."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.evaluation.cross_backbone import Ablation
from fsplit_lib.plots.ch07.families import name_of
from fsplit_lib.plots.style import finish

__all__ = ["ablation_figure", "ablation_outcome", "move_ablation"]


def ablation_figure(ablation: Ablation, network: str, restoration: int, width: int) -> go.Figure:
    """Curves of all decoders with one picked out, and accuracy at equal bytes over decode time.

    Traces: all curves, the picked one, all decoders, the picked one, the smallest within half a point.
    """
    titles = ("what a byte buys", "what a millisecond buys")
    figure = make_subplots(1, 2, horizontal_spacing=0.15, subplot_titles=titles)
    grey, picked, star = "#b1bac4", "#D55E00", "#0072B2"
    figure.add_trace(go.Scatter(mode="lines", line={"color": grey, "width": 1.5}, name="other decoders"), 1, 1)
    line = {"color": picked, "width": 3.5}
    figure.add_trace(go.Scatter(mode="lines+markers", line=line, marker_size=9, name="this decoder"), 1, 1)
    figure.add_trace(
        go.Scatter(mode="markers+text", marker={"color": grey, "size": 10, "symbol": "square"},
                   textfont={"size": 13, "color": "#57606a"}, name="others", showlegend=False, cliponaxis=False), 1, 2,
    )  # fmt: skip
    for colour, symbol, size, name in (
        (picked, "circle", 16, "this decoder, right"),
        (star, "star-open", 24, "smallest within half a point"),
    ):
        marker = {"color": colour, "symbol": symbol, "size": size, "line": {"width": 2}}
        figure.add_trace(
            go.Scatter(mode="markers", marker=marker, name=name, showlegend=symbol != "circle", cliponaxis=False), 1, 2
        )
    figure.update_xaxes(title_text="bytes a packet", type="log", tickvals=[20, 30, 40, 60, 80, 120, 200, 300], col=1)
    figure.update_yaxes(title_text="top-1 accuracy (%)", title_standoff=12, col=1)
    figure.update_xaxes(title_text="decoder, ms a latent", rangemode="tozero", col=2)
    figure.update_yaxes(title_text="top-1 at equal bytes (%)", title_standoff=12, col=2)
    figure.update_annotations(font_size=15)
    finish(figure, "", "", 480)
    figure.update_layout(legend={"orientation": "h", "y": -0.25, "yanchor": "top"}, margin={"t": 85, "b": 115})
    move_ablation(figure, ablation, network, restoration, width)
    return figure


def move_ablation(figure: go.Figure, ablation: Ablation, network: str, restoration: int, width: int) -> str:
    """Pick another decoder of an :func:`ablation_figure`, in place; returns the sentence."""
    curves, (scores, (low, high)), this = ablation.curves(network), ablation.scores(network), (restoration, width)
    small, best = ablation.smallest(network), max(scores, key=scores.get)
    rows = curves[this]
    figure.data[0].x = [v for curve in curves.values() for v in (*(row.bytes for row in curve), None)]
    figure.data[0].y = [v for curve in curves.values() for v in (*(100 * row.top1 for row in curve), None)]
    figure.data[1].x, figure.data[1].y = [row.bytes for row in rows], [100 * row.top1 for row in rows]
    for trace, keys in zip(figure.data[2:], (list(scores), [this], [small]), strict=True):
        trace.x = [ablation.times[network, *key] for key in keys]
        trace.y = [100 * scores[key] for key in keys]
    figure.data[2].text = [("<br>{} × {}<br>" if key in (this, small) else "{} × {}").format(*key) for key in scores]
    figure.data[2].textposition = [("bottom center", "top center")[r % 2] for r, _ in scores]  # neighbours lie close
    figure.layout.title.text = f"{name_of(network)}: {_decoder(this)}"
    behind = 100 * (scores[best] - scores[this])
    said = (
        f"{name_of(network)}, {_decoder(this)}: {rows[0].parameters:,} parameters, {ablation.times[network, *this]:.2f} ms a "
        f"latent, {100 * scores[this]:.1f} % at equal bytes ({low:.0f} to {high:.0f}), "
        + ("the best of all." if this == best else f"{behind:.1f} points behind the best, {_decoder(best)}.")
        + f" The smallest within half a point: {'this one' if this == small else _decoder(small)}."
    )
    figure.layout.meta = {"alt": said}
    return said


def _decoder(key: tuple[int, int]) -> str:
    return f"{key[0]} restoration block{'' if key[0] == 1 else 's'} of width {key[1]}"


def ablation_outcome(ablation: Ablation) -> list[str]:
    """What the ablation says, sentence by sentence; nothing here is known before the table is read."""
    said, gains = [], []
    for network in ablation.networks:
        (scores, _), small = ablation.scores(network), ablation.smallest(network)
        best, seeds = max(scores, key=scores.get), [100 * v for v in ablation.confirmed(network)]
        sizes = {key: rows[0].parameters for key, rows in ablation.curves(network).items()}
        span = f"{min(seeds):.1f} to {max(seeds):.1f} %"
        spread = f"{len(seeds)} seeds of the former score {span}" if seeds[1:] else "one seed"
        said.append(
            f"{name_of(network)}: {_decoder(small)} ({sizes[small]:,} parameters, {ablation.times[network, *small]:.2f} ms) "
            f"for {100 * scores[small]:.1f} % at equal bytes; the best, {_decoder(best)} ({sizes[best]:,}, "
            f"{ablation.times[network, *best]:.2f} ms), {100 * scores[best]:.1f} %; {spread}."
        )
        least, most = min(r for r, _ in scores), max(r for r, _ in scores)
        widths = [w for r, w in scores if r == least and (most, w) in scores]
        gains += [100 * (scores[most, w] - scores[least, w]) for w in widths]
    counts = [r for network in ablation.networks for r, _ in ablation.curves(network)]
    said.append(
        f"from {min(counts)} to {max(counts)} restoration blocks, accuracy at equal bytes changes by {min(gains):+.1f} to "
        f"{max(gains):+.1f} points, {np.mean(gains):+.1f} on average over families and widths."
    )
    none = [network for network in ablation.networks if ablation.smallest(network)[0] == min(counts)]
    said.append(
        f"the smallest decoder within half a point has restoration blocks for {len(ablation.networks) - len(none)} of "
        f"{len(ablation.networks)} families"
        + (f"; {', '.join(map(name_of, none))} do without." if none and min(counts) == 0 else ".")
    )
    return said
