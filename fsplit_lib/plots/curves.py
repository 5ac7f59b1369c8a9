"""Rate-accuracy curves: quality over the bytes of a packet, with whiskers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.plots.style import Look, below, finish

BYTE_TICKS = [15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10000]
LABELS = {"agreement": "agreement with the teacher (%)", "top1": "top-1 accuracy (%)"}


def curve(
    name: str,
    x: Sequence[float],
    y: Sequence[float],
    look: Look,
    whiskers: tuple[Sequence[float], Sequence[float]] | None = None,
    width: float = 2.5,
    **trace: Any,
) -> go.Scatter:
    """Return one line with markers through x (N,) and y (N,), ``width`` pixels wide; ``trace`` are plotly's properties.

    Whiskers have (N,) lower ends and (N,) upper ends, in units of y.

    >>> curve("ours", [100, 200], [0.5, 0.7], Look("#000000")).mode
    'lines+markers'
    """
    if whiskers is not None:
        low, high = (np.asarray(end, float) for end in whiskers)
        bars = {"array": high - np.asarray(y), "arrayminus": np.asarray(y) - low}
        trace["error_y"] = bars | {"color": look.color, "thickness": 1, "width": 3}
    return go.Scatter(
        x=x, y=y, name=name, mode="lines+markers", line={"color": look.color, "dash": look.dash, "width": width},
        **{"marker": {"symbol": look.symbol, "size": 9}} | trace,
    )  # fmt: skip


def rate_curve(
    name: str, points: Sequence[Any], quality: str, look: Look, unit: float = 100, **style: Any
) -> go.Scatter:
    """Return the curve of a result table's rows, sorted by bytes, with their 95 % intervals.

    The quality is "agreement", "top1" or another field that has its ends beside it, drawn times ``unit``: 100 for a
    share in percent. The style is passed to :func:`curve`.

    >>> from fsplit_lib.evaluation import read_table
    >>> ours = [point for point in read_table("photos.csv") if point.codec == "photo"]
    >>> rate_curve("photo", ours, "agreement", Look("#000000")).y[-1] > 85
    True
    """
    rows = sorted(points, key=lambda row: row.bytes)
    ends = (np.array([getattr(row, quality + end) for row in rows], float) for end in ("", "_low", "_high"))
    share, low, high = (unit * end for end in ends)
    style = {"hovertemplate": "%{x:,.0f} bytes<br>%{y:.1f} %"} | style
    return curve(name, [row.bytes for row in rows], share, look, (low, high), **style)


def mean_over_seeds(name: str, rows: Sequence[Any], look: Look, size: str = "bytes") -> go.Scatter:
    """Return the curve of a sweep: its seeds' mean top-1 over "bytes" or "bits", with whiskers from least to most."""
    groups = [[r for r in rows if r.lmbda == lmbda] for lmbda in sorted({r.lmbda for r in rows}, reverse=True)]
    x = [np.mean([getattr(r, size) for r in group]) for group in groups]
    low, y, high = ([100 * f([r.top1 for r in group]) for group in groups] for f in (min, np.mean, max))
    text, hover = [f"lambda {group[0].lmbda:g}" for group in groups], "%{text}<br>%{x:.0f} " + size + "<br>%{y:.1f} %"
    return curve(name, x, y, look, (low, high), text=text, hovertemplate=hover)


def rate_accuracy(
    plots: dict[str, Sequence[go.Scatter]],
    title: str,
    label: str = "agreement",
    n: int | None = None,
    height: int = 480,
    of: str = "pictures",
) -> go.Figure:
    """Draw curves over a log axis of bytes, in one plot or in several side by side with one legend.

    The curves are by their plot's title, "" for none; those of one name share their entry in the legend. As labels
    "agreement" and "top1" stand for the book's own words. Behind every point are ``n`` things, ``of`` a kind.

    >>> line = curve("JPEG", [600, 900], [50.0, 60.0], Look("#0072B2"))
    >>> rate_accuracy({"": [line]}, "JPEG on photos", n=500).layout.meta["alt"]
    'Agreement with the teacher (%) on 500 pictures. JPEG: 50.0 at 600 bytes to 60.0 at 900.'
    """
    figure = make_subplots(1, len(plots), shared_yaxes=True, subplot_titles=list(plots), horizontal_spacing=0.03)
    seen, told, label = set(), [], LABELS.get(label, label)
    for column, (plot, lines) in enumerate(plots.items(), start=1):
        for line in lines:
            line.update(legendgroup=line.name, showlegend=line.name not in seen)
            seen.add(line.name)
            figure.add_trace(line, 1, column)
            x, far, y, top = line.x[0], line.x[-1], line.y[0], line.y[-1]
            where = f"{plot}, {line.name}" if plot else line.name
            told.append(f"{where}: {y:.1f} at {x:,.0f} bytes to {top:.1f} at {far:,.0f}")
    figure.update_xaxes(
        title_text="mean bytes of the whole packet or file", type="log", tickvals=BYTE_TICKS, tickformat=","
    )
    figure.update_yaxes(title_text=label, col=1)
    figure.update_annotations(font_size=15)
    pictures = f" on {n:,} {of}" if n else ""
    alt = f"{label[0].upper()}{label[1:]}{pictures}. {'; '.join(told)}."
    return finish(figure, title, alt, height, legend=below(-0.22), margin={"b": 120})
