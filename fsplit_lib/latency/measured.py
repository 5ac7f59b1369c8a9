"""The same journeys through a real server and real sockets: what the model leaves out shows in the difference.

bytes ──► Client ──► ShapedLink ──► server ──► Reply, with the server's own times
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import numpy as np

from fsplit_lib.device.timing import Timing, interleave
from fsplit_lib.latency.end_to_end import REPLY_BYTES, REQUEST_BYTES
from fsplit_lib.offload.client import Client, Reply
from fsplit_lib.offload.link import Link, ShapedLink
from fsplit_lib.packet import MAGIC


@dataclass(frozen=True)
class MeasuredEndToEnd:
    """Bytes in, answer out, as a client saw it."""

    total: Timing  # at the client, on a connection that was open already
    decode_ms: float  # the server's own, median
    queue_ms: float  # the server's own, median
    tail_ms: float  # the server's own, median
    wire_ms: float  # what the link's closed form says

    @property
    def unexplained_ms(self) -> float:
        """What neither the link nor the server's own times account for."""
        return self.total.median_ms - self.wire_ms - self.decode_ms - self.queue_ms - self.tail_ms


def through_server(
    url: str,
    payloads: Mapping[str, bytes],
    link: Link | None = None,
    runs: int = 20,
    warmup: int = 3,
) -> dict[str, MeasuredEndToEnd]:
    """Send every payload in turns, and tell what each took.

    Args:
        url: of a running ``fsplit serve``; on this machine where there is a link to shape.
        payloads: a packet or an image file for each method.
        link: to travel through; None takes the way as it is.
        runs: timed rounds.
        warmup: rounds before them; the first opens the connection.

    Raises:
        OffloadError: the server cannot be reached or refuses.
    """
    replies: dict[str, list[Reply]] = {name: [] for name in payloads}
    shaped = nullcontext() if link is None else ShapedLink(link, urlsplit(url).port)
    with shaped, Client(url if link is None else shaped.url) as client:
        asking = {name: partial(_ask, client, data, replies[name]) for name, data in payloads.items()}
        timings = interleave(asking, runs, warmup)
    found = {}
    for name, data in payloads.items():
        kept = replies[name][warmup:]
        parts = np.median([(one.decode_ms, one.queue_ms, one.tail_ms) for one in kept], axis=0).tolist()
        wire = link.transfer_ms(len(data) + REQUEST_BYTES, REPLY_BYTES) if link else 0.0
        found[name] = MeasuredEndToEnd(timings[name], *parts, wire)
    return found


def _ask(client: Client, data: bytes, replies: list[Reply]) -> None:
    replies.append(client.send(data, "packet" if data[:2] == MAGIC else "image"))
