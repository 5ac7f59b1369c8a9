"""Time on the device, on the wire and at the server, stacked: what chapters 02 and 08 move with their sliders."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from fsplit_lib.latency import Plan
from fsplit_lib.plots.pictures import HATCH
from fsplit_lib.plots.style import finish

PARTS = (("device", "#D55E00", ""), ("wire", "#0072B2", "/"), ("server", "#57606a", "x"))  # name, colour, pattern


def empty_waterfall(title: str, rows: int, row_height: int) -> go.Figure:
    """Draw stacked bars, as many rows of so many pixels as asked for, before any times are in them.

    :func:`fill_waterfall` puts them in.
    """
    figure = go.Figure([go.Bar(name=part, orientation="h", marker={"color": colour, "pattern": HATCH | {"shape": pattern}})
                        for part, colour, pattern in PARTS])  # fmt: skip
    figure.update_xaxes(title_text="photo in, answer out (ms)")
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 14})
    above = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
    height, margin = 190 + row_height * max(rows, 6), {"t": 95, "r": 75}
    return finish(figure, title, "", height, barmode="stack", legend=above, margin=margin)


def fill_waterfall(figure: go.Figure, plans: Sequence[Plan], far: float) -> Plan:
    """Put a plan for each bar into an :func:`empty_waterfall`, in place, a star at the fastest one, which is returned.

    The last millisecond that is shown is ``far``; longer bars run out of the plot and keep their number.
    """
    fastest = min(plans, key=lambda one: one.total)
    names = [("★ " if one is fastest else "") + one.route.name for one in plans]
    for part, _, _ in PARTS:
        figure.update_traces(y=names, x=[1000 * getattr(one, part) for one in plans], selector={"name": part})
    ends = {name: 1000 * one.total for name, one in zip(names, plans, strict=True)}
    figure.layout.xaxis.range = [0, 1.14 * far]
    figure.layout.annotations = end_numbers(ends, [f"{ms:,.0f}" for ms in ends.values()], far)
    return fastest


def end_numbers(ends: Mapping[str, float], texts: Sequence[str], far: float) -> list[dict]:
    """Write a number at the end of every bar, beyond the plot's edge where the bar runs out of it.

    The last end that is shown is ``far``; the axis goes a little further.
    """
    inside = {"xref": "x", "bgcolor": "rgba(255,255,255,0.85)"}
    return [
        {"y": name, "text": text, "showarrow": False, "xanchor": "left", "xshift": 4, "font": {"size": 14}}
        | (
            {"x": end} | inside
            if end <= far
            else {"x": 1, "xref": "paper", "text": f"→ {text}" if end > 1.14 * far else text}
        )
        for (name, end), text in zip(ends.items(), texts, strict=True)
    ]
