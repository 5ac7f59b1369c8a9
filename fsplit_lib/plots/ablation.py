"""Figures of the ablation: what each change of the recipe is worth, and what more training gives."""

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.evaluation import BDRate, RatePoint
from fsplit_lib.plots.style import finish, look_of

__all__ = ["ablation", "continuity", "kept_at", "kept_over_crops"]

BYTE_TICKS = [300, 500, 700, 1000, 1500, 2000, 3000, 5000]


def ablation(deltas: list[BDRate], base: str, labels: dict[str, str]) -> go.Figure:
    """Bytes that each variant needs more or less than the base at equal kept decisions, with bootstrap intervals.

    Args:
        deltas: rows of the table of BD-rates.
        base: the curve that all are held against.
        labels: curve to its name in the figure, for the curves to show.
    """
    known = {d.method: d for d in deltas if d.against == base and d.method in labels}
    found = sorted((d for d in known.values() if d.percent is not None), key=lambda d: -d.percent)
    figure, told = go.Figure(), []
    for delta in found:
        sure = delta.low is not None and (delta.low > 0 or delta.high < 0)
        look = look_of("FrankenSplit")
        bars = None
        if delta.low is not None:
            bars = {"array": [delta.high - delta.percent], "arrayminus": [delta.percent - delta.low], "width": 5}
        figure.add_trace(
            go.Scatter(
                x=[delta.percent], y=[labels[delta.method]], mode="markers+text", text=[f"{delta.percent:+.0f} %"],
                marker={"color": look.color, "size": 13, "symbol": "circle" if sure else "circle-open"},
                error_x=bars, textposition="top center", cliponaxis=False, showlegend=False,
                hovertemplate=f"kept {delta.kept_from:.0%} to {delta.kept_to:.0%}<br>%{{x:.1f}} %<extra></extra>",
            )
        )  # fmt: skip
        interval = f" ({delta.doubt or f'{delta.low:+.0f} to {delta.high:+.0f}'})"
        told.append(f"{labels[delta.method]} {delta.percent:+.0f} %{interval}")
    figure.add_vline(x=0, line={"color": "#8b949e", "dash": "dot"})
    figure.update_xaxes(title_text="bytes more (+) or less (−) than the base for the same kept decisions (%)")
    figure.update_yaxes(automargin=True)
    alt = "Bytes against the base at equal kept decisions: " + "; ".join(told) + "."
    return finish(figure, "One change at a time", alt, height=170 + 46 * max(1, len(found)))


def kept_at(points: list[RatePoint], curve: str, size_bytes: float) -> float | None:
    """Share of kept decisions of one of our codecs at a size, between its measured points; None beyond them.

    Args:
        points: rows of a result table.
        curve: name of the weights.
        size_bytes: mean bytes of the whole packet.
    """
    rows = sorted((p.bytes, p.kept) for p in points if p.setting.split(",")[0] == curve)
    sizes, kept = zip(*rows, strict=True)
    if not sizes[0] <= size_bytes <= sizes[-1]:
        return None
    return float(np.interp(np.log(size_bytes), np.log(sizes), kept))


def kept_over_crops(points: list[RatePoint], crops: dict[str, int], sizes_bytes: tuple[int, ...]) -> go.Figure:
    """Kept decisions over the crops that a training saw, on a log axis, a line a size of the packet.

    Args:
        points: rows of a result table.
        crops: curve to crops of its training, all by one recipe.
        sizes_bytes: at which to read the curves.
    """
    figure, told = go.Figure(), []
    for size, method in zip(sizes_bytes, ("FrankenSplit", "JPEG", "WebP"), strict=False):
        at = [(crops[curve], kept_at(points, curve, size)) for curve in sorted(crops, key=crops.__getitem__)]
        at = [(c, 100 * k) for c, k in at if k is not None]
        look = look_of(method)
        xs, ys = zip(*at, strict=True)
        figure.add_trace(
            go.Scatter(
                x=xs, y=ys, mode="lines+markers", name=f"{size:,} bytes", line={"color": look.color, "dash": look.dash},
                marker={"symbol": look.symbol, "size": 10}, hovertemplate="%{x:,} crops<br>%{y:.1f} %",
            )
        )  # fmt: skip
        told.append(f"at {size:,} bytes from {ys[0]:.0f} % after {xs[0]:,} crops to {ys[-1]:.0f} % after {xs[-1]:,}")
    seen = sorted(crops.values())
    figure.update_xaxes(
        title_text="crops seen in training", type="log", tickvals=seen, ticktext=[f"{c:,}" for c in seen]
    )
    figure.update_yaxes(title_text="decisions of the teacher kept (%)")
    return finish(figure, "What more training gives", "Kept decisions: " + "; ".join(told) + ".", height=440)


def continuity(points: list[RatePoint], curve: str, alone: dict[str, str]) -> go.Figure:
    """A codec of continuous rate beside codecs of one rate, trained alike, with Wilson's 95 % intervals.

    Args:
        points: rows of a result table.
        curve: weights of the codec of continuous rate.
        alone: weights of each codec of one rate, to its name in the figure.
    """
    figure, told = go.Figure(), []
    looks = (("FrankenSplit", "continuous rate"), ("JPEG", ""), ("WebP", ""))
    for (method, name), weights in zip(looks, (curve, *alone), strict=False):
        rows = sorted((p for p in points if p.setting.split(",")[0] == weights), key=lambda p: p.bytes)
        share, low, high = (100 * np.array([getattr(p, f"kept{end}") for p in rows]) for end in ("", "_low", "_high"))
        look = look_of(method)
        figure.add_trace(
            go.Scatter(
                x=[p.bytes for p in rows], y=share, mode="lines+markers", name=alone.get(weights, name),
                line={"color": look.color, "dash": look.dash}, marker={"symbol": look.symbol, "size": 12},
                error_y={"array": high - share, "arrayminus": share - low, "thickness": 1, "width": 4},
                text=[p.setting for p in rows], hovertemplate="%{text}<br>%{x:,.0f} bytes<br>%{y:.1f} %",
            )
        )  # fmt: skip
        if weights in alone:
            between = kept_at(points, curve, rows[0].bytes)
            beside = "out of its range" if between is None else f"{100 * between:.0f} %"
            told.append(
                f"{alone[weights]} keeps {share[0]:.0f} % ({low[0]:.0f} to {high[0]:.0f}) at {rows[0].bytes:,.0f} bytes, "
                f"the codec of continuous rate {beside}"
            )
    figure.update_xaxes(title_text="mean bytes of the whole packet", type="log", tickvals=BYTE_TICKS)
    figure.update_yaxes(title_text="decisions of the teacher kept (%)")
    return finish(figure, "What continuity costs", "; ".join(told) + ".", height=460)
