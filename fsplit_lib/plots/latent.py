"""One channel of a latent: its values and what its symbols cost, as chapters 03 and 05 show it."""

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.plots.style import finish, look_of


def latent_histogram(latent: np.ndarray, grid: np.ndarray, density: np.ndarray, table: np.ndarray) -> go.Figure:
    """Draw the values of one latent channel, the learned probability of each symbol and the integer table.

    Every series is a probability per symbol: the grey bars, a tenth of a symbol wide, are the density of the values
    before rounding. The grid is of symbols, in units of the latent. The axis shows the range of the values; the table
    goes on beyond it.
    """
    figure, low, high = go.Figure(), np.floor(latent.min()) - 1, np.ceil(latent.max()) + 1
    seen = {"histnorm": "probability density", "marker_color": "#8b949e", "opacity": 0.7}
    bins = {"start": low, "end": high, "size": 0.1}
    dots = {"color": look_of("FrankenSplit").color, "symbol": "circle", "size": 9}
    bars = {"marker_color": look_of("rate").color, "opacity": 0.35}
    figure.add_bar(x=grid, y=table, width=0.9, name="symbol, integer table", **bars)
    figure.add_histogram(x=latent, name="values before rounding", xbins=bins, **seen)
    figure.add_scatter(x=grid, y=density, mode="markers", name="symbol, learned probability", marker=dots)
    figure.update_xaxes(title_text="value of the latent (symbols)", range=[low - 0.5, high + 0.5])
    figure.update_yaxes(title_text="probability per symbol").update_layout(barmode="overlay")
    alt = (
        f"{len(latent):,} values of one latent channel with standard deviation {latent.std():.2f} symbols; the most "
        f"likely symbol has probability {density.max():.2f}, so it costs {-np.log2(density.max()):.2f} bits."
    )
    return finish(figure, "One channel of the latent: values, density and table", alt)
