"""Chapter 01: the information plane, the bounds, and what a label costs."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import SweepRow
from fsplit_lib.panels.base import LogNumber, Number, Panel
from fsplit_lib.plots.curves import mean_over_seeds
from fsplit_lib.plots.style import finish, look_of
from fsplit_lib.theory import Bottleneck

LABEL = {
    "head_distillation": "head distillation",
    "tail_distillation": "logit distillation",
    "cross_entropy": "cross-entropy",
}
METHOD = LABEL | {"head_distillation": "FrankenSplit"}  # whose look an objective has


def bottleneck_panel(solutions: list[Bottleneck], beta: float, names: Sequence[str]) -> Panel:
    """Slide beta: the point moves along the curve of the best encoders, and groups of classes split and merge.

    The solutions are that curve by rising beta, the names those of the values of X.
    """
    betas = np.array([s.beta for s in solutions])
    titles = ("Information plane", "Which classes share a description")
    figure = make_subplots(1, 2, column_widths=[0.52, 0.48], horizontal_spacing=0.2, subplot_titles=titles)
    curve = {"x": [s.rate for s in solutions], "y": [s.relevance for s in solutions]}
    figure.add_scatter(**curve, mode="lines", name="best encoders", line={"color": look_of("rate").color, "width": 3})
    figure.add_scatter(mode="markers", name="this beta", marker={"color": look_of("FrankenSplit").color, "size": 15})
    bar = {"title": "share", "thickness": 12, "tickvals": [0, 0.5, 1]}
    heat = {"zmin": 0, "zmax": 1, "colorscale": "Cividis", "colorbar": bar}
    figure.add_heatmap(x=list(names), y=list(names), name="alike", **heat, row=1, col=2)
    figure.update_xaxes(title_text="rate I(X;T) (bits)", col=1).update_xaxes(tickangle=-40, col=2)
    figure.update_yaxes(title_text="relevance I(T;Y) (bits)", col=1).update_yaxes(autorange="reversed", col=2)
    finish(figure, "The bottleneck at one beta", "", 470, showlegend=False)

    def update(beta: float) -> str:
        now = solutions[int(np.abs(betas - beta).argmin())]
        shared = sum(np.minimum.outer(row, row) for row in now.encoder.T)  # how alike two classes are described
        panel.update_trace("this beta", x=[now.rate], y=[now.relevance])
        panel.update_trace("alike", z=shared)
        groups = [" = ".join(names[x] for x in group) for group in now.meanings]
        return (
            f"At beta {now.beta:.2f} the best encoder spends {now.rate:.2f} bits and keeps {now.relevance:.2f} bits "
            f"about the answer, in {len(groups)} group{'s' if len(groups) > 1 else ''}: {' | '.join(groups)}."
        )

    panel = Panel({"beta": LogNumber("beta (bits per bit)", *betas[[0, -1]], beta, 0.005)}, figure, update)
    return panel.set()


def bounds_panel(
    wrongness: np.ndarray, rate_bounds: np.ndarray, relevance_bounds: np.ndarray, true: Bottleneck
) -> Panel:
    """Slide guesswork into prior and decoder: the bounds leave the truth, never to the wrong side.

    The wrongness is the share (W,) of a uniform distribution mixed in, the bounds (W,) on the true encoder are in bits.
    """
    figure = go.Figure()
    for name, values, level, method, place in (
        ("rate", rate_bounds, true.rate, "rate", "top left"),
        ("relevance", relevance_bounds, true.relevance, "distortion", "bottom right"),
    ):
        look = look_of(method)
        line = {"color": look.color, "dash": look.dash, "width": 3}
        figure.add_scatter(x=wrongness, y=values, name=f"bound on the {name}", line=line)
        dotted = {"color": look.color, "dash": "dot"}
        figure.add_hline(y=level, line=dotted, annotation_text=f"true {name}", annotation_position=place)
    figure.add_scatter(mode="markers", name="here", marker={"size": 14, "color": "#000000"})
    figure.update_xaxes(title_text="share of guesswork in prior and decoder")
    figure.update_yaxes(title_text="bits", range=[-0.15, 1.25 * max(rate_bounds)])
    finish(figure, "Bounds that a network can train on", "", 400, legend={"x": 0.02, "y": 0.05})

    def update(guesswork: float) -> str:
        at = int(np.abs(wrongness - guesswork).argmin())
        rate, relevance = rate_bounds[at], relevance_bounds[at]
        panel.update_trace("here", x=[wrongness[at]] * 2, y=[rate, relevance])
        return (
            f"With {wrongness[at]:.0%} guesswork the rate is bounded by {rate:.2f} bits (it is {true.rate:.2f}) "
            f"and the relevance by {relevance:.2f} (it is {true.relevance:.2f})."
        )

    panel = Panel({"guesswork": Number("guesswork (share)", 0.0, 1.0, 0.3, 0.05)}, figure, update)
    return panel.set()


def _lines(rows: list[SweepRow]) -> dict[str, go.Scatter]:
    """Return the curve of each objective: accuracy over bits, the mean of its seeds."""
    mine = {objective: [row for row in rows if row.objective == objective] for objective in METHOD}
    return {one: mean_over_seeds(LABEL[one], mine[one], look_of(method), "bits") for one, method in METHOD.items()}


def label_price(rows: list[SweepRow], label_bits: float, teacher: float) -> go.Figure:
    """Draw accuracy over bits, one curve an objective of a sweep, its whiskers from the worst seed to the best.

    What a label is worth in bits, and the teacher's top-1, are lines.
    """
    lines = _lines(rows).values()
    figure = go.Figure(list(lines))
    told = [
        f"{line.name} {line.y[0]:.1f} % at {line.x[0]:.0f} bits and {line.y[-1]:.1f} % at {line.x[-1]:.0f}"
        for line in lines
    ]
    figure.add_vline(x=label_bits, line={"color": "#000000", "dash": "dot"})
    figure.add_annotation(x=np.log10(label_bits), y=0.02, yref="paper", text="a label", showarrow=False, xshift=30)
    dashed = {"color": "#000000", "dash": "dash"}
    figure.add_hline(y=100 * teacher, line=dashed, annotation_text="teacher", annotation_position="top right")
    ticks = [3.32, 10, 30, 100, 300, 1000]
    figure.update_xaxes(title_text="bits a picture, without header", type="log", tickvals=ticks)
    figure.update_yaxes(title_text="top-1 (%)")
    alt = f"{'; '.join(told)}. A label is worth {label_bits:.2f} bits; the teacher has {100 * teacher:.1f} %."
    corner = {"x": 0.98, "xanchor": "right", "y": 0.05}
    return finish(figure, "What each objective pays for a label", alt, 460, legend=corner)


def bits_at(rows: list[SweepRow], top1: float) -> dict[str, float]:
    """Read the bits that each objective needs for one accuracy off the curve of its means; NaN beyond its ends."""
    found = {}
    for objective, line in _lines(rows).items():
        at, bits = np.array(sorted(zip(line.y, line.x, strict=True))).T
        found[objective] = float(np.exp(np.interp(100 * top1, at, np.log(bits), left=np.nan, right=np.nan)))
    return found
