"""Any photo a student may bring, as the (224, 224) RGB crop that a network was trained to see."""

import re
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fsplit_lib.errors import DataError

__all__ = ["center_crop", "open_image", "to_array"]

_WHITE_LEVELS = {"I": (65535.0,), "F": (1.0, 255.0, 65535.0)}  # what white means in a mode, if nothing is brighter
MAX_SCANS = 64  # of a progressive JPEG: writers make about ten, and each costs a pass over the whole picture
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # of a JPEG: neither stuffing nor a restart
CROP_RATIO = 0.875  # ImageNet's test recipe: resize the short side to size / 0.875, cut out the centre


def open_image(source: str | Path | BinaryIO, max_pixels: int = Image.MAX_IMAGE_PIXELS) -> Image.Image:
    """Read a photo as upright 8-bit RGB.

    Grey, palette, CMYK and 16-bit pictures are converted, transparency is laid on white, and the
    camera's EXIF rotation is applied, so that what the network sees is what the student sees.

    Args:
        source: a path or an open binary file.
        max_pixels: width times height above which a picture is refused from its header, before it is decoded;
            by default where Pillow suspects a decompression bomb.

    Returns:
        An RGB image of the source's (rotated) size.

    Raises:
        DataError: no such file, not an image, truncated, not to be read, too many pixels, or a JPEG of more than
            64 scans.
    """
    name = str(source) if isinstance(source, str | Path) else getattr(source, "name", "the given file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is max_pixels
            with Image.open(source) as image:
                _check_cost(image, name, max_pixels)
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"there is no photo at {name}") from error
    except IsADirectoryError as error:
        raise DataError(f"{name} is a folder, not a photo") from error
    except PermissionError as error:
        raise DataError(f"{name} may not be read by you: change its permissions, or take a copy") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} has too many pixels ({error}); scale it down first") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image that Pillow can read (JPEG, PNG, WebP, AVIF, ...)") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds on broken files
        raise DataError(f"{name} is broken or cut short: {error}") from error


def _check_cost(image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse what a small file can make Pillow do for a long time, before anything is decoded."""
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(f"{name} has too many pixels ({width} x {height}, at most {max_pixels}); scale it down first")
    if image.format in ("JPEG", "MPO"):
        begin = image.fp.tell()
        image.fp.seek(0)
        scans = _scans(image.fp.read())
        image.fp.seek(begin)
        if scans > MAX_SCANS:
            raise DataError(f"{name} is a JPEG of more than {MAX_SCANS} scans, which no camera makes; save it again")


def _scans(jpeg: bytes) -> int:
    """Scans up to the end of the first picture, or one more than are allowed; garbage is passed over as libjpeg does."""
    position, scans = 2, 0
    while scans <= MAX_SCANS and (found := _MARKER.search(jpeg, position)) and found[1] != b"\xd9":  # end of image
        scans += found[1] == b"\xda"  # start of scan
        position = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
    return scans


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits, or float: Pillow would clip them, so scale
        values = np.asarray(image, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are NaN or infinite")
        largest = float(values.max(initial=0.0))
        white = next((top for top in _WHITE_LEVELS[image.mode[0]] if largest <= top), largest)
        image = Image.fromarray(np.clip(values * (255.0 / white), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")


def center_crop(image: Image.Image, size: int = 224) -> Image.Image:
    """Resize the short side to ``size / 0.875`` (bicubic) and cut out the middle square.

    The same pixels as torchvision's Resize(256) and CenterCrop(224), without torch.

    Args:
        image: RGB, any size; one smaller than the crop is scaled up.
        size: side of the square in pixels.

    Returns:
        An RGB image of ``size`` x ``size`` pixels.

    >>> center_crop(Image.new("RGB", (640, 480)), 224).size
    (224, 224)
    """
    short = round(size / CROP_RATIO)
    width, height = (short * side // min(image.size) for side in image.size)
    if max(width, height) > 64 * short:
        raise DataError(f"a photo of {image.size[0]} x {image.size[1]} pixels is a line, not a photo; crop it first")
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))


def to_array(image: Image.Image) -> np.ndarray:
    """RGB image to ``(3, H, W)`` float32 in [0, 1], contiguous.

    >>> to_array(Image.new("RGB", (4, 2), (255, 0, 0)))[:, 0, 0]
    array([1., 0., 0.], dtype=float32)
    """
    bands = np.stack([np.asarray(band) for band in image.split()])  # (3, H, W) bytes: Pillow separates them fastest
    return bands.astype(np.float32) / np.float32(255)
