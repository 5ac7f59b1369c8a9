"""Fashion-MNIST, padded to 32 x 32: small enough to train on live, real enough to be worth it."""

import gzip
from functools import lru_cache
from typing import Literal

import numpy as np

from fsplit_lib.data.files import data_root, sha256_of
from fsplit_lib.errors import DataError

FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

SHA256 = {
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
}


@lru_cache(maxsize=2)
def fashion_mnist(split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Read images and labels of Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 60,000 in train, 10,000 in test.

    Images are ``(N, 32, 32)`` uint8 (28 x 28, padded with 2 black pixels a side), labels ``(N,)`` int64. Both are
    read-only and shared between callers.

    Raises:
        DataError: a file is missing or its checksum is wrong.

    >>> images, labels = fashion_mnist("test")
    >>> images.shape, FASHION_CLASSES[labels[0]]
    ((10000, 32, 32), 'ankle boot')
    """
    if split not in ("train", "test"):
        raise DataError(f"split must be 'train' or 'test', got {split!r}")
    stem = "train" if split == "train" else "t10k"
    pixels = _read_idx(f"{stem}-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28)
    labels = _read_idx(f"{stem}-labels-idx1-ubyte.gz", header=8).astype(np.int64)
    images = np.pad(pixels, ((0, 0), (2, 2), (2, 2)))  # (N, 32, 32)
    images.setflags(write=False)
    labels.setflags(write=False)
    return images, labels


def _read_idx(name: str, header: int) -> np.ndarray:
    path = data_root() / "fashion-mnist" / name
    if not path.is_file():
        raise DataError(f"{path} is missing: restore it with `git checkout -- data/fashion-mnist`")
    if sha256_of(path) != SHA256[name]:
        raise DataError(f"{path} is damaged (wrong sha256): restore it with `git checkout -- data/fashion-mnist`")
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=header)
