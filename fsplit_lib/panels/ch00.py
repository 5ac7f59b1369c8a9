"""The panel of chapter 00: one of the seven photos, or one of the reader's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import Answer
from fsplit_lib.panels.base import Panel
from fsplit_lib.panels.photo_picker import OWN, PhotoPicker
from fsplit_lib.plots.ch00 import bar_traces, picture, verdict
from fsplit_lib.plots.style import finish

__all__ = ["photo_panel"]


def photo_panel(answer: Callable[[Image.Image], Answer], names: Sequence[str], photo: str = "chelsea") -> Panel:
    """Pick a photo or bring one; see the crop, both answers and the bytes.

    A file that cannot be read leaves the figure as it was and says why in the summary.

    Args:
        answer: the whole line, from a photo of any size.
        names: of the classes.
        photo: shown first: a key of PHOTOS, or a path.
    """
    picker = PhotoPicker(photo)
    shown = {"title": ""}

    def update(photo: str, file: str) -> str:
        try:
            found = answer(picker.open(photo, file))
        except DataError as error:
            still = f" The figure still shows {shown['title']}." if shown["title"] else ""
            return f"{str(error).rstrip('.')}.{still}"
        shown["title"] = photo if photo != OWN else Path(file).name
        _draw(panel.figure, found, names, shown["title"])
        return f"{shown['title']}: {verdict(found, names)}"

    panel = Panel(picker.controls, _empty(names), update, extra=(picker.upload,))
    picker.attach(panel)
    panel.refresh()
    return panel


def _empty(names: Sequence[str]) -> go.Figure:
    figure = make_subplots(1, 2, column_widths=[0.36, 0.64], horizontal_spacing=0.2)
    figure.add_trace(go.Image(source=picture(Image.new("RGB", (224, 224), "#d0d7de")), hoverinfo="skip"), 1, 1)
    nothing = np.zeros(len(names))
    figure.add_traces(bar_traces(nothing, nothing, names), rows=1, cols=2)
    figure.update_xaxes(visible=False, col=1)
    figure.update_yaxes(visible=False, col=1)
    figure.update_xaxes(title_text="share of the answer (%)", range=[0, 100], col=2)
    figure.update_yaxes(autorange="reversed", showgrid=False, col=2)
    finish(figure, "", "No photo yet.", height=480)
    return figure.update_layout(
        barmode="group", bargap=0.25, legend={"x": 0.99, "xanchor": "right", "y": 0.02}, margin={"l": 10}
    )


def _draw(figure: go.FigureWidget, answer: Answer, names: Sequence[str], title: str) -> None:
    with figure.batch_update():
        figure.data[0].source = picture(answer.crop)
        for trace, new in zip(figure.data[1:], bar_traces(answer.teacher, answer.split, names), strict=True):
            trace.x, trace.y = new.x, new.y
        figure.layout.title.text = f"{title}: {len(answer.wire):,} bytes, decision {'kept' if answer.kept else 'lost'}"
