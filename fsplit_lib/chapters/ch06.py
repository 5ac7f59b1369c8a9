"""Chapter 06: whole curves, what gains do, and one photo at any rate beside JPEG and AVIF."""

from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import RatePoint, Rival
from fsplit_lib.evaluation.explorer import AtRate, RateExplorer
from fsplit_lib.panels.base import LogNumber, Panel
from fsplit_lib.panels.photo_picker import PhotoPicker
from fsplit_lib.plots.curves import rate_accuracy, rate_curve
from fsplit_lib.plots.pictures import HATCH, data_uri, shortened, top_names
from fsplit_lib.plots.style import METHODS, Look, finish, look_of

BARS = {
    "teacher": ("no compression", ""), "FrankenSplit": ("packet", "/"), "JPEG": ("JPEG", "x"), "AVIF": ("AVIF", "."),
}  # fmt: skip
LMBDAS = {
    "title_text": "lambda (distortion per bit per pixel)", "type": "log", "tickvals": [0.1, 0.2, 0.3, 0.5, 1, 2, 3],
    "autorangeoptions": {"include": [0.1, 3]},
}  # fmt: skip
STEP = 5 / 255  # of the exponent: one code of the wire
SIDE, STRIDE = 224, 8  # of the crop in pixels, and pixels per place of the latent


def look_of_curve(name: str, main: str) -> Look:
    """Return the look of a codec of the world, of our main one, or of ours beside it (its colour, another dash)."""
    if name == main or name in METHODS:
        return look_of("FrankenSplit" if name == main else name)
    styles = {"photo-head": ("dot", "circle-open"), "photo-first": ("dash", "diamond-open")}
    return Look(look_of("FrankenSplit").color, *styles.get(name, ("dashdot", "star-open")))


def curves_of_photos(points: Sequence[RatePoint], main: str, quality: str = "agreement") -> go.Figure:
    """Draw agreement or top-1 of ``photos.csv`` over bytes, a curve per method, with Wilson's 95 % intervals.

    The weights ``main`` are drawn as FrankenSplit; other codecs of ours are thin.
    """
    curves: dict[str, list[RatePoint]] = {}
    for point in points:
        if point.codec != "teacher" and getattr(point, quality) is not None:
            curves.setdefault(point.codec, []).append(point)
    lines = [
        rate_curve(name if name in METHODS else f"FrankenSplit ({name})", rows, quality, look_of_curve(name, main),
                   width=3.5 if name == main else 2)
        for name, rows in curves.items()
    ]  # fmt: skip
    said = "the teacher's answers" if quality == "agreement" else "right answers"
    figure = rate_accuracy({"": lines}, f"What a byte buys on {points[0].n} photos, {said}", quality, points[0].n, 600)
    figure.update_xaxes(range=[2.65, 4.1]).update_yaxes(range=[20, 100])
    if quality == "top1":
        teacher, look = next(p for p in points if p.codec == "teacher"), look_of("teacher")
        line = {"color": look.color, "dash": look.dash}
        figure.add_hline(y=100 * teacher.top1, line=line, annotation_text="no compression")
    return figure


def gains(lmbdas: Sequence[float], gain: np.ndarray, anchors: Sequence[float]) -> go.Figure:
    """Draw what the control turns: the gain (L, C) of every channel over lambda (L,), learned at the anchors."""
    figure, falls = go.Figure(), gain.max(axis=0) / gain.min(axis=0)
    rest = np.vstack([gain, np.full((1, gain.shape[1]), np.nan)]).T.ravel()
    grey = {"color": "#8b949e", "width": 0.8}
    figure.add_scatter(x=np.tile([*lmbdas, np.nan], len(falls)), y=rest, mode="lines", line=grey, name="every channel")
    marked = {"most steered": (int(falls.argmax()), "FrankenSplit"), "least steered": (int(falls.argmin()), "rate")}
    for name, (channel, method) in marked.items():
        line = {"color": look_of(method).color, "dash": look_of(method).dash, "width": 3}
        figure.add_scatter(x=lmbdas, y=gain[:, channel], mode="lines", line=line, name=f"{name} (channel {channel})")
    at = [int(np.argmin(np.abs(np.log(np.array(lmbdas) / a)))) for a in anchors]
    means = [float(np.exp(np.log(gain[i]).mean())) for i in at]
    mark = {"color": "#1b1f24", "symbol": "diamond", "size": 11}
    figure.add_scatter(x=list(anchors), y=means, mode="markers", marker=mark, name="anchors (geometric mean)")
    ticks = [0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
    figure.update_xaxes(LMBDAS).update_yaxes(title_text="gain before rounding", type="log", tickvals=ticks)
    alt = (
        f"From lambda {lmbdas[0]:.2g} to {lmbdas[-1]:.2g} most channels' gains fall; the largest gain of a "
        f"channel is {falls.min():.1f} to {falls.max():,.0f} times its smallest, {np.exp(np.log(falls).mean()):.1f} times in the mean."
    )
    return finish(figure, f"One number steers {gain.shape[1]} gains", alt, height=440)


def sizes_over_lmbda(lmbdas: np.ndarray, sizes: dict[str, np.ndarray]) -> go.Figure:
    """Draw bytes of the whole packet over lambda, a line per photo."""
    figure, dashes = go.Figure(), ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px 2px")
    for (name, size), dash in zip(sizes.items(), dashes, strict=False):
        figure.add_scatter(x=lmbdas, y=size, mode="lines", name=name, line={"dash": dash, "width": 2.5})
    ticks = [300, 500, 700, 1000, 1500, 2000, 3000, 5000]
    figure.update_xaxes(LMBDAS).update_yaxes(title_text="bytes of the packet", type="log", tickvals=ticks)
    first, last = (np.array([size[at] for size in sizes.values()]) for at in (0, -1))
    alt = (
        f"At lambda {lmbdas[0]:.2g} the {len(sizes)} photos take {first.min():,.0f} to {first.max():,.0f} bytes, "
        f"at lambda {lmbdas[-1]:.2g} {last.min():,.0f} to {last.max():,.0f}."
    )
    return finish(figure, "The same lambda, other photos", alt, height=440)


def _uri(image: Image.Image) -> str:
    """A picture as data URI, light enough to travel with every move of a slider."""
    return data_uri(image, "JPEG", quality=92, subsampling=0)


def _empty() -> go.Figure:
    """The live figure before a photo is loaded; pictures, heat map, bars, curve and marker have names."""
    figure = make_subplots(
        2, 4, specs=[[{}] * 4, [{"colspan": 3}, None, None, {}]], horizontal_spacing=0.02, vertical_spacing=0.13,
        row_heights=[0.4, 0.6],
        subplot_titles=("the crop", "where the bits go", "JPEG", "AVIF", "", "bytes over lambda"),
    )  # fmt: skip
    grey, half = _uri(Image.new("RGB", (SIDE, SIDE), "#d0d7de")), (STRIDE - 1) / 2
    for column, name in enumerate(("crop", "crop", "JPEG picture", "AVIF picture"), start=1):
        figure.add_trace(go.Image(source=grey, hoverinfo="skip", name=name), 1, column)
    heat = {"colorscale": "Cividis", "opacity": 0.72, "zmin": 0, "showscale": False, "name": "bits"}
    places = {"x0": half, "dx": STRIDE, "y0": half, "dy": STRIDE, "hovertemplate": "%{z:.1f} bits<extra></extra>"}
    figure.add_trace(go.Heatmap(z=np.zeros((SIDE // STRIDE,) * 2), **heat, **places), 1, 2)
    for method, (title, shape) in BARS.items():
        mark, hover = {"color": look_of(method).color, "pattern": {**HATCH, "shape": shape}}, "%{x}: %{y:.1f} %<extra>"
        figure.add_trace(go.Bar(name=title, marker=mark, hovertemplate=f"{hover}{title}</extra>"), 2, 1)
    line, mark = {"color": look_of("rate").color, "width": 2.5}, {"color": look_of("FrankenSplit").color, "size": 14}
    figure.add_trace(go.Scatter(mode="lines", name="bytes over lambda", line=line, showlegend=False), 2, 4)
    figure.add_trace(go.Scatter(mode="markers", name="this packet", marker=mark, showlegend=False), 2, 4)
    figure.update_xaxes(visible=False, row=1, range=[-0.5, SIDE - 0.5])
    figure.update_yaxes(visible=False, row=1, range=[SIDE - 0.5, -0.5])
    figure.update_yaxes(title_text="softmax probability (%)", range=[0, 100], row=2, col=1)
    figure.update_xaxes(
        title_text="lambda", type="log", tickvals=[0.1, 0.3, 1, 3], autorangeoptions={"include": [0.1, 3]}, row=2, col=4
    )
    figure.update_yaxes(title_text="bytes", title_standoff=5, side="right", rangemode="tozero", row=2, col=4)
    legend = {"orientation": "h", "x": 0, "y": 0.45, "yanchor": "bottom"}
    finish(figure, "", "No photo yet.", height=660).update_annotations(font_size=15)
    return figure.update_layout(barmode="group", bargap=0.2, legend=legend, margin={"l": 60, "r": 85, "t": 75, "b": 60})


class LambdaPanel(Panel):
    """Slide lambda, between ``lmbdas``, and see bytes, bits, pictures and answers.

    ``explore`` loads a photo of any size into the system, first a key of PHOTOS, or a path. This takes seconds, because
    JPEG and AVIF are tried at many sizes and qualities, so it has a button; after it the slider answers at once. A file
    that cannot be read leaves everything as it was.
    """

    def __init__(
        self,
        explore: Callable[[Image.Image], RateExplorer],
        names: Sequence[str],
        lmbdas: tuple[float, float],
        lmbda: float = 0.6,
        photo: str = "chelsea",
    ):
        self._explore, self._names, self._picker = explore, names, PhotoPicker(photo)
        self.explorer: RateExplorer | None = None
        self._loaded, self._uris = None, {}
        slider = LogNumber("lambda", *lmbdas, lmbda, STEP)
        controls = {"lmbda": slider, **self._picker.controls}
        upload = (self._picker.upload,)
        super().__init__(controls, _empty(), self._update, run="Load the photo", extra=upload)
        self._picker.attach(self)
        slider.carrier.observe(lambda _: None if self._quiet else self.slide(), names="value")
        self.refresh()

    def slide(self) -> str:
        """Redraw after a move of lambda: the photo stays the one that is loaded."""
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
            self.update_trace("crop", source=_uri(self.explorer.crop))
            self.update_trace("bytes over lambda", x=self.explorer.lmbdas, y=self.explorer.sizes)

    def _draw(self, at: AtRate) -> None:
        answers = {"teacher": self.explorer.teacher, "FrankenSplit": at.probs}
        answers |= {name: rival.probs for name, rival in at.rivals.items() if rival is not None}
        titles = {"teacher": "the crop", "FrankenSplit": f"where {at.size:,} bytes go"}
        order, labels = top_names((self.explorer.teacher, at.probs), self._names)
        with self.figure.batch_update():
            self.update_trace("bits", z=at.bits, zmax=float(np.quantile(at.bits, 0.99)))
            for name, rival in at.rivals.items():
                self.update_trace(f"{name} picture", source=self._rival(rival))
                titles[name] = (
                    f"{name}: no file that small" if rival is None else f"{name}, {len(rival.file.data):,} bytes"
                )
            for label, (method, text) in zip(self.figure.layout.annotations, titles.items(), strict=False):
                best = shortened(self._names[answers[method].argmax()]) if method in answers else "no answer"
                label.text = f"{text}<br><b>{best}</b>"
            for method, (title, _) in BARS.items():
                probs = answers.get(method, np.zeros(len(self._names)))
                self.update_trace(title, x=labels, y=[100 * float(probs[i]) for i in order])
            self.update_trace("this packet", x=[at.lmbda], y=[at.size])

    def _rival(self, rival: Rival | None) -> str:
        key = rival and rival.file
        if key not in self._uris:
            self._uris[key] = _uri(rival.file.image if rival else Image.new("RGB", self.explorer.crop.size, "#d0d7de"))
        return self._uris[key]

    def sentence(self, at: AtRate) -> str:
        """Say the state in words."""
        before, after = int(self.explorer.teacher.argmax()), int(at.probs.argmax())
        pixels = self.explorer.crop.width * self.explorer.crop.height
        fate = {None: "has no file that small", True: "agrees", False: "differs"}
        same = {name: rival and bool(rival.probs.argmax() == before) for name, rival in at.rivals.items()}
        rivals = [f"{name} {fate[kept]}" for name, kept in same.items()]
        return (
            f"Lambda {at.lmbda:.3g}: {at.size:,} bytes, {8 * at.size / pixels:.3f} bits per pixel. The network says "
            f"{self._names[after]} ({at.probs[after]:.0%}), without compression {self._names[before]} "
            f"({self.explorer.teacher[before]:.0%}): the answers {'agree' if before == after else 'differ'}. "
            + (f"With at most as many bytes {' and '.join(rivals)}." if rivals else "")
        )
