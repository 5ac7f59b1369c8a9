"""Photo in, answer out: a method's time on the device, on any wire, and at the server, from the measured table.

T(r) = k · t_device + t_wire(r) + t_server / s          k: slowdown of the device, s: speed-up of the server
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.evaluation.tables import TABLES, LatencyRow
from fsplit_lib.latency.planning import Plan, Route
from fsplit_lib.offload.link import Link

REQUEST_BYTES, REPLY_BYTES = 250, 600  # headers of the request; headers and JSON of the answer


@dataclass(frozen=True)
class EndToEnd:
    """One method at one setting."""

    method: str  # as in figures
    device: dict[str, float]  # stage to milliseconds on the measuring machine
    server: dict[str, float]  # stage to milliseconds on the measuring machine
    bytes: float  # sent; 0 if nothing is
    agreement: float | None  # with the whole network, or None

    @property
    def up_bytes(self) -> float:
        """Bytes sent with the request's headers; 0 where nothing is sent."""
        return self.bytes + REQUEST_BYTES if self.bytes else 0.0

    @property
    def down_bytes(self) -> float:
        """Bytes of the answer; 0 where nothing is sent."""
        return REPLY_BYTES if self.bytes else 0.0


@dataclass(frozen=True)
class Scenario:
    """Where a journey takes place.

    >>> ours = EndToEnd("FrankenSplit", {"encode": 20.0}, {"tail": 5.0}, 1000.0, None)
    >>> plan = Scenario(slowdown=2.0).plan(ours)
    >>> plan.device, round(plan.wire, 6), plan.server  # 8 * (1000 + 250) and 8 * 600 bits at 1 Mbit/s
    (0.04, 0.0148, 0.005)
    """

    link: Link = field(default_factory=lambda: Link("1 Mbit/s", 1.0, 1.0, 0.0))  # to the server
    slowdown: float = 1.0  # how much slower than the measuring machine the device is
    speedup: float = 1.0  # how much faster than the measuring machine the server is

    def plan(self, journey: EndToEnd) -> Plan:
        """Compute the seconds on device, wire and server: Eq. (2) of chapter 08; ``plan(journey).total`` is their sum."""
        kind = "compressed" if journey.method == "FrankenSplit" else "remote" if journey.bytes else "local"
        device, server = sum(journey.device.values()) / 1e3, sum(journey.server.values()) / 1e3
        wire = self.link.transfer_ms(journey.up_bytes, journey.down_bytes) / 1e3
        route = Route(journey.method, kind, device, journey.bytes, server)
        return Plan(route, device * self.slowdown, wire, server / self.speedup)

    def fixed_ms(self, journey: EndToEnd) -> float:
        """Compute the milliseconds that no faster link takes away: device, server and delays."""
        plan = self.plan(journey)
        return 1e3 * (plan.device + plan.server) + (2 * self.link.delay_ms if journey.bytes else 0.0)


def end_to_end(rows: Iterable[LatencyRow], network: str, level: float, precision: str = "int8") -> dict[str, EndToEnd]:
    """Collect every method that gives a network's answer, at the settings that were chosen for an agreement.

    Networks on the device have the given precision and one thread; float32, or the most threads that were measured,
    where a method has no other.

    Raises:
        DataError: nothing was measured at the level, or for the network.

    >>> from fsplit_lib.evaluation.tables import read_table
    >>> ways = end_to_end(read_table("latency.csv"), "tf_efficientnet_lite0", 0.8)
    >>> list(ways)[:4], ways["on the device"].bytes
    (['FrankenSplit', 'JPEG', 'WebP', 'AVIF'], 0.0)
    """
    rows = [r for r in rows if r.network in ("", network) and r.level in (None, level) and r.place != "check"]
    if not any(row.level == level for row in rows) or not any(row.network == network for row in rows):
        raise DataError(
            f"the latency table has no rows for {network} at level {level:g}: "
            f"measure with `{TABLES['latency.csv'].command} --agreement {level:g}`"
        )
    found = {}
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        local = [row for row in mine if row.place == "device"]
        have = {row.precision for row in local} - {""}
        used = precision if precision in have else next(iter(sorted(have)), "")
        counts = {row.threads for row in local if row.precision == used}
        fits = (used, 1 if 1 in counts else max(counts))
        device = {r.stage: r.median_ms for r in local if r.precision == "" or (r.precision, r.threads) == fits}
        server = {row.stage: row.median_ms for row in mine if row.place == "server"}
        one = next(row for row in mine if row.place == "wire" and row.precision in ("", used))
        found[method] = EndToEnd(method, device, server, one.bytes, one.agreement)
    return found


def ratio(ours: EndToEnd, other: EndToEnd, where: Scenario) -> float:
    """Compute how many times as long the other takes: Eq. (3) of chapter 08."""
    return where.plan(other).total / where.plan(ours).total


def rate_for(ours: EndToEnd, other: EndToEnd, where: Scenario, times: float = 1.0) -> float | None:
    """Compute the link rate in Mbit/s at which the other takes exactly ``times`` as long: Eq. (4) of chapter 08.

    r = 8 (B_other − times · B_ours) / (times · c_ours − c_other), with c what does not depend on the rate; None where
    no rate does it. With ``times = 1`` it is the crossover. Up and down at the same rate, no loss.

    Raises:
        ParameterError: times is not positive.

    >>> a, b = EndToEnd("ours", {"encode": 20.0}, {}, 1000, None), EndToEnd("JPEG", {"encode": 4.0}, {}, 5000, None)
    >>> round(rate_for(a, b, Scenario()), 6)  # 8 * 4000 bits in 16 ms
    2.0
    """
    if times <= 0:
        raise ParameterError(f"times must be above 0, got {times}")
    bytes_left = (other.up_bytes + other.down_bytes) - times * (ours.up_bytes + ours.down_bytes)
    ms_left = times * where.fixed_ms(ours) - where.fixed_ms(other)
    rate = 8e-3 * bytes_left / ms_left if ms_left else 0.0
    return rate if rate > 0 else None


def widest_ratio(ours: EndToEnd, other: EndToEnd, where: Scenario) -> tuple[float, float]:
    """Compute the ratio on an endlessly slow and on an endlessly fast link; on any other it lies between them.

    The first is a ratio of bytes, the second a ratio of everything else: Eq. (5) of chapter 08.

    >>> a, b = EndToEnd("ours", {"encode": 20.0}, {}, 1000, None), EndToEnd("JPEG", {"encode": 8.0}, {}, 2850, None)
    >>> [round(ratio, 6) for ratio in widest_ratio(a, b, Scenario())]
    [2.0, 0.4]
    """
    slow = (other.up_bytes + other.down_bytes) / max(ours.up_bytes + ours.down_bytes, 1e-9)
    return slow, where.fixed_ms(other) / where.fixed_ms(ours)
