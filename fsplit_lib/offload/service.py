"""What happens to a request: its limits, its decoding, its batch, its answer.

    request ──► token, size ──► decode, in turns ──► batch ──► decoder and tail, or whole backbone ──► JSON
                  4xx             4xx

Decoding happens before the batch, so a damaged request is answered at once and never meets the others. Packets and images take
turns of their own: an image may cost its decoder a thousand times what its bytes do, and then holds up images alone.
"""

import asyncio
import hmac
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from async_batcher.exceptions import QueueFullException
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from torch import Tensor

from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import DataError, PacketError
from fsplit_lib.offload.batches import DEFAULTS, Passes, Request, Settings
from fsplit_lib.offload.client import PACKET, media_type
from fsplit_lib.offload.images import ImageDecoders
from fsplit_lib.packet import Packet
from fsplit_lib.system import FrankenSplit

IMAGE = "image"
IMAGES = ("image/jpeg", "image/png", "image/webp", "image/avif")
PACKET_SCALE = 4  # a packet's area, and each side, against the square that the network was made for
IMAGE_PROCESSES = 2


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
        self.inside = {PACKET: 0, IMAGE: 0}
        self.held_bytes = 0
        self.turns = {PACKET: asyncio.Semaphore(os.cpu_count() or 1), IMAGE: asyncio.Semaphore(IMAGE_PROCESSES)}
        self.images = ImageDecoders(system.backbone.input_size, settings.max_pixels, settings.timeout_s / 4)
        self.passes: Passes | None = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Keep the batches alive as long as the event loop."""
        system = self.system
        networks = {PACKET: lambda y_hat: system.backbone.tail(system.decoder(y_hat)), IMAGE: system.backbone}
        self.passes = Passes(networks, self.settings)
        yield
        await self.passes.stop(force=True)
        self.passes.threads.shutdown(wait=False, cancel_futures=True)
        await self.images.close()

    async def health(self, _: HTTPRequest) -> JSONResponse:
        """Answer GET /health, which is open to all, to find out what one talks to."""
        return JSONResponse(self.about)

    async def answer(self, http: HTTPRequest) -> JSONResponse:
        """Answer POST /answer?top=5."""
        self._check_token(http)
        top, content = self._top(http), self._content(http)
        kind = PACKET if content == PACKET else IMAGE
        try:
            data = await _within(self.settings.timeout_s, 408, "send a request", self._body(http))
            begun = time.perf_counter()
            self._check_room(kind)
            self.inside[kind] += 1
            try:
                work = self._answer(http, data, content, kind, top)
                answer = await _within(self.settings.timeout_s, 503, "be answered", work)
            finally:
                self.inside[kind] -= 1
            answer["server_ms"] = round(1e3 * (time.perf_counter() - begun), 3)
            return JSONResponse(answer)
        except (PacketError, DataError) as error:
            raise HTTPException(400, str(error)) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the client went away") from error
        except QueueFullException as error:
            raise HTTPException(503, "too many requests wait already: try again soon") from error

    def _check_room(self, kind: str) -> None:
        inside, limit = sum(self.inside.values()), self.settings.max_waiting
        if inside >= limit or (kind == IMAGE and self.inside[IMAGE] >= math.ceil(limit / 2)):
            raise HTTPException(503, f"{inside} requests are being answered already: try again soon")

    def _check_token(self, http: HTTPRequest) -> None:
        given = http.headers.get("authorization", "")
        if self.token and not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise HTTPException(401, "this server asks for its token: Authorization: Bearer TOKEN")

    def _top(self, http: HTTPRequest) -> int:
        text = http.query_params.get("top", "5")
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= len(self.names)):
            raise HTTPException(400, f"top must be a number from 1 to {len(self.names)}, got {text[:20]!r}")
        return int(text)

    def _content(self, http: HTTPRequest) -> str:
        content = http.headers.get("content-type", "nothing").split(";")[0].strip().lower()
        if content not in (PACKET, *IMAGES):
            raise HTTPException(
                415, f"Content-Type must be {PACKET} for a packet, or one of {', '.join(IMAGES)}, got {content[:40]}"
            )
        return content

    async def _body(self, http: HTTPRequest) -> bytes:
        """Read the body; one above the limit is read on for a while, so that its sender hears why it is refused."""
        parts, size, kept, limit = [], 0, 0, self.settings.max_bytes
        claimed = http.headers.get("content-length", "0")
        try:
            async for part in http.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                    kept += len(part)
                    self.held_bytes += len(part)
                elif size > 4 * limit or int(claimed) > 4 * limit:
                    break
                if self.held_bytes > limit * self.settings.max_waiting:
                    raise HTTPException(503, "too many requests are being sent already: try again soon")
        finally:
            self.held_bytes -= kept
        if size > limit:
            raise HTTPException(413, f"a request may have {limit} bytes, this one has more", {"Connection": "close"})
        return b"".join(parts)

    async def _answer(self, http: HTTPRequest, data: bytes, content: str, kind: str, top: int) -> dict:
        async with self.turns[kind]:
            if await http.is_disconnected():
                raise ClientDisconnect
            begun = time.perf_counter()
            x = await (asyncio.to_thread(self._latent, data) if kind == PACKET else self._pixels(data, content))
            decode_ms = 1e3 * (time.perf_counter() - begun)
        done = await asyncio.shield(self.passes.process(Request(http, kind, x, time.perf_counter())))
        probs, indices = done.logits.softmax(0).topk(top)
        return {
            "classes": [self.names[index] for index in indices.tolist()],
            "probs": probs.tolist(),
            "decode_ms": round(decode_ms, 3),
            "queue_ms": round(done.queue_ms, 3),
            "tail_ms": round(done.tail_ms, 3),
            "batch": done.batch,
        }

    def _latent(self, data: bytes) -> Tensor:
        packet, size = Packet.from_bytes(data), self.system.backbone.input_size
        area, side = PACKET_SCALE * size**2, PACKET_SCALE * size
        if packet.height * packet.width > area or max(packet.height, packet.width) > side:
            raise PacketError(
                f"the packet describes {packet.height} x {packet.width} pixels; this server takes at most {area}, and "
                f"{side} a side: its network was made for {size} x {size}"
            )
        return self.system.codec.decompress([packet])

    async def _pixels(self, data: bytes, content: str) -> Tensor:
        if media_type(data) != content:
            raise DataError(f"the body is not {content}: it begins with {data[:8]!r}")
        size = self.system.backbone.input_size
        return photo_tensor(Image.frombytes("RGB", (size, size), await self.images.crop(data)))


async def _within(seconds: float, status: int, what: str, work: object) -> object:
    """Await ``work``; the time that is up becomes a refusal."""
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise HTTPException(status, f"it took more than {seconds:g} s to {what}", {"Connection": "close"}) from error


async def _refusal(_: HTTPRequest, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _fault(_: HTTPRequest, __: Exception) -> JSONResponse:
    return JSONResponse({"error": "the server failed at this request; its log says why"}, 500)


def build_app(system: FrankenSplit, token: str | None = None, settings: Settings = DEFAULTS) -> Starlette:
    """Build the ASGI application: GET /health, and POST /answer, which has to bear the token if there is one."""
    service = Service(system, token, settings)
    routes = [Route("/health", service.health), Route("/answer", service.answer, methods=["POST"])]
    handlers = {HTTPException: _refusal, Exception: _fault}
    return Starlette(routes=routes, lifespan=service.lifespan, exception_handlers=handlers)
