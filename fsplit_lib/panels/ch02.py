"""The panel of chapter 02: choose a network, slide link and server, and see the best split move."""

from fsplit_lib.latency import Plan, Route, plan
from fsplit_lib.panels.base import Choice, LogNumber, Panel
from fsplit_lib.plots.ch02 import move_waterfall, waterfall

__all__ = ["split_panel"]


def split_panel(routes_of: dict[str, list[Route]], network: str, megabits: float, ratio: float) -> Panel:
    """Device, wire and server time of every split of a network.

    Args:
        routes_of: network to its routes, measured on this machine.
        network: first choice.
        megabits: first rate of the link, Mbit/s.
        ratio: first speed of the server over the device; the device is this machine.
    """

    def plans(network: str, megabits: float, ratio: float) -> list[Plan]:
        return [plan(route, megabits * 1e6, ratio) for route in routes_of[network]]

    def update(network: str, megabits: float, ratio: float) -> str:
        return move_waterfall(panel.figure, plans(network, megabits, ratio))

    controls = {
        "network": Choice("network", tuple(routes_of), network),
        "megabits": LogNumber("link (Mbit/s)", -1, 3, megabits),
        "ratio": LogNumber("server speed (x device)", 0, 2.5, ratio),
    }
    panel = Panel(controls, waterfall(plans(network, megabits, ratio), "Every place to split"), update)
    panel.refresh()
    return panel
