"""What the codec competes with: image codecs through Pillow, each at its best honest setting, and plain 8-bit features."""

import importlib
import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter

import numpy as np
from PIL import Image, features

from fsplit_lib.errors import ParameterError


@dataclass(frozen=True)
class ImageCodec:
    """Pillow's name, its best options, its range of quality, and what has to be there."""

    format: str  # Pillow's name
    options: dict  # of its writer
    qualities: range  # the codec's own scale; more is better
    needs: str  # Pillow's feature, or the module of a plugin (`pip install fsplit_lib[codecs]`)
    quality: str = "quality"  # turns a quality into the writer's option
    quick: dict = field(default_factory=dict)  # options for trying out, where the best ones are slow


IMAGE_CODECS = {
    "JPEG": ImageCodec("JPEG", {"optimize": True, "progressive": True}, range(1, 96), "jpg"),
    "WebP": ImageCodec("WEBP", {"method": 6}, range(101), "webp"),
    "AVIF": ImageCodec("AVIF", {"speed": 4}, range(101), "avif", quick={"speed": 6}),  # a fifth of the time
    # a bare codestream; quality is the signal-to-noise ratio in dB that the wavelets aim at
    "JPEG 2000": ImageCodec(
        "JPEG2000",
        {"quality_mode": "dB", "irreversible": True, "no_jp2": True},
        range(15, 61),
        "jpg_2000",
        "quality_layers",
    ),
    "JPEG XL": ImageCodec("JXL", {"effort": 9}, range(101), "pillow_jxl"),
    "HEIC": ImageCodec("HEIF", {"enc_params": {"preset": "slow"}}, range(101), "pillow_heif.HeifImagePlugin"),
}
LIVE = ("JPEG", "WebP", "AVIF")  # quick enough for a chapter, and in every Pillow wheel
SCALES = (1.0, 0.75, 0.5, 0.375, 0.25)


def _require(codec: str) -> ImageCodec:
    if codec not in IMAGE_CODECS:
        raise ParameterError(f"no image codec {codec!r}; there are {', '.join(IMAGE_CODECS)}")
    kind = IMAGE_CODECS[codec]
    if kind.needs.startswith("pillow_"):
        try:
            importlib.import_module(kind.needs)
        except ImportError as error:
            raise ParameterError(f"{codec} needs a plugin: pip install fsplit_lib[codecs]") from error
    elif not features.check(kind.needs):
        raise ParameterError(f"this Pillow was built without {codec}; install Pillow from a wheel")
    return kind


def encode_image(image: Image.Image, codec: str, quality: int, quick: bool = False) -> bytes:
    """Encode an RGB image as a file, headers and all, at a quality in the codec's own scale.

    Raises:
        ParameterError: unknown codec or quality, or the codec is not installed.

    >>> len(encode_image(Image.new("RGB", (64, 64)), "WebP", 50)) < 100
    True
    """
    kind = _require(codec)
    if quality not in kind.qualities:
        raise ParameterError(f"{codec} quality runs from {kind.qualities[0]} to {kind.qualities[-1]}, got {quality}")
    bare, buffer = image.copy(), io.BytesIO()
    bare.info = {}  # a colour profile of kilobytes would else travel in some formats and not in others
    asked = {kind.quality: [quality] if kind.quality == "quality_layers" else quality}
    bare.save(buffer, kind.format, **asked, **(kind.options | kind.quick if quick else kind.options))
    return buffer.getvalue()


def scan_bytes(jpeg: bytes) -> int:
    """Count the bytes of a JPEG file without its tables and headers: what would travel if both ends had agreed on them.

    Only scans are counted: each SOS segment with the entropy-coded data behind it.

    >>> whole = encode_image(Image.new("RGB", (64, 64), "teal"), "JPEG", 50)
    >>> 0 < scan_bytes(whole) < len(whole) - 200
    True
    """
    position, counted = 2, 0
    while position < len(jpeg) - 2:  # each turn: one marker segment
        marker = jpeg[position + 1]
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker == 0xDA:  # start of scan: its data run to the next marker that is neither stuffing nor a restart
            while not (jpeg[end] == 0xFF and jpeg[end + 1] != 0 and not 0xD0 <= jpeg[end + 1] <= 0xD7):
                end += 1
            counted += end - position
        position = end
    return counted


def encode_lossless(image: Image.Image) -> bytes:
    """Encode an image as a PNG file, which keeps every pixel.

    >>> decode_image(encode_lossless(Image.new("RGB", (8, 8), "red"))).getpixel((3, 3))
    (255, 0, 0)
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def decode_image(data: bytes) -> Image.Image:
    """Decode an image file to RGB.

    >>> decode_image(encode_image(Image.new("L", (8, 6)), "JPEG", 50)).mode
    'RGB'
    """
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


@dataclass(frozen=True, eq=False)
class BudgetFile:
    """An image under a byte limit."""

    data: bytes  # the file
    image: Image.Image  # decoded and scaled back to the original's size
    quality: int  # of the codec
    scale: float  # of each side before coding; below 1 where full size did not fit or looked worse

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.data)


def encode_to_budget(image: Image.Image, codec: str, limits: Sequence[int], every: int = 1) -> list[BudgetFile | None]:
    """Find the best picture that a codec can make of an RGB image within each limit in bytes, which ascend.

    At each scale the highest quality that fits is found by bisection; among the scales the least squared error to the
    original wins, so a codec may shrink the picture where that serves it better. A file is coded once for all limits.
    With a step ``every`` above 1 through its qualities the search is coarser and uses the codec's quick options. There
    is None where not even the smallest file fits.
    """
    original, kind = np.asarray(image, dtype=np.float64), IMAGE_CODECS[codec]
    qualities = kind.qualities[::every]

    def at_scale(scale: float) -> list[tuple[float, BudgetFile] | None]:
        small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)

        @cache
        def coded(index: int, quick: bool = every > 1 and bool(kind.quick)) -> bytes:
            return encode_image(small, codec, qualities[index], quick)

        def highest(limit: int) -> int:
            """By bisection with the codec's quick options where it has some, and from there with those that count."""
            index = bisect_right(range(len(qualities)), limit, key=lambda i: len(coded(i, bool(kind.quick)))) - 1
            while index >= 0 and len(coded(index)) > limit:
                index -= 1
            while index + 1 < len(qualities) and len(coded(index + 1)) <= limit:
                index += 1
            return index

        @cache
        def judged(index: int) -> tuple[float, BudgetFile]:
            back = decode_image(coded(index)).resize(image.size, Image.Resampling.BICUBIC)
            error = float(((np.asarray(back, dtype=np.float64) - original) ** 2).mean())
            return error, BudgetFile(coded(index), back, qualities[index], scale)

        return [judged(index) if index >= 0 else None for index in map(highest, limits)]

    found, best = [], None
    with ThreadPoolExecutor() as pool:  # image codecs let go of the interpreter
        for choices in zip(*pool.map(at_scale, SCALES), strict=True):
            best = min((one for one in (best, *choices) if one is not None), key=itemgetter(0), default=None)
            found.append(best and best[1])
    return found


def pack_features(h: np.ndarray) -> bytes:
    """Pack features of any shape as 8-bit numbers between their own extremes, through zlib: what splitting alone would send.

    >>> h = np.linspace(-1, 3, 1000, dtype=np.float32).reshape(1, 10, 10, 10)
    >>> float(abs(unpack_features(pack_features(h), h.shape) - h).max()) <= 4 / 255 / 2 + 1e-6
    True
    """
    low = float(h.min())
    step = max(float(h.max()) - low, 1e-12) / 255
    return struct.pack("<ff", low, step) + zlib.compress(np.rint((h - low) / step).astype(np.uint8).tobytes())


def unpack_features(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Unpack what :func:`pack_features` packed to float32, each value within half a step."""
    low, step = struct.unpack_from("<ff", data)
    values = np.frombuffer(zlib.decompress(data[8:]), dtype=np.uint8).reshape(shape)
    return values.astype(np.float32) * np.float32(step) + np.float32(low)
