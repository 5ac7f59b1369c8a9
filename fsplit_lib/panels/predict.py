"""Predict, then reveal: a guess is kept before the truth is shown, and drawn beside it afterwards.

    control ──► keep() ──► ledger, a JSON file ──► reveal(truth): guess beside truth ──► predictions_csv()

The ledger holds questions and numbers, no names, and stays on this machine unless somebody hands it on.
"""

import csv
import io
import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import plotly.graph_objects as go

from fsplit_lib.data.files import write_atomically
from fsplit_lib.panels.base import Number, on_site
from fsplit_lib.plots.style import finish, look_of

COLUMNS = ("id", "question", "guess", "truth", "unit", "agreement")
ON_SITE = "<p><b>Predict.</b> <i>{}</i><br>Guess before you read on. In JupyterLab (make lab) your guess is drawn beside the truth.</p>"
ASK = "No guess was kept: keep one above, then run this cell again."


def _ledger() -> Path:
    return Path(os.environ.get("FSPLIT_HOME") or Path.home() / ".fsplit") / "predictions.json"


def _read(ledger: Path) -> dict[str, dict]:
    try:
        entries = json.loads(ledger.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none yet, or a damaged one: guesses can be made again
        return {}
    return {i: entry for i, entry in entries.items() if isinstance(entry, dict)} if isinstance(entries, dict) else {}


def _write(id: str, **changes: object) -> None:
    ledger = _ledger()
    entries = _read(ledger)
    entries[id] = entries.get(id, {}) | changes
    ledger.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(ledger, json.dumps(entries, indent=1).encode())


def predictions_csv(ledger: Path | None = None) -> str:
    """Return every guess as CSV: id, question, guess, truth, unit, and whether it was kept before or after the truth.

    There is a heading and one line per guess; ``truth`` is empty where the chapter has not shown it yet. The ledger is
    ``predictions.json`` in ``~/.fsplit`` (or ``FSPLIT_HOME``) by default.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for id, entry in sorted(_read(ledger or _ledger()).items()):
        if "guess" in entry:
            table.writerow({"id": id} | entry)
    return text.getvalue()


@dataclass
class Prediction:
    """A question with a number for an answer; the guess is kept in ``~/.fsplit`` (or ``FSPLIT_HOME``)."""

    id: str  # of the question, such as "00.bytes"
    question: str
    control: Number  # the guess
    unit: str  # of the number

    def __post_init__(self) -> None:
        self._said = widgets.HTML(self._sentence())
        button = widgets.Button(description="Keep my guess", button_style="primary")
        button.on_click(lambda _: self.keep())
        title = widgets.HTML(f"<p><b>Predict.</b> {self.question}</p>")
        self.box = widgets.VBox([title, self.control.widget, button, self._said])

    def _kept(self) -> float | None:
        return _read(_ledger()).get(self.id, {}).get("guess")

    def _sentence(self) -> str:
        kept = self._kept()
        said = "No guess kept yet." if kept is None else f"Your guess: {kept:g} {self.unit}."
        return f'<p role="status">{said}</p>'

    def set(self, guess: float) -> "Prediction":
        """Move the control; :meth:`keep` stores it."""
        self.control.check(guess)
        self.control.carrier.value = guess
        return self

    def state(self) -> dict[str, float | None]:
        """Return the control's value and the guess that was kept, None before."""
        return {"guess": self.control.value, "agreement": self._kept()}

    def keep(self) -> None:
        """Store the guess, and whether the truth had been shown by then."""
        when = "after the truth" if "truth" in _read(_ledger()).get(self.id, {}) else "before the truth"
        _write(self.id, guess=self.control.value, question=self.question, unit=self.unit, agreement=when)
        self._said.value = self._sentence()

    def reveal(self, truth: float, method: str = "FrankenSplit") -> go.Figure:
        """Draw guess against truth, as two bars; without a guess, the truth and the request for one.

        What was measured is noted in the ledger; the bar has the colour of the method whose number it is.
        """
        kept = self._kept()
        _write(self.id, truth=float(truth))

        def told(value: float) -> str:
            digits = max(3, len(f"{abs(value):.0f}"))  # three, and all of them before the point
            return f"{value:,.{digits}g}".replace("-", "−") + f" {self.unit}"

        rows = [("measured", truth, method)] + ([("your guess", kept, "your guess")] if kept is not None else [])
        ends = [0.0, self.control.low, self.control.high, truth]  # what could have been guessed, and what is so
        span = max(ends) - min(ends)
        names, values, owners = zip(*rows, strict=True)
        places = ["inside" if abs(value) > 0.4 * span else "outside" for value in values]
        text = {"text": list(map(told, values)), "textposition": places, "textangle": 0, "constraintext": "none"}
        colours = [look_of(owner).color for owner in owners]
        figure = go.Figure(go.Bar(y=names, x=values, orientation="h", marker_color=colours, cliponaxis=False, **text))
        room = 0.2 * span  # for the numbers behind the bars
        figure.update_xaxes(
            title_text=self.unit, range=[min(ends) - room * (min(ends) < 0), max(ends) + room], tickformat=","
        )
        alt = f"Measured: {told(truth)}."
        if kept is not None:
            alt += f" Your guess: {told(kept)}."
        elif not on_site():
            alt += f" {ASK}"
        title = "<br>".join(textwrap.wrap(self.question, 66))  # the tools stand right of it
        return finish(figure, title, alt, height=260)

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(HTML(ON_SITE.format(self.question)) if on_site() else self.box)


def predict(id: str, question: str, low: float, high: float, step: float, unit: str) -> Prediction:
    """Make a prediction with its control half way between ``low`` and ``high``."""
    middle = low + step * round((high - low) / 2 / step)
    return Prediction(id, question, Number(unit, low, high, middle, step), unit)
