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
from fsplit_lib.baselines import IMAGE_CODECS, Squeezed, decode_image, encode_image, squeeze
from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import ImageFolder, center_crop, to_array, write_atomically
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.errors import ParameterError
from fsplit_lib.packet import Packet
from fsplit_lib.system import FrankenSplit

__all__ = [
    "Answer",
    "RatePoint",
    "Rival",
    "answer_damaged",
    "answer_photo",
    "answer_rivals",
    "evaluate_images",
    "evaluate_photos",
    "measure",
    "rate_point",
    "top1_of_images",
    "wilson",
    "write_table",
]

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
    parts = [measure(system, x) for x in _batches(images, batch)]
    sizes, decided = (np.concatenate(part) for part in zip(*parts, strict=True))
    teacher = top1_of_images(system.backbone, images, batch)
    return rate_point(dataset, "FrankenSplit", setting, sizes, decided, teacher, labels)


@torch.no_grad()
def top1_of_images(backbone: Backbone, images: np.ndarray, batch: int = 250) -> np.ndarray:
    """What a backbone decides (N,) for grey images (N, H, W) uint8."""
    return np.concatenate([backbone(x).argmax(1).numpy() for x in _batches(images, batch)])


def _batches(images: np.ndarray, batch: int) -> Iterator[Tensor]:
    for start in range(0, len(images), batch):
        yield images_to_tensor(images[start : start + batch])


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
        folder: of photos; its labels count only where its classes are the backbone's.
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
    known = folder.labels is not None and len(folder.classes) == len(backbone.class_names)
    labels = np.array(folder.labels) if known else None  # labels of other classes say nothing about this network
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


@dataclass(frozen=True)
class Answer:
    """One photo through the whole line, beside what the teacher says without compression.

    Attributes:
        crop: what both saw.
        wire: the packet as it travels.
        ideal_bits: what the integer tables assign to the latent; no coder can go below.
        teacher: (classes,) softmax shares without compression.
        split: (classes,) softmax shares from the packet.
    """

    crop: Image.Image
    wire: bytes
    ideal_bits: float
    teacher: np.ndarray
    split: np.ndarray

    @property
    def kept(self) -> bool:
        """Whether the packet led to the teacher's own top-1."""
        return bool(self.split.argmax() == self.teacher.argmax())

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole packet per pixel of the crop: Eq. (1) of chapter 00."""
        return 8 * len(self.wire) / (self.crop.width * self.crop.height)


@dataclass(frozen=True)
class Rival:
    """An image codec under the same byte limit, and (classes,) shares of the teacher on what it left."""

    squeezed: Squeezed
    shares: np.ndarray


@torch.no_grad()
def answer_photo(system: FrankenSplit, image: Image.Image) -> Answer:
    """Compress the centre crop of a photo, answer from the packet, and ask the teacher as well."""
    crop = center_crop(image, system.backbone.input_size)
    x = _tensor(crop)
    wire = system.codec.compress(x)[0].to_bytes()
    split = _shares(system.answer([Packet.from_bytes(wire)]))
    return Answer(crop, wire, system.codec.ideal_bits(x)[0], _shares(system.backbone(x)), split)


@torch.no_grad()
def answer_rivals(backbone: Backbone, crop: Image.Image, limit_bytes: int) -> dict[str, Rival | None]:
    """What the teacher says of a crop that each image codec squeezed; None where none of its files fits."""
    found = {codec: squeeze(crop, codec, limit_bytes) for codec in IMAGE_CODECS}
    return {
        codec: None if one is None else Rival(one, _shares(backbone(_tensor(one.image))))
        for codec, one in found.items()
    }


@torch.no_grad()
def answer_damaged(system: FrankenSplit, wire: bytes, damage: str, seed: int) -> np.ndarray:
    """Serve a packet after something went wrong.

    Args:
        system: the server, and the codec that made the packet.
        wire: the packet.
        damage: "nothing", "a flipped bit", "a cut packet", "another codec" (the server has loaded
            other weights) or "shuffled channels" (of the latent, behind the entropy decoder).
        seed: of the damage.

    Returns:
        (classes,) shares.

    Raises:
        PacketError: the damage was noticed.
        ParameterError: no such damage.
    """
    rng = np.random.default_rng(seed)
    codec, order = system.codec, np.arange(system.codec.prior.channels)
    if damage == "a flipped bit":
        position, bit = int(rng.integers(len(wire))), 1 << int(rng.integers(8))
        wire = wire[:position] + bytes([wire[position] ^ bit]) + wire[position + 1 :]
    elif damage == "a cut packet":
        wire = wire[: int(rng.integers(len(wire)))]
    elif damage == "another codec":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codec = FeatureCodec(system.codec.config)
        codec.prior.freeze()
    elif damage == "shuffled channels":
        order = rng.permutation(order)
    elif damage != "nothing":
        raise ParameterError(f"no damage is called {damage!r}")
    y_hat = codec.decompress([Packet.from_bytes(wire)])[:, torch.from_numpy(order)]
    return _shares(system.backbone.tail(system.decoder(y_hat)))


def _shares(logits: Tensor) -> np.ndarray:
    return logits.softmax(1)[0].numpy()
