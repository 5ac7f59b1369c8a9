"""Any folder of photos, labelled by sub-folder, by ImageNet file name, or not at all."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path

import numpy as np
from PIL import Image

from fsplit_lib.data.images import center_crop, open_image, seems_whole
from fsplit_lib.errors import DataError

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".png", ".webp", ".avif", ".heic", ".heif", ".hif", ".bmp", ".tif",
    ".tiff", ".gif", ".ppm", ".pgm",
}  # fmt: skip
NAMED = 5  # of the files that are left out, in a warning
CALTECH = {"accordion", "Faces_easy", "car_side", "windsor_chair", "yin_yang"}  # five of its 101 categories
CALTECH_FOLDERS = ("caltech101", "101_ObjectCategories")
WNID = re.compile(r"^n\d{8}(?=[_.]|$)")


@dataclass(frozen=True)
class ImageFolder:
    """Photos of a folder, in sorted order."""

    name: str  # what tables call this data set
    paths: tuple[Path, ...]  # one file per photo
    labels: tuple[int, ...] | None = None  # one class index per photo, or None where the folder tells no classes
    classes: tuple[str, ...] = ()  # the class names that `labels` index
    licence: str = ""  # of a data set that was recognised, with its authors; "" where nothing is known

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        return open_image(self.paths[index])

    def readable(self, progress: Callable[..., None] = lambda *_: None, thorough: bool = True) -> "ImageFolder":
        """Keep the photos that can be read and cropped; a warning counts the others and says what is wrong with them.

        ``progress`` is called with photos looked at and photos in all. Unless thorough, only photos that do not seem
        whole are decoded, as at the start of a training, which decodes them later anyway.

        Raises:
            DataError: none can be read.
        """
        wrong = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoders let go of the interpreter
            for done, error in enumerate(pool.map(partial(_error_of, thorough), self.paths), start=1):
                wrong.append(error)
                progress(done, len(self))
        told = [error for error in wrong if error is not None]
        if not told:
            return self
        sentence = f"{len(told)} of {len(self)} photos in {self.name} were left out: {_some(told, '; ')}"
        if len(told) == len(self):
            raise DataError(sentence)
        warnings.warn(sentence, stacklevel=2)
        return self._part([error is None for error in wrong])

    def drawn(self, count: int, seed: int, each: bool = False) -> "ImageFolder":
        """Draw ``count`` photos at random, or with ``each`` so many of every class; all, where there are no more.

        Raises:
            DataError: photos of each class are asked for, and the folder tells no classes.
        """
        if each and self.labels is None:
            raise DataError(f"{self.name} tells no classes: put the photos of each class into a sub-folder of its own")
        groups, order = self.labels if each else [0] * len(self), np.random.default_rng(seed).permutation(len(self))
        taken, chosen = Counter(), [False] * len(self)
        for index in order:
            taken[groups[index]] += 1
            chosen[index] = taken[groups[index]] <= count
        return self._part(chosen)

    def split(self, every: int) -> tuple["ImageFolder", "ImageFolder"]:
        """Return all photos but each ``every``-th, to train on, and those, to test on.

        Raises:
            DataError: one of the two would be empty.
        """
        held = [n % every == every - 1 if every > 0 else False for n in range(len(self))]
        if not 0 < sum(held) < len(self):
            raise DataError(f"every must be from 2 to the number of photos, {len(self)}, got {every}")
        return self._part([not one for one in held]), self._part(held)

    def _part(self, chosen: list[bool]) -> "ImageFolder":
        labels = None if self.labels is None else tuple(compress(self.labels, chosen))
        return replace(self, paths=tuple(compress(self.paths, chosen)), labels=labels)


def _error_of(thorough: bool, path: Path) -> str | None:
    if not thorough and seems_whole(path):
        return None
    try:
        center_crop(open_image(path))
    except DataError as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"
    return None


def _some(told: list[str], between: str) -> str:
    more = f"{between}and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return between.join(told[:NAMED]) + more


def image_folder(folder: str | Path, name: str | None = None, loose: bool = False) -> ImageFolder:
    """Read any folder of photos.

    Files or sub-folders named like ImageNet's (``n01440764_tench.JPEG``, ``n01440764/1.JPEG``) are
    labelled with ImageNet's class index: the rank of the wnid among the 1,000 sorted ones. Otherwise sub-folders are classes, in sorted
    order, one without photos too; a flat folder has no labels. A warning counts and names the files that are no photos.

    Tables call it by the given name, or its own. Where it is loose, photos may lie beside the sub-folders, for whoever
    needs no labels: then no photo has one.

    Raises:
        DataError: no such folder, no photo in it, or photos beside the sub-folders.

    >>> from fsplit_lib.data.files import data_root
    >>> [path.name for path in image_folder(data_root() / "pictures").paths]
    ['overview.png']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    shown = (path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts))
    files = sorted(path for path in shown if path.is_file())
    paths = tuple(path for path in files if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"there is no photo in {folder} (looked for {', '.join(sorted(SUFFIXES))})")
    if others := [str(path.relative_to(folder)) for path in files if path.suffix.lower() not in SUFFIXES]:
        warnings.warn(
            f"{len(others)} of {len(files)} files in {folder} were left out, since their names do not end like a photo's: "
            f"{_some(others, ', ')}",
            stacklevel=2,
        )
    name = name or folder.resolve().name
    wnids = [WNID.match(path.name) or WNID.match(path.parent.name) for path in paths]
    if all(wnids):
        from timm.data import ImageNetInfo  # brings torch

        index = {wnid: i for i, wnid in enumerate(ImageNetInfo().label_names())}
        found = [index.get(match.group()) for match in wnids]
        if None not in found:
            return ImageFolder(name, paths, tuple(found), tuple(index))
    parents = [path.relative_to(folder).parts[0] if path.parent != folder else None for path in paths]
    if None in parents:
        if any(parents) and not loose:
            raise DataError(
                f"{paths[parents.index(None)]} lies beside the sub-folders, which are the classes of the other photos: "
                "move it into one of them, or away"
            )
        return ImageFolder(name, paths)
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    return ImageFolder(name, paths, tuple(classes.index(p) for p in parents), classes)


def caltech101(root: str | Path) -> ImageFolder:
    """Read Caltech-101 (Fei-Fei et al. 2004) as torchvision lays it out, without its background class.

    ``root`` is the folder given to ``torchvision.datasets.Caltech101``, its sub-folder, or ``101_ObjectCategories``.

    Raises:
        DataError: the 101 categories are not there.
    """
    if (found := _caltech_below(Path(root))) is None:
        raise DataError(
            f"no Caltech-101 below {root}: expected {Path(root, *CALTECH_FOLDERS)} with one folder a category; "
            "torchvision.datasets.Caltech101(root, download=True) fetches it"
        )
    whole = image_folder(found, "caltech101")
    classes = tuple(name for name in whole.classes if name != "BACKGROUND_Google")
    kept = whole._part([whole.classes[label] in classes for label in whole.labels])
    labels = tuple(classes.index(whole.classes[label]) for label in kept.labels)
    return replace(kept, labels=labels, classes=classes, licence="Fei-Fei et al. 2004; CC BY 4.0")


def _caltech_below(root: Path) -> Path | None:
    for place in (Path(root, *CALTECH_FOLDERS), root / CALTECH_FOLDERS[1], root):
        inside = {p.name for p in place.iterdir() if p.is_dir()} if place.is_dir() else set()
        if inside >= CALTECH and len(inside) >= 100:  # other data sets have an accordion too
            return place
    return None


def elpv(root: str | Path) -> ImageFolder:
    """Read ELPV (Deitsch et al. 2019), electroluminescence pictures of solar cells, as the package elpv-dataset lays it out.

    The classes are "whole" and "defective": whether experts thought a defect at least as likely as not. ``root`` is the
    package's ``elpv_dataset``, its ``data`` sub-folder, or a copy.

    Raises:
        DataError: the table ``labels.csv`` is not there, or is another one.
    """
    found = next((place for place in (Path(root) / "data", Path(root)) if (place / "labels.csv").is_file()), None)
    if found is None:
        raise DataError(f"no ELPV below {root}: expected labels.csv and images; `pip install elpv-dataset` brings both")
    lines = [line.split() for line in (found / "labels.csv").read_text("utf-8").splitlines()]  # path, probability, kind
    try:
        labels = tuple(int(float(probability) >= 0.5) for _, probability, _ in lines)
    except ValueError as error:
        raise DataError(f"{found / 'labels.csv'} is not ELPV's table of path, probability and kind of cell") from error
    paths, classes = tuple(found / path for path, *_ in lines), ("whole", "defective")
    return ImageFolder("elpv", paths, labels, classes, "Deitsch et al. 2019; CC BY-NC-SA 4.0")


def training_folder(root: str | Path) -> ImageFolder:
    """Read Caltech-101 without its background class where ``root`` is one of its folders, else any folder of photos.

    Labels are not needed here, so photos may lie beside sub-folders.

    Raises:
        DataError: no such folder, or no photo in it.
    """
    return caltech101(root) if _caltech_below(Path(root)) else image_folder(root, loose=True)
