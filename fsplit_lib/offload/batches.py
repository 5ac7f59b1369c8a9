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
    """async-batcher's queue, run in threads.

    Args:
        networks: by the kind of request, from its x to logits.
        max_batch: photos in one pass.
        wait_ms: how long one may wait for others.
        max_waiting: requests; a further one raises QueueFullException.
        workers: batches at the same time, a thread each.
    """

    def __init__(
        self,
        networks: dict[str, Callable[[Tensor], Tensor]],
        max_batch: int,
        wait_ms: float,
        max_waiting: int,
        workers: int,
    ):
        super().__init__(
            max_batch_size=max_batch, max_queue_time=wait_ms / 1e3, max_queue_size=max_waiting, concurrency=workers
        )
        self.networks, self.threads = networks, ThreadPoolExecutor(workers, "pass")

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
