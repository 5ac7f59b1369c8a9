"""Device, wire, server: how long an answer takes by each route, and which route is best."""

from dataclasses import dataclass

from fsplit_lib.latency.profiling import SplitPoint


@dataclass(frozen=True)
class Route:
    """One way to an answer.

    Attributes:
        name: as in figures.
        kind: "local", "remote" or "split".
        device_seconds: on the reference machine.
        size_bytes: sent; 0 if nothing is.
        server_seconds: on the reference machine.
    """

    name: str
    kind: str
    device_seconds: float
    size_bytes: float
    server_seconds: float


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
    Coding time is left out.
    """
    whole = points[-1].seconds
    return [p for p in points[1:-1] if p.bytes(bits) / photo_bytes < 1 - p.seconds / whole]


def plan(route: Route, rate: float, speedup: float = 1.0, slowdown: float = 1.0) -> Plan:
    """Plan a route in a scenario; time on the wire is Eq. (2) of chapter 02, which leaves out any delay.

    Args:
        route: measured on the reference machine.
        rate: of the link to the server, bits per second; chapter 08's :class:`fsplit_lib.offload.Link` knows more.
        speedup: how much faster than the reference machine the server is.
        slowdown: how much slower than the reference machine the device is.
    """
    return Plan(route, route.device_seconds * slowdown, 8 * route.size_bytes / rate, route.server_seconds / speedup)


def best(candidates: list[Route], rate: float, speedup: float = 1.0, slowdown: float = 1.0) -> Plan:
    """Find the fastest of several routes, Eq. (4) of chapter 02."""
    return min((plan(route, rate, speedup, slowdown) for route in candidates), key=lambda one: one.total)
