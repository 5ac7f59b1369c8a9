"""What the codec competes with: image codecs through Pillow, each at its best honest setting."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, features

from fsplit_lib.errors import ParameterError

__all__ = ["IMAGE_CODECS", "Squeezed", "decode_image", "encode_image", "encode_lossless", "squeeze"]


@dataclass(frozen=True)
class ImageCodec:
    """Pillow's name, its best options, and its range of quality."""

    format: str
    options: dict
    qualities: range


IMAGE_CODECS = {
    "JPEG": ImageCodec("JPEG", {"optimize": True, "progressive": True}, range(1, 96)),
    "WebP": ImageCodec("WEBP", {"method": 6}, range(101)),
    "AVIF": ImageCodec("AVIF", {"speed": 4}, range(101)),
}
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)


def encode_image(image: Image.Image, codec: str, quality: int) -> bytes:
    """A coded image file, headers and all.

    Args:
        image: RGB.
        codec: a key of :data:`IMAGE_CODECS`.
        quality: in the codec's own scale.

    Raises:
        ParameterError: unknown codec or quality, or this Pillow was built without the codec.

    >>> len(encode_image(Image.new("RGB", (64, 64)), "WebP", 50)) < 100
    True
    """
    if codec not in IMAGE_CODECS:
        raise ParameterError(f"no image codec {codec!r}; there are {', '.join(IMAGE_CODECS)}")
    kind = IMAGE_CODECS[codec]
    if quality not in kind.qualities:
        raise ParameterError(f"{codec} quality runs from {kind.qualities[0]} to {kind.qualities[-1]}, got {quality}")
    if codec in ("WebP", "AVIF") and not features.check(codec.lower()):
        raise ParameterError(f"this Pillow was built without {codec}; install Pillow from a wheel")
    bare, buffer = image.copy(), io.BytesIO()
    bare.info = {}  # a colour profile of kilobytes would else travel in some formats and not in others
    bare.save(buffer, kind.format, quality=quality, **kind.options)
    return buffer.getvalue()


def encode_lossless(image: Image.Image) -> bytes:
    """A PNG file: every pixel kept.

    >>> decode_image(encode_lossless(Image.new("RGB", (8, 8), "red"))).getpixel((3, 3))
    (255, 0, 0)
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def decode_image(data: bytes) -> Image.Image:
    """The RGB image of a coded file."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


@dataclass(frozen=True)
class Squeezed:
    """An image under a byte limit.

    Attributes:
        data: the file.
        image: decoded and scaled back to the original's size.
        quality: of the codec.
        scale: of each side before coding; below 1 where full size did not fit or looked worse.
    """

    data: bytes
    image: Image.Image
    quality: int
    scale: float


def squeeze(image: Image.Image, codec: str, limit_bytes: int) -> Squeezed | None:
    """The best picture a codec can make in ``limit_bytes``, or None where not even the smallest fits.

    At each scale the highest quality that fits is found by bisection; among the scales the least
    squared error to the original wins, so a codec may shrink the picture where that serves it better.
    """
    original = np.asarray(image, dtype=np.float64)
    best, least = None, np.inf
    for scale in SCALES:
        small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
        found = _highest_quality(small, codec, limit_bytes)
        if found is None:
            continue
        data, quality = found
        back = decode_image(data).resize(image.size, Image.Resampling.BICUBIC)
        error = float(((np.asarray(back, dtype=np.float64) - original) ** 2).mean())
        if error < least:
            best, least = Squeezed(data, back, quality, scale), error
    return best


def _highest_quality(image: Image.Image, codec: str, limit_bytes: int) -> tuple[bytes, int] | None:
    qualities = IMAGE_CODECS[codec].qualities
    low, high, found = 0, len(qualities) - 1, None
    while low <= high:
        middle = (low + high) // 2
        data = encode_image(image, codec, qualities[middle])
        if len(data) <= limit_bytes:
            found, low = (data, qualities[middle]), middle + 1
        else:
            high = middle - 1
    return found
