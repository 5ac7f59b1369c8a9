"""Learn which table a symbol's neighbours should choose, and measure what that saves, and what it takes on the phone.

What is learned are the weights of :class:`fsplit_lib.entropy.context.Context`.

Counts of symbols are gathered for every neighbourhood, channel and rate, and then shared out among a few tables: a
k-means in which a table's distance from a neighbourhood is what the neighbourhood's symbols cost with it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.device.timing import interleave
from fsplit_lib.entropy.coding import PRECISION, Tables
from fsplit_lib.entropy.context import ACTIVITIES, AROUND, SUMS, Context, neighbourhoods, places_of
from fsplit_lib.entropy.models import frequencies_of
from fsplit_lib.evaluation.evaluate import Progress, silent
from fsplit_lib.evaluation.intervals import middle, resampled
from fsplit_lib.evaluation.tables import ContextRow
from fsplit_lib.training.sources import FolderSource, batches

SPAN = 24  # symbols of a table to either side of 0; those beyond are escaped
WIDTH = 2 * SPAN + 1
QUIET = 0.02  # bits a symbol; a channel below it at every rate stays without a context
PRIOR = 12  # symbols of its channel that every neighbourhood has seen already
CROPS, CROP = 512, 160  # that a context is learned from


def learn_context(codec: FeatureCodec, y: Tensor) -> Context:
    """Learn a context from latents y (B, C, h, w) of training crops, one group for every four lmbda codes.

    All codes of a group are counted, since a channel that sits near the edge between two symbols changes from one code
    to the next.
    """
    packer, latents = codec.packer, y.cpu().numpy()
    groups = np.arange(len(codec.codes)) // 4
    counts = np.zeros((groups[-1] + 1, len(AROUND), latents.shape[1], SUMS * ACTIVITIES, WIDTH))
    for code, group in zip(codec.codes, groups, strict=True):
        counts[group] += count_symbols(np.stack([packer.symbols(one, code).reshape(one.shape) for one in latents]))
    return fit_context(counts, groups)


def fit_context(counts: np.ndarray, groups: np.ndarray, count: int = 64) -> Context:
    """Fit a context of ``count`` tables, at most 256, to how often every symbol was seen in every neighbourhood.

    That is ``counts`` (G, 2, C, SUMS · ACTIVITIES, WIDTH) of each group, as :func:`count_symbols` makes them; ``groups``
    (L,) are those of the lmbda codes.
    """
    channel = counts.sum(axis=(1, 3))  # (G, C, WIDTH)
    share = channel / channel.sum(axis=-1, keepdims=True)
    bits = -(share * np.log2(np.maximum(share, 1e-12))).sum(-1)
    channels = np.flatnonzero(bits.max(axis=0) > QUIET)
    weights = counts[:, :, channels] + PRIOR * share[:, None, channels, None]
    tables, choices = _cluster(weights.reshape(-1, WIDTH), min(count, weights[..., 0].size))
    shape = (len(counts), len(AROUND), len(channels), SUMS * ACTIVITIES)
    return Context(tables, channels.astype(np.int32), groups.astype(np.uint8), choices.reshape(shape).astype(np.uint8))


def count_symbols(symbols: np.ndarray) -> np.ndarray:
    """Count symbols (B, C, h, w) int32 by pass, channel and neighbourhood: (2, C, SUMS · ACTIVITIES, WIDTH)."""
    batch, channels, height, width = symbols.shape
    shape = channels, SUMS * ACTIVITIES, WIDTH
    counts = []
    for number in AROUND:
        places = places_of(height, width)[number]
        seen = np.stack([neighbourhoods(one, number) for one in symbols])
        own = np.clip(symbols.reshape(batch, channels, -1)[:, :, places], -SPAN, SPAN) + SPAN
        cell = np.ravel_multi_index((np.arange(channels)[:, None], seen, own), shape)
        counts.append(np.bincount(cell.ravel(), minlength=np.prod(shape)).reshape(shape))
    return np.stack(counts)


@torch.no_grad()
def measure_context(
    name: str,
    codec: FeatureCodec,
    training: ImageFolder,
    photos: ImageFolder,
    lmbdas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
    runs: int = 100,
    progress: Progress = silent,
) -> list[ContextRow]:
    """Learn a context from crops of training photos, and code the latents of other photos with it and without.

    The codec is of continuous rate, and called ``name`` in the rows; a context that it has already is left aside. ``runs`` rounds are timed.
    """
    context = learn_context(codec, codec.encoder(next(batches(FolderSource(training, CROP), CROPS, 0, 1, 1)).x))
    packers = [replace(codec.packer, context=one) for one in (None, context)]
    sizes = np.zeros((len(lmbdas), len(packers), len(photos)))

    def streams(y: np.ndarray, lmbda: float) -> list[Callable[[], bytes]]:
        code = packers[0].code(lmbda)
        symbols = packers[0].symbols(y, code)
        return [partial(packer.encode, symbols, code, *y.shape[1:]) for packer in packers]

    for index in range(len(photos)):
        y = codec.encoder(photo_tensor(center_crop(photos[index])))[0].numpy()
        for row, lmbda in enumerate(lmbdas):
            sizes[row, :, index] = [len(encode()) for encode in streams(y, lmbda)]
        progress(index + 1, len(photos))
    rows, draws = [], resampled(len(photos), 2000, 0)
    for lmbda, (plain, coded) in zip(lmbdas, sizes, strict=True):
        took = interleave(dict(zip(("plain", "context"), streams(y, lmbda), strict=True)), runs)  # on the last photo
        low, high = middle(100 * (1 - coded @ draws / (plain @ draws)), len(photos)) or (None, None)
        means, times = (plain.mean(), coded.mean()), (took["plain"].median_ms, took["context"].median_ms)
        saved = 100 * (1 - means[1] / means[0])
        rows.append(ContextRow(photos.name, name, lmbda, *means, saved, low, high, *times, len(photos)))
    return rows


def _cluster(weights: np.ndarray, count: int) -> tuple[Tables, np.ndarray]:
    """Share rows (N, WIDTH) out among tables: the tables, and the table of each row."""
    rng, mass = np.random.default_rng(0), weights.sum(1)
    tables = _tables(weights[rng.choice(len(weights), count, replace=False, p=mass / mass.sum())])
    for _ in range(20):
        nearest = _price(weights, tables).argmin(1)
        sums = np.stack([np.bincount(nearest, column, count) for column in weights.T], axis=1)
        empty = sums.sum(1) == 0
        sums[empty] = weights[rng.choice(len(weights), empty.sum(), p=mass / mass.sum())]
        tables = _tables(sums)
    return tables, _price(weights, tables).argmin(1)


def _price(weights: np.ndarray, tables: Tables) -> np.ndarray:
    """Bits (N, T) that the symbols of each row cost with each table."""
    return weights @ (PRECISION - np.log2(tables.frequencies[:, :WIDTH])).T


def _tables(sums: np.ndarray) -> Tables:
    rows = len(sums)
    pmf = torch.from_numpy((sums + 1e-3) / (sums + 1e-3).sum(1, keepdims=True) * (1 - 1e-4))
    frequencies = frequencies_of(pmf, torch.full((rows,), WIDTH)).numpy()
    return Tables(frequencies, np.full(rows, WIDTH + 1, np.int32), np.full(rows, -SPAN, np.int32))
