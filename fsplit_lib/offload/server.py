"""The server's half: packets or photos in over HTTP, answers out.

    connection ──► header, in time ──► service ──► JSON
        └──► closed: the one that has kept the server waiting longest, where there are too many

uvicorn speaks HTTP, Starlette routes, async-batcher collects what waits into batches; the networks run in this process, so that
nothing is pickled: neither on the wire nor between processes. (LitServe 0.2.19 does the same with three kinds of
processes that pickle requests and answers to each other, fails a whole batch for one bad request in it, and limits
only the time in its queue.)
"""

import asyncio
import functools
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from fsplit_lib.errors import ParameterError
from fsplit_lib.offload.batches import DEFAULTS, Settings
from fsplit_lib.offload.client import check_token
from fsplit_lib.offload.service import build_app
from fsplit_lib.system import FrankenSplit


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, with an end to a client's silence.

    A client owes the server the rest of a header; the rest of a body, also of one that was refused unread; or the
    reading of an answer. It has ``patience_s`` for each. Where there are more connections than allowed, the one that
    has owed longest is closed, so that no number of slow ones keeps a quick one out: ``waiting`` holds the alarms of
    all connections of a server whose client owes something, longest first.
    """

    def __init__(self, *args: Any, waiting: dict["Connection", asyncio.TimerHandle], patience_s: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.waiting, self.patience_s, self.owed = waiting, patience_s, ""
        self.limit, self.limit_concurrency = self.limit_concurrency, None  # uvicorn would refuse whoever comes last

    def _watch(self, over: bool = False) -> None:
        """Set the alarm anew when the client owes something else."""
        theirs, ours = self.conn.their_state, self.conn.our_state
        owed = ""
        if not over and self.flow.write_paused:
            owed = "reading"
        elif not over and theirs is h11.IDLE:
            owed = "header"
        elif not over and theirs is h11.SEND_BODY:
            owed = "rest" if ours is h11.DONE else "body"
        if owed != self.owed:
            self.owed = owed
            if self in self.waiting:
                self.waiting.pop(self).cancel()
            if owed:  # for a body the service has an alarm of its own, and a sentence
                self.waiting[self] = self.loop.call_later(self.patience_s + (owed == "body"), self._give_up)

    def _give_up(self) -> None:
        self._watch(over=True)
        self.connections.discard(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for a header; make room."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) >= self.limit:
            next(iter(self.waiting))._give_up()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next header, or for what is left of a body that was refused."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch(over=True)


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """Open a listening socket; 0 as a port takes a free one.

    Raises:
        ParameterError: an address that others can reach, without a token; or one that cannot be had; or a token that
            cannot travel.
    """
    check_token(token)
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise ParameterError(f"host must be an IP address or localhost, got {host!r}") from error
    if not loopback and not token:
        raise ParameterError(f"host {host} can be reached by others: a token is required; set --token or FSPLIT_TOKEN")
    try:
        own = "127.0.0.1" if host == "localhost" else host
        family = socket.AF_INET6 if ":" in own else socket.AF_INET
        bound = socket.create_server((own, port), family=family, backlog=1024)
        # named TCP, or asyncio leaves Nagle's algorithm on and each answer waits 40 ms for the client's delayed ACK
        return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())
    except (OSError, OverflowError) as error:
        raise ParameterError(f"cannot listen on {host}, port {port}: {error}; choose another --port") from error


def _uvicorn(app: Starlette, settings: Settings) -> uvicorn.Server:
    descriptors = _descriptors()
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=functools.partial(Connection, waiting={}, patience_s=settings.timeout_s),
            ws="none",
            log_config=None,
            log_level="error",  # what strangers do is no news: they could fill a disk with it
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
            limit_concurrency=min(8 * settings.max_waiting, descriptors // 2),
            backlog=min(128, descriptors // 16),  # accepted at once, before the limit is looked at
        )
    )


def _descriptors() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 2**20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**20 if soft == resource.RLIM_INFINITY else soft


def serve(
    app: Starlette, listener: socket.socket, settings: Settings = DEFAULTS, until: Callable[[], object] | None = None
) -> None:
    """Serve until a signal, or until the blocking call ``until`` returns."""
    server = _uvicorn(app, settings)
    if until is not None:

        def wait() -> None:
            until()
            server.should_exit = True

        threading.Thread(target=wait, daemon=True).start()
    server.run(sockets=[listener])


@contextmanager
def serving(system: FrankenSplit, token: str | None = None, settings: Settings = DEFAULTS) -> Iterator[int]:
    """Run a server in a thread of this process, on a free port of loopback, which is yielded."""
    listener, over = listen("127.0.0.1", 0, token), threading.Event()
    run = functools.partial(serve, build_app(system, token, settings), listener, settings, over.wait)
    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join(10)
        listener.close()
