"""The measuring of :mod:`fsplit_lib.evaluation.evaluate`, shared out over processes: a photo needs no other photo."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from fsplit_lib.backbones import Backbone, photo_backbone
from fsplit_lib.data import ImageFolder
from fsplit_lib.evaluation.evaluate import evaluate_photos
from fsplit_lib.evaluation.points import PerImageResult
from fsplit_lib.system import FrankenSplit, load_system

SHARD = 10  # photos handed to a process at once


def evaluate_in_processes(
    weights: dict[str, str | Path],
    backbone: str,
    folder: ImageFolder,
    image_codecs: dict[str, tuple[int, ...]],
    jobs: int,
    progress: Callable[..., None] = lambda *_: None,
    lmbdas: int = 7,
) -> list[PerImageResult]:
    """Measure what :func:`evaluate_photos` does: here for one job, by processes of one torch thread each for more.

    Args:
        weights: name of a curve to the weights to load.
        backbone: the teacher, as :func:`fsplit_lib.backbones.photo_backbone` reads it.
        folder: of photos.
        image_codecs: codec name to qualities.
        jobs: processes.
        progress: called with photos done and photos in all.
        lmbdas: settings of a codec of continuous rate.

    Raises:
        WeightsError: before any process starts, for weights that do not load.
    """
    asked = tuple(weights.items()), backbone
    systems, teacher = _load.__wrapped__(*asked)  # not kept: the files may change before the next call
    if jobs == 1:
        return evaluate_photos(systems, teacher, folder, image_codecs, progress, lmbdas)
    shards = []
    for start in range(0, len(folder), SHARD):
        labels = None if folder.labels is None else folder.labels[start : start + SHARD]
        shards.append(replace(folder, paths=folder.paths[start : start + SHARD], labels=labels))
    done, parts = 0, []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for part in pool.imap(partial(_evaluate, asked, image_codecs, lmbdas), shards):  # in the folder's order
            parts.append(part)
            done += len(part[0].sizes)
            progress(done, len(folder))
    return join(parts)


@lru_cache(1)
def _load(weights: tuple[tuple[str, str | Path], ...], backbone: str) -> tuple[dict[str, FrankenSplit], Backbone]:
    teacher = photo_backbone(backbone)
    return {name: load_system(given, teacher) for name, given in weights}, teacher


def _evaluate(asked: tuple, image_codecs: dict, lmbdas: int, shard: ImageFolder) -> list[PerImageResult]:
    torch.set_num_threads(1)
    systems, teacher = _load(*asked)  # once in every process
    return evaluate_photos(systems, teacher, shard, image_codecs, lmbdas=lmbdas)


def join(parts: list[list[PerImageResult]]) -> list[PerImageResult]:
    """Join the same settings measured on one set of photos after another, as one."""
    joined = []
    for same in zip(*parts, strict=True):
        arrays = {name: np.concatenate([getattr(m, name) for m in same]) for name in ("sizes", "decided", "teacher")}
        labels = None if same[0].labels is None else np.concatenate([m.labels for m in same])
        joined.append(replace(same[0], **arrays, labels=labels))
    return joined
