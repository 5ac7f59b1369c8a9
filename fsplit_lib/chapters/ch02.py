"""Chapter 02: what the layers weigh, where the time goes, and which route is best when."""

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.latency import Plan, Route, SplitPoint, best, plan
from fsplit_lib.panels.base import Choice, LogNumber, Panel
from fsplit_lib.plots.style import finish, stepped
from fsplit_lib.plots.waterfall import empty_waterfall, fill_waterfall

NETWORKS = {  # timm's name, colour, marker and dash
    "ResNet-50": ("resnet50", "#0072B2", "circle", "solid"),
    "ConvNeXt-T": ("convnext_tiny", "#009E73", "square", "solid"),
    "Swin-T": ("swin_tiny_patch4_window7_224", "#CC79A7", "diamond-open", "dash"),
    "EfficientNet-B0": ("efficientnet_b0", "#D55E00", "triangle-up", "solid"),
    "EfficientNet-Lite0": ("tf_efficientnet_lite0", "#332288", "triangle-down-open", "dash"),
}
KINDS = {"remote": "#0072B2", "split": "#D55E00", "local": "#8b949e", "compressed": "#009E73"}
Value = Callable[[SplitPoint, SplitPoint], float]


def along_networks(profiles: dict[str, list[SplitPoint]], x: Value, y: Value) -> go.Figure:
    """Draw a line for each network, with a marker at each place to split.

    Of each network's split points the last is the whole network; ``x`` and ``y`` are drawn of a point and the whole.
    """
    figure = go.Figure()
    for name, (*points, whole) in profiles.items():
        _, colour, symbol, dash = NETWORKS[name]
        figure.add_scatter(
            x=[x(p, whole) for p in points], y=[y(p, whole) for p in points], name=name, mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 4 if dash == "solid" else 2},
            marker={"symbol": symbol, "size": 8}, text=[p.name for p in points],
        )  # fmt: skip
    return figure


def _plans(candidates: list[Route], megabits: float, ratio: float) -> list[Plan]:
    return [plan(route, megabits * 1e6, ratio) for route in candidates]


def _fill(figure: go.Figure, plans: list[Plan]) -> str:
    """Draw plans, of which the first sends the photo and the last stays on the device."""
    milliseconds = [1000 * one.total for one in plans]
    photo, stay, slowest = milliseconds[0], milliseconds[-1], max(milliseconds)
    fastest = fill_waterfall(figure, plans, far=min(slowest, 4 * max(photo, stay)))  # readable beside hopeless routes
    return (
        f"Fastest: {fastest.route.name}, {1000 * fastest.total:,.0f} ms ({fastest.route.kind}); "
        f"sending the photo takes {photo:,.0f} ms and staying on the device {stay:,.0f} ms."
    )


def compare_routes(candidates: list[Route], megabits: float, ratio: float, title: str) -> go.Figure:
    """Draw device, wire and server time of every route, stacked; the arguments are those of :func:`split_panel`."""
    figure, plans = empty_waterfall(title, len(candidates), row_height=26), _plans(candidates, megabits, ratio)
    said = ", ".join(f"{one.route.name} {1000 * one.total:,.0f} ms" for one in plans)
    figure.layout.meta = {"alt": f"{_fill(figure, plans)} All routes: {said}."}
    return figure


def split_panel(routes_of: dict[str, list[Route]], network: str, megabits: float, ratio: float) -> Panel:
    """Choose a network, slide link and server, and see device, wire and server time of every split.

    The routes of each network were measured on this machine, which is the device. The rate of the link (Mbit/s) and the
    speed of the server over the device are first positions.
    """

    def update(network: str, megabits: float, ratio: float) -> str:
        return _fill(panel.figure, _plans(routes_of[network], megabits, ratio))

    controls = {
        "network": Choice("network", tuple(routes_of), network),
        "megabits": LogNumber("link (Mbit/s)", 0.1, 1000, megabits),
        "ratio": LogNumber("server speed (x device)", 1, 10**2.5, ratio),
    }
    panel = Panel(controls, empty_waterfall("Every place to split", len(routes_of[network]), row_height=26), update)
    return panel.set()


def decision_map(candidates: list[Route], rates: np.ndarray, speedups: np.ndarray, title: str) -> go.Figure:
    """Draw which kind of route is fastest, over rates (R,) in bits per second and the server's speed-ups (S,)."""
    kinds = list(KINDS)
    grid = np.array([[kinds.index(best(candidates, rate, s).route.kind) for rate in rates] for s in speedups])
    shares = {kind: (grid == i).mean() for i, kind in enumerate(kinds)}
    shown = [kind for kind in kinds if shares[kind]]
    bar = {"tickvals": list(map(kinds.index, shown)), "ticktext": shown, "title": "fastest"}
    figure = go.Figure(go.Heatmap(x=rates / 1e6, y=speedups, z=grid, colorbar=bar, **stepped(KINDS.values())))
    for i, kind in enumerate(kinds):  # the region's name in its middle, for whom the colours say nothing
        rows, columns = np.nonzero(grid == i)
        if shares[kind] >= 0.03:
            row = int(np.quantile(rows, 0.5, method="lower"))  # one that is there: a mean of two need not be
            middle = rates[int(np.median(columns[rows == row]))] / 1e6
            figure.add_annotation(
                x=np.log10(middle), y=np.log10(speedups[row]), text=kind, showarrow=False,
                font={"size": 15, "color": "#1b1f24"}, bgcolor="rgba(255,255,255,0.8)", borderpad=1,
            )  # fmt: skip
    figure.update_xaxes(title_text="link (Mbit/s)", type="log", dtick=1)
    figure.update_yaxes(title_text="speed of the server (times the device)", type="log", dtick=1)
    told = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items() if share)
    return finish(figure, title, f"Share of the map where each kind is fastest: {told}.", height=420)
