"""The server's half: packets or photos in over HTTP, answers out.

    request ──► token, size ──► decode (a thread each) ──► batch ──► decoder and tail, or whole backbone ──► JSON
                  4xx               4xx

uvicorn speaks HTTP, Starlette routes, async-batcher collects what waits into batches; all of it in one
process, so that nothing is pickled: neither on the wire nor between processes. (LitServe 0.2.19 does the
same with three kinds of processes that pickle requests and answers to each other, fails a whole batch for one bad
request in it, and limits only the time in its queue.) Decoding happens before the batch, so a damaged
request is answered at once and never meets the others.
"""

import asyncio
import functools
import hmac
import io
import ipaddress
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import torch
import uvicorn
from async_batcher.batcher import AsyncBatcher
from async_batcher.exceptions import QueueFullException
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from torch import Tensor

from fsplit_lib.data import center_crop, open_image
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import DataError, PacketError, ParameterError
from fsplit_lib.offload.client import PACKET, check_token, media_type
from fsplit_lib.packet import Packet
from fsplit_lib.system import FrankenSplit

__all__ = ["Settings", "build_app", "listen", "serve", "serving"]

IMAGES = ("image/jpeg", "image/png", "image/webp", "image/avif")


@dataclass(frozen=True)
class Settings:
    """What a server allows and how it batches.

    Attributes:
        max_batch: photos in one pass, at least 2.
        batch_wait_ms: how long a photo may wait for others to join its pass; 0 takes what is there.
        workers: passes at the same time, a thread each.
        max_bytes: of a request.
        max_pixels: of the picture that a packet describes.
        max_waiting: requests inside the server; further ones get 503.
        timeout_s: to receive a request, and again to answer it.
    """

    max_batch: int = 16
    batch_wait_ms: float = 2.0
    workers: int = 1
    max_bytes: int = 8 * 2**20
    max_pixels: int = 2**20
    max_waiting: int = 128
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what cannot serve."""
        least = {"max_batch": 2, "batch_wait_ms": 0, "workers": 1, "max_bytes": 1, "max_pixels": 1, "max_waiting": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ParameterError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not self.timeout_s > 0:
            raise ParameterError(f"timeout_s must be above 0 seconds, got {self.timeout_s}")


@dataclass
class Job:
    """One decoded request on its way through a batch: latent or pixels in, logits out."""

    kind: str
    x: Tensor  # (1, C, h, w)
    queued: float
    queue_ms: float = 0.0
    tail_ms: float = 0.0
    batch: int = 0
    logits: Tensor | None = None  # (classes,)


class Passes(AsyncBatcher[Job, Job]):
    """Runs what waits in as few passes as shapes allow."""

    def __init__(self, system: FrankenSplit, settings: Settings):
        super().__init__(
            max_batch_size=settings.max_batch,
            max_queue_time=settings.batch_wait_ms / 1e3,
            max_queue_size=settings.max_waiting,
            concurrency=settings.workers,
            executor=ThreadPoolExecutor(settings.workers, "pass"),
        )
        self.pictures = {
            PACKET: lambda y_hat: system.backbone.tail(system.decoder(y_hat)),
            "image": system.backbone,
        }

    def process_batch(self, batch: list[Job]) -> list[Job | Exception]:
        """Logits of each job; one that cannot be computed fails those of its kind and shape alone."""
        groups: dict[tuple, list[int]] = {}
        for index, job in enumerate(batch):
            groups.setdefault((job.kind, job.x.shape), []).append(index)
        results: list[Job | Exception] = list(batch)
        for (kind, _), members in groups.items():
            try:
                self._pass(self.pictures[kind], [batch[index] for index in members])
            except Exception as error:
                for index in members:
                    results[index] = error
        return results

    @torch.inference_mode()
    def _pass(self, network: Callable[[Tensor], Tensor], jobs: list[Job]) -> None:
        begun = time.perf_counter()
        logits = network(torch.cat([job.x for job in jobs]))
        tail_ms = 1e3 * (time.perf_counter() - begun)
        for job, row in zip(jobs, logits, strict=True):
            job.logits, job.tail_ms, job.batch = row, tail_ms, len(jobs)
            job.queue_ms = 1e3 * (begun - job.queued)


class Service:
    """What the routes need: the system, the token, the limits, the batches."""

    def __init__(self, system: FrankenSplit, token: str | None, settings: Settings):
        self.system, self.token, self.settings = system.eval(), token, settings
        self.names = system.backbone.class_names
        self.about = {
            "codec_id": system.codec.codec_id.hex(),
            "backbone": system.backbone.name,
            "classes": len(self.names),
            "lmbda": [system.codec.lmbdas[0], system.codec.lmbdas[-1]],
            "max_bytes": settings.max_bytes,
        }
        self.inside = 0
        self.pillow = threading.Lock()  # one large photo in memory; and open_image catches warnings, not thread-safely
        self.passes: Passes | None = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Batches live as long as the event loop."""
        self.passes = Passes(self.system, self.settings)
        yield
        await self.passes.stop(force=True)
        self.passes.executor.shutdown(wait=False, cancel_futures=True)

    async def health(self, _: Request) -> JSONResponse:
        """GET /health: open to all, to find out what one talks to."""
        return JSONResponse(self.about)

    async def answer(self, request: Request) -> JSONResponse:
        """POST /answer?top=5."""
        if self.inside >= self.settings.max_waiting:
            raise HTTPException(503, f"{self.inside} requests are being answered already: try again soon")
        self.inside += 1
        try:
            self._check_token(request)
            top, content = self._top(request), self._content(request)
            data = await _within(self.settings.timeout_s, 408, "send a request", self._body(request))
            begun = time.perf_counter()
            answer = await _within(self.settings.timeout_s, 503, "be answered", self._answer(data, content, top))
            answer["server_ms"] = round(1e3 * (time.perf_counter() - begun), 3)
            return JSONResponse(answer)
        except (PacketError, DataError) as error:
            raise HTTPException(400, str(error)) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the client went away") from error
        except QueueFullException as error:
            raise HTTPException(503, "too many requests wait already: try again soon") from error
        finally:
            self.inside -= 1

    def _check_token(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if self.token and not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise HTTPException(401, "this server asks for its token: Authorization: Bearer TOKEN")

    def _top(self, request: Request) -> int:
        text = request.query_params.get("top", "5")
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= len(self.names)):
            raise HTTPException(400, f"top must be a number from 1 to {len(self.names)}, got {text[:20]!r}")
        return int(text)

    def _content(self, request: Request) -> str:
        content = request.headers.get("content-type", "nothing").split(";")[0].strip().lower()
        if content not in (PACKET, *IMAGES):
            raise HTTPException(
                415, f"Content-Type must be {PACKET} for a packet, or one of {', '.join(IMAGES)}, got {content[:40]}"
            )
        return content

    async def _body(self, request: Request) -> bytes:
        """The body; one above the limit is read on for a while, so that its sender hears why it is refused."""
        parts, size, limit = [], 0, self.settings.max_bytes
        claimed = request.headers.get("content-length", "0")
        async for part in request.stream():
            size += len(part)
            if size <= limit:
                parts.append(part)
            elif size > 4 * limit or int(claimed) > 4 * limit:
                break
        if size > limit:
            raise HTTPException(413, f"a request may have {limit} bytes, this one has more", {"Connection": "close"})
        return b"".join(parts)

    async def _answer(self, data: bytes, content: str, top: int) -> dict:
        begun = time.perf_counter()
        kind, x = await asyncio.to_thread(self._decode, data, content)
        decode_ms = 1e3 * (time.perf_counter() - begun)
        job = await asyncio.shield(self.passes.process(Job(kind, x, time.perf_counter())))
        shares, indices = job.logits.softmax(0).topk(top)
        return {
            "classes": [self.names[index] for index in indices.tolist()],
            "shares": shares.tolist(),
            "decode_ms": round(decode_ms, 3),
            "queue_ms": round(job.queue_ms, 3),
            "tail_ms": round(job.tail_ms, 3),
            "batch": job.batch,
        }

    def _decode(self, data: bytes, content: str) -> tuple[str, Tensor]:
        """A packet's latent, or an image's pixels: cropped, unless it has the backbone's own size already."""
        if content == PACKET:
            packet = Packet.from_bytes(data)
            if packet.height * packet.width > self.settings.max_pixels:
                raise PacketError(
                    f"the packet describes {packet.height} x {packet.width} pixels; "
                    f"this server takes at most {self.settings.max_pixels}"
                )
            return PACKET, self.system.codec.decompress([packet])
        if media_type(data) != content:
            raise DataError(f"the body is not {content}: it begins with {data[:8]!r}")
        size = self.system.backbone.input_size
        with self.pillow:
            image = open_image(io.BytesIO(data))
            crop = image if image.size == (size, size) else center_crop(image, size)
        return "image", photo_tensor(crop)


async def _within(seconds: float, status: int, what: str, work: object) -> object:
    """Await ``work``; the time that is up becomes a refusal."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise HTTPException(status, f"it took more than {seconds:g} s to {what}", {"Connection": "close"}) from error


async def _refusal(_: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _fault(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"error": "the server failed at this request; its log says why"}, 500)


def build_app(system: FrankenSplit, token: str | None = None, settings: Settings = Settings()) -> Starlette:
    """The ASGI application: GET /health, POST /answer.

    Args:
        system: codec, decoder and backbone.
        token: that every request for an answer has to bear; None asks for none.
        settings: limits and batching.
    """
    service = Service(system, token, settings)
    routes = [Route("/health", service.health), Route("/answer", service.answer, methods=["POST"])]
    handlers = {HTTPException: _refusal, Exception: _fault}
    return Starlette(routes=routes, lifespan=service.lifespan, exception_handlers=handlers)


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A listening socket; 0 as a port takes a free one.

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
        raise ParameterError(
            f"host {host} can be reached by others: a token is required there; set --token or FSPLIT_TOKEN"
        )
    try:
        own = "127.0.0.1" if host == "localhost" else host
        bound = socket.create_server(
            (own, port), family=socket.AF_INET6 if ":" in own else socket.AF_INET, backlog=1024
        )
        # named TCP, or asyncio leaves Nagle's algorithm on and each answer waits 40 ms for the client's delayed ACK
        return socket.socket(bound.family, bound.type, socket.IPPROTO_TCP, bound.detach())
    except (OSError, OverflowError) as error:
        raise ParameterError(f"cannot listen on {host}, port {port}: {error}; choose another --port") from error


def _uvicorn(app: Starlette, settings: Settings) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
            limit_concurrency=8 * settings.max_waiting,
        )
    )


def serve(
    app: Starlette, listener: socket.socket, settings: Settings = Settings(), until: Callable[[], object] | None = None
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
def serving(system: FrankenSplit, token: str | None = None, settings: Settings = Settings()) -> Iterator[int]:
    """A server in a thread of this process, on a free port of loopback, which is yielded."""
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
