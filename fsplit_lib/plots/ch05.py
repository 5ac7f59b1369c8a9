"""Figures of chapter 05: the training curve, estimate against wire, noise against rounding, rate against accuracy."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.plots.style import finish, look_of

__all__ = [
    "RateRow",
    "bytes_parity",
    "comparison",
    "latent_histogram",
    "name_distortion",
    "rate_accuracy",
    "training_curve",
    "weak_spots",
]

ERROR = "(error / spread)²"


def training_curve(
    steps: list[int], distortion: list[float], rate_bytes: list[float], objective: str = "head_distillation"
) -> go.Figure:
    """Distortion and estimated rate over the steps of one run.

    Args:
        steps: x values.
        distortion: of head distillation, relative to the teacher's spread (1 is the teacher's mean); or cross-entropy.
        rate_bytes: estimated bytes a picture, without header.
        objective: of the run.
    """
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Distortion", "Rate"), horizontal_spacing=0.14)
    for column, (name, values) in enumerate((("distortion", distortion), ("rate", rate_bytes)), start=1):
        look = look_of(name)
        figure.add_trace(
            go.Scatter(x=steps, y=values, name=name, line={"color": look.color, "dash": look.dash, "width": 2.5}),
            row=1,
            col=column,
        )
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="estimated bytes a picture", rangemode="tozero", row=1, col=2)
    alt = "Training has not started."
    if steps:
        alt = (
            f"Over {steps[-1] + 1} steps the distortion goes from {distortion[0]:.2f} to {distortion[-1]:.2f} "
            f"and the estimated rate from {rate_bytes[0]:.0f} to {rate_bytes[-1]:.0f} bytes a picture."
        )
    finish(figure, "", alt, height=400)
    name_distortion(figure, objective)
    return figure.update_layout(showlegend=False)


def name_distortion(figure: go.Figure, objective: str) -> None:
    """Title and axis of a training curve for what its objective calls distortion."""
    features = objective == "head_distillation"
    figure.layout.title.text = f"{objective.replace('_', ' ').capitalize()}, live"
    figure.layout.yaxis.title.text = ERROR if features else "cross-entropy (nats)"
    figure.layout.yaxis.update(range=[0, 1.15] if features else None, autorange=None if features else True)


def bytes_parity(estimated: np.ndarray, ideal: np.ndarray, payload: np.ndarray, packet: np.ndarray) -> go.Figure:
    """Estimated bytes of single pictures against the bytes on the wire.

    Args:
        estimated: (N,) from the learned densities, rounded latents.
        ideal: (N,) from the integer tables.
        payload: (N,) the entropy coder's output.
        packet: (N,) the whole packet.
    """
    figure = go.Figure()
    top = float(max(estimated.max(), packet.max())) * 1.05
    figure.add_trace(
        go.Scatter(x=[0, top], y=[0, top], mode="lines", name="equal", line={"color": "#8b949e", "dash": "dot"})
    )
    for name, values, method in (("ideal, integer tables", ideal, "rate"), ("payload", payload, "FrankenSplit")):
        look = look_of(method)
        figure.add_trace(
            go.Scatter(
                x=estimated,
                y=values,
                mode="markers",
                name=name,
                marker={"color": look.color, "symbol": look.symbol, "size": 7},
            )
        )
    look = look_of("AVIF")
    figure.add_trace(
        go.Scatter(
            x=estimated,
            y=packet,
            mode="markers",
            name="whole packet",
            marker={"color": look.color, "symbol": "cross", "size": 7},
        )
    )
    figure.update_xaxes(title_text="estimated by the loss (bytes)", range=[0, top])
    figure.update_yaxes(title_text="on the wire (bytes)", range=[0, top])
    over = float((payload - ideal).mean())
    alt = (
        f"Over {len(estimated)} test pictures the loss estimates {estimated.mean():.1f} bytes on average, the integer tables allow "
        f"{ideal.mean():.1f}, the entropy coder writes {payload.mean():.1f} ({over:.1f} more) and the whole packet has "
        f"{packet.mean():.1f} bytes."
    )
    finish(figure, "Estimated against real bytes", alt, height=480)
    return figure.update_layout(legend={"x": 0.02, "y": 0.98})


def latent_histogram(latent: np.ndarray, grid: np.ndarray, density: np.ndarray, table: np.ndarray) -> go.Figure:
    """One latent channel: its values, the learned density, and the integer table.

    Args:
        latent: values before rounding.
        grid: symbols of the table, in units of the latent.
        density: learned probability of each symbol.
        table: probability of each symbol in the integer table.
    """
    figure = go.Figure()
    figure.add_trace(
        go.Histogram(
            x=latent,
            histnorm="probability density",
            xbins={"size": 0.1},
            name="latent before rounding",
            marker_color="#c9d1d9",
        )
    )
    figure.add_trace(
        go.Bar(
            x=grid, y=table, width=0.9, name="integer table", marker={"color": look_of("rate").color, "opacity": 0.35}
        )
    )
    look = look_of("FrankenSplit")
    figure.add_trace(
        go.Scatter(
            x=grid,
            y=density,
            mode="markers",
            name="learned probability",
            marker={"color": look.color, "symbol": "circle", "size": 9},
        )
    )
    low, high = np.quantile(latent, [0.001, 0.999])
    figure.update_xaxes(
        title_text="value of the latent (symbols)", range=[min(low, grid.min()) - 1, max(high, grid.max()) + 1]
    )
    figure.update_yaxes(title_text="probability")
    alt = (
        f"{len(latent):,} values of one latent channel with spread {latent.std():.2f} symbols; the most likely symbol has "
        f"probability {density.max():.2f}, so it costs {-np.log2(density.max()):.2f} bits."
    )
    return finish(figure, "One channel of the latent and what its symbols cost", alt)


@dataclass(frozen=True)
class RateRow:
    """One trained system: objective, lmbda, and what it scored."""

    objective: str
    lmbda: float
    seed: int
    bytes: float
    top1: float


NAMES = {"head_distillation": "FrankenSplit", "cross_entropy": "cross-entropy"}


def rate_accuracy(rows: list[RateRow], teacher: float) -> go.Figure:
    """Top-1 over bytes, one curve an objective: mean over seeds, whiskers from least to most.

    Args:
        rows: of the sweep.
        teacher: top-1 of the teacher on the same pictures.
    """
    figure = go.Figure()
    told = []
    for objective, method in NAMES.items():
        mine = [row for row in rows if row.objective == objective]
        if not mine:
            continue
        lmbdas = sorted({row.lmbda for row in mine}, reverse=True)
        groups = [[row for row in mine if row.lmbda == lmbda] for lmbda in lmbdas]
        size = np.array([np.mean([row.bytes for row in g]) for g in groups])
        top1 = np.array([np.mean([row.top1 for row in g]) for g in groups])
        low = np.array([min(row.top1 for row in g) for g in groups])
        high = np.array([max(row.top1 for row in g) for g in groups])
        look = look_of(method)
        figure.add_trace(
            go.Scatter(
                x=size, y=100 * top1, name="head distillation" if method == "FrankenSplit" else method, mode="lines+markers",
                line={"color": look.color, "dash": look.dash, "width": 2.5}, marker={"symbol": look.symbol, "size": 10},
                error_y={"array": 100 * (high - top1), "arrayminus": 100 * (top1 - low), "color": look.color},
                text=[f"lmbda {lmbda:g}" for lmbda in lmbdas], hovertemplate="%{text}<br>%{x:.0f} bytes<br>%{y:.1f} %",
            )
        )  # fmt: skip
        told.append(
            f"{objective.replace('_', ' ')} reaches {100 * top1.max():.1f} % at {size[top1.argmax()]:.0f} bytes"
        )
    look = look_of("teacher")
    figure.add_hline(y=100 * teacher, line={"color": look.color, "dash": look.dash}, annotation_text="teacher")
    figure.update_xaxes(
        title_text="mean bytes of the whole packet", type="log", tickvals=[20, 25, 30, 40, 50, 70, 100, 150, 200, 300]
    )
    figure.update_yaxes(title_text="top-1 (%)")
    alt = "; ".join(told) + f"; the teacher has {100 * teacher:.1f} %."
    finish(figure, "What a byte buys, by objective", alt[0].upper() + alt[1:], height=460)
    return figure.update_layout(legend={"x": 0.98, "xanchor": "right", "y": 0.05, "yanchor": "bottom"})


def comparison(names: list[str], columns: dict[str, list[float]]) -> go.Figure:
    """A few runs side by side, one small bar chart a quantity.

    Args:
        names: of the runs.
        columns: title with unit to one value a run.
    """
    figure = make_subplots(rows=1, cols=len(columns), subplot_titles=list(columns), horizontal_spacing=0.09)
    colours = [look_of(name).color if name in NAMES.values() else "#8b949e" for name in names]
    labels = ["head distillation" if name == "FrankenSplit" else name for name in names]
    for column, values in enumerate(columns.values(), start=1):
        figure.add_trace(
            go.Bar(
                x=labels,
                y=values,
                marker_color=colours,
                text=[f"{v:.3g}" for v in values],
                textposition="outside",
                cliponaxis=False,
            ),
            row=1,
            col=column,
        )
        figure.update_yaxes(range=[0, 1.2 * max([*values, 1e-9])], row=1, col=column)
    alt = "; ".join(
        f"{title}: " + ", ".join(f"{n} {v:.3g}" for n, v in zip(labels, values, strict=True))
        for title, values in columns.items()
    )
    finish(figure, "Side by side", alt + ".", height=380)
    return figure.update_layout(showlegend=False)


def weak_spots(
    names: list[str], trained: list[float], used: list[float], estimated: list[float], real: list[float]
) -> go.Figure:
    """Training's view against use: distortion and bytes of each run, as the loss saw them and as they are.

    Args:
        names: of the runs.
        trained: distortion as training saw it.
        used: distortion with rounding.
        estimated: bytes that training believed in.
        real: mean payload bytes.
    """
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Distortion", "Bytes a picture"), horizontal_spacing=0.12)
    for column, (believed, true) in enumerate(((trained, used), (estimated, real)), start=1):
        for label, values, method in (("as training saw it", believed, "rate"), ("in use", true, "FrankenSplit")):
            figure.add_trace(
                go.Bar(
                    x=names, y=values, name=label, marker_color=look_of(method).color, showlegend=column == 1,
                    text=[f"{v:.3g}" for v in values], textposition="outside", cliponaxis=False,
                    marker_pattern_shape="/" if method == "rate" else "",
                ),
                row=1, col=column,
            )  # fmt: skip
        figure.update_yaxes(range=[0, 1.2 * max([*believed, *true])], row=1, col=column)
    figure.update_yaxes(title_text=ERROR, row=1, col=1)
    figure.update_yaxes(title_text="bytes", row=1, col=2)
    told = [
        f"{name}: distortion {a:.2f} in training and {b:.2f} in use, {c:.0f} bytes believed and {d:.0f} real"
        for name, a, b, c, d in zip(names, trained, used, estimated, real, strict=True)
    ]
    finish(figure, "What training believed, and what came true", "; ".join(told) + ".", height=400)
    return figure.update_layout(legend={"orientation": "h", "y": -0.18})
