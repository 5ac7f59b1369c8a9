"""A forest of intervals: BD-rates with their bootstrap intervals, a row per comparison."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.evaluation import BDRate
from fsplit_lib.plots.style import Look, finish

MORE_OR_FEWER = "bytes more (+) or fewer (−) for the same agreement (%)"


def signed(value: float) -> str:
    """Return a number with its sign and one decimal, never -0.0.

    >>> signed(-0.01), signed(2.26)
    ('+0.0', '+2.3')
    >>> signed(-7.0)
    '−7.0'
    """
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def with_interval(delta: BDRate) -> str:
    """Return a BD-rate and its interval in words, or why there is none."""
    if delta.percent is None:
        return "no shared quality"
    interval = delta.doubt or f"{signed(delta.low)} to {signed(delta.high)}"
    return f"{signed(delta.percent)} % ({interval})"


def forest(
    rows: dict[str, tuple[Sequence[BDRate], Look]], title: str, alt: str, x_title: str = MORE_OR_FEWER
) -> go.Figure:
    """Draw a row per comparison: a marker and whiskers per BD-rate, and their geometric mean in figures on the right.

    A filled marker has a whole interval on one side of zero; an open one does not, or has no interval. Rows have a
    label, BD-rates (one per pair of seeds, say) and a look; their numbers follow ``alt``, what is compared.

    >>> delta = BDRate("photos", "resnet50", "photo", "JPEG", -40.0, -45.0, -35.0, 0.6, 0.8, 500)
    >>> forest({"photo": ([delta], Look("#D55E00"))}, "Against JPEG", "Bytes at equal agreement").layout.meta["alt"]
    'Bytes at equal agreement: photo −40.0 % (−45.0 to −35.0).'
    """
    figure, told = go.Figure(), []
    for place, (label, (deltas, look)) in enumerate(rows.items()):
        known = [d for d in deltas if d.percent is not None]
        told.append(f"{label} {', '.join(map(with_interval, deltas))}")
        at = -place + (np.linspace(0.25, -0.25, len(known)) if len(known) > 1 else np.zeros(len(known)))
        value = np.array([d.percent for d in known], float)
        whole = np.array([d.low is not None for d in known], bool)
        ends = (np.array([getattr(d, end) for d in known], float) for end in ("low", "high"))
        low, high = (np.where(whole, end, value) for end in ends)
        bare, sure = look.symbol.removesuffix("-open"), whole & ((low > 0) | (high < 0))
        figure.add_scatter(
            x=value, y=at, name=label, mode="markers", cliponaxis=False,
            marker={"color": look.color, "symbol": [bare if s else f"{bare}-open" for s in sure], "size": 10},
            error_x={"array": high - value, "arrayminus": value - low, "thickness": 1.2, "width": 4},
            text=[f"{d.codec} against {d.against}<br>agreement {d.agreement_from:.0%} to {d.agreement_to:.0%}" for d in known],
            hovertemplate="%{text}<br>%{x:.1f} %<extra></extra>",
        )  # fmt: skip
        mean = f"{signed(100 * np.expm1(np.log1p(value / 100).mean()))} %" if known else "no shared quality"
        figure.add_annotation(x=1.01, xref="paper", xanchor="left", y=-place, text=mean, showarrow=False)
    figure.add_vline(x=0, line={"color": "#8b949e", "dash": "dot"}, layer="below")
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(tickvals=[-i for i in range(len(rows))], ticktext=list(rows), showgrid=False)
    alt, height = f"{alt}: {'; '.join(told) or 'no rows'}.", 150 + 44 * max(1, len(rows))
    return finish(figure, title, alt, height, showlegend=False, margin={"r": 90})
