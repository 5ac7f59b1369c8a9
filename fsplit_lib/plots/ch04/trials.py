"""Maps on trial: networks ruined from the top down, and features spoiled in a map's order."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.plots.ch04.maps import NAMES
from fsplit_lib.plots.style import Look, finish
from fsplit_lib.saliency import Spoiled

__all__ = ["ruined", "sanity", "spoiling"]

LOOKS = {
    "gradcam": Look("#0072B2", "dash", "square"),
    "xgradcam": Look("#D55E00", "solid", "circle"),
    "eigencam": Look("#009E73", "dashdot", "diamond"),
    "edges": Look("#000000", "dot", "x"),
    "most salient first": Look("#D55E00", "solid", "circle"),
    "least salient first": Look("#0072B2", "dash", "square"),
    "at random": Look("#57606a", "dot", "x"),
}


def sanity(steps: Sequence[str], alike: dict[str, np.ndarray]) -> go.Figure:
    """How much of a map is left as a network is ruined from the top down.

    Args:
        steps: S labels, the first one the trained network.
        alike: method to (S, N) rank correlations with the map of the trained network.
    """
    figure, told = go.Figure(), []
    for n, (method, found) in enumerate(alike.items()):
        look, mean = LOOKS[method], found.mean(axis=1)
        figure.add_trace(
            go.Scatter(
                x=np.arange(len(steps)) + 0.07 * (n - len(alike) / 2), y=mean, name=NAMES[method], mode="lines+markers",
                line={"color": look.color, "dash": look.dash, "width": 2.5}, marker={"symbol": look.symbol, "size": 10},
                error_y=_whiskers(found), hovertemplate="%{y:.2f}",
            )
        )  # fmt: skip
        told.append(f"{NAMES[method]} {mean[1]:.2f} and {mean[-1]:.2f}")
    figure.add_hline(y=0, line={"color": "#8b949e", "width": 1})
    figure.update_xaxes(
        tickvals=list(range(len(steps))), ticktext=list(steps), title_text="untrained parts, from the top"
    )
    figure.update_yaxes(title_text="rank correlation with the map<br>of the trained network", range=[-1.05, 1.1])
    count = next(iter(alike.values())).shape[1]
    alt = (
        f"Mean rank correlation over {count} photos after the first step ({steps[1]}) and after the last: "
        + "; ".join(told)
    )
    finish(figure, "Ruin the network, keep the photo", alt + ". Whiskers from the least to the largest photo.", 470)
    return figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, margin={"t": 110})


def _whiskers(values: np.ndarray, only: int | None = None) -> dict:
    """From the least to the largest photo of (S, N) values, at all settings or at one."""
    mean = values.mean(axis=1)
    ends = [values.max(axis=1) - mean, mean - values.min(axis=1)]
    up, down = ends if only is None else np.where(np.arange(len(mean)) == only, ends, np.nan)
    return {"array": up, "arrayminus": down, "thickness": 1, "width": 3}


def spoiling(shares: Sequence[float], runs: dict[str, tuple[Spoiled, Spoiled]], chance: Spoiled) -> go.Figure:
    """The teacher's share of its first answer as features are spoiled, one panel a map.

    Args:
        shares: S shares of the places.
        runs: name of the map to what was left with its most and its least salient places first.
        chance: the same in random order.
    """
    figure = make_subplots(1, len(runs), subplot_titles=list(runs), shared_yaxes=True, horizontal_spacing=0.025)
    half, told = int(np.argmin(np.abs(np.array(shares) - 0.5))), []
    for column, (name, (most, least)) in enumerate(runs.items(), start=1):
        for n, (way, run) in enumerate(zip(list(LOOKS)[4:], (most, least, chance), strict=True)):
            look = LOOKS[way]
            figure.add_trace(
                go.Scatter(
                    x=100 * np.array(shares) + 1.5 * (n - 1), y=100 * run.share.mean(axis=1), name=way,
                    mode="lines+markers", error_y=_whiskers(100 * run.share, only=half), showlegend=column == 1,
                    line={"color": look.color, "dash": look.dash, "width": 2.5},
                    marker={"symbol": look.symbol, "size": 9},
                    customdata=run.kept.sum(axis=1), hovertemplate="%{y:.0f} %, %{customdata} decisions kept",
                ),
                1, column,
            )  # fmt: skip
        told.append(
            f"{name}: {most.share[half].mean():.0%} most salient first, {least.share[half].mean():.0%} least first "
            f"({most.kept[half].sum()} and {least.kept[half].sum()} decisions kept)"
        )
    figure.update_xaxes(title_text="spoiled places (%)", range=[-4, 100], tickvals=[0, 25, 50, 75])
    figure.update_yaxes(range=[0, 100])
    figure.update_yaxes(title_text="share of the first answer (%)", col=1)
    figure.update_annotations(font_size=15)
    alt = (
        f"The teacher's share of its first answer, mean over {chance.share.shape[1]} photos, with {shares[half]:.0%} of the "
        f"places spoiled. {'; '.join(told)}; at random: {chance.share[half].mean():.0%}. The whiskers there go from the "
        "least to the largest photo."
    )
    finish(figure, "Spoil the features, watch the answer", alt, 500)
    return figure.update_layout(legend={"orientation": "h", "y": -0.3, "yanchor": "top"}, margin={"b": 125, "t": 85})


def ruined(runs: dict[str, tuple[Spoiled, Spoiled]], share: float) -> go.Figure:
    """What a map is worth: most against least salient places spoiled, healthy and broken.

    Args:
        runs: name to what was left with the most and with the least salient places spoiled, (1, N) each.
        share: of the places.
    """
    means = {name: [100 * float(run.share.mean()) for run in pair] for name, pair in runs.items()}
    labels = [f"{name}<br>{most:.0f} % and {least:.0f} %" for name, (most, least) in means.items()]
    figure = go.Figure()
    for n, way in enumerate(list(LOOKS)[4:6]):
        values = 100 * np.stack([pair[n].share[0] for pair in runs.values()])
        figure.add_trace(
            go.Bar(
                x=labels, y=values.mean(axis=1), name=way.replace("first", "spoiled"), error_y=_whiskers(values),
                marker={"color": LOOKS[way].color, "pattern": {"shape": "/" if n else ""}}, width=0.2,
            )
        )  # fmt: skip
    figure.update_yaxes(title_text="share of the first answer (%)", range=[0, 100])
    count = next(iter(runs.values()))[0].share.shape[1]
    told = "; ".join(
        f"{n}: {m:.0f} % with the most, {k:.0f} % with the least salient places" for n, (m, k) in means.items()
    )
    alt = f"With {share:.0%} of the places spoiled, mean of {count} photos: {told} spoiled. Whiskers: least to largest photo."
    finish(figure, "Does the map still know where?", alt, 460)
    return figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}, margin={"t": 110, "b": 80})
