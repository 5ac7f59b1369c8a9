"""What every panel is: controls, a figure, a one-sentence summary, ``.set()`` and ``.state()``.

Callbacks are plain ``observe`` handlers and the first call is explicit, so an error in one stops the
notebook instead of hiding in it, and papermill never waits for an Output widget.
"""

import html
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import anywidget
import ipywidgets as widgets
import plotly.graph_objects as go
import traitlets

from fsplit_lib.errors import ParameterError

__all__ = ["Choice", "Control", "LogNumber", "Number", "Panel"]


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


class Number(Control):
    """A slider with a linked number field, which gives screen readers a name and keyboards precision.

    Args:
        label: at most two words, and the unit.
        low: least value.
        high: largest value.
        value: first value.
        step: between two values.
    """

    def __init__(self, label: str, low: float, high: float, value: float, step: float):
        whole = all(isinstance(v, int) for v in (low, high, value, step))
        slider = widgets.IntSlider if whole else widgets.FloatSlider
        field = widgets.BoundedIntText if whole else widgets.BoundedFloatText
        bounds = {"min": low, "max": high, "step": step, "value": value}
        text = field(
            description=label,
            style={"description_width": "initial"},
            layout={"width": f"{110 + 8 * len(label)}px"},
            **bounds,
        )
        bar = slider(readout=False, continuous_update=False, layout={"width": "320px"}, **bounds)
        traitlets.link((text, "value"), (bar, "value"))
        super().__init__(label, widgets.HBox([text, bar]), text)
        self.low, self.high, self.whole = low, high, whole

    def check(self, value: Any) -> None:
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.low <= value <= self.high:
            raise ParameterError(f"{self.label} must be a number from {self.low:g} to {self.high:g}, got {value!r}")


class LogNumber(Number):
    """A number over several powers of ten: the slider moves on a log scale, the field shows the value.

    Args:
        label: at most two words, and the unit.
        low: least exponent of ten.
        high: largest exponent of ten.
        value: first value.
        step: of the exponent.
    """

    def __init__(self, label: str, low: float, high: float, value: float, step: float = 0.05):
        text = widgets.BoundedFloatText(
            value=value, min=10**low, max=10**high, step=10**low, description=label,
            style={"description_width": "initial"}, layout={"width": f"{110 + 8 * len(label)}px"},
        )  # fmt: skip
        bar = widgets.FloatLogSlider(
            value=value, min=low, max=high, step=step, readout=False, continuous_update=False, layout={"width": "320px"}
        )
        traitlets.link((text, "value"), (bar, "value"))
        Control.__init__(self, label, widgets.HBox([text, bar]), text)
        self.low, self.high, self.whole = 10**low, 10**high, False


class Choice(Control):
    """One of a few named values.

    Args:
        label: at most two words.
        options: the values.
        value: the first one shown.
    """

    def __init__(self, label: str, options: tuple[str, ...], value: str):
        drop = widgets.Dropdown(
            options=options,
            value=value,
            description=label,
            style={"description_width": "initial"},
            layout={"width": "320px"},
        )
        super().__init__(label, drop, drop)
        self.options = tuple(options)

    def check(self, value: Any) -> None:
        if value not in self.options:
            raise ParameterError(f"{self.label} must be one of {', '.join(map(str, self.options))}, got {value!r}")


class Panel:
    """Controls above a live figure above one sentence.

    Args:
        controls: by the name that ``update`` takes them.
        figure: what ``update`` changes, in place.
        update: called with the controls' values; returns the sentence.
        run: label of a button that starts ``update`` where it takes longer than 300 ms; without it,
            every change of a control does.
        extra: widgets below the controls.
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
                control.carrier.observe(self._changed, names="value")
        self.box = widgets.VBox([widgets.VBox(top), _Fit(), self.figure, self.summary])

    @staticmethod
    def _live(figure: go.Figure) -> go.FigureWidget:
        live = go.FigureWidget(figure)
        live._config = {"responsive": True}  # plotly has no public name for it
        return live

    def _changed(self, _: object) -> None:
        if not self._quiet:
            self.refresh()

    def refresh(self, **instead: Any) -> str:
        """Compute and draw the current state, or one that differs in the named values; returns the sentence."""
        live = nullcontext() if self.button else self.figure.batch_update()  # behind a button, progress is drawn
        with live:
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

    def state(self) -> dict[str, Any]:
        """The controls' values, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def static(self) -> go.Figure:
        """The current figure without a widget: what GitHub, HTML and print can show."""
        figure = go.Figure(self.figure.to_dict())
        if self._said:
            figure.layout.meta = {"alt": self._said}  # on the live figure it would cost a second drawing
        return figure

    def _ipython_display_(self) -> None:
        from IPython.display import display

        # A page that draws a figure while messages to it are under way loses what they leave unsaid (here the x of
        # traces whose y alone had moved), so the page gets one to which nothing was ever sent.
        self.figure = self._live(self.figure)
        self.box.children = [*self.box.children[:2], self.figure, self.summary]
        display(self.box)
