"""The panel of chapter 00: one of the seven photos, or one of the reader's own."""

import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.data import PHOTOS, load_photo, open_image
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.evaluation import Answer
from fsplit_lib.panels.base import Choice, Control, Panel
from fsplit_lib.plots.ch00 import bar_traces, picture, verdict
from fsplit_lib.plots.style import finish

__all__ = ["OWN", "PathField", "photo_panel"]

OWN = "my own"


class PathField(Control):
    """A line of text for the path of a file; what the path leads to is the update's business."""

    def __init__(self, label: str):
        field = widgets.Text(
            description=label,
            placeholder="path of a photo, then Enter",
            continuous_update=False,
            style={"description_width": "initial"},
            layout={"width": "520px"},
        )
        super().__init__(label, field, field)

    def check(self, value: Any) -> None:
        if not isinstance(value, str):
            raise ParameterError(f"{self.label} must be a path as text, got {value!r}")


def photo_panel(answer: Callable[[Image.Image], Answer], names: Sequence[str], photo: str = "chelsea") -> Panel:
    """Pick a photo or bring one; see the crop, both answers and the bytes.

    A file that cannot be read leaves the figure as it was and says why in the summary.

    Args:
        answer: the whole line, from a photo of any size.
        names: of the classes.
        photo: shown first: a key of PHOTOS, or a path.
    """
    known = photo in PHOTOS
    choice = Choice("Photo", (*PHOTOS, OWN), photo if known else OWN)
    path = PathField("Own file")
    path.carrier.value = "" if known else photo
    uploads: dict[str, bytes] = {}
    shown = {"title": ""}

    def source(photo: str, file: str) -> Image.Image:
        if photo != OWN:
            return load_photo(photo)
        if not file.strip():
            raise DataError("no file yet: type the path of a photo above, or upload one")
        if file in uploads:
            stream = io.BytesIO(uploads[file])
            stream.name = file
            return open_image(stream)
        return open_image(Path(file.strip()).expanduser())

    def update(photo: str, file: str) -> str:
        try:
            found = answer(source(photo, file))
        except DataError as error:
            still = f" The figure still shows {shown['title']}." if shown["title"] else ""
            return html.escape(f"{str(error).rstrip('.')}.{still}")
        shown["title"] = photo if photo != OWN else Path(file).name
        _draw(panel.figure, found, names, shown["title"])
        return html.escape(f"{shown['title']}: {verdict(found, names)}")

    # a path or an upload is a wish to see it: move the choice along, before the panel looks
    path.carrier.observe(lambda change: _choose_own(choice, change["new"]), names="value")
    upload = widgets.FileUpload(
        accept="image/*", multiple=False, description="Upload a photo", layout={"width": "180px"}
    )
    panel = Panel({"photo": choice, "file": path}, _empty(names), update, extra=(upload,))
    upload.observe(lambda change: _take(panel, uploads, change["new"]), names="value")
    panel.refresh()
    return panel


def _choose_own(choice: Choice, file: str) -> None:
    if file.strip():
        choice.carrier.value = OWN


def _take(panel: Panel, uploads: dict[str, bytes], files: Sequence[dict]) -> None:
    for file in files:
        uploads[file["name"]] = bytes(file["content"])
        panel.set(photo=OWN, file=file["name"])


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
