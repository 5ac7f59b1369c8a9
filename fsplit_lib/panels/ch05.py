"""The training panel of chapter 05: choose lmbda and objective, press Train, watch both terms fall."""

from collections.abc import Callable
from typing import Protocol

import plotly.graph_objects as go

from fsplit_lib.panels.base import Choice, Number, Panel
from fsplit_lib.plots.ch05 import name_distortion, training_curve
from fsplit_lib.training.lab import LabRun
from fsplit_lib.training.loop import LogRow

__all__ = ["Scored", "TrainingPanel"]

PIXELS = 32 * 32


class Scored(Protocol):
    """What the panel reports of a finished run: bytes and top-1 through real packets."""

    bytes: float
    top1: float
    kept: float


class TrainingPanel(Panel):
    """Train live and draw while it happens.

    Args:
        train: called with lmbda, objective and a callback for every step.
        score: called with the finished run.
        lmbda: first position of the slider.
        draw_every: steps between two drawings.

    Attributes:
        runs: every run so far, newest last.
    """

    def __init__(
        self,
        train: Callable[[float, str, Callable[[LogRow], None]], LabRun],
        score: Callable[[LabRun], Scored],
        lmbda: float = 0.3,
        draw_every: int = 10,
    ):
        self.runs: list[LabRun] = []
        self._train, self._score, self._draw_every = train, score, draw_every
        controls = {
            "lmbda": Number("lmbda (distortion per bit and pixel)", 0.0, 3.0, lmbda, 0.01),
            "objective": Choice("objective", ("head_distillation", "cross_entropy"), "head_distillation"),
        }
        super().__init__(controls, training_curve([], [], []), self._run, run="Train")

    def _run(self, lmbda: float, objective: str) -> str:
        rows: list[LogRow] = []
        name_distortion(self.figure, objective)

        def watch(row: LogRow) -> None:
            rows.append(row)
            if row.step % self._draw_every == 0:
                self._draw(rows)

        run = self._train(lmbda, objective, watch)
        self.runs.append(run)
        self._draw(rows)
        point = self._score(run)
        return (
            f"{len(rows)} steps in {rows[-1].seconds:.0f} s with lmbda {lmbda:g} and {objective.replace('_', ' ')}: "
            f"{point.bytes:.1f} bytes a picture on the wire, top-1 {point.top1:.1%}, "
            f"{point.kept:.1%} of the teacher's decisions kept."
        )

    def _draw(self, rows: list[LogRow]) -> None:
        shown = rows[:: max(1, self._draw_every // 2)]
        with self.figure.batch_update():
            for trace, name, factor in zip(self.figure.data, ("distortion", "rate"), (1.0, PIXELS / 8), strict=True):
                trace.x = [row.step for row in shown]
                trace.y = [row.values[name] * factor for row in shown]

    def curve(self) -> go.Figure:
        """The newest run's curve as a plain figure, every step of it."""
        log = self.runs[-1].log
        return training_curve(
            [row.step for row in log],
            [row.values["distortion"] for row in log],
            [row.values["rate"] * PIXELS / 8 for row in log],
            self.runs[-1].config.objective,
        )
