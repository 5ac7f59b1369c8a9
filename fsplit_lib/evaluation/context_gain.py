"""What a causal context saves on the latents of a trained codec, and what it takes on the phone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.device.timing import interleave
from fsplit_lib.evaluation.intervals import middle, resampled
from fsplit_lib.evaluation.tables import ContextRow
from fsplit_lib.training import FolderSource, batches
from fsplit_lib.training.context import learn_context

CROPS, CROP = 512, 160  # that a context is learned from


@torch.no_grad()
def measure_context(
    name: str,
    codec: FeatureCodec,
    training: ImageFolder,
    photos: ImageFolder,
    lmbdas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
    runs: int = 100,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[ContextRow]:
    """Learn a context from crops of training photos, and code the latents of other photos with it and without.

    The codec is of continuous rate, and called ``name`` in the rows; a context that it has already is left aside.
    ``runs`` rounds are timed; ``progress`` is called with photos done and photos in all.
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
