"""What a weight does to a loss: the factor on lambda, and a run that moves along the curve."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from fsplit_lib.objectives import lmbda_factor
from fsplit_lib.plots.style import finish, look_of

__all__ = ["along_the_curve", "factor_figure", "move_factor"]


def factor_figure(means: np.ndarray, lmbdas: np.ndarray, sizes: np.ndarray) -> go.Figure:
    """The factor over the mean of a map, and bytes over lambda.

    Args:
        means: of the seven photos' own maps.
        lmbdas: at which bytes of a codec were measured.
        sizes: mean bytes there.
    """
    figure = make_subplots(1, 2, subplot_titles=("What a map does to lambda", "What lambda does to bytes"))
    grid, star = np.linspace(0, 1, 51), look_of("your guess")
    line, dots = look_of("FrankenSplit"), look_of("rate")
    mark = {"symbol": star.symbol, "size": 17, "color": star.color, "line": {"width": 1, "color": "#1b1f24"}}
    traces = [
        (go.Scatter(x=grid, y=lmbda_factor(grid), mode="lines", name="2 / (1 + mean s)", line={"color": line.color}), 1),
        (go.Scatter(x=means, y=lmbda_factor(means), mode="markers", name="maps of the seven photos",
                    marker={"symbol": dots.symbol, "color": dots.color, "size": 9}), 1),
        (go.Scatter(x=[0.0], y=[2.0], mode="markers", name="chosen", marker=mark), 1),
        (go.Scatter(x=lmbdas, y=sizes, mode="lines", name="shipped codec", line={"color": dots.color, "dash": dots.dash}), 2),
        (go.Scatter(x=[1.0, 1.0], y=[0.0, 0.0], mode="markers+lines", showlegend=False, name="unguided, and as weighted",
                    marker=mark | {"symbol": ["circle", star.symbol]}, line={"color": star.color}), 2),
    ]  # fmt: skip
    for trace, column in traces:
        figure.add_trace(trace, 1, column)
    figure.update_xaxes(title_text="mean of the map (0 to 1)", col=1)
    figure.update_yaxes(title_text="factor on lambda", range=[0.95, 2.1], col=1)
    figure.update_xaxes(title_text="lambda", type="log", tickvals=[0.1, 0.2, 0.5, 1, 2, 3], col=2)
    figure.update_yaxes(title_text="mean bytes a photo", rangemode="tozero", col=2)
    finish(figure, "A map is also a lambda", "A map of mean 0 doubles lambda.", 480)
    return figure.update_layout(legend={"orientation": "h", "y": -0.3, "yanchor": "top"}, margin={"b": 130, "t": 90})


def move_factor(figure: go.Figure, mean: float, lmbda: float, lmbdas: np.ndarray, sizes: np.ndarray) -> str:
    """Put the stars where a mean and a lambda say, and tell what they show."""
    factor = float(lmbda_factor(mean))
    before, after = (float(np.interp(np.log(at), np.log(lmbdas), sizes)) for at in (lmbda, lmbda * factor))
    figure.data[2].x, figure.data[2].y = [mean], [factor]
    figure.data[4].x, figure.data[4].y = [lmbda, lmbda * factor], [before, after]
    if lmbda * factor > lmbdas[-1] * (1 + 1e-9):
        return f"A map of mean {mean:.2f} makes lambda {factor:.2f} times larger: beyond {lmbdas[-1]:g}, where this codec ends."
    return (
        f"A map of mean {mean:.2f} makes lambda {factor:.2f} times larger: {lmbda:g} acts like {lmbda * factor:.2f}, and "
        f"the shipped codec writes {after:,.0f} bytes instead of {before:,.0f}, {1 - after / before:.0%} fewer, "
        "without knowing any map."
    )


def along_the_curve(points: dict[str, tuple[float, float]], weighted: str) -> go.Figure:
    """Bytes and distortion of runs of the lab: the unguided ones joined, the weighted one beside them.

    Args:
        points: name of the run to (bytes, distortion).
        weighted: the name that is not on the line.
    """
    figure = go.Figure()
    plain = {name: at for name, at in points.items() if name != weighted}
    for group, method in ((plain, "rate"), ({weighted: points[weighted]}, "FrankenSplit")):
        look = look_of(method)
        x, y = zip(*group.values(), strict=True)
        figure.add_trace(
            go.Scatter(
                x=x, y=y, text=list(group), mode="lines+markers+text", textposition="bottom right" if weighted in group else "top right", showlegend=False,
                line={"color": look.color, "dash": look.dash}, marker={"symbol": look.symbol, "size": 13},
            )
        )  # fmt: skip
    x, y = np.array(list(points.values())).T
    wide, high = np.ptp(x), np.ptp(y)
    figure.update_xaxes(
        title_text="mean bytes of the whole packet", range=[x.min() - 0.15 * wide, x.max() + 0.6 * wide]
    )
    figure.update_yaxes(title_text="(error / spread)²", range=[y.min() - 0.2 * high, y.max() + 0.3 * high])
    alt = "; ".join(f"{name}: {size:.1f} bytes at distortion {error:.3f}" for name, (size, error) in points.items())
    return finish(figure, "Three losses, the same pictures", alt + ".", 430)
