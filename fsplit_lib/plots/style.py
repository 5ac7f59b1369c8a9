"""The look of the book: one template, one colour, dash and marker per method, alt text on every figure.

Colours are those of Okabe & Ito (2008), told apart by colour-blind readers too; dash and marker say
the same again, so that colour never speaks alone.
"""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio


@dataclass(frozen=True)
class Look:
    """How one method appears in every figure."""

    color: str
    dash: str = "solid"
    symbol: str = "circle"


BLUE, ORANGE = Look("#0072B2", "dash", "square"), Look("#D55E00", "solid", "circle")
GREEN, BLACK = Look("#009E73", "dashdot", "diamond"), Look("#000000", "dot", "x")
METHODS: dict[str, Look] = {
    "FrankenSplit": ORANGE,
    "cross-entropy": Look("#CC79A7", "dash", "diamond"),
    "logit distillation": Look("#332288", "longdashdot", "hexagon"),
    "teacher": BLACK,
    "JPEG": BLUE,
    "WebP": Look("#009E73", "dashdot", "triangle-up"),
    "AVIF": Look("#56B4E9", "longdash", "triangle-down"),
    "JPEG, no tables": Look("#6666FF", "dot", "square-open"),
    "JPEG 2000": Look("#882255", "dashdot", "cross"),
    "JPEG XL": Look("#999933", "longdash", "star-triangle-up"),
    "HEIC": Look("#663300", "longdashdot", "pentagon"),
    "PNG": Look("#6600FF", "dot", "square-cross-open"),
    "your guess": Look("#E69F00", "dot", "star"),
    "rate": BLUE,
    "distortion": ORANGE,
}

AXIS = {
    "showgrid": True, "gridcolor": "#e5e8ec", "zeroline": False, "linecolor": "#8b949e", "ticks": "outside",
    "automargin": True,
}  # fmt: skip
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "'Source Sans 3', 'Segoe UI', Helvetica, Arial, sans-serif", "size": 16, "color": "#1b1f24"},
        "title": {"x": 0.0, "xref": "paper", "xanchor": "left", "font": {"size": 19}}
        | {"y": 1.0, "yref": "container", "yanchor": "top", "pad": {"t": 18}},  # clear of legends above the plot
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 80, "r": 30, "t": 70, "b": 65},
        "colorway": [look.color for look in METHODS.values()],
        "colorscale": {"sequential": "Cividis", "diverging": "RdBu"},
        "legend": {"bgcolor": "rgba(255,255,255,0.8)", "font": {"size": 15}},
        "hoverlabel": {"font": {"size": 15}},
        "xaxis": AXIS
        | {"title": {"standoff": 10}},  # or the title ends on the figure's last pixel and loses its descenders
        "yaxis": AXIS | {"title": {"standoff": 10}},
    }
)
pio.templates["fsplit"] = TEMPLATE


def look_of(method: str) -> Look:
    """Return the look of a method.

    Raises:
        KeyError: the method has none yet; add it to :data:`METHODS`, so that it keeps it through the book.

    >>> look_of("JPEG")
    Look(color='#0072B2', dash='dash', symbol='square')
    """
    if method not in METHODS:
        raise KeyError(f"no look for {method!r}; add it to METHODS (there are {', '.join(METHODS)})")
    return METHODS[method]


def finish(figure: go.Figure, title: str, alt: str, height: int = 420, **layout: Any) -> go.Figure:
    """Give a figure, in place, the book's template, a title that says what is shown, and its alt text.

    That is one sentence with numbers, computed from the data, for readers who cannot see the figure.

    >>> finish(go.Figure(), "Bytes", "There are none.").layout.meta
    {'alt': 'There are none.'}
    """
    return figure.update_layout(template="fsplit", title_text=title, height=height, meta={"alt": alt}, **layout)


def stepped(colours: Iterable[str]) -> dict[str, Any]:
    """Return the colours of a heat map whose values are whole numbers from 0, one colour a number.

    >>> stepped(["#000000", "#FFFFFF"])["colorscale"]
    [[0.0, '#000000'], [0.5, '#000000'], [0.5, '#FFFFFF'], [1.0, '#FFFFFF']]
    """
    colours = list(colours)
    scale = [[(n + side) / len(colours), colour] for n, colour in enumerate(colours) for side in (0, 1)]
    return {"colorscale": scale, "zmin": -0.5, "zmax": len(colours) - 0.5}


def wrapped(name: str, width: int = 16) -> str:
    """Break a name between words into lines of at most ``width`` characters, so that it stands straight below its bar.

    >>> wrapped("without the noise")
    'without the<br>noise'
    """
    return "<br>".join(wrap(name, width, break_long_words=False, break_on_hyphens=False))


def below(y: float) -> dict[str, Any]:
    """Return where a legend stands in a line below the plot, ``y`` in heights of the plot."""
    return {"orientation": "h", "y": y, "yanchor": "top"}


def caption(figure: go.Figure) -> str:
    """Return the alt text of a finished figure.

    >>> caption(finish(go.Figure(), "Nothing", "An empty figure."))
    'An empty figure.'
    """
    return figure.layout.meta["alt"]


def show(figure: go.Figure) -> None:
    """Display a finished figure in a notebook, its alt text folded below it."""
    from IPython.display import HTML, display

    display(figure)
    style = "color:#57606a;font-size:15px;max-width:60em;margin:0 0 1em"
    words = f"<summary>The figure in words</summary>{html.escape(caption(figure))}"
    display(HTML(f'<details style="{style}">{words}</details>'))
