"""What every panel is: controls, a figure, a one-sentence summary, ``.set()`` and ``.state()``.

Callbacks are plain ``observe`` handlers and the first call is explicit, so an error in one stops the
notebook instead of hiding in it, and papermill never waits for an Output widget.

    JupyterLab:  control ──► update() ──► figure and sentence
    the site:    every state ──► update() ──► recorded() ──► JSON in the page, which needs no kernel
"""

import html
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import traitlets

from fsplit_lib.errors import ParameterError

PLACES, FEWEST, STATES = 13, 5, 120  # on the site: most and fewest places of a slider, most states of a panel
SIZE = 1_400_000  # most bytes of a panel's states on the site
STYLE, WIDTH = {"description_width": "initial"}, {"width": "320px"}  # of controls


def on_site() -> bool:
    """Tell whether the notebook runs to become a page of the site, which has no kernel."""
    return bool(os.environ.get("FSPLIT_SITE"))


class _Fit(anywidget.AnyWidget):
    """An empty line that has figures fill the page's width.

    A FigureWidget is drawn before it is in the page, hence 700 pixels wide; a responsive one draws itself
    again when the window's size changes. This says so when the page's does, the first time included.
    """

    _esm = """
    export default { render({ el }) {
      const watch = new ResizeObserver(() => window.dispatchEvent(new Event("resize")));
      watch.observe(el);
      return () => watch.disconnect();
    } }"""


class Control:
    """A named value with a widget. ``carrier`` is the widget whose ``value`` is the truth."""

    def __init__(self, label: str, widget: widgets.Widget, carrier: widgets.Widget):
        self.label, self.widget, self.carrier = label, widget, carrier

    @property
    def value(self) -> Any:
        """The current value."""
        return self.carrier.value

    def check(self, value: Any) -> None:
        """Raise ParameterError unless the control can take the value."""
        raise NotImplementedError

    def places(self, most: int) -> list[Any]:  # noqa: ARG002
        """Return at most this many values to show where no kernel runs, the current one among them."""
        return [self.value]


class Number(Control):
    """A slider with a linked number field, which gives screen readers a name and keyboards precision.

    The label has at most two words, and the unit.
    """

    def __init__(self, label: str, low: float, high: float, value: float, step: float):
        self.low, self.high, self.whole = low, high, all(isinstance(v, int) for v in (low, high, value, step))
        field = widgets.BoundedIntText if self.whole else widgets.BoundedFloatText
        bounds, room = {"min": low, "max": high, "step": step, "value": value}, {"width": f"{110 + 8 * len(label)}px"}
        text = field(description=label, style=STYLE, layout=room, **bounds)
        bar = self._slider(readout=False, continuous_update=False, layout=WIDTH, **bounds)
        traitlets.link((text, "value"), (bar, "value"))
        super().__init__(label, widgets.HBox([text, bar]), text)

    def _slider(self, **properties: Any) -> widgets.Widget:
        return (widgets.IntSlider if self.whole else widgets.FloatSlider)(**properties)

    def check(self, value: Any) -> None:
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            raise ParameterError(f"{self.label} must be a number from {self.low:g} to {self.high:g}, got {value!r}")

    def places(self, most: int) -> list[int | float]:
        field = self.carrier
        spaced = np.linspace(self.low, self.high, min(most, 1 + round((self.high - self.low) / field.step)))
        steps = field.step * np.round((spaced - self.low) / field.step)
        return self._around((self.low + steps).round(9))

    def _around(self, spaced: np.ndarray) -> list[int | float]:
        kind = int if self.whole else float
        spaced[np.abs(spaced - self.value).argmin()] = self.value
        return [kind(value) for value in spaced]


class LogNumber(Number):
    """A number over several powers of ten: the slider moves on a log scale, the field shows the value.

    The least value is above 0; the step is one of the exponent of ten.
    """

    def __init__(self, label: str, low: float, high: float, value: float, step: float = 0.05):
        self._exponents = {"min": math.log10(low), "max": math.log10(high), "step": step}
        super().__init__(label, float(low), float(high), value, step=float(low))

    def _slider(self, **properties: Any) -> widgets.FloatLogSlider:
        return widgets.FloatLogSlider(**properties | self._exponents)

    def places(self, most: int) -> list[int | float]:
        return self._around(np.geomspace(self.low, self.high, most))


class Choice(Control):
    """One of a few named values; the label has at most two words."""

    def __init__(self, label: str, options: tuple[str, ...], value: str):
        drop = widgets.Dropdown(options=options, value=value, description=label, style=STYLE, layout=WIDTH)
        super().__init__(label, drop, drop)
        self.options = tuple(options)

    def check(self, value: Any) -> None:
        if value not in self.options:
            raise ParameterError(f"{self.label} must be one of {', '.join(map(str, self.options))}, got {value!r}")

    def places(self, most: int) -> list[Any]:  # noqa: ARG002
        return list(self.options)


class Panel:
    """Controls above a live figure above one sentence.

    ``update`` takes the controls' values by their names, changes the figure in place and returns the sentence. A button
    labelled ``run`` starts it where it takes longer than 300 ms; without one every change of a control does. ``extra``
    are widgets below the controls.
    """

    def __init__(
        self,
        controls: Mapping[str, Control],
        figure: go.Figure,
        update: Callable[..., str],
        run: str | None = None,
        extra: tuple[widgets.Widget, ...] = (),
    ):
        self.controls = dict(controls)
        self.figure = self._live(figure)
        self.summary = widgets.HTML()
        self._update = update
        self._said = ""
        self._quiet = False
        top: list[widgets.Widget] = [control.widget for control in self.controls.values()] + list(extra)
        self.button = widgets.Button(description=run, button_style="primary") if run else None
        if self.button:
            self.button.on_click(lambda _: self.refresh())
            top.append(self.button)
        else:
            for control in self.controls.values():
                control.carrier.observe(lambda _: self._quiet or self.refresh(), names="value")
        self.box = widgets.VBox([widgets.VBox(top), _Fit(), self.figure, self.summary])

    @staticmethod
    def _live(figure: go.Figure) -> go.FigureWidget:
        live = go.FigureWidget(figure)
        live._config = {"responsive": True}  # plotly has no public name for it
        return live

    def refresh(self, **instead: Any) -> str:
        """Compute and draw the current state, or one that differs in the named values; returns the sentence."""
        with nullcontext() if self.button else self.figure.batch_update():  # behind a button, progress is drawn
            self._said = self._update(**self.state() | instead)
        text = html.escape(self._said)
        self.summary.value = f'<p role="status" style="font-size:16px;line-height:1.45;max-width:60em">{text}</p>'
        return self._said

    def set(self, **values: Any) -> "Panel":
        """Move controls, by name, and draw once.

        Raises:
            ParameterError: an unknown name or a value that the control cannot take; nothing moves.
        """
        for name, value in values.items():
            if name not in self.controls:
                raise ParameterError(f"this panel has no control {name!r}; it has {', '.join(self.controls)}")
            self.controls[name].check(value)
        self._quiet = True
        try:
            for name, value in values.items():
                self.controls[name].carrier.value = value
        finally:
            self._quiet = False
        self.refresh()
        return self

    def update_trace(self, name: str, **values: Any) -> None:
        """Change properties of the traces of one name."""
        self.figure.update_traces(selector={"name": name}, **values)

    def state(self) -> dict[str, Any]:
        """Return the controls' values, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def static(self) -> go.Figure:
        """Return the current figure without a widget, as GitHub, HTML and print can show it."""
        figure = go.Figure(self.figure.to_dict())
        if self._said:
            figure.layout.meta = {"alt": self._said}  # on the live figure it would cost a second drawing
        return figure

    def recorded(self) -> dict[str, Any]:
        """Draw every state of as many controls as fit, for a page without a kernel.

        Controls take part in their order while the grid of their places has at most ``STATES`` states and its JSON at
        most ``SIZE`` bytes (behind a button, ``PLACES`` states); the others keep their value.

        Returns:
            Plotly's figure as JSON, and below "panel" the controls and, in the order of the grid (the last control moves
            first), each state's sentence and its changes: trace (-1 for the layout), key, position among the "values".
        """
        live, said_first = self.figure, self._said
        self.figure = go.Figure(live.to_dict())  # which sends nothing to a page
        first, taking_part = json.loads(self.static().to_json()), self._places()
        while True:
            values, states = {}, []
            for state in itertools.product(*taking_part.values()) if taking_part else ():
                said = self.refresh(**dict(zip(taking_part, state, strict=True)))
                drawn = json.loads(self.figure.to_json(validate=False))
                moved = _changes(first, drawn)
                changes = [[*where, one and values.setdefault(one, len(values))] for *where, one in moved]
                states.append({"said": said, "changes": changes})
                if sum(map(len, values)) > SIZE:
                    break
            else:
                break
            taking_part.popitem()
        self.figure = live
        if self._said != said_first:
            self.refresh()
        controls, now = [], self.state()
        for name, places in taking_part.items():
            shown = [place if isinstance(place, str) else f"{place:,.3g}" for place in places]
            controls.append({"label": self.controls[name].label, "places": shown, "first": places.index(now[name])})
        others = [control.label for name, control in self.controls.items() if name not in taking_part]
        note = f"In JupyterLab (make lab) this panel computes{' and also lets you set: ' * bool(others)}{', '.join(others)}."
        values = [json.loads(value) for value in values]
        return first | {"panel": {"controls": controls, "note": note, "states": states, "values": values}}

    def _places(self) -> dict[str, list[Any]]:
        """The places of the controls that can take part, each slider with as many as the panel's states allow."""
        limit = PLACES if self.button else STATES  # behind a button lies what takes long
        names = [name for name, control in self.controls.items() if len(control.places(2)) > 1]
        while names:
            for most in range(PLACES, FEWEST - 1, -1):
                places = {name: self.controls[name].places(most) for name in names}
                if math.prod(map(len, places.values())) <= limit:
                    return places
            names.pop()
        return {}

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        if on_site() and not self._said:
            display(HTML("<p>This panel computes for longer than a page may: it lives in JupyterLab (make lab).</p>"))
            return
        if on_site():
            display({"application/vnd.plotly.v1+json": self.recorded(), "text/plain": self._said}, raw=True)
            return
        # A page that draws a figure while messages to it are under way loses what they leave unsaid (here the x of
        # traces whose y alone had moved), so the page gets one to which nothing was ever sent.
        self.figure = self._live(self.figure)
        self.box.children = [*self.box.children[:2], self.figure, self.summary]
        display(self.box)


def _changes(first: dict, drawn: dict) -> Iterator[tuple[int, str, str | None]]:
    """Where a figure differs from the first one: trace or -1, key, and the new value as JSON, None where it is gone."""
    parts = ([figure["layout"], *figure["data"]] for figure in (first, drawn))
    for trace, (old, new) in enumerate(zip(*parts, strict=True), start=-1):
        for key in old.keys() | new.keys():
            if old.get(key) != new.get(key) and (trace, key) != (-1, "meta"):
                yield trace, key, json.dumps(new[key]) if key in new else None
