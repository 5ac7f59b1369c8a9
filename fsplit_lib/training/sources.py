"""Where training samples come from: each is a pure function of (seed, position in the run).

So a run that was killed goes on with the very samples it would have seen, and two machines that share
a global batch see what one machine would have seen.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from fsplit_lib.data.folders import ImageFolder
from fsplit_lib.data.images import to_array
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.errors import DataError


def key_of(*numbers: int) -> int:
    """Compute one 63-bit seed from several numbers, such as (seed, step)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


class Batch:
    """This process's share of one global batch.

    Attributes:
        x: (B, 3, H, W) float32 in [0, 1], contiguous.
        labels: (B,) int64.
        saliency: (B, 1, h, w) of the features' size, float32 in [0, 1], cropped and flipped with x, or None.
        step: of the run.
    """

    def __init__(self, sample: tuple[Tensor, ...], step: int, seed: int, size: int, rank: int, world: int):
        self.x, self.labels, self.step = *sample[:2], step
        self.saliency = sample[2] if len(sample) > 2 else None
        self._seed, self._size, self._rank, self._world = seed, size, rank, world

    def to(self, device: torch.device) -> None:
        """Move what the batch holds, and what it will draw."""
        self.x, self.labels = self.x.to(device), self.labels.to(device)
        self.saliency = None if self.saliency is None else self.saliency.to(device)

    def noise(self, shape: tuple[int, ...], key: int = 1) -> Tensor:
        """Draw U(−½, ½) of shape (B, *shape), the same for a sample on however many processes and on any device.

        Another ``key`` draws other numbers.
        """
        generator = torch.Generator().manual_seed(key_of(self._seed, self.step, key))
        drawn = torch.rand(self._size, *shape, generator=generator)[self._rank :: self._world] - 0.5
        return drawn.to(self.x.device)

    def log_uniform(self, low: float, high: float, ends: bool = False) -> Tensor:
        """Draw (B,) numbers between low and high, spread evenly over the batch and uniform on a log scale.

        The samples of one step are strata of the range, in random order: a step never sees only coarse
        or only fine rate weights. With ``ends`` the logarithm has the arcsine distribution: a third of the numbers are
        in its first and last 7 %.
        """
        generator = torch.Generator().manual_seed(key_of(self._seed, self.step, 4))
        order = torch.randperm(self._size, generator=generator)
        share = (order + torch.rand(self._size, generator=generator)) / self._size
        if ends:
            share = torch.sin(0.5 * torch.pi * share) ** 2
        return (low * (high / low) ** share)[self._rank :: self._world].to(self.x.device)


class ArraySource(Dataset):
    """Images in memory, grey (N, H, W) uint8, as RGB, or (N, C, H, W) uint8, as they are, with labels (N,).

    They are shifted and flipped at random, or not; then they may have saliency ``maps`` (N, 1, h, w) in [0, 1].

    >>> source = ArraySource(np.zeros((4, 32, 32), np.uint8), np.arange(4))
    >>> x, labels = source.__getitems__([(2, 0), (3, 0)])  # (image, key of its augmentation)
    >>> x.shape, labels.tolist()
    (torch.Size([2, 3, 32, 32]), [2, 3])
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, augment: bool = False, maps: Tensor | None = None):
        if maps is not None and (augment or len(maps) != len(images)):
            raise DataError(f"{len(images)} images without augmentation need as many saliency maps, got {len(maps)}")
        self.images, self.labels, self.maps = images, labels, maps
        moved = v2.Compose([v2.RandomCrop(images.shape[-1], padding=2), v2.RandomHorizontalFlip()])
        self.augment = moved if augment else None

    @property
    def digest(self) -> str:
        """What tells these samples from others."""
        return _digest(self.images, self.labels, self.maps, repr(self.augment))

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, wanted: list[tuple[int, int]]) -> tuple[Tensor, ...]:
        index = np.array([i for i, _ in wanted])
        x = images_to_tensor(self.images[index])
        if self.augment is not None:
            x = torch.stack([_keyed(self.augment, one, key) for one, (_, key) in zip(x, wanted, strict=True)])
        sample = (x.contiguous(), torch.from_numpy(self.labels[index]))
        return sample if self.maps is None else (*sample, self.maps[index])


class FolderSource(Dataset):
    """Random crops of photos, flipped half of the time and resized to ``crop`` by ``crop`` pixels.

    They have ``scale``, least and largest, of the photo's area. Saliency ``maps``, (1, h, w) in [0, 1] for each photo,
    are cropped and flipped with it, to a value for 8 x 8 pixels. With ``colours`` the crop's brightness, contrast,
    saturation and hue change at random, and one crop in five turns grey, by SimCLR's recipe at half its strength (Chen
    et al. 2020, arXiv 2002.05709).
    """

    def __init__(
        self,
        folder: ImageFolder,
        crop: int,
        scale: tuple[float, float] = (0.25, 1.0),
        maps: list[Tensor] | None = None,
        colours: bool = False,
    ):
        if maps is not None and len(maps) != len(folder):
            raise DataError(f"{len(folder)} photos need as many saliency maps, got {len(maps)}")
        self.folder, self.maps, self.grid = folder, maps, crop // 8
        cut = v2.RandomResizedCrop(crop, scale=scale, interpolation=v2.InterpolationMode.BICUBIC)
        self.augment = v2.Compose([cut, v2.RandomHorizontalFlip()])
        self.colour = v2.Compose([v2.ColorJitter(0.4, 0.4, 0.4, 0.1), v2.RandomGrayscale(0.2)]) if colours else None

    @property
    def digest(self) -> str:
        """What tells these crops from others: names, sizes and classes of the photos, their maps, the transform."""
        photos = [f"{path.name} {path.stat().st_size}" for path in self.folder.paths]
        colour = repr(self.colour) if self.colour else ""
        return _digest(repr(photos), repr(self.folder.labels), *(self.maps or ()), repr(self.augment), colour)

    def __len__(self) -> int:
        return len(self.folder)

    def __getitems__(self, wanted: list[tuple[int, int]]) -> tuple[Tensor, ...]:
        pairs = [self._crop(index, key) for index, key in wanted]
        labels = self.folder.labels or [-1] * len(self.folder)
        if self.colour is not None:
            pairs = [(_keyed(self.colour, p, key_of(k, 5)), m) for (p, m), (_, k) in zip(pairs, wanted, strict=True)]
        x = torch.from_numpy(np.stack([to_array(photo) for photo, _ in pairs]))
        sample = (x, torch.tensor([labels[index] for index, _ in wanted]))
        return sample if self.maps is None else (*sample, torch.stack([weight for _, weight in pairs]))

    def _crop(self, index: int, key: int) -> tuple[Image.Image, Tensor | None]:
        photo = self.folder[index]
        if self.maps is None:
            return _keyed(self.augment, photo, key), None
        full = tv_tensors.Image(F.interpolate(self.maps[index][None], size=photo.size[::-1], mode="bilinear")[0])
        photo, weight = _keyed(self.augment, (photo, full), key)  # drawn once, for both
        small = F.interpolate(weight.as_subclass(Tensor)[None], size=(self.grid, self.grid), mode="area")[0]
        return photo, small.clamp(0, 1)  # bicubic resizing overshoots


def _digest(*parts: np.ndarray | Tensor | str | None) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else b"" if part is None else np.asarray(part).tobytes())
    return digest.hexdigest()[:16]


def _keyed(transform: v2.Transform, image: Any, key: int) -> Any:
    with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
        torch.manual_seed(key)
        return transform(image)


def _samples(length: int, size: int, steps: range, seed: int) -> Iterator[list[tuple[int, int]]]:
    """(index, key) of each sample of each step."""
    epoch, order = -1, np.empty(0)
    for step in steps:
        wanted = []
        for position in range(step * size, (step + 1) * size):
            if position // length != epoch:
                epoch = position // length
                order = np.random.default_rng(key_of(seed, epoch, 2)).permutation(length)
            wanted.append((int(order[position % length]), key_of(seed, position, 3)))
        yield wanted


def batches(
    source: Dataset, size: int, start: int, steps: int, seed: int, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[Batch]:
    """Yield the share of process ``rank`` among ``world`` in global batches of ``size``, from step ``start`` to ``steps``.

    The source is an :class:`ArraySource` or :class:`FolderSource`; ``seed`` is that of order, augmentation and noise.

    >>> source = ArraySource(np.zeros((8, 32, 32), np.uint8), np.arange(8))
    >>> [(batch.x.shape, sorted(batch.labels.tolist())) for batch in batches(source, 8, start=0, steps=1, seed=0)]
    [(torch.Size([8, 3, 32, 32]), [0, 1, 2, 3, 4, 5, 6, 7])]
    """
    share = (wanted[rank::world] for wanted in _samples(len(source), size, range(start, steps), seed))
    loader = DataLoader(source, batch_sampler=share, num_workers=workers, collate_fn=tuple)  # a source makes it whole
    for step, sample in enumerate(loader, start=start):
        yield Batch(sample, step, seed, size, rank, world)
