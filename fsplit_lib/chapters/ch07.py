"""Chapter 07: one packet for every server, the tables of codecs and servers, and the panel over the decoder ablation."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.chapters.ch07_networks import look_of_network, name_of
from fsplit_lib.evaluation import BDRate
from fsplit_lib.evaluation.cross_backbone import Ablation, Crossing, equal_bytes
from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.plots.curves import curve, rate_accuracy, rate_curve
from fsplit_lib.plots.forest import forest, signed, with_interval
from fsplit_lib.plots.pictures import HATCH
from fsplit_lib.plots.style import Look, below, finish, look_of

ANSWERED = "agreement with the server's own network (%)"


def _servers(names: Sequence[str], side: int) -> go.Figure:
    """The live figure before a packet is there: picture, answers with and without compression, bytes of the packet."""
    figure = make_subplots(
        2, 2, specs=[[{}, {}], [{"colspan": 2}, None]], column_widths=[0.3, 0.7], row_heights=[0.82, 0.18],
        horizontal_spacing=0.12, vertical_spacing=0.2, subplot_titles=("on the phone", "at the server", "on the wire"),
    )  # fmt: skip
    figure.add_trace(go.Image(z=np.zeros((side, side, 3), np.uint8), hoverinfo="skip"), 1, 1)
    for label, method, shape in (("from the packet", "FrankenSplit", "/"), ("without compression", "teacher", "")):
        marker = {"color": look_of(method).color, "pattern": {**HATCH, "shape": shape}}
        figure.add_bar(x=list(names), y=np.zeros(len(names)), name=label, marker=marker, row=1, col=2)
    heat = {"colorscale": "Cividis", "zmin": 0, "zmax": 255, "showscale": False}
    figure.add_heatmap(z=[[0]], hovertemplate="byte %{x}: %{z}<extra></extra>", **heat, row=2, col=1)
    figure.update_xaxes(visible=False, row=1, col=1).update_yaxes(visible=False, row=1, col=1)
    ticks = list(range(0, 101, 20))
    figure.update_yaxes(title_text="softmax probability (%)", range=[0, 122], tickvals=ticks, row=1, col=2)
    figure.update_xaxes(tickangle=-35, tickfont_size=13, row=1, col=2)
    figure.update_xaxes(title_text="bytes of the packet, dark 0, bright 255", row=2, col=1)
    figure.update_yaxes(visible=False, row=2, col=1)
    finish(figure, "", "No packet yet.", 560).update_annotations(font_size=15)
    corner = {"orientation": "h", "x": 0.99, "xanchor": "right", "y": 0.99, "yanchor": "top"}
    return figure.update_layout(barmode="group", legend=corner, margin={"l": 20, "r": 20, "t": 60, "b": 60})


def server_panel(
    pictures: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    pack: Callable[[int, float], bytes],
    answers: dict[str, Callable[[bytes], np.ndarray]],
    whole: dict[str, Callable[[int], np.ndarray]],
    lmbdas: tuple[float, float],
    lmbda: float,
) -> Panel:
    """Show one packet, and the answer of whichever server is chosen.

    Pictures are (N, H, W) uint8 with N labels. ``pack`` makes a packet of a picture's number and a lambda between the
    two ``lmbdas``. A server's ``answers`` take a packet; ``whole``, its answer without compression, takes the number.
    """
    options = {name_of(server): server for server in answers}
    first = next(iter(options))

    def update(picture: int, lmbda: float, server: str) -> str:
        data = pack(picture, lmbda)
        probs, plain = answers[options[server]](data), whole[options[server]](picture)
        image, *bars, wire = panel.figure.data
        image.z = np.repeat(pictures[picture][:, :, None], 3, axis=2)
        for bar, values in zip(bars, (probs, plain), strict=True):
            bar.y = 100 * values
        wire.z = [list(data)]
        fate = "agree" if probs.argmax() == plain.argmax() else "differ"
        says = f"{server} says {names[probs.argmax()]} ({probs.max():.0%})"
        panel.figure.layout.title.text = f"{server} reads {len(data)} bytes"
        return (
            f"Picture {picture}, {names[labels[picture]]}: {len(data)} bytes, "
            f"sha256 {hashlib.sha256(data).hexdigest()[:8]}. {says}, without compression {names[plain.argmax()]} ({plain.max():.0%}): the answers {fate}."
        )

    controls = {
        "picture": Number("picture", 0, len(pictures) - 1, 0, 1),
        "lmbda": LogNumber("lambda", *lmbdas, lmbda),
        "server": Choice("server", tuple(options), first),
    }
    panel = Panel(controls, _servers(names, pictures.shape[-1]), update)
    return panel.set()


def table_curves(crossing: Crossing, quality: str) -> go.Figure:
    """Draw agreement or top-1, a plot per backbone that answers, a line per backbone that the codec was trained with.

    Native pairs are those of seed 0.
    """
    plots = {}
    for b in crossing.networks:
        cells = {a: crossing.natives(b)[0] if a == b else crossing.cell(a, b) for a in crossing.networks}
        plots[f"{name_of(b)} answers"] = [
            rate_curve(f"codec of {name_of(a)}", crossing.cells[cell], quality, look_of_network(a))
            for a, cell in cells.items()
        ]
    n = next(iter(crossing.cells.values()))[0].n
    label = ANSWERED if quality == "agreement" else quality
    figure = rate_accuracy(plots, "Three codecs, three servers", label, n)
    return figure.update_xaxes(title_text="mean bytes of a packet")


def _two_lines(delta: BDRate) -> str:
    whole = with_interval(delta)
    return f"<b>{whole}</b>".replace(" (", "</b><br>(", 1).removesuffix("</b>") if "(" in whole else whole


def _cells(names: Sequence[str], size: int, **heat: Any) -> go.Heatmap:
    """A cell for each codec, downwards, and each network that answers."""
    x, y = [name_of(n) for n in names], [f"codec of {name_of(n)}" for n in names]
    style = {"texttemplate": "%{text}", "textfont": {"size": size}, "colorscale": "RdBu", "xgap": 3, "ygap": 3}
    return go.Heatmap(**{"x": x, "y": y} | style | heat)


def cross_table(crossing: Crossing) -> go.Figure:
    """Draw BD-rates against the native pair; on the diagonal stand other seeds and a decoder trained anew."""
    names, told = crossing.networks, []
    found = [[crossing.delta(a, b) for b in names] for a in names]
    texts = [list(map(_two_lines, row)) for row in found]
    for i, name in enumerate(names):
        seeds = ", ".join(map(signed, crossing.spread(name))) or "not measured"
        texts[i][i] = f"native pair: 0<br>other seeds: {seeds}<br>decoder anew:<br>{with_interval(found[i][i])}"
    for a, row in zip(names, found, strict=True):
        told += [f"{name_of(a)} for {name_of(b)} {with_interval(d)}" for b, d in zip(names, row, strict=True)]
    values = np.array([[0 if d.percent is None else d.percent for d in row] for row in found])
    edge = 2.5 * max(1.0, float(np.abs(values).max()))  # pale enough for dark words
    x, scale = [f"{name_of(n)} answers" for n in names], {"zmin": -edge, "zmax": edge, "reversescale": True}
    figure = go.Figure(
        _cells(names, 15, z=values, x=x, text=texts, colorbar={"title": "%"}, hoverongaps=False, **scale)
    )
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    alt = f"Bytes against the native pair at equal agreement, codec of one backbone for another: {'; '.join(told)}"
    title = "Bytes against the native pair, with 95 % intervals over pictures"
    return finish(figure, title, alt + ".", 460, margin={"t": 110, "b": 20})


def equal_byte_tables(crossing: Crossing) -> go.Figure:
    """Draw accuracy and agreement of all pairs at equal bytes, side by side."""
    titles = {"top1": "top-1 accuracy (%)", "agreement": "agreement with the server's network (%)"}
    figure = make_subplots(1, 2, subplot_titles=list(titles.values()), shared_yaxes=True)
    names, told = crossing.networks, []
    for column, (quality, title) in enumerate(titles.items(), start=1):
        shares, size = crossing.at_equal_bytes(quality)
        texts, bar = [[f"{100 * v:.1f}" for v in row] for row in shares], {"title": "points above<br>native pair"}
        scale = {"zmin": -6, "zmax": 6, "showscale": column == 2, "colorbar": bar}
        figure.add_trace(_cells(names, 16, z=100 * (shares - np.diag(shares)), text=texts, **scale), 1, column)
        rows = [f"codec of {name_of(n)} {', '.join(row)}" for n, row in zip(names, texts, strict=True)]
        told.append(f"{title}: {'; '.join(rows)}")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text="who answers", showgrid=False)
    alt = f"At {size:.0f} bytes, answered by {', '.join(map(name_of, names))}. " + ". ".join(told) + "."
    finish(figure, f"The same table at {size:.0f} bytes a packet", alt, 380)
    return figure.update_annotations(font_size=15)


def blueprint_deltas(crossing: Crossing) -> go.Figure:
    """Draw BD-rates of decoders with blocks of every family, for the features of each backbone behind its own codec."""
    rows = {}
    for network in crossing.networks:
        for n, (family, cell) in enumerate(crossing.blueprints(network).items()):
            blocks, size = "own" if n == 0 else name_of(family), crossing.cells[cell][0].parameters
            label = f"{name_of(network)} features, {blocks} blocks ({size:,})"
            rows[label] = [crossing.deltas[cell]], look_of_network(family)
    title, x = "Decoders by their blocks", "bytes against the native pair at equal agreement (%)"
    return forest(rows, title, "BD-rates by the decoder's blocks, parameters in brackets", x)


def _decoder(key: tuple[int, int]) -> str:
    return f"{key[0]} restoration block{'' if key[0] == 1 else 's'} of width {key[1]}"


def ablation_panel(ablation: Ablation, network: str) -> Panel:
    """Slide the number of restoration blocks over the measured table; ``network`` is the first backbone shown."""
    networks = {name_of(one): one for one in ablation.networks}
    blocks, widths = (sorted(set(v)) for v in zip(*ablation.curves(network), strict=True))
    start = ablation.smallest(network)
    titles = ("what a byte buys", "what a millisecond buys")
    figure = make_subplots(1, 2, horizontal_spacing=0.15, subplot_titles=titles)
    styles = (Look("#009E73", "dot"), Look("#882255", "dash"))
    looks = dict(zip(widths, styles, strict=False))
    for width, look in looks.items():
        name = f"other decoders of width {width}"
        figure.add_trace(curve(name, [], [], look, width=1.2).update(mode="lines"), 1, 1)
    picked = Look("#D55E00")
    figure.add_trace(curve("this decoder", [], [], picked, width=3.5), 1, 1)
    marks = {
        "others": {"color": "#8b949e", "size": 10, "symbol": "square"}, "this one": {"color": picked.color, "size": 16},
        "smallest within half a point": {"color": "#0072B2", "symbol": "star-open", "size": 24, "line": {"width": 2}},
    }  # fmt: skip
    for name, mark in marks.items():
        mode, shown = "markers+text" if name == "others" else "markers", name.startswith("smallest")
        text = {"textfont": {"size": 13, "color": "#57606a"}} if name == "others" else {}
        trace = go.Scatter(mode=mode, marker=mark, name=name, showlegend=shown, cliponaxis=False, **text)
        figure.add_trace(trace, 1, 2)
    figure.update_xaxes(title_text="bytes per packet", type="log", tickvals=[20, 30, 40, 60, 80, 120, 200, 300], col=1)
    figure.update_yaxes(title_text="top-1 accuracy (%)", title_standoff=12, col=1)
    figure.update_xaxes(title_text="decoder, ms per latent", rangemode="tozero", col=2)
    figure.update_yaxes(title_text="top-1 at equal bytes (%)", title_standoff=12, col=2)
    figure.update_annotations(font_size=15)
    finish(figure, "", "", 480, legend=below(-0.25), margin={"t": 85, "b": 115})

    def update(network: str, restoration: int, width: str) -> str:
        backbone, this = networks[network], (restoration, int(width))
        curves = ablation.curves(backbone)
        scores, (low, high) = equal_bytes(curves)
        small, best, rows = ablation.smallest(backbone), max(scores, key=scores.get), curves[this]

        draw = panel.update_trace
        for w in looks:
            parts = [[*((p.bytes, 100 * p.top1) for p in curves[key]), (None, None)] for key in curves if key[1] == w]
            lines = [point for part in parts for point in part]
            draw(f"other decoders of width {w}", x=[x for x, _ in lines], y=[y for _, y in lines])
        draw("this decoder", x=[row.bytes for row in rows], y=[100 * row.top1 for row in rows])
        for name, keys in {"others": list(scores), "this one": [this], "smallest within half a point": [small]}.items():
            draw(name, x=[ablation.times[backbone, *key] for key in keys], y=[100 * scores[key] for key in keys])
        text = [("<br>{} × {}<br>" if key in (this, small) else "{} × {}").format(*key) for key in scores]
        draw("others", text=text, textposition=[("bottom center", "top center")[r % 2] for r, _ in scores])
        panel.figure.layout.title.text = f"{network}: {_decoder(this)}"
        behind = f"{100 * (scores[best] - scores[this]):.1f} points behind the best, {_decoder(best)}"
        return (
            f"{network}, {_decoder(this)}: {rows[0].parameters:,} parameters, {ablation.times[backbone, *this]:.2f} ms "
            f"per latent, {100 * scores[this]:.1f} % at equal bytes ({low:.0f} to {high:.0f}), "
            f"{'the best of all' if this == best else behind}. The smallest within half a point: "
            f"{'this one' if this == small else _decoder(small)}."
        )

    controls = {
        "network": Choice("server", tuple(networks), name_of(network)),
        "restoration": Number("restoration blocks", blocks[0], blocks[-1], start[0], 1),
        "width": Choice("width", tuple(map(str, widths)), str(start[1])),
    }
    panel = Panel(controls, figure, update)
    return panel.set()
