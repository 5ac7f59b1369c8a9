"""The measuring of :mod:`fsplit_lib.evaluation.evaluate`, shared out over processes: a photo needs no other photo."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fsplit_lib.backbones import photo_backbone
from fsplit_lib.data import ImageFolder
from fsplit_lib.evaluation.evaluate import evaluate_photos
from fsplit_lib.evaluation.points import PerImageResult
from fsplit_lib.system import load_system

__all__ = ["evaluate_in_processes", "join"]

SHARD = 10  # photos handed to a process at once
_evaluate: Callable[[ImageFolder], list[PerImageResult]]


def evaluate_in_processes(
    weights: dict[str, str | Path],
    backbone: str,
    folder: ImageFolder,
    image_codecs: dict[str, tuple[int, ...]],
    jobs: int,
    progress: Callable[[int, int], None] | None = None,
    lmbdas: int = 7,
) -> list[PerImageResult]:
    """What :func:`evaluate_photos` measures: here for one job, by processes of one torch thread each for more.

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
    teacher = photo_backbone(backbone)
    systems = {name: load_system(given, teacher) for name, given in weights.items()}
    if jobs == 1:
        return evaluate_photos(systems, teacher, folder, image_codecs, progress, lmbdas)
    shards = [_part(folder, slice(start, start + SHARD)) for start in range(0, len(folder), SHARD)]
    done, parts = 0, []
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, _begin, (weights, backbone, image_codecs, lmbdas)) as pool:
        for part in pool.imap(_run, shards):  # in the folder's order
            parts.append(part)
            done += len(part[0].sizes)
            if progress is not None:
                progress(done, len(folder))
    return join(parts)


def _part(folder: ImageFolder, which: slice) -> ImageFolder:
    labels = None if folder.labels is None else folder.labels[which]
    return replace(folder, paths=folder.paths[which], labels=labels)


def _begin(
    weights: dict[str, str | Path], backbone: str, image_codecs: dict[str, tuple[int, ...]], lmbdas: int
) -> None:
    global _evaluate
    torch.set_num_threads(1)
    teacher = photo_backbone(backbone)
    systems = {name: load_system(given, teacher) for name, given in weights.items()}
    _evaluate = partial(evaluate_photos, systems, teacher, image_codecs=image_codecs, lmbdas=lmbdas)


def _run(shard: ImageFolder) -> list[PerImageResult]:
    return _evaluate(shard)


def join(parts: list[list[PerImageResult]]) -> list[PerImageResult]:
    """The same settings measured on one set of photos after another, as one."""
    joined = []
    for same in zip(*parts, strict=True):
        arrays = {name: np.concatenate([getattr(m, name) for m in same]) for name in ("sizes", "decided", "teacher")}
        labels = None if same[0].labels is None else np.concatenate([m.labels for m in same])
        joined.append(replace(same[0], **arrays, labels=labels))
    return joined
