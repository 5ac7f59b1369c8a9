"""Predict, then reveal: a guess is kept before the truth is shown, and drawn beside it afterwards."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go

from fsplit_lib.data.files import write_atomically
from fsplit_lib.panels.base import Number
from fsplit_lib.plots.style import finish, look_of

__all__ = ["Prediction", "predict"]


def _ledger() -> Path:
    home = Path(os.environ.get("FSPLIT_HOME") or Path.home() / ".fsplit")
    home.mkdir(parents=True, exist_ok=True)
    return home / "predictions.json"


def _read() -> dict[str, float]:
    path = _ledger()
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # none yet, or a damaged one: guesses can be made again
        return {}


@dataclass
class Prediction:
    """A question with a number for an answer; the guess is kept in ``~/.fsplit`` (or ``FSPLIT_HOME``).

    Attributes:
        id: of the question, such as "00.bytes".
        question: as asked.
        control: the guess.
        unit: of the number.
    """

    id: str
    question: str
    control: Number
    unit: str

    def __post_init__(self) -> None:
        kept = _read().get(self.id)
        self._said = widgets.HTML(self._sentence(kept))
        button = widgets.Button(description="Keep my guess", button_style="primary")
        button.on_click(lambda _: self.keep())
        title = widgets.HTML(f"<p><b>Predict.</b> {self.question}</p>")
        self.box = widgets.VBox([title, self.control.widget, button, self._said])

    def _sentence(self, kept: float | None) -> str:
        return "No guess kept yet." if kept is None else f"Your guess: {kept:g} {self.unit}."

    def set(self, guess: float) -> "Prediction":
        """Move the control; :meth:`keep` stores it."""
        self.control.check(guess)
        self.control.carrier.value = guess
        return self

    def state(self) -> dict[str, float | None]:
        """The control's value and the guess that was kept, None before."""
        return {"guess": self.control.value, "kept": _read().get(self.id)}

    def keep(self) -> None:
        """Store the guess."""
        guesses = _read() | {self.id: self.control.value}
        write_atomically(_ledger(), json.dumps(guesses, indent=1).encode())
        self._said.value = self._sentence(self.control.value)

    def reveal(self, truth: float, method: str = "FrankenSplit") -> go.Figure:
        """Guess against truth, as two bars; only the truth where no guess was kept.

        Args:
            truth: what was measured.
            method: whose number it is, for the bar's colour.
        """
        kept = _read().get(self.id)
        rows = [("measured", truth, method)] + ([("your guess", kept, "your guess")] if kept is not None else [])
        figure = go.Figure(
            go.Bar(
                y=[name for name, _, _ in rows],
                x=[value for _, value, _ in rows],
                orientation="h",
                marker_color=[look_of(owner).color for _, _, owner in rows],
                text=[f"{value:,.4g} {self.unit}" for _, value, _ in rows],
                textposition="auto",
            )
        )
        figure.update_xaxes(title_text=self.unit, rangemode="tozero")
        alt = f"Measured: {truth:,.4g} {self.unit}; " + (
            "no guess was kept." if kept is None else f"your guess: {kept:,.4g} {self.unit}."
        )
        return finish(figure, self.question, alt, height=260)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.box)


def predict(id: str, question: str, low: float, high: float, step: float, unit: str) -> Prediction:
    """A prediction with its control half way between ``low`` and ``high``."""
    middle = low + step * round((high - low) / 2 / step)
    return Prediction(id, question, Number(unit, low, high, middle, step), unit)
