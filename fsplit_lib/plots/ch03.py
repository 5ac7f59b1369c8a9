"""Figures of chapter 03: noise against rounding, intervals, densities, tables, side information."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.plots.style import finish, look_of
from fsplit_lib.theory import Step
from fsplit_lib.training.side_information import SideRow

__all__ = [
    "coder_steps",
    "density_at_lmbda",
    "ideal_against_real",
    "move_coder",
    "move_density",
    "noise_and_rounding",
    "side_information",
    "table_damage",
    "trapped_tables",
]

SYMBOLS = {"A": "#0072B2", "B": "#E69F00", "C": "#009E73", "D": "#CC79A7"}


def noise_and_rounding(values: np.ndarray, grid: np.ndarray, likelihood: np.ndarray, seed: int) -> go.Figure:
    """The density of y + noise meets the probabilities of round(y) at the whole numbers.

    Args:
        values: (N,) latents.
        grid: (G,) fine grid of values.
        likelihood: (G,) c(v + ½) − c(v − ½) of the values' own distribution.
        seed: of the noise.
    """
    noisy = values + np.random.default_rng([seed, 1]).uniform(-0.5, 0.5, len(values))  # not the values' own draws
    whole = np.arange(round(grid[0]), round(grid[-1]) + 1)
    shares = np.array([(np.round(values) == n).mean() for n in whole])
    figure = go.Figure()
    figure.add_trace(go.Histogram(x=noisy, histnorm="probability density", xbins={"size": 0.1}, name="y + noise, sampled",
                                  marker_color="#c9d1d9"))  # fmt: skip
    look = look_of("FrankenSplit")
    figure.add_trace(
        go.Scatter(x=grid, y=likelihood, name="p(v) = c(v + ½) − c(v − ½)", line={"color": look.color, "width": 3})
    )
    look = look_of("JPEG")
    figure.add_trace(go.Scatter(x=whole, y=shares, mode="markers", name="round(y), counted",
                                marker={"color": look.color, "symbol": look.symbol, "size": 11}))  # fmt: skip
    figure.update_xaxes(title_text="value", range=[grid[0], grid[-1]])
    figure.update_yaxes(title_text="density, or probability of a symbol")
    at = np.interp(whole, grid, likelihood)
    alt = (
        f"At the whole numbers the smooth curve and the counted probabilities of rounded values differ by at most "
        f"{np.abs(at - shares).max():.3f}; the likeliest symbol has {shares.max():.2f}."
    )
    finish(figure, "One curve for noise and for rounding", alt, height=430)
    return figure.update_layout(legend={"x": 0.02, "y": 0.98})


def coder_steps(steps: list[Step], shares: dict[str, float], count: int) -> go.Figure:
    """Intervals of an arithmetic coder, one column a symbol read, each zoomed to the last.

    Args:
        steps: of the whole message.
        shares: symbol to probability.
        count: symbols read so far.
    """
    figure = go.Figure()
    for symbol, colour in zip(shares, SYMBOLS.values(), strict=False):
        figure.add_trace(
            go.Bar(name=symbol, marker_color=colour, textposition="inside", insidetextanchor="middle", width=0.75)
        )
    figure.add_trace(go.Scatter(mode="lines", name="chosen", line={"color": "#1b1f24", "width": 4}))
    figure.update_layout(barmode="stack")
    figure.update_yaxes(title_text="share of the interval", range=[-0.02, 1.02])
    figure.update_xaxes(title_text="symbols read", dtick=1, range=[0.5, len(steps) + 0.5])
    finish(figure, "A message is an interval", "", height=430)
    move_coder(figure, steps, shares, count)
    return figure


def move_coder(figure: go.Figure, steps: list[Step], shares: dict[str, float], count: int) -> str:
    """Show the first ``count`` symbols in a :func:`coder_steps`, in place; returns the sentence."""
    columns = list(range(1, max(count, 1) + 1))
    starts = np.cumsum([0, *shares.values()])
    marks_x, marks_y = [], []
    for index, step in enumerate(steps[:count], start=1):
        low = starts[list(shares).index(step.symbol)]
        high = low + shares[step.symbol]
        marks_x += [index - 0.38, index + 0.38, index + 0.38, index - 0.38, index - 0.38, None]
        marks_y += [low, low, high, high, low, None]
    with figure.batch_update():
        for trace, (symbol, share) in zip(figure.data, shares.items(), strict=False):
            trace.x, trace.y, trace.text = columns, [share] * len(columns), [symbol] * len(columns)
        figure.data[-1].x, figure.data[-1].y = marks_x, marks_y
    if count == 0:
        alt = "Nothing is read yet: the interval is [0, 1), and no bit is needed."
    else:
        last = steps[count - 1]
        width = float(last.high - last.low)
        alt = (
            f"After {''.join(s.symbol for s in steps[:count])!r} the interval is [{float(last.low):.6f}, {float(last.high):.6f}): "
            f"width {width:.6f}, so {-np.log2(width):.2f} bits."
        )
    figure.layout.meta = {"alt": alt}
    return alt


def ideal_against_real(names: list[str], ideal: list[float], payload: list[float], packet: list[float]) -> go.Figure:
    """Ideal bits, coded stream and whole packet of single photos, in bytes."""
    figure = go.Figure()
    rows = (("ideal", ideal, "rate"), ("stream", payload, "FrankenSplit"), ("whole packet", packet, "AVIF"))
    for name, values, method in rows:
        figure.add_trace(go.Bar(x=names, y=values, name=name, marker_color=look_of(method).color,
                                text=[f"{v:,.0f}" for v in values], textposition="outside", textfont={"size": 11}))  # fmt: skip
    figure.update_yaxes(title_text="bytes", range=[0, 1.12 * max(packet)])
    over = np.array(payload) - np.array(ideal)
    alt = f"Over {len(names)} photos the coder writes {over.mean():.1f} bytes more than the ideal {np.mean(ideal):,.1f}, at most {over.max():.1f}."
    return finish(figure, "Ideal bits against real bytes", alt, height=420)


def trapped_tables(
    grid: np.ndarray, counts: np.ndarray, good: np.ndarray, trapped: np.ndarray, costs: tuple[float, float]
) -> go.Figure:
    """The histogram of symbols, the tables made after the quantile update, and those made without it.

    Args:
        grid: (G,) symbols.
        counts: (G,) share of each in the data.
        good: (G,) probability in the good tables.
        trapped: (G,) probability in the others, 0 where they must escape.
        costs: bytes of the data with each.
    """
    figure = go.Figure(go.Bar(x=grid, y=counts, name="symbols", marker_color="#c9d1d9"))
    for name, values, method in (
        ("tables, quantiles updated", good, "FrankenSplit"),
        ("tables, quantiles where they were born", trapped, "JPEG"),
    ):
        look = look_of(method)
        figure.add_trace(go.Scatter(x=grid, y=values, name=name, mode="lines+markers", line={"color": look.color, "dash": look.dash, "shape": "hvh"},
                                    marker={"symbol": look.symbol, "size": 8}))  # fmt: skip
    figure.update_xaxes(title_text="symbol")
    figure.update_yaxes(title_text="probability")
    alt = f"With updated quantiles the stream has {costs[0]:,.0f} bytes, without {costs[1]:,.0f}, {costs[1] / costs[0]:.1f} times as many."
    finish(figure, "The quantile trap", alt, height=400)
    return figure.update_layout(legend={"x": 0.02, "y": 0.98})


def table_damage(changes: list[int], wrong: list[float]) -> go.Figure:
    """Share of symbols that come out wrong when the receiver's tables differ a little.

    Args:
        changes: counts (of 65,536) that sit in another entry.
        wrong: (same,) share of wrong symbols.
    """
    figure = go.Figure(go.Bar(x=[str(c) for c in changes], y=[100 * w for w in wrong], marker_color=look_of("FrankenSplit").color,
                              text=[f"{100 * w:.1f} %" for w in wrong], textposition="outside", cliponaxis=False))  # fmt: skip
    figure.update_xaxes(title_text="counts in another entry (of 65,536)", type="category")
    figure.update_yaxes(title_text="symbols decoded wrong (%)", range=[0, 1.2 * max(1.0, 100 * max(wrong))])
    alt = (
        "Wrong symbols by the counts that sit in another entry: "
        + ", ".join(f"{c} counts {100 * w:.1f} %" for c, w in zip(changes, wrong, strict=True))
        + "."
    )
    return finish(figure, "Almost the same tables", alt, height=360)


def side_information(rows: list[SideRow]) -> go.Figure:
    """Streams of the latent and of its side information, for each entropy model."""
    figure = go.Figure()
    names = [row.model for row in rows]
    for name, values, method, pattern in (
        ("latent y", [r.y_bytes for r in rows], "FrankenSplit", ""),
        ("side information z", [r.z_bytes for r in rows], "JPEG", "/"),
    ):
        figure.add_trace(go.Bar(x=names, y=values, name=name, marker={"color": look_of(method).color, "pattern": {"shape": pattern}},
                                text=[f"{v:,.0f}" for v in values], textposition="inside"))  # fmt: skip
    figure.update_layout(barmode="stack")
    totals = [r.y_bytes + r.z_bytes for r in rows]
    figure.update_yaxes(title_text="mean bytes a photo, streams alone", range=[0, 1.15 * max(totals)])
    for row, total in zip(rows, totals, strict=True):
        figure.add_annotation(x=row.model, y=total, text=f"{total:,.0f} B", showarrow=False, yshift=12)
    alt = f"On {rows[0].n} photos of {rows[0].dataset}: " + "; ".join(
        f"{r.model} {r.y_bytes:,.0f} + {r.z_bytes:,.0f} = {t:,.0f} bytes" for r, t in zip(rows, totals, strict=True)
    )
    return finish(figure, "Does side information pay?", alt + ".", height=440)


def density_at_lmbda(channels: list[int], grid: np.ndarray) -> go.Figure:
    """Probabilities of the symbols of a few channels, and bytes over lmbda; :func:`move_density` fills it."""
    titles = [f"channel {c}" for c in channels] + ["bytes a photo"]
    figure = make_subplots(1, len(channels) + 1, subplot_titles=titles, horizontal_spacing=0.08)
    for column in range(1, len(channels) + 1):
        figure.add_trace(go.Bar(x=grid, marker_color=look_of("FrankenSplit").color), 1, column)
        figure.update_xaxes(title_text="symbol", row=1, col=column)
        figure.update_yaxes(range=[0, 1.02], showticklabels=column == 1, row=1, col=column)
    figure.update_yaxes(title_text="probability in the table", row=1, col=1)
    look = look_of("rate")
    last = len(channels) + 1
    figure.add_trace(go.Scatter(mode="lines", line={"color": look.color, "width": 3}), 1, last)
    figure.add_trace(go.Scatter(mode="markers", marker={"color": "#1b1f24", "size": 13}), 1, last)
    figure.update_xaxes(title_text="lmbda", type="log", dtick=1, row=1, col=last)
    figure.update_yaxes(title_text="bytes", rangemode="tozero", row=1, col=last)
    finish(figure, "Slide lmbda: densities sharpen, bytes fall", "", height=400)
    return figure.update_layout(showlegend=False)


def move_density(
    figure: go.Figure, probabilities: list[np.ndarray], lmbdas: np.ndarray, sizes: np.ndarray, lmbda: float
) -> str:
    """Put one lmbda into a :func:`density_at_lmbda`, in place; returns the sentence."""
    size = float(np.interp(np.log(lmbda), np.log(lmbdas), sizes))
    with figure.batch_update():
        for trace, values in zip(figure.data, probabilities, strict=False):
            trace.y = values
        figure.data[-2].x, figure.data[-2].y = lmbdas, sizes
        figure.data[-1].x, figure.data[-1].y = [lmbda], [size]
    zero = [float(p[len(p) // 2]) for p in probabilities]
    alt = (
        f"At lmbda {lmbda:.2f} a photo takes {size:,.0f} bytes on average; symbol 0 has probability "
        + ", ".join(f"{z:.2f}" for z in zero) + " in the channels shown."
    )  # fmt: skip
    figure.layout.meta = {"alt": alt}
    return alt
