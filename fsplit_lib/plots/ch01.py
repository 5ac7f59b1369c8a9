"""Figures of chapter 01: the confusion of classes, the information plane, bounds, and what a label costs."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import Told
from fsplit_lib.plots.style import finish, look_of
from fsplit_lib.theory import Bottleneck
from fsplit_lib.training.sweep import SweepRow

__all__ = [
    "answers_given",
    "bits_at",
    "bottleneck_view",
    "bound_gaps",
    "hard_against_curve",
    "label_price",
    "processing",
    "relevance_over_beta",
    "told_apart",
    "words_of",
]

METHOD = {
    "head_distillation": "FrankenSplit",
    "tail_distillation": "logit distillation",
    "cross_entropy": "cross-entropy",
}
LABEL = {
    "head_distillation": "head distillation",
    "tail_distillation": "logit distillation",
    "cross_entropy": "cross-entropy",
}


def words_of(groups: list[list[int]], names: Sequence[str]) -> str:
    """Groups of classes in words: "Sneaker = Ankle boot | Bag"."""
    return " | ".join(" = ".join(names[x] for x in group) for group in groups)


def answers_given(p_xy: np.ndarray, names: Sequence[str]) -> go.Figure:
    """A joint distribution as a picture: p(answer | class), on a log scale.

    Args:
        p_xy: (X, Y).
        names: of the classes.
    """
    given = p_xy / p_xy.sum(1, keepdims=True)
    figure = go.Figure(
        go.Heatmap(
            x=list(names), y=list(names), z=np.log10(np.maximum(given, 1e-3)), text=np.round(100 * given, 1), zmin=-3, zmax=0,
            texttemplate="%{text}", textfont={"size": 12}, colorscale="Cividis",
            colorbar={"title": "share", "tickvals": [-3, -2, -1, 0], "ticktext": ["≤ 0.1 %", "1 %", "10 %", "100 %"]},
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", title_text="true class")
    figure.update_xaxes(title_text="the network's answer", tickangle=-35)
    worst = given - np.diag(np.diag(given))
    x, y = np.unravel_index(worst.argmax(), worst.shape)
    alt = f"The answer is right in {100 * np.trace(p_xy):.1f} %; the likeliest mistake calls a {names[x]} a {names[y]}, in {100 * worst.max():.0f} % of them."
    return finish(figure, "Answers by true class (%)", alt, height=560)


def processing(informations: np.ndarray, limit: float) -> go.Figure:
    """I(X;Z) of many random processings Z of an answer Y, below I(X;Y)."""
    look = look_of("FrankenSplit")
    figure = go.Figure(go.Histogram(x=informations, nbinsx=40, marker_color=look.color, name="processed"))
    figure.add_vline(
        x=limit, line={"color": "#000000", "dash": "dot"}, annotation_text="I(X;Y)", annotation_position="top left"
    )
    figure.update_xaxes(title_text="I(X;Z) (bits)", range=[0, limit * 1.08])
    figure.update_yaxes(title_text="random processings")
    alt = f"Of {len(informations):,} random processings the best keeps {informations.max():.2f} of {limit:.2f} bits; none has more."
    return finish(figure, "No processing of the answer adds information", alt, height=340)


def bottleneck_view(solutions: list[Bottleneck], current: Bottleneck, names: Sequence[str]) -> go.Figure:
    """The information plane with the point of one beta, and that point's encoder as a map of classes to groups.

    Args:
        solutions: the whole curve.
        current: the point to mark.
        names: of the classes.
    """
    figure = make_subplots(1, 2, column_widths=[0.52, 0.48], horizontal_spacing=0.2,
                           subplot_titles=("Information plane", "Which classes are told apart"))  # fmt: skip
    look = look_of("rate")
    figure.add_trace(
        go.Scatter(
            x=[s.rate for s in solutions], y=[s.relevance for s in solutions], mode="lines", name="best encoders",
            line={"color": look.color, "width": 3},
        ),
        1, 1,
    )  # fmt: skip
    mark = look_of("FrankenSplit")
    figure.add_trace(go.Scatter(mode="markers", name="this beta", marker={"color": mark.color, "size": 15}), 1, 1)
    figure.add_trace(
        go.Heatmap(x=list(names), y=list(names), zmin=0, zmax=1, colorscale="Cividis", showscale=False), 1, 2
    )
    figure.update_xaxes(title_text="rate I(X;T) (bits)", row=1, col=1)
    figure.update_yaxes(title_text="relevance I(T;Y) (bits)", row=1, col=1)
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    figure.update_xaxes(tickangle=-40, row=1, col=2)
    finish(figure, "The bottleneck at one beta", "", height=470)
    figure.update_layout(showlegend=False)
    move_bottleneck(figure, current, names)
    return figure


def move_bottleneck(figure: go.Figure, current: Bottleneck, names: Sequence[str]) -> str:
    """Put another point into a :func:`bottleneck_view`, in place; returns the sentence."""
    same = sum(np.minimum.outer(row, row) for row in current.encoder.T)  # how alike two classes are encoded
    with figure.batch_update():
        figure.data[1].x, figure.data[1].y = [current.rate], [current.relevance]
        figure.data[2].z = same
    groups = current.meanings
    alt = (
        f"At beta {current.beta:.2f} the best encoder spends {current.rate:.2f} bits and keeps {current.relevance:.2f} bits "
        f"about the answer, in {len(groups)} group{'s' if len(groups) > 1 else ''}: {words_of(groups, names)}."
    )
    figure.layout.meta = {"alt": alt}
    return alt


def hard_against_curve(rates: np.ndarray, relevances: np.ndarray, solutions: list[Bottleneck]) -> go.Figure:
    """All hard groupings below the curve of the best encoders.

    Args:
        rates: (G,) bits, of every grouping.
        relevances: (G,) bits.
        solutions: the curve.
    """
    some = np.random.default_rng(0).permutation(len(rates))[:4000]
    best = np.array([np.max(relevances[rates <= r + 1e-9]) for r in np.sort(rates[some])])
    figure = go.Figure()
    figure.add_trace(
        go.Scattergl(x=rates[some], y=relevances[some], mode="markers", name="hard groupings",
                     marker={"color": "#8b949e", "size": 4, "opacity": 0.5})
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(x=np.sort(rates[some]), y=best, mode="lines", name="best hard grouping so far",
                   line={"color": look_of("JPEG").color, "dash": "dash", "shape": "hv"})
    )  # fmt: skip
    look = look_of("FrankenSplit")
    figure.add_trace(
        go.Scatter(
            x=[s.rate for s in solutions], y=[s.relevance for s in solutions], mode="lines", name="Blahut-Arimoto",
            line={"color": look.color, "width": 3},
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="rate I(X;T) (bits)")
    figure.update_yaxes(title_text="relevance I(T;Y) (bits)")
    gaps = [s.lagrangian - float((rates - s.beta * relevances).min()) for s in solutions]
    better = sum(gap > 1e-6 for gap in gaps)
    alt = (
        f"Of {len(rates):,} hard groupings (4,000 drawn) one is better than the curve at {better} of {len(solutions)} betas; "
        f"the curve's Lagrangian is lower than the best grouping's by up to {-min(gaps):.3f} bits."
    )
    finish(figure, "Brute force below the curve", alt, height=460)
    return figure.update_layout(legend={"x": 0.98, "xanchor": "right", "y": 0.05})


def bound_gaps(
    wrongness: np.ndarray, rate_bounds: np.ndarray, relevance_bounds: np.ndarray, true: Bottleneck
) -> go.Figure:
    """How loose the variational bounds get as the helper distributions get worse.

    Args:
        wrongness: (W,) share of a uniform distribution mixed in.
        rate_bounds: (W,) bits.
        relevance_bounds: (W,) bits.
        true: the encoder they bound.
    """
    figure = go.Figure()
    for name, values, level, method in (
        ("bound on the rate", rate_bounds, true.rate, "rate"),
        ("bound on the relevance", relevance_bounds, true.relevance, "distortion"),
    ):
        look = look_of(method)
        figure.add_trace(
            go.Scatter(x=wrongness, y=values, name=name, line={"color": look.color, "dash": look.dash, "width": 3})
        )
        figure.add_hline(
            y=level, line={"color": look.color, "dash": "dot"}, annotation_text="true " + name.split()[-1],
            annotation_position="top left" if method == "rate" else "bottom left",
        )  # fmt: skip
    figure.update_xaxes(title_text="share of guesswork in prior and decoder")
    figure.update_yaxes(title_text="bits", range=[-0.15, 1.25 * max(rate_bounds)])
    alt = (
        f"With exact helpers the bounds equal the true rate {true.rate:.2f} and relevance {true.relevance:.2f} bits; "
        f"with {wrongness[-1]:.0%} guesswork they say {rate_bounds[-1]:.2f} and {relevance_bounds[-1]:.2f}."
    )
    return finish(figure, "Bounds that a network can train on", alt, height=400)


def label_price(rows: list[SweepRow], label_bits: float, teacher: float) -> go.Figure:
    """Accuracy over bits, one curve an objective; the label's own worth as a line.

    Args:
        rows: of the sweep.
        label_bits: what a label is worth.
        teacher: top-1 of the teacher.
    """
    figure, told = go.Figure(), []
    for objective, method in METHOD.items():
        mine = [row for row in rows if row.objective == objective]
        lmbdas = sorted({row.lmbda for row in mine}, reverse=True)
        groups = [[row for row in mine if row.lmbda == lmbda] for lmbda in lmbdas]
        bits = np.array([np.mean([r.bits for r in g]) for g in groups])
        top1 = np.array([np.mean([r.top1 for r in g]) for g in groups])
        spread = [np.array([f([r.top1 for r in g]) for g in groups]) for f in (min, max)]
        look = look_of(method)
        figure.add_trace(
            go.Scatter(
                x=bits, y=100 * top1, name=LABEL[objective], mode="lines+markers", line={"color": look.color, "dash": look.dash},
                marker={"symbol": look.symbol, "size": 10},
                error_y={"array": 100 * (spread[1] - top1), "arrayminus": 100 * (top1 - spread[0])},
                text=[f"lmbda {lmbda:g}" for lmbda in lmbdas], hovertemplate="%{text}<br>%{x:.0f} bits<br>%{y:.1f} %",
            )
        )  # fmt: skip
        told.append(
            f"{LABEL[objective]} {100 * top1.max():.1f} % at {bits[top1.argmax()]:.0f} bits and {100 * top1[bits.argmin()]:.1f} % at {bits.min():.0f}"
        )
    figure.add_vline(x=label_bits, line={"color": "#000000", "dash": "dot"})
    figure.add_annotation(x=np.log10(label_bits), y=0.02, yref="paper", text="a label", showarrow=False, xshift=30)
    figure.add_hline(
        y=100 * teacher,
        line={"color": "#000000", "dash": "dash"},
        annotation_text="teacher",
        annotation_position="top left",
    )
    figure.update_xaxes(
        title_text="bits a picture, without header", type="log", tickvals=[3.32, 10, 30, 100, 300, 1000]
    )
    figure.update_yaxes(title_text="top-1 (%)")
    alt = "; ".join(told) + f". A label is worth {label_bits:.2f} bits; the teacher has {100 * teacher:.1f} %."
    finish(figure, "What each objective pays for a label", alt, height=460)
    return figure.update_layout(legend={"x": 0.98, "xanchor": "right", "y": 0.05})


def bits_at(rows: list[SweepRow], top1: float) -> dict[str, float]:
    """Bits that each objective needs for one accuracy, along the curve of its means over seeds; NaN beyond its ends."""
    found = {}
    for objective in METHOD:
        mine = [row for row in rows if row.objective == objective]
        means = sorted(
            (np.mean([r.top1 for r in mine if r.lmbda == lmbda]), np.mean([r.bits for r in mine if r.lmbda == lmbda]))
            for lmbda in {row.lmbda for row in mine}
        )
        at, bits = (np.array(column) for column in zip(*means, strict=True))
        found[objective] = float(np.exp(np.interp(top1, at, np.log(bits), left=np.nan, right=np.nan)))
    return found


def told_apart(told: dict[str, Told], elsewhere: dict[str, float], label_bits: float) -> go.Figure:
    """Where the bits of each objective go, and what else can be read from them.

    Args:
        told: objective to its split of bits.
        elsewhere: objective to R² of the picture read from its latent.
        label_bits: what a label is worth.
    """
    names = [LABEL[o] for o in told]
    colours = [look_of(METHOD[o]).color for o in told]
    titles = ("about the label (bits)", "about the rest (bits)", "the picture, read back (R²)")
    columns = ([t.label for t in told.values()], [t.rest for t in told.values()], list(elsewhere.values()))
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.1)
    for column, values in enumerate(columns, start=1):
        figure.add_trace(
            go.Bar(x=names, y=values, marker_color=colours, text=[f"{v:.3g}" for v in values], textposition="outside",
                   cliponaxis=False),
            1, column,
        )  # fmt: skip
        figure.update_yaxes(range=[min(0, *values), 1.2 * max(*values, 1e-6)], row=1, col=column)
    figure.add_hline(y=label_bits, line={"color": "#000000", "dash": "dot"}, row=1, col=1)
    alt = "; ".join(
        f"{name}: {t.label:.0f} bits of its symbols are about the label, {t.rest:.0f} about the rest, R² of the picture {r:.2f}"
        for name, t, r in zip(names, told.values(), elsewhere.values(), strict=True)
    )
    finish(figure, "What the bits say", alt + f". A label is worth {label_bits:.2f} bits.", height=420)
    return figure.update_layout(showlegend=False)


def relevance_over_beta(betas: np.ndarray, runs: dict[str, list[float]]) -> go.Figure:
    """What each run of the iteration keeps, over beta."""
    figure = go.Figure()
    for (name, values), method in zip(runs.items(), ("FrankenSplit", "JPEG"), strict=False):
        look = look_of(method)
        figure.add_trace(
            go.Scatter(x=betas, y=values, name=name, mode="lines+markers", line={"color": look.color, "dash": look.dash},
                       marker={"symbol": look.symbol})
        )  # fmt: skip
    figure.update_xaxes(title_text="beta (bits per bit)", type="log")
    figure.update_yaxes(title_text="relevance I(T;Y) (bits)", rangemode="tozero")
    alt = "; ".join(f"{name}: {max(values):.2f} bits at most" for name, values in runs.items()) + "."
    finish(figure, "What the iteration finds", alt[0].upper() + alt[1:], height=380)
    return figure.update_layout(showlegend=True, legend={"x": 0.98, "xanchor": "right", "y": 0.05})
