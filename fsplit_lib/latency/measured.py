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
    url: str, payloads: Mapping[str, bytes], link: Link | None = None, runs: int = 20, warmup: int = 3
) -> dict[str, MeasuredEndToEnd]:
    """Send each method's packet or image file in turns, and tell what each took; ``warmup`` rounds are not timed.

    The server at the URL is a running ``fsplit serve``, and on this machine where there is a link to travel through.

    Raises:
        OffloadError: the server cannot be reached or refuses.
    """
    replies: dict[str, list[Reply]] = {name: [] for name in payloads}

    def ask(name: str, data: bytes) -> None:
        replies[name].append(client.send(data, "packet" if data[:2] == MAGIC else "image"))

    shaped = nullcontext() if link is None else ShapedLink(link, urlsplit(url).port)
    with shaped, Client(url if link is None else shaped.url) as client:
        timings = interleave({name: partial(ask, name, data) for name, data in payloads.items()}, runs, warmup)
    found = {}
    for name, data in payloads.items():
        kept = replies[name][warmup:]
        parts = np.median([(one.decode_ms, one.queue_ms, one.tail_ms) for one in kept], axis=0).tolist()
        wire = link.transfer_ms(len(data) + REQUEST_BYTES, REPLY_BYTES) if link else 0.0
        found[name] = MeasuredEndToEnd(timings[name], *parts, wire)
    return found
