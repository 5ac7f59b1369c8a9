"""Pictures, class names and tables that several chapters show."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from fsplit_lib.plots.style import finish

GREY = "#57606a"
HATCH = {"shape": "/", "fillmode": "overlay", "fgcolor": "#FFFFFF", "fgopacity": 0.45, "solidity": 0.2}


def picture(image: Image.Image) -> str:
    """Encode a picture as the data URI of a PNG; enlarge small ones without blur."""
    times = -(-224 // max(image.size))
    return data_uri(image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST), "PNG")


def data_uri(image: Image.Image, kind: str, **options: int) -> str:
    """Encode a picture as a data URI of some kind, without what else its file told; ``options`` are Pillow's."""
    buffer, bare = io.BytesIO(), image.copy()
    bare.info = {}
    bare.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def side_by_side(pictures: dict[str, Image.Image], title: str, alt: str, height: int) -> go.Figure:
    """Draw pictures in a row, each under its title."""
    figure = make_subplots(1, len(pictures), subplot_titles=list(pictures), horizontal_spacing=0.02)
    for column, image in enumerate(pictures.values(), start=1):
        figure.add_trace(go.Image(source=picture(image), hoverinfo="skip"), 1, column)
    figure.update_xaxes(visible=False).update_yaxes(visible=False).update_annotations(font_size=15)
    lines = max(name.count("<br>") for name in pictures)
    return finish(figure, title, alt, height, margin={"l": 10, "r": 10, "t": 90 + 25 * lines, "b": 10})


def paint_map(values: np.ndarray, scale: str) -> Image.Image:
    """Paint a map (H, W) in [0, 1] in one of plotly's colour scales.

    >>> paint_map(np.array([[0.0, 1.0]]), "Greys").size
    (2, 1)
    """
    image = Image.fromarray((255 * values).round().astype(np.uint8), "P")
    palette = np.array(sample_colorscale(scale, 256, colortype="tuple"))  # (256, 3) in [0, 1]
    image.putpalette((255 * palette).round().astype(np.uint8).tobytes())
    return image.convert("RGB")


def mosaic(values: np.ndarray, scale: str) -> Image.Image:
    """Paint channels (C, H, W), four in a row, with a white line between them.

    >>> mosaic(np.zeros((12, 4, 4)), "Viridis").size
    (19, 14)
    """
    _, height, width = values.shape
    canvas = Image.new("RGB", (4 * (width + 1) - 1, -(-len(values) // 4) * (height + 1) - 1), "white")
    for n, channel in enumerate(values):
        canvas.paste(paint_map(channel, scale), (n % 4 * (width + 1), n // 4 * (height + 1)))
    return canvas


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: tuple[int, ...]) -> HTML:
    """Lay out a small table, which scrolls where the page is narrower; ``numbers`` are the columns to align right.

    >>> html_table(["codec", "bytes"], [["JPEG", "1,200"]], (1,)).data.count("<td")
    2
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        whole = "right;white-space:nowrap" if tag == "td" else "right"  # a number and its unit stay in one line
        sides = (whole if column in numbers else "left" for column in range(len(cells)))
        style = "padding:.3em .8em;vertical-align:top;text-align:"
        return "".join(f'<{tag} style="{style}{side}">{text}</{tag}>' for side, text in zip(sides, cells, strict=True))

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    inside = f"<thead><tr>{line('th', head)}</tr></thead><tbody>{body}</tbody>"
    table = f'<table style="font-size:15px;border-collapse:collapse">{inside}</table>'
    return HTML(f'<div style="overflow-x:auto">{table}</div>')


def shortened(name: str) -> str:
    """Cut a class name to fit an axis."""
    return name if len(name) <= 24 else name[:23] + "…"


def top_names(probs: Sequence[np.ndarray], names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Find the classes in the first five of any answer (classes,), by the first one's probability, and labels that differ."""
    wanted = {int(i) for one in probs for i in np.argsort(one)[::-1][:5]}
    order = sorted(wanted, key=lambda i: -probs[0][i])
    labels = [shortened(names[i]) for i in order]
    return order, [f"{text} ({i})" if labels.count(text) > 1 else text for i, text in zip(order, labels, strict=True)]
