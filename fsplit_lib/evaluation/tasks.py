"""What else the packets carry: answers to another question, and the places that an answer comes from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from fsplit_lib.backbones import Backbone
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.evaluation.evaluate import lmbdas_of, shown_lmbda
from fsplit_lib.evaluation.intervals import LEAST_PHOTOS, middle, resampled
from fsplit_lib.evaluation.probes import probed_classes
from fsplit_lib.evaluation.tables import TaskRow
from fsplit_lib.system import FrankenSplit

SETTINGS = 4  # rates of a codec of continuous rate, from the one end of its range to the other
SPLITS = 2  # of the pictures, for the probe
DRAWS = 1000
BATCH = 8


@dataclass(frozen=True)
class Task:
    """Labelled pictures."""

    name: str  # what tables call them
    picture: Callable[[int], Image.Image]  # returns one by its index
    labels: np.ndarray  # (N,) integers


def task_of_folder(folder: ImageFolder) -> Task:
    """Take the classes of a labelled folder as the question."""
    return Task(folder.name, folder.__getitem__, np.array(folder.labels))


def task_of_images(name: str, images: np.ndarray, labels: np.ndarray) -> Task:
    """Take grey images (N, H, W) uint8 and their labels as the question; the codec sees them enlarged."""
    return Task(name, lambda index: Image.fromarray(images[index]).convert("RGB"), labels)


@torch.no_grad()
def measure_tasks(
    systems: dict[str, FrankenSplit],
    backbone: Backbone,
    tasks: Sequence[Task],
    progress: Callable[..., None] = lambda *_: None,
) -> list[TaskRow]:
    """Fit linear probes to the tail's pooled features, from packets and from photos, and compare what they get right.

    Args:
        systems: name of the codec to system, all with the given backbone.
        backbone: the teacher.
        tasks: of labelled pictures.
        progress: called with pictures done and pictures in all.
    """
    rows, done, total = [], 0, sum(len(task.labels) for task in tasks)
    size = backbone.input_size
    for task in tasks:
        kept: dict[tuple[str, float | None], list[tuple[np.ndarray, np.ndarray]]] = {}
        for start in range(0, len(task.labels), BATCH):
            crops = [center_crop(task.picture(i), size) for i in range(start, min(start + BATCH, len(task.labels)))]
            x = torch.cat([photo_tensor(crop) for crop in crops])
            plain = backbone.tail(backbone.head(x), pooled=True).numpy()
            kept.setdefault(("teacher", None), []).append((np.full(len(x), 3 * size * size), plain))
            for name, system in systems.items():
                y = system.codec.encoder(x)
                for lmbda in lmbdas_of(system, SETTINGS):
                    packets = system.codec.pack(y, lmbda)
                    pooled = backbone.tail(system.decoder(system.codec.decompress(packets)), pooled=True).numpy()
                    sizes = np.array([len(packet.to_bytes()) for packet in packets])
                    kept.setdefault((name, shown_lmbda(lmbda)), []).append((sizes, pooled))
            done += len(x)
            progress(done, total)
        rows += _rows(
            task, {key: tuple(map(np.concatenate, zip(*one, strict=True))) for key, one in kept.items()}, backbone
        )
    return rows


def _rows(
    task: Task, kept: dict[tuple[str, float | None], tuple[np.ndarray, np.ndarray]], backbone: Backbone
) -> list[TaskRow]:
    n, (teacher, *codecs) = len(task.labels), kept
    right = {(*key, probe): [] for key in kept for probe in ("photos", "packets")}
    for seed in range(SPLITS):
        from_photos = probed_classes(kept[teacher][1], [kept[key][1] for key in codecs], task.labels, seed)
        for key, answer in zip(kept, from_photos, strict=True):
            right[(*key, "photos")].append(answer == task.labels)
        for key in codecs:
            right[(*key, "packets")].append(probed_classes(kept[key][1], [], task.labels, seed)[0] == task.labels)
    whole = np.mean(right[(*teacher, "photos")], axis=0)  # (N,) share of the splits in which a picture was right
    rows = []
    for (codec, lmbda, probe), splits in right.items():
        if splits:
            share, each = np.mean(splits, axis=0), [float(np.mean(one)) for one in splits]
            rows.append(TaskRow(
                task.name, codec, lmbda, probe, backbone.name, float(kept[codec, lmbda][0].mean()),
                float(share.mean()), *ends(share), float((whole - share).mean()), *ends(whole - share),
                max(each) - min(each), SPLITS, len(np.unique(task.labels)), n,
            ))  # fmt: skip
    return rows


def ends(values: np.ndarray) -> tuple[float | None, float | None]:
    """Compute the 95 % bootstrap interval of a mean over pictures (N,), or None and None where there are too few."""
    n = len(values)
    return middle(values @ resampled(n, DRAWS if n >= LEAST_PHOTOS else 0, 0), n) or (None, None)
