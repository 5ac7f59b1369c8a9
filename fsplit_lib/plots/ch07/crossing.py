"""The cross-backbone table: curves, deltas against the native pair, blueprints, and what they say in words."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import BDRate, RatePoint
from fsplit_lib.evaluation.cross_backbone import Crossing, CrossRow
from fsplit_lib.plots.ch07.families import look_of_network, name_of
from fsplit_lib.plots.style import finish

__all__ = [
    "blueprint_deltas", "blueprint_outcome", "cross_outcome", "cross_table", "curves", "equal_byte_tables", "photo_outcome",
    "table_curves", "told",
]  # fmt: skip

VERDICTS = {
    "ahead": "its own blocks are ahead",
    "behind": "foreign blocks are ahead",
    "open": "the intervals overlap",
    "luck": "apart, but by no more than another seed is",
}
TICKS = [15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 300, 500, 1000, 1500, 2000, 3000, 5000]


def curves(
    plots: dict[str, dict[str, Sequence[RatePoint | CrossRow]]], quality: str, title: str, height: int = 460
) -> go.Figure:
    """Accuracy or agreement over bytes with Wilson's intervals, a plot a server, a line a codec or method.

    Args:
        plots: title of a plot to name of a line to its points.
        quality: "top1" or "agreement".
        title: of the figure.
        height: in pixels.
    """
    figure = make_subplots(1, len(plots), shared_yaxes=True, subplot_titles=list(plots), horizontal_spacing=0.03)
    seen, told = set(), []
    for column, (plot, lines) in enumerate(plots.items(), start=1):
        for name, points in lines.items():
            rows, look = sorted(points, key=lambda row: row.bytes), look_of_network(name)
            share, low, high = (np.array([100 * getattr(r, quality + e) for r in rows]) for e in ("", "_low", "_high"))
            figure.add_trace(
                go.Scatter(
                    x=[row.bytes for row in rows], y=share, name=name_of(name), legendgroup=name, showlegend=name not in seen,
                    mode="lines+markers", line={"color": look.color, "dash": look.dash, "width": 2.5},
                    marker={"symbol": look.symbol, "size": 9}, hovertemplate="%{x:.1f} bytes<br>%{y:.1f} %",
                    error_y={"array": high - share, "arrayminus": share - low, "thickness": 1, "width": 3},
                ),
                1, column,
            )  # fmt: skip
            seen.add(name)
            told.append(
                f"{plot}, {name_of(name)}: {share[0]:.1f} % at {rows[0].bytes:,.0f} bytes to {share[-1]:.1f} % at "
                f"{rows[-1].bytes:,.0f}"
            )
    label = "agreement (%)" if quality == "agreement" else "top-1 accuracy (%)"
    figure.update_xaxes(title_text="bytes a packet", type="log", tickvals=TICKS)
    figure.update_yaxes(title_text=label, col=1)
    finish(figure, title, f"{label[0].upper()}{label[1:]}: {'; '.join(told)}.", height)
    figure.update_annotations(font_size=15)
    return figure.update_layout(legend={"orientation": "h", "y": -0.25, "yanchor": "top"}, margin={"t": 85, "b": 110})


def table_curves(crossing: Crossing, quality: str) -> go.Figure:
    """A plot a backbone that answers, a line a backbone that the codec was trained with; native pairs are seed 0."""
    plots = {
        f"{name_of(b)} answers": {
            a: crossing.cells[crossing.natives(b)[0] if a == b else crossing.cell(a, b)] for a in crossing.networks
        }
        for b in crossing.networks
    }
    n = next(iter(crossing.cells.values()))[0].n
    return curves(plots, quality, f"Three codecs, three servers, {n:,} pictures (line: whose codec)")


def _percent(delta: BDRate) -> str:
    return "no shared<br>quality" if delta.percent is None else f"{_signed(delta.percent)} %"


def _interval(delta: BDRate) -> str:
    return "" if delta.low is None else f"{_signed(delta.low)} to {_signed(delta.high)}"


def _whole(delta: BDRate) -> str:
    ends = _interval(delta)
    return _percent(delta).replace("<br>", " ") + (f" ({ends})" if ends else "")


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}"  # never -0.0


def cross_table(crossing: Crossing) -> go.Figure:
    """BD-rates against the native pair with their intervals; on the diagonal, other seeds and a decoder trained anew."""
    names, told = crossing.networks, []
    found = [[crossing.delta(a, b) for b in names] for a in names]
    texts = [[f"<b>{_percent(d)}</b><br>{_interval(d)}" for d in row] for row in found]
    for i, name in enumerate(names):
        seeds = ", ".join(map(_signed, crossing.spread(name))) or "not measured"
        texts[i][i] = f"native pair: 0<br>other seeds: {seeds}<br>decoder anew: {_percent(found[i][i])}"
    for a, row in zip(names, found, strict=True):
        told += [f"{name_of(a)} for {name_of(b)} {_whole(d)}" for b, d in zip(names, row, strict=True)]
    values = np.array([[0 if d.percent is None else d.percent for d in row] for row in found])
    edge = max(1.0, float(np.abs(values).max()))
    figure = go.Figure(
        go.Heatmap(
            z=values, x=[f"{name_of(n)} answers" for n in names], y=[f"codec of {name_of(n)}" for n in names],
            text=texts, texttemplate="%{text}", textfont={"size": 15}, colorscale="RdBu", reversescale=True, zmin=-2 * edge, zmax=2 * edge,
            colorbar={"title": "%"}, hoverongaps=False, xgap=3, ygap=3,
        )
    )  # fmt: skip
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    alt = f"Bytes against the native pair for the same agreement, codec of one backbone for another: {'; '.join(told)}"
    title = "Bytes more (+) or less (−) than the native pair needs, 95 % over pictures"
    return finish(figure, title, alt + ".", 460).update_layout(margin={"t": 110, "b": 20})


def equal_byte_tables(crossing: Crossing) -> go.Figure:
    """Accuracy and agreement of all pairs at equal bytes, side by side."""
    titles = {"top1": "top-1 accuracy (%)", "agreement": "agreement with the server's network (%)"}
    figure = make_subplots(1, 2, subplot_titles=list(titles.values()), shared_yaxes=True)
    names, told = crossing.networks, []
    for column, (quality, title) in enumerate(titles.items(), start=1):
        shares, size = crossing.at_equal_bytes(quality)
        figure.add_trace(
            go.Heatmap(
                z=100 * shares, x=[name_of(n) for n in names], y=[f"codec of {name_of(n)}" for n in names],
                texttemplate="%{z:.1f}", textfont={"size": 16}, colorscale="Blues", showscale=False, xgap=3, ygap=3,
                zmin=100 * shares.min() - 5, zmax=100 * shares.max() + 10,
            ),
            1, column,
        )  # fmt: skip
        rows = "; ".join(f"codec of {name_of(n)} {', '.join(f'{100 * v:.1f}' for v in row)}" for n, row in zip(names, shares, strict=True))  # fmt: skip
        told.append(f"{title}: {rows}")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text="who answers", showgrid=False)
    alt = f"At {size:.0f} bytes, answered by {', '.join(map(name_of, names))}. " + ". ".join(told) + "."
    finish(figure, f"The same table at {size:.0f} bytes a packet", alt, 380)
    return figure.update_annotations(font_size=15)


def blueprint_deltas(crossing: Crossing) -> go.Figure:
    """BD-rates of decoders with blocks of every family, for the features of each backbone behind its own codec."""
    figure, told, labels = go.Figure(), [], []
    for network in crossing.networks:
        for n, (family, cell) in enumerate(crossing.blueprints(network).items()):
            delta, look, size = crossing.deltas[cell], look_of_network(family), crossing.cells[cell][0].parameters
            labels.append(f"{name_of(network)} features, {'own' if n == 0 else name_of(family)} blocks ({size:,})")
            told.append(f"{labels[-1]} {_whole(delta)}")
            if delta.percent is not None:
                low, high = (delta.percent if end is None else end for end in (delta.low, delta.high))
                figure.add_trace(
                    go.Scatter(
                        x=[delta.percent], y=[1 - len(labels)], mode="markers",
                        marker={"color": look.color, "symbol": look.symbol if n == 0 else f"{look.symbol}-open", "size": 13},
                        error_x={"array": [high - delta.percent], "arrayminus": [delta.percent - low], "width": 5},
                        hovertemplate="%{x:.1f} %<extra>" + labels[-1] + "</extra>", cliponaxis=False,
                    )
                )  # fmt: skip
                at = {"x": delta.percent, "y": 1 - len(labels), "yshift": 17, "font_size": 14}
                figure.add_annotation(text=_percent(delta), showarrow=False, bgcolor="white", borderpad=0, **at)
    figure.add_vline(x=0, line={"color": "#8b949e", "dash": "dot"}, layer="below")
    figure.update_xaxes(title_text="bytes more (+) or less (−) than the native pair for the same agreement (%)")
    figure.update_yaxes(tickvals=[-i for i in range(len(labels))], ticktext=labels, showgrid=False)
    figure.update_layout(showlegend=False)
    alt = f"BD-rates by the decoder's blocks, parameters in brackets, whiskers 95 % over pictures: {'; '.join(told)}."
    return finish(figure, "Does the decoder have to be of the family?", alt, 150 + 46 * len(labels))


def cross_outcome(crossing: Crossing) -> list[str]:
    """What the cross-backbone table says, sentence by sentence; nothing here is known before it is read."""
    pairs = {(a, b): crossing.delta(a, b) for a in crossing.networks for b in crossing.networks}
    anew = {a: d for (a, b), d in pairs.items() if a == b and d.percent is not None}
    other = {pair: d for pair, d in pairs.items() if pair[0] != pair[1]}
    known = {pair: d for pair, d in other.items() if d.percent is not None}
    seeds = [abs(v) for network in crossing.networks for v in crossing.spread(network)]
    said = []
    if anew:
        numbers = ", ".join(f"{_signed(d.percent)} % for {name_of(a)}" for a, d in anew.items())
        said.append(f"a decoder trained anew behind its own frozen codec needs, against the native pair: {numbers}.")
    apart = f"other seeds of the native pairs lie up to {max(seeds, default=0):.1f} % from the first: that is what luck is worth here."
    said.append(apart if seeds else "native pairs have one seed: what luck is worth is not known.")
    if not known:
        return [*said, "no crossed pair shares any quality with the native one: there is nothing to compare."]
    worst, best = (f(known, key=lambda pair: known[pair].percent) for f in (max, min))
    ends = [f"{_whole(known[p])} with {name_of(p[0])}'s codec and {name_of(p[1])}'s answer" for p in (best, worst)]
    said.append(f"across families the price goes from {ends[0]} to {ends[1]}.")
    dearer, cheaper = (sum(d.verdict == way for d in known.values()) for way in ("more", "fewer"))
    said.append(
        f"of {len(other)} crossed pairs {dearer} have whole intervals above the native pair, {cheaper} below it, and "
        f"{len(known) - dearer - cheaper} cannot be told apart from it by these pictures"
        + (f"; {len(other) - len(known)} share no quality with it." if len(other) > len(known) else ".")
    )
    rows = {a: [d.percent for (x, _), d in known.items() if x == a] for a in crossing.networks}
    means = {a: float(100 * np.expm1(np.log1p(np.array(v) / 100).mean())) for a, v in rows.items() if v}
    least = min(means, key=means.get)
    said.append(
        f"the codec that serves the others best is {name_of(least)}'s ({_signed(means[least])} % on average; "
        + ", ".join(f"{name_of(a)}'s {_signed(v)} %" for a, v in means.items() if a != least)
        + ")."
    )
    gaps = [gap for pair in known if round(gap := crossing.out_of_reach(*pair), 1) > 0]
    said.append(
        f"even at their best, {len(gaps)} of {len(known)} crossed pairs keep fewer decisions than the native pair at its own"
        + (f", by {min(gaps):.1f} to {max(gaps):.1f} points, which no packet here buys and no delta counts." if gaps else ".")
    )  # fmt: skip
    beyond = sum(d.percent > max(seeds, default=0.0) and d.verdict == "more" for d in known.values())
    if not seeds:
        said.append(f"so {dearer} of {len(known)} servers pay; whether by more than a seed's luck is not known.")
    elif beyond == len(known):
        said.append("so every server that did not take part in the training pays for it, by more than a seed's luck.")
    elif beyond:
        luck = {b: max(map(abs, crossing.spread(b)), default=0.0) for b in crossing.networks}
        own = sum(d.percent > luck[b] and d.verdict == "more" for (_, b), d in known.items())
        said.append(
            f"so {beyond} of {len(known)} servers pay for not having taken part by more than the luck of any seed here, "
            f"{own} by more than that of their own column's seeds."
        )
    elif known[worst].percent <= max(seeds):
        said.append("so a codec of another family costs no more here than another seed of one's own does.")
    else:
        said.append("so that any server pays by more than a seed's luck is not shown by these pictures.")
    return said


def blueprint_outcome(crossing: Crossing) -> list[str]:
    """What the mismatched blueprints say, sentence by sentence."""
    said, verdicts = [], []
    for network in crossing.networks:
        own, *others = ((f, crossing.deltas[c], crossing.cells[c][0]) for f, c in crossing.blueprints(network).items())
        known = [one for one in others if one[1].percent is not None]
        if own[1].percent is None or not known:
            said.append(f"{name_of(network)}: the curves share no quality, so nothing can be said.")
            continue
        rival = min(known, key=lambda one: one[1].percent)
        verdicts.append(_apart(own[1], rival[1], max(map(abs, crossing.spread(network)), default=0.0)))
        said.append(
            f"{name_of(network)} features: own blocks, {own[2].parameters:,} parameters, {_whole(own[1])}; the best others, "
            f"{name_of(rival[0])}'s, {rival[2].parameters:,}, {_whole(rival[1])}: {VERDICTS[verdicts[-1]]}."
        )
    ahead, behind = verdicts.count("ahead"), verdicts.count("behind")
    claim = "that a decoder should share the target's bias"
    if ahead == len(crossing.networks):
        last = f"so {claim} holds for all {ahead} families here, as far as equal depth and width compare fairly."
    elif behind and not ahead:
        last = f"so {claim} is contradicted here for {behind} of {len(crossing.networks)} families and shown for none."
    elif ahead:
        last = f"so {claim} is shown for {ahead} of {len(crossing.networks)} families, and contradicted for {behind}."
    else:
        last = f"so {claim} is not shown by this experiment."
    return [*said, last]


def _apart(own: BDRate, rival: BDRate, luck: float) -> str:
    if None in (own.low, rival.low) or (own.low <= rival.high and rival.low <= own.high):
        return "open"
    if abs(own.percent - rival.percent) <= luck:
        return "luck"
    return "ahead" if own.percent < rival.percent else "behind"


def photo_outcome(photos: dict[str, list[RatePoint]]) -> list[str]:
    """What each size of network makes of the photo codec's packets: at their smallest, middle and largest."""
    own, *others = photos
    n, places, sentences = photos[own][0].n, (0, len(photos[own]) // 2, -1), []
    for judge, points in photos.items():
        shares = ", ".join(f"{points[at].agreement:.1%} at {points[at].bytes:,.0f} bytes" for at in places)
        role = "the codec was trained with it" if judge == own else "behind the frozen codec"
        sentences.append(f"{name_of(judge)} ({role}) keeps {shares} of its own decisions.")
    apart = [
        f"{name_of(judge)} at {mine.bytes:,.0f} bytes"
        for judge in others
        for mine, native in zip(photos[judge], photos[own], strict=True)
        if mine.agreement_high < native.agreement_low or mine.agreement_low > native.agreement_high
    ]
    told_apart = f"apart only for {', '.join(apart)}" if apart else "nowhere apart"
    lower = {one: sum(a.agreement < b.agreement for a, b in zip(photos[one], photos[own], strict=True)) for one in others}
    below = ", ".join(f"{name_of(judge)} lies below at {count}" for judge, count in lower.items())
    last = f"Intervals over {n} photos, newcomer against {name_of(own)}, are {told_apart}; of {len(photos[own])} rates, {below}."
    return [*sentences, last]


def told(sentences: Sequence[str]) -> HTML:
    """Sentences as a list."""
    items = "".join(f"<li>{html.escape(text[0].upper() + text[1:])}</li>" for text in sentences)
    return HTML(f'<ul style="font-size:16px;line-height:1.45;max-width:60em">{items}</ul>')
