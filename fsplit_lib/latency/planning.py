"""Device, wire, server: how long an answer takes by each route, and which route is best."""

from dataclasses import dataclass

from fsplit_lib.latency.profiling import SplitPoint


@dataclass(frozen=True)
class Route:
    """One way to an answer.

    >>> plan(Route("send", "remote", 0.01, 10_000, 0.1), rate=1e6).total
    0.19
    """

    name: str  # as in figures
    kind: str  # "local", "remote", "compressed" or "split"
    device_seconds: float  # on the reference machine
    size_bytes: float  # sent; 0 if nothing is
    server_seconds: float  # on the reference machine


@dataclass(frozen=True)
class Plan:
    """What a route costs in one scenario, in seconds."""

    route: Route
    device: float
    wire: float
    server: float

    @property
    def total(self) -> float:
        """Photo in, answer out: Eq. (3) of chapter 02."""
        return self.device + self.wire + self.server


def routes(
    points: list[SplitPoint],
    photo_bytes: float,
    bits: int = 8,
    encode_seconds: float = 0.0,
    decode_seconds: float = 0.0,
) -> list[Route]:
    """List every way to use a network: all at the server, split behind any layer, all on the device.

    Args:
        points: from :func:`fsplit_lib.latency.profile`.
        photo_bytes: of the picture as it would be sent.
        bits: per value of a sent activation.
        encode_seconds: to code the photo on the device.
        decode_seconds: to decode it at the server.

    >>> points = [SplitPoint("input", 300, 0, 0.0), SplitPoint("block", 900, 5, 0.25), SplitPoint("answer", 10, 9, 1.0)]
    >>> [(route.name, route.size_bytes, route.server_seconds) for route in routes(points, 100.0)]
    [('send the photo', 100.0, 1.0), ('block', 900.0, 0.75), ('stay on the device', 0.0, 0.0)]
    """
    whole = points[-1].seconds
    between = [Route(p.name, "split", p.seconds, p.bytes(bits), whole - p.seconds) for p in points[1:-1]]
    return [
        Route("send the photo", "remote", encode_seconds, photo_bytes, whole + decode_seconds),
        *between,
        Route("stay on the device", "local", whole, 0.0, 0.0),
    ]


def can_win(points: list[SplitPoint], photo_bytes: float, bits: int = 8) -> list[SplitPoint]:
    """Find the split points that beat both ends on *some* link, whatever the server's speed.

    Implements Eq. (5) of chapter 02: B_l / B_photo < 1 − t_l / t_all, from comparing Eq. (3) with both ends.
    Coding time is left out. Arguments as in :func:`routes`.

    >>> points = [SplitPoint("input", 300, 0, 0.0), SplitPoint("early", 900, 1, 0.1), SplitPoint("late", 10, 7, 0.5)]
    >>> [point.name for point in can_win([*points, SplitPoint("answer", 10, 9, 1.0)], 100.0)]
    ['late']
    """
    whole = points[-1].seconds
    return [p for p in points[1:-1] if p.bytes(bits) / photo_bytes < 1 - p.seconds / whole]


def plan(route: Route, rate: float, speedup: float = 1.0) -> Plan:
    """Plan a route in a scenario; time on the wire is Eq. (2) of chapter 02, which leaves out any delay.

    The link's rate is in bits per second; chapter 08's :class:`fsplit_lib.offload.Link` knows more. The server is
    ``speedup`` times as fast as the reference machine.
    """
    return Plan(route, route.device_seconds, 8 * route.size_bytes / rate, route.server_seconds / speedup)


def best(candidates: list[Route], rate: float, speedup: float = 1.0) -> Plan:
    """Find the fastest of several routes, Eq. (4) of chapter 02; rate in bits a second, the others as in :func:`plan`.

    >>> ways = [Route("send", "remote", 0.0, 10_000, 0.1), Route("stay", "local", 0.5, 0, 0.0)]
    >>> [best(ways, rate).route.name for rate in (1e5, 1e6)]
    ['stay', 'send']
    """
    return min((plan(route, rate, speedup) for route in candidates), key=lambda one: one.total)
