"""Requests that wait become batches, and a batch as few passes as its shapes allow.

    Request ──► queue ──► batch, without those whose client has gone ──► one pass per kind and shape ──► logits

One that cannot be computed fails those of its own pass alone.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from async_batcher.batcher import AsyncBatcher
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from torch import Tensor

from fsplit_lib.errors import ParameterError


@dataclass(frozen=True)
class Settings:
    """What a server allows and how it batches."""

    max_batch: int = 16  # photos in one pass, at least 2
    batch_wait_ms: float = 2.0  # how long a photo may wait for others to join its pass; 0 takes what is there
    workers: int = 1  # passes at the same time, a thread each
    max_bytes: int = 8 * 2**20  # of a request
    max_pixels: int = 2**24  # of an image, by its header
    max_waiting: int = 128  # requests inside the server, at most half of them images; further ones get 503
    timeout_s: float = 20.0  # to receive a request, and again to answer it

    def __post_init__(self) -> None:
        least = {"max_batch": 2, "batch_wait_ms": 0, "workers": 1, "max_bytes": 1, "max_pixels": 1, "max_waiting": 1}
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise ParameterError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not self.timeout_s > 0:
            raise ParameterError(f"timeout_s must be above 0 seconds, got {self.timeout_s}")


DEFAULTS = Settings()


@dataclass
class Request:
    """One decoded request on its way through a batch: latent or pixels in, logits out."""

    http: HTTPRequest
    kind: str
    x: Tensor  # (1, C, h, w)
    queued: float
    queue_ms: float = 0.0
    tail_ms: float = 0.0
    batch: int = 0
    logits: Tensor | None = None  # (classes,)


class Passes(AsyncBatcher[Request, Request]):
    """async-batcher's queue, run in threads: the network of a request's kind makes logits of its x.

    A request beyond those that may wait raises QueueFullException.
    """

    def __init__(self, networks: dict[str, Callable[[Tensor], Tensor]], settings: Settings):
        super().__init__(
            max_batch_size=settings.max_batch,
            max_queue_time=settings.batch_wait_ms / 1e3,
            max_queue_size=settings.max_waiting,
            concurrency=settings.workers,
        )
        self.networks, self.threads = networks, ThreadPoolExecutor(settings.workers, "pass")

    async def process_batch(self, batch: list[Request]) -> list[Request | Exception]:
        """Return each request with its logits, or what went wrong with it."""
        results: list[Request | Exception] = list(batch)
        groups: dict[tuple, list[int]] = {}
        for index, request in enumerate(batch):
            if await request.http.is_disconnected():
                results[index] = ClientDisconnect()
            else:
                groups.setdefault((request.kind, request.x.shape), []).append(index)
        loop = asyncio.get_running_loop()
        for (kind, _), members in groups.items():
            try:
                await loop.run_in_executor(self.threads, _pass, self.networks[kind], [batch[i] for i in members])
            except Exception as error:
                for index in members:
                    results[index] = error
        return results


@torch.inference_mode()
def _pass(network: Callable[[Tensor], Tensor], requests: list[Request]) -> None:
    begun = time.perf_counter()
    logits = network(torch.cat([request.x for request in requests]))
    tail_ms = 1e3 * (time.perf_counter() - begun)
    for request, row in zip(requests, logits, strict=True):
        request.logits, request.tail_ms, request.batch = row, tail_ms, len(requests)
        request.queue_ms = 1e3 * (begun - request.queued)
