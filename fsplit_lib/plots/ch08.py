"""Figures of chapter 08: stages on the device, whole journeys over the link, how many times as fast, device cards."""

import itertools
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.device import DeviceCard, Timing
from fsplit_lib.latency import Circumstances, Journey, Plan, rate_for, ratio, widest_ratio
from fsplit_lib.latency.real import RealJourney
from fsplit_lib.offload.link import LINKS, Link
from fsplit_lib.plots.style import Look, finish, look_of
from fsplit_lib.plots.waterfall import empty_waterfall, end_numbers, fill_waterfall

__all__ = [
    "cards",
    "journey_waterfall",
    "move_journeys",
    "over_the_link",
    "real_journeys",
    "stages",
    "times_as_fast",
    "winners",
]

OURS, LOCAL = "FrankenSplit", "on the device"
STAGES = {
    "preprocess": ("#8b949e", ""), "encode": ("#D55E00", "/"), "entropy code": ("#0072B2", "x"), "packet": ("#009E73", "."),
    "head": ("#E69F00", "\\"), "pack": ("#56B4E9", "-"), "network": ("#332288", "|"),
}  # fmt: skip
EXTRA = {
    LOCAL: Look("#8b949e", "longdash", "star"),
    "8-bit features, our cut": Look("#E69F00", "dashdot", "cross"),
    "8-bit features, narrowest": Look("#882255", "dot", "x-open"),
}
CIRCLES = (
    "circle",
    *(f"{shape}-open" for shape in ("square", "diamond", "triangle-up", "star", "hexagon", "cross", "x")),
)


def _look(method: str) -> Look:
    return EXTRA.get(method) or look_of(method)


def stages(bars: dict[str, dict[str, Timing]], title: str) -> go.Figure:
    """Milliseconds of every stage on the device, stacked; whiskers are half the distance between the quartiles of the longest stage.

    Args:
        bars: method and setting to stage to timing.
        title: of the figure.
    """
    methods = list(dict.fromkeys(map(_bare, bars)))
    figure, names = go.Figure(), sorted(bars, key=lambda name: methods.index(_bare(name)))
    present = [stage for stage in STAGES if any(stage in one for one in bars.values())]
    for stage in present:
        colour, pattern = STAGES[stage]
        values = [bars[name][stage].median_ms if stage in bars[name] else 0 for name in names]
        longest = [
            bars[name][stage].iqr_ms / 2 if stage == max(bars[name], key=lambda s, n=name: bars[n][s].median_ms) else 0
            for name in names
        ]
        figure.add_trace(
            go.Bar(
                x=values, y=names, orientation="h", name=stage, marker={"color": colour, "pattern": {"shape": pattern}},
                error_x={"array": longest, "thickness": 1.2, "width": 3, "color": "#1b1f24"},
                hovertemplate=stage + " %{x:.2f} ms<extra>%{y}</extra>",
            )
        )  # fmt: skip
    totals = {name: sum(t.median_ms for t in one.values()) for name, one in bars.items()}
    noisy = [name for name, one in bars.items() if any(t.doubt.startswith("too noisy") for t in one.values())]
    figure.update_layout(
        barmode="stack", legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
    )
    ordered = sorted(totals.values())
    far = min(ordered[-1], 2.5 * ordered[max(0, len(ordered) - 2)])  # one slow rival must not make the others invisible
    figure.update_xaxes(title_text="on the device (ms)", range=[0, 1.2 * far])
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 14})
    reach = {name: totals[name] + max(t.iqr_ms for t in bars[name].values()) / 2 for name in names}
    far = max([far, *(end for end in reach.values() if end <= 1.1 * far)])  # whiskers belong to what is shown whole
    figure.layout.annotations = end_numbers(reach, [f"{totals[name]:,.1f}" for name in names], far)
    alt = "Milliseconds on the device: " + ", ".join(f"{name} {total:,.1f}" for name, total in totals.items()) + "."
    if noisy:
        alt += f" Too noisy to conclude anything: {', '.join(noisy)}."
    finish(figure, title, alt, height=170 + 34 * max(len(bars), 5))
    return figure.update_layout(margin={"t": 95, "r": 75})


def _bare(name: str) -> str:
    return name.removesuffix(", float32").removesuffix(", int8")


def journey_waterfall(plans: Sequence[Plan], title: str) -> go.Figure:
    """Device, wire and server time of every method, stacked."""
    figure = empty_waterfall(title, len(plans), row_height=32)
    move_journeys(figure, plans)
    return figure


def move_journeys(figure: go.Figure, plans: Sequence[Plan]) -> str:
    """Put other times into a :func:`journey_waterfall`, in place; returns the sentence."""
    totals = sorted(1000 * one.total for one in plans)
    far = min(totals[-1], 8 * totals[len(totals) // 2])  # the contenders stay readable beside a hopeless route
    fastest = fill_waterfall(figure, plans, far)
    told = {one.route.name: 1000 * one.total for one in plans}
    rest = [f"{name} {ms:,.0f}" for name, ms in told.items() if name != fastest.route.name]
    alt = f"Fastest: {fastest.route.name}, {told[fastest.route.name]:,.0f} ms; in ms: {', '.join(rest)}."
    figure.layout.meta = {"alt": alt}
    return alt


def _at(where: Circumstances, rate: float) -> Circumstances:
    return Circumstances(Link("", rate, rate, where.link.delay_ms), where.slowdown, where.speedup)


def winners(
    found: dict[str, Journey], where: Circumstances, low: float = 0.01, high: float = 1e4
) -> list[tuple[str, float, float]]:
    """Which method is fastest from which link rate to which, in Mbit/s: exact, between the crossovers of all pairs.

    Args:
        found: methods.
        where: its link's rates do not matter, its delay does.
        low: least rate.
        high: largest rate.
    """
    ways = list(found.values())
    pairs = [rate_for(a, b, where) for i, a in enumerate(ways) for b in ways[i + 1 :]]
    edges = [low, *sorted(rate for rate in pairs if rate is not None and low < rate < high), high]
    spans: list[tuple[str, float, float]] = []
    for left, right in itertools.pairwise(edges):
        middle = _at(where, float(np.sqrt(left * right)))
        name = min(ways, key=lambda one, m=middle: m.plan(one).total).method
        if spans and spans[-1][0] == name:
            spans[-1] = (name, spans[-1][1], right)
        else:
            spans.append((name, left, right))
    return spans


def over_the_link(found: dict[str, Journey], where: Circumstances, title: str) -> go.Figure:
    """Photo in, answer out, over the rate of the link; a line a method, presets as marks on the axis."""
    rates, figure = np.geomspace(0.03, 1000, 91), go.Figure()
    for name, journey in found.items():
        look, ours = _look(name), name == OURS
        total = [1e3 * _at(where, rate).plan(journey).total for rate in rates]
        figure.add_trace(
            go.Scatter(x=rates, y=total, name=name, mode="lines+markers", line={"color": look.color, "dash": look.dash, "width": 4 if ours else 2},
                       marker={"symbol": look.symbol, "size": [9 if i % 15 == 0 else 0 for i in range(len(rates))]},
                       hovertemplate="%{x:.3g} Mbit/s<br>%{y:,.0f} ms<extra>" + name + "</extra>")
        )  # fmt: skip
    _presets(figure)
    figure.update_xaxes(title_text="link, both ways (Mbit/s)", type="log", dtick=1, range=[np.log10(0.03), 3])
    figure.update_yaxes(title_text="photo in, answer out (ms)", type="log", dtick=1)
    spans = winners(found, where)
    alt = "Fastest: " + "; ".join(f"{name} {_span(low, high)}" for name, low, high in spans) + "."
    return finish(figure, title, alt, height=520)


def _span(low: float, high: float) -> str:
    if low <= 0.01 and high >= 1e4:
        return "on every link"
    return (
        f"below {high:.3g} Mbit/s"
        if low <= 0.01
        else f"above {low:.3g} Mbit/s"
        if high >= 1e4
        else f"from {low:.3g} to {high:.3g} Mbit/s"
    )


def _presets(figure: go.Figure) -> None:
    for number, link in enumerate(link for link in LINKS.values() if np.isfinite(link.uplink_mbit_s)):
        figure.add_vline(x=link.uplink_mbit_s, line={"color": "#c9d1d9", "dash": "dot"})
        figure.add_annotation(
            x=np.log10(link.uplink_mbit_s), y=1 - 0.055 * (number % 2), yref="paper", text=link.name.split()[0],
            showarrow=False, xanchor="left" if number % 2 == 0 else "right", font_size=13, bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip


def times_as_fast(found: dict[str, Journey], where: Circumstances, times: float, title: str) -> go.Figure:
    """How many times as long every rival takes as FrankenSplit, over the rate of the link.

    Args:
        found: methods; FrankenSplit among them.
        where: delay, slowdown and speed-up.
        times: the claim to look for, as a line.
        title: of the figure.
    """
    rates, figure, ours = np.geomspace(0.003, 1000, 91), go.Figure(), found[OURS]
    for name, other in found.items():
        if name == OURS:
            continue
        look = _look(name)
        values = [ratio(ours, other, _at(where, rate)) for rate in rates]
        figure.add_trace(
            go.Scatter(x=rates, y=values, name=name, mode="lines+markers", line={"color": look.color, "dash": look.dash, "width": 2.5},
                       marker={"symbol": look.symbol, "size": [9 if i % 15 == 0 else 0 for i in range(len(rates))]},
                       hovertemplate="%{x:.3g} Mbit/s<br>%{y:.2f} times<extra>" + name + "</extra>")
        )  # fmt: skip
    seen = [value for trace in figure.data for value in trace.y] + [times, 1.0]
    low, high = np.log10(0.7 * max(min(seen), 0.02)), np.log10(1.5 * max(seen))
    for y, text in ((times, f"{times:g} times as long"), (1.0, "as long")):
        figure.add_hline(y=y, line={"color": "#1b1f24", "dash": "dash" if y == times else "solid", "width": 1.5})
        figure.add_annotation(
            x=0, xref="paper", y=np.log10(y), text=text, showarrow=False, xanchor="left", yanchor="bottom",
            bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip
    figure.update_xaxes(title_text="link, both ways (Mbit/s)", type="log", dtick=1)
    figure.update_yaxes(
        title_text="time, in times of FrankenSplit's", type="log", range=[low, high],
        tickvals=[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100],
    )  # fmt: skip
    told = []
    for name, other in found.items():
        if name != OURS:
            slow, fast = widest_ratio(ours, other, where)
            told.append(f"{name} {slow:.1f} and {fast:.2f}")
    alt = "Times as long as FrankenSplit on an endlessly slow and an endlessly fast link: " + ", ".join(told) + "."
    return finish(figure, title, alt, height=480)


def cards(found: Sequence[DeviceCard], wanted: Sequence[tuple[str, str, str]]) -> go.Figure:
    """The same stages on every device, on one axis.

    Args:
        found: at least one.
        wanted: method, stage and precision of what to show, on one thread.
    """
    figure, told = go.Figure(), []
    for number, card in enumerate(found):
        rows = {" ".join(filter(None, key)): card.row(*key) or card.row(*key, card.cores) for key in wanted}
        rows = {name: row for name, row in rows.items() if row is not None}
        look = list(EXTRA.values())[number % len(EXTRA)] if number else look_of(OURS)
        figure.add_trace(
            go.Scatter(
                x=[row.median_ms for row in rows.values()], y=list(rows), name=f"{card.name} ({card.cores} cores)", mode="markers",
                marker={"color": look.color, "symbol": CIRCLES[number % len(CIRCLES)], "size": 13},
                error_x={"array": [row.iqr_ms / 2 for row in rows.values()], "color": look.color, "width": 4},
                hovertemplate="%{y}: %{x:.2f} ms<extra>" + f"{card.name}<br>{card.cpu}<br>{card.date}" + "</extra>",
            )
        )  # fmt: skip
        first = next(iter(rows.items()), None)
        doubt = f", {len(card.doubts)} of {len(card.rows)} rows not conclusive" if card.doubts else ""
        told.append(
            f"{card.name}: no stage shown"
            if first is None
            else f"{card.name}: {first[0]} {first[1].median_ms:.2f} ms{doubt}"
        )
    figure.update_xaxes(title_text="median ± half the distance between the quartiles (ms)", type="log", dtick=1)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 14})
    figure.update_layout(showlegend=True)
    return finish(figure, "Device cards", "; ".join(told) + ".", height=200 + 36 * len(wanted))


def real_journeys(found: dict[str, dict[str, RealJourney]]) -> go.Figure:
    """What real sockets and a real server took, from bytes in hand to the answer, and what of it is accounted for.

    Args:
        found: link to method to journey.
    """
    names = [(link, method) for link, one in found.items() for method in one]
    every = [found[link][method] for link, method in names]
    parts = {
        "the link's formula": [one.wire_ms for one in every],
        "server's own times": [one.decode_ms + one.queue_ms + one.tail_ms for one in every],
        "everything else": [max(0.0, one.unexplained_ms) for one in every],
    }
    figure = go.Figure()
    for (title, values), colour, pattern in zip(
        parts.items(), ("#0072B2", "#D55E00", "#8b949e"), ("/", "", "x"), strict=True
    ):
        figure.add_trace(
            go.Bar(
                x=values, y=[f"{link}: {method}" for link, method in names], orientation="h", name=title,
                marker={"color": colour, "pattern": {"shape": pattern}}, hovertemplate="%{x:.1f} ms<extra>" + title + "</extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title_text="milliseconds from bytes in hand to the answer, median")
    figure.update_yaxes(autorange="reversed", automargin=True)
    told = [
        f"{link}, {method}: {one.total.median_ms:.0f} ms, of which the formula says {one.wire_ms:.0f}"
        for (link, method), one in zip(names, every, strict=True)
    ]
    finish(figure, "The model against real sockets", "; ".join(told) + ".", height=200 + 38 * len(names))
    legend = {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "traceorder": "normal"}
    return figure.update_layout(barmode="stack", legend=legend, margin={"t": 100})
