"""Pick one of the book's photos, type the path of one, or upload one: the controls that panels share."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from PIL import Image

from fsplit_lib.data import PHOTOS, load_photo, open_image
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.panels.base import STYLE, Choice, Control, Panel

MY_OWN = "my own"


class PathField(Control):
    """A line of text for the path of a file; what the path leads to is the update's business."""

    def __init__(self, label: str):
        hint, room = "path of a photo, then Enter", {"width": "520px"}
        field = widgets.Text(description=label, placeholder=hint, continuous_update=False, style=STYLE, layout=room)
        super().__init__(label, field, field)

    def check(self, value: Any) -> None:
        if not isinstance(value, str):
            raise ParameterError(f"{self.label} must be a path as text, got {value!r}")


class _Photos(Choice):
    """A choice among the book's photos and the reader's own, of which a page without a kernel knows only the one shown."""

    def places(self, most: int) -> list[str]:  # noqa: ARG002
        return [photo for photo in self.options if photo != MY_OWN or photo == self.value]


class PhotoPicker:
    """The controls "photo" and "file", which first name a key of PHOTOS, or a path, and a button to show below them."""

    def __init__(self, photo: str):
        known = photo in PHOTOS
        choice, path = _Photos("Photo", (*PHOTOS, MY_OWN), photo if known else MY_OWN), PathField("Own file")
        path.carrier.value = "" if known else photo
        self.controls: dict[str, Control] = {"photo": choice, "file": path}
        self.upload = widgets.FileUpload(
            accept="image/*", multiple=False, description="Upload a photo", layout={"width": "180px"}
        )
        self._uploads: dict[str, bytes] = {}
        # a path or an upload is a wish to see it: move the choice along, before the panel looks
        path.carrier.observe(self._choose_own, names="value")

    def attach(self, panel: Panel) -> None:
        """Show an uploaded photo in this panel."""
        self.upload.observe(lambda change: self._take(panel, change["new"]), names="value")

    def open(self, photo: str, file: str) -> Image.Image:
        """Open the photo that the controls name.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        if photo != MY_OWN:
            return load_photo(photo)
        if not file.strip():
            raise DataError("no file yet: type the path of a photo above, or upload one")
        if file in self._uploads:
            stream = io.BytesIO(self._uploads[file])
            stream.name = file
            return open_image(stream)
        return open_image(Path(file.strip()).expanduser())

    def key(self, photo: str, file: str) -> tuple[str, str, bytes | None]:
        """Return a key, equal for equal photos: another upload of the same name is another photo."""
        return (photo, file, self._uploads.get(file)) if photo == MY_OWN else (photo, "", None)

    def _choose_own(self, change: dict) -> None:
        if change["new"].strip():
            self.controls["photo"].carrier.value = MY_OWN

    def _take(self, panel: Panel, files: Sequence[dict]) -> None:
        for file in files:
            self._uploads[file["name"]] = bytes(file["content"])
            panel.set(photo=MY_OWN, file=file["name"])
