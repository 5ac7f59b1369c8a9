"""How good, at how many bytes: one rate point a method and setting, with intervals.

bytes   mean length of the whole packet or image file
kept    kept decisions: the share of pictures whose top-1 equals the teacher's on the same crop
top1    accuracy, where the data set has labels
"""

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import decode_image, encode_image
from fsplit_lib.data import ImageFolder, center_crop, to_array, write_atomically
from fsplit_lib.system import FrankenSplit

__all__ = ["RatePoint", "evaluate_images", "evaluate_photos", "measure", "rate_point", "wilson", "write_table"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RatePoint:
    """One row of a result table; intervals are Wilson's at 95 %.

    Attributes:
        dataset: name of the pictures.
        method: as in the book's figures.
        setting: quality or lmbda.
        bytes: mean of whole packets or files.
        kept: share of the teacher's decisions kept.
        kept_low: lower end of its interval.
        kept_high: upper end.
        top1: accuracy, or None without labels.
        top1_low: lower end, or None.
        top1_high: upper end, or None.
        n: pictures.
    """

    dataset: str
    method: str
    setting: str
    bytes: float
    kept: float
    kept_low: float
    kept_high: float
    top1: float | None
    top1_low: float | None
    top1_high: float | None
    n: int


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927).

    >>> [round(v, 3) for v in wilson(50, 100)]
    [0.404, 0.596]
    """
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def rate_point(
    dataset: str,
    method: str,
    setting: str,
    sizes: np.ndarray,
    decided: np.ndarray,
    teacher: np.ndarray,
    labels: np.ndarray | None,
) -> RatePoint:
    """Summarise one method.

    Args:
        dataset: name of the pictures.
        method: name of the method.
        setting: of the method.
        sizes: (N,) bytes.
        decided: (N,) the method's top-1.
        teacher: (N,) the teacher's top-1 on the same crops.
        labels: (N,) true classes, or None.
    """
    n = len(sizes)
    kept = int((decided == teacher).sum())
    right = None if labels is None else int((decided == labels).sum())
    return RatePoint(
        dataset, method, setting, float(np.mean(sizes)), kept / n, *wilson(kept, n),
        *((None, None, None) if right is None else (right / n, *wilson(right, n))), n,
    )  # fmt: skip


@torch.no_grad()
def measure(system: FrankenSplit, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of the packets and top-1 of the answers, through real packets.

    Args:
        system: trained.
        x: (B, 3, H, W) in [0, 1].

    Returns:
        bytes (B,) and classes (B,).
    """
    packets = system.codec.compress(x)
    logits = system.answer(packets)
    return np.array([len(p.to_bytes()) for p in packets]), logits.argmax(1).numpy()


@torch.no_grad()
def evaluate_images(
    system: FrankenSplit, images: np.ndarray, labels: np.ndarray, dataset: str, setting: str, batch: int = 250
) -> RatePoint:
    """A system on grey images in memory (N, H, W) uint8, such as Fashion-MNIST's."""
    sizes, decided, teacher = [], [], []
    for start in range(0, len(images), batch):
        x = (
            torch.from_numpy(images[start : start + batch].copy())
            .unsqueeze(1)
            .expand(-1, 3, -1, -1)
            .float()
            .div(255)
            .contiguous()
        )
        one, answer = measure(system, x)
        sizes.append(one)
        decided.append(answer)
        teacher.append(system.backbone(x).argmax(1).numpy())
    joined = [np.concatenate(part) for part in (sizes, decided, teacher)]
    return rate_point(dataset, "FrankenSplit", setting, *joined, labels)


@torch.no_grad()
def evaluate_photos(
    systems: dict[str, FrankenSplit],
    backbone: Backbone,
    folder: ImageFolder,
    image_codecs: dict[str, tuple[int, ...]],
    progress: Progress | None = None,
) -> list[RatePoint]:
    """Every system and every image codec on the same centre crops of a folder.

    Args:
        systems: setting to system; all with the given backbone.
        backbone: the teacher.
        folder: of photos; labels must index the backbone's classes.
        image_codecs: codec name to qualities.
        progress: called with photos done and photos in all.

    Returns:
        One point a system and a quality, and the teacher's own (bytes: raw 8-bit RGB).
    """
    size = backbone.input_size
    rows: dict[tuple[str, str], list[tuple[int, int]]] = {}
    teacher = []
    for done, crop in enumerate(_crops(folder, size), start=1):
        x = _tensor(crop)
        teacher.append(int(backbone(x).argmax()))
        rows.setdefault(("teacher", "raw"), []).append((3 * size * size, teacher[-1]))
        for setting, system in systems.items():
            (bytes_,), (answer,) = measure(system, x)
            rows.setdefault(("FrankenSplit", setting), []).append((bytes_, answer))
        for codec, qualities in image_codecs.items():
            for quality in qualities:
                data = encode_image(crop, codec, quality)
                answer = int(backbone(_tensor(decode_image(data))).argmax())
                rows.setdefault((codec, f"q{quality}"), []).append((len(data), answer))
        if progress is not None:
            progress(done, len(folder))
    labels = np.array(folder.labels) if folder.labels is not None else None
    return [
        rate_point(folder.name, method, setting, *map(np.array, zip(*values, strict=True)), np.array(teacher), labels)
        for (method, setting), values in rows.items()
    ]


def _crops(folder: ImageFolder, size: int) -> Iterator[Image.Image]:
    for index in range(len(folder)):
        yield center_crop(folder[index], size)


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(to_array(image)).unsqueeze(0)


def write_table(path: Path, points: list[RatePoint]) -> None:
    """Write rate points as CSV, whole or not at all."""
    text = io.StringIO()
    table = csv.DictWriter(text, [f.name for f in fields(RatePoint)], lineterminator="\n")
    table.writeheader()
    for point in points:
        table.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(point).items()})
    write_atomically(path, text.getvalue().encode())
