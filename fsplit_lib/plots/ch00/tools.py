"""Pictures, bars and tables that the figures of chapter 00 share."""

import base64
import io

import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.plots.style import finish

__all__ = ["GREY", "HATCH", "bar_layout", "html_table", "picture", "shortened", "side_by_side"]

GREY = "#57606a"


HATCH = {"shape": "/", "fillmode": "overlay", "fgcolor": "#FFFFFF", "fgopacity": 0.45, "solidity": 0.2}


def picture(image: Image.Image, smallest: int = 224) -> str:
    """A PNG as data URI, small ones enlarged without blur."""
    times = -(-smallest // max(image.size))
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    bare = image.copy()
    bare.info = {}
    bare.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def side_by_side(pictures: dict[str, Image.Image], title: str, alt: str, height: int) -> go.Figure:
    """Pictures in a row, each under its title."""
    count = len(pictures)
    figure = make_subplots(1, count, subplot_titles=list(pictures), horizontal_spacing=0.02)
    for column, image in enumerate(pictures.values(), start=1):
        figure.add_trace(go.Image(source=picture(image), hoverinfo="skip"), 1, column)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_annotations(font_size=15)
    finish(figure, title, alt, height)
    return figure.update_layout(margin={"l": 10, "r": 10, "t": 115, "b": 10})


def bar_layout(figure: go.Figure, title: str, alt: str) -> go.Figure:
    """Axes, legend and caption of a chart of answers."""
    figure.update_xaxes(title_text="share of the answer (%)", range=[0, 100])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(barmode="group", bargap=0.25, legend={"x": 0.99, "xanchor": "right", "y": 0.02})
    return finish(figure, title, alt, height=150 + 42 * len(figure.data[0].y))


def html_table(head: tuple[str, ...], rows: list[tuple[str, ...]], numbers: tuple[int, ...]) -> HTML:
    """A small table, which scrolls where the page is narrower; ``numbers`` are the columns to align right."""

    def cell(tag: str, column: int, text: str) -> str:
        side = "right" if column in numbers else "left"
        return f'<{tag} style="text-align:{side};padding:.3em .8em;vertical-align:top">{text}</{tag}>'

    first = "".join(cell("th", n, text) for n, text in enumerate(head))
    rest = "".join("<tr>" + "".join(cell("td", n, text) for n, text in enumerate(row)) + "</tr>" for row in rows)
    inside = f"<thead><tr>{first}</tr></thead><tbody>{rest}</tbody>"
    table = f'<table style="font-size:15px;border-collapse:collapse">{inside}</table>'
    return HTML(f'<div style="overflow-x:auto">{table}</div>')


def shortened(name: str, longest: int = 24) -> str:
    """A class name cut to fit an axis."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
