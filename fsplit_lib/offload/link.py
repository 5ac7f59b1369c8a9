"""The link between device and server: presets, what they should cost, and a proxy that makes real sockets cost it.

    device ──► 127.0.0.1:port ──► pacing (rate) ──► delay ± jitter ──► 127.0.0.1:server_port
           ◄──                ◄──               ◄──                ◄──

The proxy moves the bytes of real TCP connections and holds each back until the link would have delivered
it. Three things are models, not networks. Rates are goodput: headers below TCP's payload, and the radio's
own overhead, count as taken off already. There is no slow start, which would cost large transfers a few more round
trips, so photos come off better than in reality, never packets. Loss is a stall: each 1,448 bytes are
lost with a fixed probability and then sent again one round trip later, while everything behind them waits.
"""

import asyncio
import contextlib
import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from fsplit_lib.errors import ParameterError

SEGMENT_BYTES = 1448  # TCP's payload of a 1,500-byte IP packet with timestamps: the unit of loss
AHEAD_S = 0.25  # how far ahead of the link's clock bytes are taken in: a busy machine may be late by as much
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Link:
    """What a link does to bytes.

    >>> Link("example", 8.0, 8.0, 20.0).transfer_ms(1000, 0)
    21.0
    """

    name: str  # as in figures
    uplink_mbit_s: float  # device to server, goodput (payload alone, without headers) in 10⁶ bit/s
    downlink_mbit_s: float  # server to device
    delay_ms: float  # one way
    jitter_ms: float = 0.0  # the delay varies by at most this, uniformly, never changing the order of bytes
    loss: float = 0.0  # probability that a segment has to be sent again
    source: str = "assumption"  # where the numbers come from; what is nobody's measurement is called an assumption

    def __post_init__(self) -> None:
        if not (self.uplink_mbit_s > 0 and self.downlink_mbit_s > 0):
            raise ParameterError(f"rates of a link must be above 0 Mbit/s, got {self}")
        if not (0 <= self.jitter_ms <= self.delay_ms < math.inf and 0 <= self.loss <= 0.5):
            raise ParameterError(f"a link needs 0 <= jitter_ms <= delay_ms and a loss from 0 to 0.5, got {self}")

    def transfer_ms(self, up_bytes: float, down_bytes: float) -> float:
        """Compute the expected time from the first byte sent to the last byte of the answer, with a server that takes none.

        t = Σ over both ways of 8·B/R + delay + segments · loss/(1 − loss) · (2·delay + 8·1448/R); nothing
        sent one way costs nothing that way. Bytes are all those above TCP: a request has headers too.

        >>> Link("", 8.0, 8.0, 10.0).transfer_ms(1_000_000, 0)
        1010.0
        """
        ways = ((up_bytes, self.uplink_mbit_s), (down_bytes, self.downlink_mbit_s))
        return sum(self._one_way_ms(*way) for way in ways if way[0])

    def _one_way_ms(self, size_bytes: float, mbit_s: float) -> float:
        again = math.ceil(size_bytes / SEGMENT_BYTES) * self.loss / (1 - self.loss)
        return size_bytes * 8e-3 / mbit_s + self.delay_ms + again * (2 * self.delay_ms + SEGMENT_BYTES * 8e-3 / mbit_s)


_BLE = (
    "rate: an upper bound by arithmetic, no measurement: Bluetooth 4.0 at 1 Mbit/s carries 20 bytes of attribute value every "
    "676 µs (37-byte packet 296 µs, empty answer 80 µs, two spaces of 150 µs); Gomez, Demirkol & Paradells 2011, "
    "doi:10.1109/LCOMM.2011.092011.111314, model this case with errors; delay and jitter: assumption, half a connection interval "
    "of 30 ms"
)
_LTE = (
    "rates: medians of Huang et al. 2012, A close examination of performance and power characteristics of 4G LTE networks, "
    "MobiSys, doi:10.1145/2307636.2307658; delay and jitter: assumption"
)
_WIFI = "assumption: about six tenths of the 65 Mbit/s of one 802.11n stream in 20 MHz"
_5G = (
    "rates: Report ITU-R M.2410-0 (2017), the user experienced data rate that a dense city must offer, a requirement and no "
    "measurement; delay: its 4 ms for the radio, and 6 ms to the server as an assumption; jitter: assumption"
)
LINKS = {
    link.name: link
    for link in (
        Link("BLE", 0.2367, 0.2367, 15.0, 7.5, source=_BLE),
        Link("LTE uplink", 6.0, 13.0, 35.0, 10.0, source=_LTE),
        Link("Wi-Fi", 40.0, 40.0, 2.0, 1.0, source=_WIFI),
        Link("5G", 50.0, 100.0, 10.0, 2.0, source=_5G),
        Link("loopback", math.inf, math.inf, 0.0, source="unshaped: the machine's own loopback"),
    )
}


class Way:
    """One direction's clock: when bytes that come in now arrive at the other end."""

    def __init__(self, link: Link, mbit_s: float, rng: random.Random):
        self.link, self.rng = link, rng
        self.seconds_per_byte = 8e-6 / mbit_s
        self.chunk_bytes = int(min(65536, max(SEGMENT_BYTES, mbit_s * 1e6 / 8 * 0.005)))  # at most 5 ms of a fast link
        self.free = self.arrived = 0.0
        self.bytes = 0

    def schedule(self, now: float, size: int) -> float:
        """Compute when ``size`` bytes that are ready ``now`` have arrived, in seconds of the same clock."""
        stalls = 0
        for _ in range(math.ceil(size / SEGMENT_BYTES)):
            while self.rng.random() < self.link.loss:
                stalls += 1
        stall = 2e-3 * self.link.delay_ms + SEGMENT_BYTES * self.seconds_per_byte
        self.free = max(self.free, now) + size * self.seconds_per_byte + stalls * stall
        delay = 1e-3 * (self.link.delay_ms + self.link.jitter_ms * self.rng.uniform(-1, 1))
        self.arrived = max(self.arrived, self.free + delay)
        self.bytes += size
        return self.arrived


class ShapedLink:
    """A TCP proxy on ``port`` of loopback that delivers as late as the link would; all its connections share the link.

    Connections beyond ``max_connections`` are closed at once, and all of them after ``lifetime_s``. The ``bytes`` of
    the ways ``up`` and ``down`` count what travelled.
    """

    def __init__(self, link: Link, server_port: int, max_connections: int = 128, lifetime_s: float = 600.0):
        self.link, self.server_port = link, server_port
        self.max_connections, self.lifetime_s = max_connections, lifetime_s
        rates = {"up": link.uplink_mbit_s, "down": link.downlink_mbit_s}
        self.up, self.down = (Way(link, rate, random.Random(name)) for name, rate in rates.items())
        self.port = 0
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._tasks: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=f"link {link.name}", daemon=True)

    @property
    def url(self) -> str:
        """Of the server, as seen through the link."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> "ShapedLink":
        self._thread.start()
        if not self._ready.wait(10):
            raise OSError(f"the proxy of the {self.link.name} link could not listen on {HOST}")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(RuntimeError):  # its time was over
            self._stop()
        self._thread.join(10)

    async def _run(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        self._ready.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), self.lifetime_s)
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        writers = [writer]
        try:
            if len(self._tasks) <= self.max_connections:
                await asyncio.sleep(2e-3 * self.link.delay_ms)  # the handshake that loopback made in no time
                answers, upstream = await asyncio.open_connection(HOST, self.server_port)
                writers.append(upstream)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, upstream, self.up))
                    both.create_task(self._pump(answers, writer, self.down))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # an end went away, or the link was closed: the other end is told by closing it too
        finally:
            self._tasks.discard(task)
            for one in writers:
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        loop = asyncio.get_running_loop()
        arrivals: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(arrivals, writer))
            chunk = b"..."
            while chunk:
                chunk = await reader.read(way.chunk_bytes)
                await arrivals.put((way.schedule(loop.time(), len(chunk)), chunk))
                await asyncio.sleep(max(0.0, way.free - loop.time() - AHEAD_S))

    async def _deliver(self, arrivals: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at, chunk = await arrivals.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
