"""The lambda slider: one photo, any rate, next to JPEG and AVIF at the same bytes."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from fsplit_lib.errors import DataError
from fsplit_lib.evaluation.explorer import AtRate, Explorer, Rung
from fsplit_lib.panels.base import LogNumber, Panel
from fsplit_lib.panels.photo_picker import PhotoPicker
from fsplit_lib.plots.ch06 import answer_traces, empty_explorer, shown
from fsplit_lib.plots.pictures import shortened

__all__ = ["LambdaPanel"]

STEP = 5 / 255  # of the exponent: one code of the wire


class LambdaPanel(Panel):
    """Slide lambda and see bytes, bits, pictures and answers.

    Loading a photo takes seconds, because JPEG and AVIF are tried at many sizes and qualities: that has
    a button. After it the slider answers at once. A file that cannot be read leaves everything as it was.

    Args:
        explore: loads a photo of any size into the system.
        names: of the classes.
        lmbdas: least and largest rate weight of the codec.
        lmbda: first position.
        photo: shown first: a key of PHOTOS, or a path.
        stride: pixels per place of the latent.
        side: of the crop in pixels.
    """

    def __init__(
        self,
        explore: Callable[[Image.Image], Explorer],
        names: Sequence[str],
        lmbdas: tuple[float, float],
        lmbda: float = 0.6,
        photo: str = "chelsea",
        stride: int = 8,
        side: int = 224,
    ):
        self._explore, self._names, self._picker = explore, names, PhotoPicker(photo)
        self.explorer: Explorer | None = None
        self._loaded, self._uris = None, {}
        controls = {
            "lmbda": LogNumber("lambda", math.log10(lmbdas[0]), math.log10(lmbdas[1]), lmbda, STEP),
            **self._picker.controls,
        }
        figure = empty_explorer(names, stride, side)
        super().__init__(controls, figure, self._update, run="Load the photo", extra=(self._picker.upload,))
        self._picker.attach(self)
        controls["lmbda"].carrier.observe(lambda _: None if self._quiet else self.slide(), names="value")
        self.refresh()

    def slide(self) -> str:
        """What a move of lambda does: the photo stays the one that is loaded."""
        return self.refresh(photo=None) if self.explorer else self.refresh()

    def _update(self, lmbda: float, photo: str | None, file: str) -> str:
        problem = ""
        if photo is not None and self._picker.key(photo, file) != self._loaded:
            try:
                self._load(photo, file)
            except DataError as error:
                problem = f"{str(error).rstrip('.')}. "
                if self.explorer is None:
                    return problem
                problem += "The figure still shows the photo before. "
        at = self.explorer.at(lmbda)
        self._draw(at)
        return problem + self.sentence(at)

    def _load(self, photo: str, file: str) -> None:
        self.explorer = self._explore(self._picker.open(photo, file))
        self._loaded, self._uris = self._picker.key(photo, file), {}
        with self.figure.batch_update():
            for trace in self.figure.data[:2]:
                trace.source = shown(self.explorer.crop)
            self.figure.data[9].x, self.figure.data[9].y = self.explorer.lmbdas, self.explorer.sizes

    def _draw(self, at: AtRate) -> None:
        answers = {"teacher": self.explorer.teacher, "FrankenSplit": at.shares}
        answers |= {name: rung.shares for name, rung in at.rivals.items() if rung is not None}
        titles = {"teacher": "the crop", "FrankenSplit": f"where {at.size:,} bytes go"}
        with self.figure.batch_update():
            heat = self.figure.data[2]
            heat.z, heat.zmax = at.bits, float(np.quantile(at.bits, 0.99))
            for position, (name, rung) in enumerate(at.rivals.items(), start=3):
                self.figure.data[position].source = self._uri(rung)
                titles[name] = f"{name}: no file that small" if rung is None else f"{name}, {rung.size:,} bytes"
            for label, (method, text) in zip(self.figure.layout.annotations, titles.items(), strict=False):
                best = shortened(self._names[answers[method].argmax()]) if method in answers else "no answer"
                label.text = f"{text}<br><b>{best}</b>"
            for trace, new in zip(self.figure.data[5:9], answer_traces(answers, self._names), strict=True):
                trace.x, trace.y = new.x, new.y
            self.figure.data[10].x, self.figure.data[10].y = [at.lmbda], [at.size]

    def _uri(self, rung: Rung | None) -> str:
        key = None if rung is None else (rung.size, rung.quality, rung.scale)
        if key not in self._uris:
            image = Image.new("RGB", self.explorer.crop.size, "#d0d7de") if rung is None else rung.image
            self._uris[key] = shown(image)
        return self._uris[key]

    def sentence(self, at: AtRate) -> str:
        """The state in words."""
        before, after = int(self.explorer.teacher.argmax()), int(at.shares.argmax())
        pixels = self.explorer.crop.width * self.explorer.crop.height
        rivals = [
            f"{name} {'has no file that small' if rung is None else ('keeps it' if rung.shares.argmax() == before else 'loses it')}"
            for name, rung in at.rivals.items()
        ]
        return (
            f"Lambda {at.lmbda:.3g}: {at.size:,} bytes, {8 * at.size / pixels:.3f} bits per pixel. The network says "
            f"{self._names[after]} ({at.shares[after]:.0%}), without compression {self._names[before]} "
            f"({self.explorer.teacher[before]:.0%}): decision {'kept' if before == after else 'lost'}. "
            + (f"At as many bytes {' and '.join(rivals)}." if rivals else "")
        )
