"""What a causal context saves on the latents of a trained codec, and what it takes on the phone."""

from collections.abc import Callable

import numpy as np
import torch

from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.device.timing import interleave
from fsplit_lib.entropy.coding import encode_symbols
from fsplit_lib.evaluation.intervals import middle, resampled
from fsplit_lib.evaluation.tables import ContextRow
from fsplit_lib.training.context import learn_context
from fsplit_lib.training.sources import FolderSource, batches

CROPS, CROP = 512, 160  # that a context is learned from


@torch.no_grad()
def measure_context(
    name: str,
    codec: FeatureCodec,
    training: ImageFolder,
    photos: ImageFolder,
    lmbdas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
    runs: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[ContextRow]:
    """Learn a context from crops of training photos, and code the latents of other photos with it and without.

    Args:
        name: of the codec, for the rows.
        codec: of continuous rate; a context that it has already is left aside.
        training: photos that the context is learned from.
        photos: that are measured, each as its centre crop.
        lmbdas: rate weights.
        runs: timed rounds.
        progress: called with photos done and photos in all.
    """
    context = learn_context(codec, codec.encoder(next(batches(FolderSource(training, CROP), CROPS, 0, 1, 1)).x))
    packer, bare = codec.packer, np.zeros((len(lmbdas), 2, len(photos)))
    for index in range(len(photos)):
        y = codec.encoder(photo_tensor(center_crop(photos[index])))[0].numpy()
        for row, lmbda in enumerate(lmbdas):
            code = packer.code(lmbda)
            tables, symbols = packer.tables_at(code), packer.symbols(y, code)
            streams = (
                encode_symbols(symbols, tables),
                context.encode(symbols.reshape(y.shape), tables, code - packer.first_code),
            )
            bare[row, :, index] = [len(stream) for stream in streams]
        if progress is not None:
            progress(index + 1, len(photos))
    rows, draws = [], resampled(len(photos), 2000, 0)
    for lmbda, (plain, saved) in zip(lmbdas, bare, strict=True):
        code = packer.code(lmbda)  # the last photo is the one that is timed
        tables, symbols = packer.tables_at(code), packer.symbols(y, code)
        level, whole = code - packer.first_code, symbols.reshape(y.shape)
        took = interleave(
            {"plain": lambda s=symbols, t=tables: encode_symbols(s, t), "context": lambda s=whole, t=tables, k=level: context.encode(s, t, k)},
            runs,
        )  # fmt: skip
        low, high = middle(100 * (1 - saved @ draws / (plain @ draws)), len(photos)) or (None, None)
        means = plain.mean(), saved.mean()
        times = took["plain"].median_ms, took["context"].median_ms
        rows.append(
            ContextRow(
                photos.name, name, lmbda, *means, 100 * (1 - means[1] / means[0]), low, high, *times, len(photos)
            )
        )
    return rows
