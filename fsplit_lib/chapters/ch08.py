"""Chapter 08: stages on the device, end to end over the link, how many times as fast, device cards, and the panel."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.device import DeviceCard, Timing
from fsplit_lib.evaluation import LatencyRow
from fsplit_lib.latency import EndToEnd, Scenario, end_to_end, rate_for, ratio, widest_ratio
from fsplit_lib.latency.measured import MeasuredEndToEnd
from fsplit_lib.offload.link import LINKS, Link
from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.plots.curves import curve
from fsplit_lib.plots.pictures import HATCH
from fsplit_lib.plots.style import Look, finish, look_of
from fsplit_lib.plots.waterfall import PARTS, empty_waterfall, end_numbers, fill_waterfall

OURS, LOCAL = "FrankenSplit", "on the device"
STAGES = {
    "preprocess": ("#8b949e", ""), "encode": ("#D55E00", "/"), "entropy code": ("#0072B2", "x"),
    "packet": ("#009E73", "."), "head": ("#E69F00", "\\"), "pack": ("#56B4E9", "-"), "network": ("#332288", "|"),
}  # fmt: skip
EXTRA = {
    LOCAL: Look("#57606a", "longdash", "star"), "8-bit features, our cut": Look("#663300", "dashdot", "cross"),
    "8-bit features, narrowest": Look("#332288", "dot", "x-open"),
}  # fmt: skip
SHAPES = ("circle", "square", "diamond", "triangle-up", "star", "hexagon", "cross")
LINK = {"title_text": "link, both ways (Mbit/s)", "type": "log", "dtick": 1}
ABOVE = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}


def stages(bars: dict[str, dict[str, Timing]], title: str) -> go.Figure:
    """Draw milliseconds of every stage on the device, stacked, with half the interquartile range of the longest stage.

    The bars are by method and setting, then by stage.
    """
    bare = {name: name.removesuffix(", float32").removesuffix(", int8") for name in bars}
    methods = list(dict.fromkeys(bare.values()))
    names = sorted(bars, key=lambda name: methods.index(bare[name]))
    longest = {name: max(one, key=lambda stage, one=one: one[stage].median_ms) for name, one in bars.items()}
    figure = go.Figure()
    for stage, (colour, pattern) in STAGES.items():
        if any(stage in one for one in bars.values()):
            times = [bars[name].get(stage) for name in names]
            half = [t.iqr_ms / 2 if t and longest[n] == stage else 0 for n, t in zip(names, times, strict=True)]
            figure.add_bar(
                x=[t.median_ms if t else 0 for t in times], y=names, orientation="h", name=stage,
                marker={"color": colour, "pattern": HATCH | {"shape": pattern}},
                error_x={"array": half, "thickness": 1.2, "width": 3, "color": "#1b1f24"},
                hovertemplate=stage + " %{x:.2f} ms<extra>%{y}</extra>",
            )  # fmt: skip
    totals = {name: sum(t.median_ms for t in bars[name].values()) for name in bars}
    reach = {name: totals[name] + max(t.iqr_ms for t in bars[name].values()) / 2 for name in names}
    noisy = [name for name, one in bars.items() if any(t.doubt.startswith("too noisy") for t in one.values())]
    ordered = sorted(totals.values())
    far = min(ordered[-1], 2.5 * ordered[max(0, len(ordered) - 2)])  # one slow rival must not make the others invisible
    figure.update_xaxes(title_text="on the device (ms)", range=[0, 1.2 * far])
    figure.update_yaxes(autorange="reversed", dtick=1, tickfont={"size": 14})
    far = max([far, *(end for end in reach.values() if end <= 1.1 * far)])  # whiskers belong to what is shown whole
    figure.layout.annotations = end_numbers(reach, [f"{totals[name]:,.1f}" for name in names], far)
    alt = "Milliseconds on the device: " + ", ".join(f"{name} {total:,.1f}" for name, total in totals.items()) + "."
    alt += f" Too noisy to conclude anything: {', '.join(noisy)}." if noisy else ""
    layout = {"barmode": "stack", "legend": ABOVE, "margin": {"t": 120, "r": 75}}  # a legend of two lines
    return finish(figure, title, alt, 195 + 34 * max(len(bars), 5), **layout)


def _at(where: Scenario, rate: float) -> Scenario:
    return Scenario(Link("", rate, rate, where.link.delay_ms), where.slowdown, where.speedup)


def winners(found: dict[str, EndToEnd], where: Scenario) -> list[tuple[str, float, float]]:
    """Find which method is fastest from which link rate to which, 0.01 to 10,000 Mbit/s, between the crossovers of all pairs.

    Of the scenario's link the delay counts, not its rates.
    """
    ways = list(found.values())
    pairs = [rate_for(a, b, where) for i, a in enumerate(ways) for b in ways[i + 1 :]]
    edges = [0.01, *sorted(rate for rate in pairs if rate is not None and 0.01 < rate < 1e4), 1e4]
    spans: list[tuple[str, float, float]] = []
    for left, right in itertools.pairwise(edges):
        middle = _at(where, float(np.sqrt(left * right)))
        name = min(ways, key=lambda one, m=middle: m.plan(one).total).method
        if spans and spans[-1][0] == name:
            spans[-1] = (name, spans[-1][1], right)
        else:
            spans.append((name, left, right))
    return spans


def _curves(figure: go.Figure, rates: np.ndarray, values: dict[str, list[float]], unit: str) -> None:
    """A line per method with a marker now and then, and the presets of the link as marks on the axis."""
    for name, y in values.items():
        look, marks = EXTRA.get(name) or look_of(name), [9 if i % 15 == 0 else 0 for i in range(len(rates))]
        style = {"width": 4 if name == OURS else 2.5, "marker": {"symbol": look.symbol, "size": marks}}
        hover = f"%{{x:.3g}} Mbit/s<br>{unit}<extra>{name}</extra>"
        figure.add_trace(curve(name, rates, y, look, hovertemplate=hover, **style))
    figure.update_xaxes(LINK)


def over_the_link(found: dict[str, EndToEnd], where: Scenario, title: str) -> go.Figure:
    """Draw photo in, answer out, over the rate of the link; a line per method, presets as marks on the axis.

    The scenario gives delay, slowdown and speed-up.
    """
    rates, figure = np.geomspace(0.03, 1000, 91), go.Figure()
    totals = {name: [1e3 * _at(where, rate).plan(one).total for rate in rates] for name, one in found.items()}
    _curves(figure, rates, totals, "%{y:,.0f} ms")
    for number, link in enumerate(link for link in LINKS.values() if np.isfinite(link.uplink_mbit_s)):
        figure.add_vline(x=link.uplink_mbit_s, line={"color": "#8b949e", "dash": "dot"})
        figure.add_annotation(
            x=np.log10(link.uplink_mbit_s), y=1 - 0.055 * (number % 2), yref="paper", text=link.name.split()[0],
            showarrow=False, xanchor="left" if number % 2 else "right", font_size=13, bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip
    figure.update_xaxes(range=[np.log10(0.03), 3])
    ticks = [base * 10**power for power in range(6) for base in (1, 2, 5)]
    figure.update_yaxes(title_text="photo in, answer out (ms)", type="log", tickvals=ticks, tickformat=",")
    spans = "; ".join(f"{name} from {low:.3g} to {high:.3g} Mbit/s" for name, low, high in winners(found, where))
    return finish(figure, title, f"Fastest: {spans}.", height=520)


def times_as_fast(found: dict[str, EndToEnd], where: Scenario, times: float, title: str) -> go.Figure:
    """Draw how many times as long every rival takes as FrankenSplit, over the rate of the link; the claim is a line.

    The scenario gives delay, slowdown and speed-up.
    """
    rates, figure, ours = np.geomspace(0.003, 1000, 91), go.Figure(), found[OURS]
    rivals = {name: other for name, other in found.items() if name != OURS}
    values = {name: [ratio(ours, other, _at(where, rate)) for rate in rates] for name, other in rivals.items()}
    _curves(figure, rates, values, "%{y:.2f} times")
    seen = [*itertools.chain(*values.values()), times, 1.0]
    for y, text in ((times, f"{times:g} times as long"), (1.0, "equally long")):
        figure.add_hline(y=y, line={"color": "#1b1f24", "dash": "dash" if y == times else "solid", "width": 1.5})
        figure.add_annotation(x=1, xref="paper", y=np.log10(y), text=text, showarrow=False, xanchor="right",
                              yanchor="bottom", bgcolor="rgba(255,255,255,0.8)")  # fmt: skip
    figure.update_yaxes(
        title_text="times as long as FrankenSplit", type="log",
        range=[np.log10(0.7 * max(min(seen), 0.02)), np.log10(1.5 * max(seen))],
        tickvals=[0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100],
    )  # fmt: skip
    ends = {name: widest_ratio(ours, other, where) for name, other in rivals.items()}
    told = ", ".join(f"{name} {slow:.1f} and {fast:.2f}" for name, (slow, fast) in ends.items())
    alt = f"Times as long as FrankenSplit on an endlessly slow and an endlessly fast link: {told}."
    return finish(figure, title, alt, height=480)


def cards(found: Sequence[DeviceCard], wanted: Sequence[tuple[str, str, str]]) -> go.Figure:
    """Draw the same stages on every device, of at least one card, on one axis.

    A stage is wanted by method, stage and precision, on one thread.
    """
    figure, told = go.Figure(), []
    for number, card in enumerate(found):
        rows = {" ".join(filter(None, key)): card.row(*key) or card.row(*key, card.cores) for key in wanted}
        rows = {name: row for name, row in rows.items() if row is not None}
        colour = [look_of(OURS), look_of("JPEG"), *EXTRA.values()][number % 5].color
        figure.add_scatter(
            x=[row.median_ms for row in rows.values()], y=list(rows), mode="markers",
            name=f"{card.name} ({card.cores} cores)", marker={"color": colour, "symbol": SHAPES[number % len(SHAPES)], "size": 13},
            error_x={"array": [row.iqr_ms / 2 for row in rows.values()], "color": colour, "width": 0},
            hovertemplate="%{y}: %{x:.2f} ms<extra>" + f"{card.name}<br>{card.cpu}<br>{card.date}" + "</extra>",
        )  # fmt: skip
        times = ", ".join(f"{name} {row.median_ms:.2f} ms" for name, row in rows.items()) or "no stage shown"
        doubt = f", {len(card.doubts)} of {len(card.rows)} rows not conclusive" if card.doubts else ""
        told.append(f"{card.name}: {times}{doubt}")
    figure.update_xaxes(title_text="median ± half the interquartile range (ms)", type="log", dtick=1)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 14})
    height, bottom = 170 + 36 * len(wanted) + 24 * len(found), {"b": 75 + 24 * len(found)}
    legend = {"x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}  # names of machines are long
    return finish(figure, "Device cards", "; ".join(told) + ".", height, showlegend=True, legend=legend, margin=bottom)


def real_journeys(found: dict[str, dict[str, MeasuredEndToEnd]]) -> go.Figure:
    """Draw what real sockets and a real server took, from bytes in hand to the answer, and what of it is accounted for.

    The journeys are by link, then by method.
    """
    bars = {f"{link}: {method}": one for link, ways in found.items() for method, one in ways.items()}
    parts = {
        "the link's formula": [one.wire_ms for one in bars.values()],
        "server's own times": [
            one.decode_ms + one.queue_ms + one.tail_ms + min(0.0, one.unexplained_ms) for one in bars.values()
        ],
        "everything else": [max(0.0, one.unexplained_ms) for one in bars.values()],
    }
    figure = go.Figure()
    looks = (*((colour, pattern) for _, colour, pattern in PARTS[1:]), ("#CC79A7", "."))  # wire and server as above
    for (name, values), (colour, pattern) in zip(parts.items(), looks, strict=True):
        mark, hover = {"color": colour, "pattern": HATCH | {"shape": pattern}}, "%{x:.1f} ms<extra>" + name + "</extra>"
        figure.add_bar(x=values, y=list(bars), orientation="h", name=name, marker=mark, hovertemplate=hover)
    figure.update_xaxes(title_text="milliseconds from bytes in hand to the answer, median")
    figure.update_yaxes(autorange="reversed", automargin=True)
    told = [f"{name} {one.total.median_ms:.0f} ms, formula {one.wire_ms:.0f}" for name, one in bars.items()]
    layout = {"barmode": "stack", "legend": ABOVE, "margin": {"t": 100}}
    return finish(figure, "The model against real sockets", "; ".join(told) + ".", 200 + 38 * len(bars), **layout)


def crossovers(
    tables: dict[str, Sequence[LatencyRow]], level: float, where: Scenario, precision: str = "int8"
) -> list[tuple[str, ...]]:
    """List, for each codec and server, up to which link rate (Mbit/s) its packet is ahead of a JPEG and from which of the device alone.

    Rows of a codec's latency table are compared at one level of agreement; the scenario gives delay, slowdown and
    speed-up, and the precision is that of the networks on the device.
    """
    lines = []
    for codec, rows in tables.items():
        for network in dict.fromkeys(row.network for row in rows if row.network):
            found = end_to_end(rows, network, level, precision)
            ours, told = found[OURS], []
            for name in ("JPEG", LOCAL):
                rate, ahead = rate_for(ours, found[name], where), widest_ratio(ours, found[name], where)
                told.append(f"{rate:.2g}" if rate else "on every link" if ahead[1] > 1 else "on no link")
            spans = [f"{low:.2g} to {high:.2g}" for name, low, high in winners(found, where) if name == OURS]
            device, server = (sum(part.values()) for part in (ours.device, ours.server))
            lines.append((codec, network, f"{device:.1f}", f"{server:.1f}", *told, " and ".join(spans) or "on no link"))
    return lines


def journey_panel(
    tables: dict[str, Sequence[LatencyRow]],
    network: str,
    level: str,
    precision: str,
    megabits: float,
    slowdown: float,
    speedup: float,
) -> Panel:
    """Show device, wire and server time of every method of a latency table, or of the tables of several codecs.

    All other arguments are first positions: network at the server, agreement as "75 %", precision on the device, rate
    of the link, both ways, in Mbit/s, slowdown of the device against the measuring machine, speed-up of the server.
    """
    rows = next(iter(tables.values()))
    networks = tuple(dict.fromkeys(row.network for row in rows if row.network))
    levels = {f"{100 * one:g} %": one for one in sorted({row.level for row in rows if row.level is not None})}

    def state(codec: str = next(iter(tables)), **now: Any) -> tuple[dict[str, EndToEnd], Scenario]:
        link = Link("yours", now["megabits"], now["megabits"], now["delay"])
        found = end_to_end(tables[codec], now["network"], levels[now["level"]], now["precision"])
        return found, Scenario(link, now["slowdown"], now["speedup"])

    def update(**values: object) -> str:
        found, where = state(**values)
        plans = [where.plan(one) for one in found.values()]
        totals = sorted(1000 * one.total for one in plans)
        far = min(totals[-1], 8 * totals[len(totals) // 2])  # the contenders stay readable beside a hopeless route
        fastest = fill_waterfall(panel.figure, plans, far)
        rest = ", ".join(f"{one.route.name} {1000 * one.total:,.0f}" for one in plans if one is not fastest)
        ours = [f"from {a:.3g} to {b:.3g} Mbit/s" for name, a, b in winners(found, where) if name == OURS]
        return (
            f"Fastest: {fastest.route.name}, {1000 * fastest.total:,.0f} ms; in ms: {rest}. FrankenSplit is the "
            f"fastest {' and '.join(ours) or 'on no link'}."
        )

    controls = {"codec": Choice("codec", tuple(tables), next(iter(tables)))} if len(tables) > 1 else {}
    controls |= {
        "network": Choice("network", networks, network),
        "level": Choice("agreement", tuple(levels), level),
        "precision": Choice("precision", ("float32", "int8"), precision),
        "megabits": LogNumber("link (Mbit/s)", 0.01, 1000, megabits),
        "delay": Number("delay (ms)", 0.0, 200.0, 10.0, 1.0),
        "slowdown": LogNumber("device slowdown (x)", 0.1, 100, slowdown),
        "speedup": LogNumber("server speed (x)", 0.1, 100, speedup),
    }
    found, _ = state(**{name: control.value for name, control in controls.items()})
    panel = Panel(controls, empty_waterfall("Photo in, answer out", len(found), 32), update)
    return panel.set()
