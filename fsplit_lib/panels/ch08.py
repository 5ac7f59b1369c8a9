"""The panel of chapter 08: slide link, device and server, and see which method answers first."""

from collections.abc import Iterable

from fsplit_lib.latency import Circumstances, Journey, LatencyRow, journeys
from fsplit_lib.offload.link import Link
from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.plots.ch08 import journey_waterfall, move_journeys, winners

__all__ = ["journey_panel"]


def journey_panel(
    rows: Iterable[LatencyRow],
    network: str,
    level: str,
    precision: str,
    megabits: float,
    slowdown: float,
    speedup: float,
) -> Panel:
    """Device, wire and server time of every method of the latency table.

    Args:
        rows: of the table.
        network: first network at the server.
        level: first share of kept decisions, as "75 %".
        precision: first precision on the device.
        megabits: first rate of the link, both ways, in Mbit/s.
        slowdown: first slowdown of the device against the measuring machine.
        speedup: first speed-up of the server.
    """
    rows = list(rows)
    networks = tuple(dict.fromkeys(row.network for row in rows if row.network))
    levels = {f"{100 * one:g} %": one for one in sorted({row.level for row in rows if row.level is not None})}

    def state(network: str, level: str, precision: str, **where: float) -> tuple[dict[str, Journey], Circumstances]:
        link = Link("yours", where["megabits"], where["megabits"], where["delay"])
        found = journeys(rows, network, levels[level], precision)
        return found, Circumstances(link, where["slowdown"], where["speedup"])

    def update(**values: object) -> str:
        found, where = state(**values)
        said = move_journeys(panel.figure, [where.plan(one) for one in found.values()])
        ours = [(low, high) for name, low, high in winners(found, where) if name == "FrankenSplit"]
        ends = [f"from {low:.3g} to {high:.3g} Mbit/s" for low, high in ours]
        return f"{said} FrankenSplit is the fastest {' and '.join(ends) if ends else 'on no link'}."

    controls = {
        "network": Choice("network", networks, network),
        "level": Choice("decisions kept", tuple(levels), level),
        "precision": Choice("precision", ("float32", "int8"), precision),
        "megabits": LogNumber("link (Mbit/s)", -2, 3, megabits),
        "delay": Number("delay (ms)", 0.0, 200.0, 10.0, 1.0),
        "slowdown": LogNumber("device slowdown (x)", -1, 2, slowdown),
        "speedup": LogNumber("server speed (x)", -1, 2, speedup),
    }
    first = {name: control.value for name, control in controls.items()}
    found, where = state(**first)
    figure = journey_waterfall([where.plan(one) for one in found.values()], "Photo in, answer out")
    panel = Panel(controls, figure, update)
    panel.refresh()
    return panel
