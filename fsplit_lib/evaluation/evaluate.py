"""Systems and image codecs on whole sets of pictures, by real packets and real files, in one process or several."""

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsplit_lib.backbones import Backbone, photo_backbone
from fsplit_lib.baselines import decode_image, encode_image, scan_bytes
from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import images_to_tensor, photo_tensor
from fsplit_lib.evaluation.tables import PerImageResult, RatePoint
from fsplit_lib.system import FrankenSplit, load_system

BARE_JPEG = "JPEG, no tables"
BATCH = 250  # images in memory at once
SHARD = 10  # photos handed to a process at once
UNCODED = "8 bits per value"  # what channel reduction sends without an entropy coder
LATENT_ALONE = "latent alone"  # what a codec with side information would send if that were free
Progress = Callable[[int, int], None]  # is called with how much is done, and how much there is


def silent(*_: int) -> None:
    """Tell nobody of the progress."""


def evaluate_images(system: FrankenSplit, images: np.ndarray, labels: np.ndarray, dataset: str, name: str) -> RatePoint:
    """Measure a system at its own rate weight: a point of :func:`curve_of_images`.

    >>> from fsplit_lib.system import load_system
    >>> images, labels = np.zeros((4, 32, 32), np.uint8), np.zeros(4, int)
    >>> evaluate_images(load_system("label-head"), images, labels, "black squares", "ours").n
    4
    """
    return curve_of_images(system, images, labels, dataset, name, [system.codec.config.lmbda])[0].point()


@torch.no_grad()
def curve_of_images(
    system: FrankenSplit, images: np.ndarray, labels: np.ndarray, dataset: str, name: str, lmbdas: list[float]
) -> list[PerImageResult]:
    """Measure a system on grey images (N, H, W) uint8 of classes (N,), such as Fashion-MNIST's, through real packets.

    There is a result for each of the rate weights, on a curve that is called ``name``.
    """
    rows: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {lmbda: [] for lmbda in lmbdas}
    for x in _batches(images):
        y = system.codec.encoder(x)
        for lmbda, parts in rows.items():
            packets = system.codec.pack(y, lmbda)
            decided = system.answer(packets).argmax(1).numpy()
            parts.append((np.array([len(p.to_bytes()) for p in packets]), decided))
    teacher, judge = top1_of_images(system.backbone, images), system.backbone.name
    found = []
    for lmbda, parts in rows.items():
        measured = map(np.concatenate, zip(*parts, strict=True))
        found.append(PerImageResult(dataset, name, shown_lmbda(lmbda), None, judge, *measured, teacher, labels))
    return found


@torch.no_grad()
def top1_of_images(backbone: Backbone, images: np.ndarray) -> np.ndarray:
    """Compute what a backbone decides (N,) for grey images (N, H, W) uint8."""
    return np.concatenate([backbone(x).argmax(1).numpy() for x in _batches(images)])


@torch.no_grad()
def ideal_bits_of_images(codec: FeatureCodec, images: np.ndarray) -> np.ndarray:
    """Compute the bits (N,) that a codec's integer tables assign to grey images (N, H, W) uint8, without any header."""
    return np.concatenate([codec.ideal_bits(x) for x in _batches(images)])


def _batches(images: np.ndarray) -> Iterator[Tensor]:
    return map(images_to_tensor, np.split(images, range(BATCH, len(images), BATCH)))


@torch.no_grad()
def evaluate_photos(
    systems: dict[str, FrankenSplit],
    backbone: Backbone,
    folder: ImageFolder,
    image_codecs: dict[str, tuple[int, ...]],
    progress: Progress = silent,
    lmbdas: int = 7,
) -> list[PerImageResult]:
    """Measure every system and every image codec, at its qualities, on the same centre crops of a folder.

    All systems, by the names of their curves, have the given backbone, the teacher; labels count only where their
    classes are the backbone's. A codec of continuous rate has so many ``lmbdas``, from the one end of its range to the
    other.

    Returns:
        Every system and quality on every photo, and the teacher itself (bytes: raw 8-bit RGB). Three come twice. JPEG
        comes as files, and without the tables that two ends could agree on. Channel reduction comes as packets, and
        as plain bytes without header. A codec with side information comes as packets, and without its first stream.
    """
    size = backbone.input_size
    rows: dict[tuple[str, float | None, int | None], list[tuple[int, int]]] = defaultdict(list)
    settings = [(codec, quality) for codec, qualities in image_codecs.items() for quality in qualities]
    teacher = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # image codecs let go of the interpreter while they search
        for index in range(len(folder)):
            crop = center_crop(folder[index], size)
            files = [pool.submit(encode_image, crop, codec, quality) for codec, quality in settings]
            x = photo_tensor(crop)
            teacher.append(int(backbone(x).argmax()))
            rows["teacher", None, None].append((3 * size * size, teacher[-1]))
            for name, system in systems.items():
                y = system.codec.encoder(x)
                for lmbda in lmbdas_of(system, lmbdas):
                    packets = system.codec.pack(y, lmbda)
                    answer = int(system.answer(packets).argmax())
                    sent = {name: len(packets[0].to_bytes())}
                    if system.codec.config.kind == "reduction":
                        sent[f"{name}, {UNCODED}"] = y.numel()
                    if system.codec.config.side_information:
                        sent[f"{name}, {LATENT_ALONE}"] = sent[name] - len(packets[0].streams[0])
                    for curve, length in sent.items():
                        rows[curve, shown_lmbda(lmbda), None].append((length, answer))
            for (codec, quality), file in zip(settings, files, strict=True):
                data = file.result()
                answer = int(backbone(photo_tensor(decode_image(data))).argmax())
                rows[codec, None, quality].append((len(data), answer))
                if codec == "JPEG":
                    rows[BARE_JPEG, None, quality].append((scan_bytes(data), answer))
            progress(index + 1, len(folder))
    known = folder.labels is not None and len(folder.classes) == len(backbone.class_names)
    labels = np.array(folder.labels) if known else None  # labels of other classes say nothing about this network
    return [
        PerImageResult(
            folder.name, *key, backbone.name, *map(np.array, zip(*values, strict=True)), np.array(teacher), labels
        )
        for key, values in rows.items()
    ]


def lmbdas_of(system: FrankenSplit, count: int) -> list[float]:
    """List where a system is measured: at its own lmbda, or at a few along its range."""
    anchors = system.codec.config.anchors
    return np.geomspace(anchors[0], anchors[-1], count).tolist() if anchors else [system.codec.config.lmbda]


def shown_lmbda(lmbda: float) -> float:
    """Round a rate weight as tables have it."""
    return float(f"{lmbda:.3g}")


def evaluate_in_processes(
    weights: dict[str, str | Path],
    backbone: str,
    folder: ImageFolder,
    image_codecs: dict[str, tuple[int, ...]],
    jobs: int,
    progress: Progress = silent,
    lmbdas: int = 7,
) -> list[PerImageResult]:
    """Measure what :func:`evaluate_photos` does: here for one job, by processes of one torch thread each for more.

    Its arguments, but for ``weights``, name of a curve to the weights to load, and ``backbone``, as
    :func:`fsplit_lib.backbones.photo_backbone` reads it.

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
    return _join(parts)


@lru_cache(1)
def _load(weights: tuple[tuple[str, str | Path], ...], backbone: str) -> tuple[dict[str, FrankenSplit], Backbone]:
    teacher = photo_backbone(backbone)
    return {name: load_system(given, teacher) for name, given in weights}, teacher


def _evaluate(asked: tuple, image_codecs: dict, lmbdas: int, shard: ImageFolder) -> list[PerImageResult]:
    torch.set_num_threads(1)
    systems, teacher = _load(*asked)  # once in every process
    return evaluate_photos(systems, teacher, shard, image_codecs, lmbdas=lmbdas)


def _join(parts: list[list[PerImageResult]]) -> list[PerImageResult]:
    """The same settings measured on one set of photos after another, as one."""
    joined = []
    for same in zip(*parts, strict=True):
        names = [name for name in ("sizes", "decided", "teacher", "labels") if getattr(same[0], name) is not None]
        joined.append(replace(same[0], **{name: np.concatenate([getattr(m, name) for m in same]) for name in names}))
    return joined
