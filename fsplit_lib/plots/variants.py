"""A few variants of one run side by side, such as what breaks it."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.plots.pictures import HATCH
from fsplit_lib.plots.style import finish, look_of, wrapped


def two_at_once(
    names: Sequence[str],
    columns: dict[str, tuple[Sequence[float], str]],
    title: str,
    methods: Sequence[str] = ("rate", "FrankenSplit"),
) -> go.Figure:
    """Draw one, two or three quantities of a few variants, a small bar chart each.

    A chart has a title with unit, one value per variant, and how the caption says one: "{:,.0f} bytes". Each chart has
    the colour of its method; or, with one method per variant and three charts, each variant has.

    >>> two_at_once(("right", "broken"), {"bytes": ([900, 1200], "{:,} bytes")}, "Two runs").layout.meta["alt"]
    'right: 900 bytes; broken: 1,200 bytes.'
    """
    bars = len(names) * len(columns)
    under = [wrapped(name, max(8, 84 // bars)) for name in names]  # 84 characters fill the page
    figure = make_subplots(1, len(columns), subplot_titles=list(columns), horizontal_spacing=0.12)
    colours = [look_of(method).color for method in methods]
    patterns = ["", "/", "x", ".", "-"][: len(names)] if len(columns) > 1 else [""]
    for column, (values, said) in enumerate(columns.values(), start=1):
        colour = colours if len(columns) == len(names) == len(methods) == 3 else colours[column - 1]
        figure.add_bar(
            x=under, y=list(values), text=[said.split()[0].format(v).replace("-", "−") for v in values],
            textposition="outside", cliponaxis=False, marker={"color": colour, "pattern": HATCH | {"shape": patterns}}, row=1, col=column,
        )  # fmt: skip
        low, high = 1.2 * min(0, *values), 1.2 * max(0, *values)  # room for what is written beyond each bar
        figure.update_yaxes(range=[low, high or -0.06 * low or 1], row=1, col=column)
    figure.update_xaxes(tickfont_size=11 if bars > 8 else None)
    rows = zip(names, *(map(said.format, values) for values, said in columns.values()), strict=True)
    alt = "; ".join(f"{name}: {', '.join(told)}" for name, *told in rows)
    return finish(figure, title, f"{alt}.", 400, showlegend=False)
