"""Chapter 03: an arithmetic coder step by step, and densities that sharpen as lambda grows."""

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.panels.base import LogNumber, Number, Panel
from fsplit_lib.plots.style import finish, look_of
from fsplit_lib.theory import Step

SYMBOLS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def coder_panel(steps: list[Step], probs: dict[str, float], read: int) -> Panel:
    """Read a message one symbol at a time and see its interval shrink, each column zoomed to what the last one left.

    The steps are those of the whole message, of which ``read`` symbols are read at first.
    """
    figure = go.Figure()
    for symbol, colour in zip(probs, SYMBOLS, strict=False):
        figure.add_bar(name=symbol, marker_color=colour, textposition="inside", insidetextanchor="middle", width=0.75)
    figure.add_scatter(mode="lines", name="chosen", line={"color": "#1b1f24", "width": 4})
    figure.update_yaxes(title_text="share of the interval", range=[-0.02, 1.02])
    figure.update_xaxes(title_text="symbols read", dtick=1, range=[0.5, len(steps) + 0.5])
    finish(figure, "A message is an interval", "", 430, barmode="stack")
    starts = dict(zip(probs, np.cumsum([0, *probs.values()]), strict=False))

    def update(read: int) -> str:
        columns = list(range(1, max(read, 1) + 1))
        for symbol, p in probs.items():
            texts, heights = [symbol] * len(columns), [p] * len(columns)
            panel.update_trace(symbol, x=columns, y=heights, text=texts)
        x, y = [], []  # a frame around each chosen part
        for at, step in enumerate(steps[:read], start=1):
            low, high = starts[step.symbol], starts[step.symbol] + probs[step.symbol]
            x += [at - 0.38, at + 0.38, at + 0.38, at - 0.38, at - 0.38, None]
            y += [low, low, high, high, low, None]
        panel.update_trace("chosen", x=x, y=y)
        low, high = (float(steps[read - 1].low), float(steps[read - 1].high)) if read else (0.0, 1.0)
        message = "".join(step.symbol for step in steps[:read])
        return (
            f"After {message!r} the interval is [{low:.6f}, {high:.6f}): width {high - low:.6f}, "
            f"so {-np.log2(high - low) + 0:.2f} bits."
        )

    panel = Panel({"read": Number("symbols read", 0, len(steps), read, 1)}, figure, update)
    return panel.set()


def density_panel(
    probabilities: Callable[[float], list[np.ndarray]],
    channels: list[int],
    grid: np.ndarray,
    lmbdas: np.ndarray,
    sizes: np.ndarray,
    lmbda: float,
) -> Panel:
    """Slide lambda along a codec of continuous rate and see the probabilities of a few channels' symbols, and the bytes.

    ``probabilities`` gives, for a lambda, those of the symbols of ``grid`` in each channel; the sizes are mean bytes at
    ``lmbdas``.
    """
    names, last = [f"channel {c}" for c in channels], len(channels) + 1
    figure = make_subplots(1, last, subplot_titles=[*names, "bytes a photo"], horizontal_spacing=0.08)
    for column, name in enumerate(names, start=1):
        figure.add_trace(go.Bar(x=grid, name=name, marker_color=look_of("FrankenSplit").color), 1, column)
        figure.update_yaxes(range=[0, 1.02], showticklabels=column == 1, col=column)
    figure.update_xaxes(title_text="symbol").update_yaxes(title_text="probability in the table", col=1)
    line = {"color": look_of("rate").color, "width": 3}
    figure.add_trace(go.Scatter(x=lmbdas, y=sizes, mode="lines", name="bytes", line=line), 1, last)
    figure.add_trace(go.Scatter(mode="markers", name="here", marker={"color": "#1b1f24", "size": 13}), 1, last)
    figure.update_xaxes(title_text="lambda", type="log", dtick=1, col=last)
    figure.update_yaxes(title_text="bytes", rangemode="tozero", side="right", col=last)
    finish(figure, "Slide lambda: densities sharpen, bytes fall", "", 400, showlegend=False)

    def update(lmbda: float) -> str:
        size, shown = float(np.interp(np.log(lmbda), np.log(lmbdas), sizes)), probabilities(lmbda)
        for name, values in zip(names, shown, strict=True):
            panel.update_trace(name, y=values)
        panel.update_trace("here", x=[lmbda], y=[size])
        zero = ", ".join(f"{values[len(values) // 2]:.2f}" for values in shown)
        return (
            f"At lambda {lmbda:.2f} a photo takes {size:,.0f} bytes on average; symbol 0 has probability {zero} "
            "in the channels shown."
        )

    panel = Panel({"lmbda": LogNumber("lambda", *lmbdas[[0, -1]], lmbda, 0.02)}, figure, update)
    return panel.set()
