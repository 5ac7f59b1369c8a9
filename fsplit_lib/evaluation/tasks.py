"""What else the packets carry: answers to another question, and the places that an answer comes from."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from PIL import Image

from fsplit_lib.backbones import Backbone
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.evaluation.evaluate import Progress, lmbdas_of, shown_lmbda, silent
from fsplit_lib.evaluation.intervals import middle, resampled
from fsplit_lib.evaluation.probes import probed_classes
from fsplit_lib.evaluation.tables import TaskGainRow, TaskRow
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
    systems: dict[str, FrankenSplit], backbone: Backbone, tasks: Sequence[Task], progress: Progress = silent
) -> tuple[list[TaskRow], list[TaskGainRow]]:
    """Fit linear probes to the tail's pooled features, from packets and from photos, and compare what they get right.

    Each codec is also compared with each before it, at equal bytes. All systems have the given backbone.
    """
    rows, gains, done, total, size = [], [], 0, sum(len(task.labels) for task in tasks), backbone.input_size
    for task in tasks:
        kept: dict[tuple[str, float | None], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        for start in range(0, len(task.labels), BATCH):
            crops = [center_crop(task.picture(i), size) for i in range(start, min(start + BATCH, len(task.labels)))]
            x = torch.cat([photo_tensor(crop) for crop in crops])
            plain = backbone.tail(backbone.head(x), pooled=True).numpy()
            kept["teacher", None].append((np.full(len(x), 3 * size * size), plain))
            for name, system in systems.items():
                y = system.codec.encoder(x)
                for lmbda in lmbdas_of(system, SETTINGS):
                    packets = system.codec.pack(y, lmbda)
                    pooled = backbone.tail(system.decoder(system.codec.decompress(packets)), pooled=True).numpy()
                    sizes = np.array([len(packet.to_bytes()) for packet in packets])
                    kept[name, shown_lmbda(lmbda)].append((sizes, pooled))
            done += len(x)
            progress(done, total)
        whole = {key: tuple(map(np.concatenate, zip(*one, strict=True))) for key, one in kept.items()}
        made, curves = _judged(task, whole, backbone)
        rows += made
        for against, codec in combinations(curves, 2):
            if found := accuracy_gain(*curves[codec], *curves[against]):
                gains.append(TaskGainRow(task.name, codec, against, *found, len(task.labels)))
    return rows, gains


def _judged(
    task: Task, kept: dict[tuple[str, float | None], tuple[np.ndarray, np.ndarray]], backbone: Backbone
) -> tuple[list[TaskRow], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The rows of a task, and of each codec the bytes and what the probe of its packets got right, (S, N) both."""
    n, (teacher, *codecs) = len(task.labels), kept
    right = {(*key, probe): [] for key in kept for probe in ("photos", "packets")}
    for seed in range(SPLITS):
        from_photos = probed_classes(kept[teacher][1], [kept[key][1] for key in codecs], task.labels, seed)
        for key, answer in zip(kept, from_photos, strict=True):
            right[(*key, "photos")].append(answer == task.labels)
        for key in codecs:
            right[(*key, "packets")].append(probed_classes(kept[key][1], [], task.labels, seed)[0] == task.labels)
    whole = np.mean(right[(*teacher, "photos")], axis=0)  # (N,) share of the splits in which a picture was right
    rows, curves = [], {}
    for (codec, lmbda, probe), splits in right.items():
        if splits:
            if probe == "packets":
                curves.setdefault(codec, []).append((kept[codec, lmbda][0], np.mean(splits, axis=0)))
            share, each = np.mean(splits, axis=0), [float(np.mean(one)) for one in splits]
            rows.append(TaskRow(
                task.name, codec, lmbda, probe, backbone.name, float(kept[codec, lmbda][0].mean()),
                float(share.mean()), *ends(share), float((whole - share).mean()), *ends(whole - share),
                max(each) - min(each), SPLITS, len(np.unique(task.labels)), n,
            ))  # fmt: skip
    return rows, {codec: tuple(map(np.array, zip(*settings, strict=True))) for codec, settings in curves.items()}


def accuracy_gain(
    sizes: np.ndarray, right: np.ndarray, other_sizes: np.ndarray, other_right: np.ndarray
) -> tuple[float, float | None, float | None, float, float] | None:
    """Compute how much more of a task one codec's packets get right than another's at equal bytes.

    Both curves of accuracy over the logarithm of mean bytes are interpolated linearly, and their difference is averaged
    over the bytes that both reach (the Bjøntegaard delta's other direction: quality at equal rate). They are given as
    the bytes (S, N) of N pictures' packets at S settings, and how much of each was answered rightly, (S, N) in [0, 1].

    Returns points in percent, both ends of the 95 % bootstrap interval over pictures (None with too few), and the fewest
    and the most bytes that both reach. None where there are no such bytes.

    >>> size, share = np.array([[100.0, 100], [400, 400]]), np.array([[1.0, 0], [1, 1]])
    >>> accuracy_gain(size, share, 2 * size, share)  # half the bytes: half of the 50 points that four times as many bring
    (25.0, None, None, 200.0, 400.0)
    """
    n = sizes.shape[1]
    drawn = np.hstack([np.full((n, 1), 1 / n), resampled(n, DRAWS, 0)])
    parts = [part @ drawn for part in (sizes, right, other_sizes, other_right)]
    means = [part[:, 0] for part in parts[::2]]
    low, high = max(map(min, means)), min(map(max, means))
    if low > high:
        return None
    at = np.linspace(np.log(low), np.log(high), 33)
    points = np.array([
        np.mean(np.interp(at, *_over_bytes(a, b)) - np.interp(at, *_over_bytes(c, d)))
        for a, b, c, d in zip(*(part.T for part in parts), strict=True)
    ])  # fmt: skip
    reach = middle(100 * points[1:], n) or (None, None)
    return float(100 * points[0]), *reach, float(low), float(high)


def _over_bytes(sizes: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(sizes)
    return np.log(sizes[order]), share[order]


def ends(values: np.ndarray) -> tuple[float | None, float | None]:
    """Compute the 95 % bootstrap interval of a mean over pictures (N,), or None and None where there are too few."""
    n = len(values)
    return middle(values @ resampled(n, DRAWS, 0), n) or (None, None)
