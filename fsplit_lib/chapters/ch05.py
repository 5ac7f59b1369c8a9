"""Chapter 05: train live, estimate against wire, noise against rounding, rate against accuracy, and what breaks it."""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import RatePoint
from fsplit_lib.panels.base import Choice, Number, Panel
from fsplit_lib.plots.style import Look, finish, look_of, wrapped
from fsplit_lib.training.lab import LabRun
from fsplit_lib.training.loop import LogRow

ERROR = "(error / standard deviation)²"
BYTES = 32 * 32 / 8  # of a picture at one bit per pixel


def training_curve(log: Sequence[LogRow], objective: str = "head_distillation") -> go.Figure:
    """Draw distortion and estimated bytes per picture over the steps of one run; traces "distortion" and "rate".

    The log may be empty; the objective of the run settles what distortion means.
    """
    figure = make_subplots(rows=1, cols=2, subplot_titles=("Distortion", "Rate"), horizontal_spacing=0.14)
    for column, name in enumerate(("distortion", "rate"), start=1):
        look = look_of(name)
        figure.add_scatter(name=name, line={"color": look.color, "dash": look.dash, "width": 2.5}, row=1, col=column)
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="estimated bytes per picture", rangemode="tozero", row=1, col=2)
    finish(figure, "", _draw(figure, log), 400, showlegend=False)
    _name(figure, objective)
    return figure


def _name(figure: go.Figure, objective: str) -> None:
    features = objective == "head_distillation"
    figure.layout.title.text = f"{objective.replace('_', ' ').capitalize()}, live"
    figure.layout.yaxis.title.text = ERROR if features else "cross-entropy (nats)"
    figure.layout.yaxis.update(range=[0, 1.15] if features else None, autorange=None if features else True)


def _draw(figure: go.Figure, log: Sequence[LogRow]) -> str:
    """Put a log into a training curve; returns the sentence."""
    values = {"distortion": [r.values["distortion"] for r in log], "rate": [r.values["rate"] * BYTES for r in log]}
    for name, y in values.items():
        figure.update_traces(x=[row.step for row in log], y=y, selector={"name": name})
    if not log:
        return "Training has not started."
    (first, last), (most, least) = ((one[0], one[-1]) for one in values.values())
    return (
        f"Over {log[-1].step + 1} steps the distortion goes from {first:.2f} to {last:.2f} and the estimated rate from "
        f"{most:.0f} to {least:.0f} bytes per picture."
    )


def bytes_parity(sizes: dict[str, np.ndarray], estimated: np.ndarray) -> go.Figure:
    """Draw what is counted, (N,) bytes of single pictures, over the loss's estimate (N,) of their rounded latents."""
    figure, top = go.Figure(), 1.05 * float(max(map(np.max, [estimated, *sizes.values()])))
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", name="equal", line={"color": "#8b949e", "dash": "dot"})
    looks = (Look("#882255", "", "triangle-up"), *map(look_of, ("rate", "FrankenSplit")), Look("#56B4E9", "", "cross"))
    for (name, values), look in zip(sizes.items(), looks, strict=False):
        mark = {"color": look.color, "symbol": look.symbol, "size": 7}
        figure.add_scatter(x=estimated, y=values, mode="markers", name=name, marker=mark)
    figure.update_xaxes(title_text="estimated with rounded latents (bytes)", range=[0, top])
    figure.update_yaxes(title_text="bytes", range=[0, top])
    told = ", ".join(f"{name} {values.mean():.1f}" for name, values in sizes.items())
    alt = f"Mean bytes of {len(estimated)} test pictures: estimated, rounded, {estimated.mean():.1f}; {told}."
    corner = {"x": 0.98, "y": 0.02, "xanchor": "right", "yanchor": "bottom"}
    return finish(figure, "Estimated against real bytes", alt, 480, legend=corner)


def believed_and_real(names: Sequence[str], plots: dict[str, tuple[Sequence[float], Sequence[float]]]) -> go.Figure:
    """Draw what training estimated beside what use gave, a plot per quantity, below each other.

    A plot has a title with unit, and the values of each run as training saw them and in use.
    """
    figure, told = make_subplots(rows=len(plots), cols=1, vertical_spacing=0.18), []
    for row, (title, pair) in enumerate(plots.items(), start=1):
        for name, values, method in zip(("as training saw it", "in use"), pair, ("rate", "FrankenSplit"), strict=True):
            mark = {"color": look_of(method).color, "pattern": {"shape": "/" if method == "rate" else ""}}
            text = {"text": [f"{v:.3g}" for v in values], "textposition": "outside", "cliponaxis": False}
            style = text | {"marker": mark, "showlegend": row == 1}
            figure.add_bar(x=list(map(wrapped, names)), y=list(values), name=name, **style, row=row, col=1)
        figure.update_yaxes(title_text=title, range=[0, 1.2 * max(map(max, pair))], row=row, col=1)
        told += [f"{n}, {title}: {a:.3g} estimated, {b:.3g} in use" for n, a, b in zip(names, *pair, strict=True)]
    alt = "; ".join(told) + "."
    above = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return finish(figure, "What training estimated, and what use gave", alt, 620, legend=above, margin_t=95)


Train = Callable[[float, str, Callable[[LogRow], None]], LabRun]


class TrainingPanel(Panel):
    """Train live and draw while it happens, once in ``draw_every`` steps; ``runs`` keeps every run, newest last.

    ``train`` is called with lmbda, objective and a callback for every step, ``score`` with the finished run.
    """

    def __init__(self, train: Train, score: Callable[[LabRun], RatePoint], lmbda: float = 0.3, draw_every: int = 10):
        self.runs: list[LabRun] = []
        self._train, self._score, self._draw_every = train, score, draw_every
        controls = {
            "lmbda": Number("lambda (distortion per bit per pixel)", 0.0, 3.0, lmbda, 0.01),
            "objective": Choice("objective", ("head_distillation", "cross_entropy"), "head_distillation"),
        }
        super().__init__(controls, training_curve([]), self._run, run="Train")

    def _run(self, lmbda: float, objective: str) -> str:
        rows: list[LogRow] = []
        _name(self.figure, objective)

        def watch(row: LogRow) -> None:
            rows.append(row)
            if row.step % self._draw_every == 0:
                self._redraw(rows)

        run = self._train(lmbda, objective, watch)
        self.runs.append(run)
        self._redraw(rows)
        point = self._score(run)
        return (
            f"{len(rows)} steps in {rows[-1].seconds:.0f} s with lambda {lmbda:g} and {objective.replace('_', ' ')}: "
            f"{point.bytes:.1f} bytes per picture on the wire, top-1 {point.top1:.1%}, agreement with the teacher "
            f"{point.agreement:.1%}."
        )

    def _redraw(self, rows: list[LogRow]) -> None:
        with self.figure.batch_update():
            _draw(self.figure, rows[:: max(1, self._draw_every // 2)])

    def curve(self) -> go.Figure:
        """Return the newest run's curve as a plain figure, every step of it."""
        return training_curve(self.runs[-1].log, self.runs[-1].config.objective)
