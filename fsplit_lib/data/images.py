"""Any photo a student may bring, as the (224, 224) RGB crop that a network was trained to see."""

import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fsplit_lib.errors import DataError

__all__ = ["center_crop", "open_image", "to_array"]

_WHITE_LEVELS = {"I": (65535.0,), "F": (1.0, 255.0, 65535.0)}  # what white means in a mode, if nothing is brighter
CROP_RATIO = 0.875  # ImageNet's test recipe: resize the short side to size / 0.875, cut out the centre


def open_image(source: str | Path | BinaryIO) -> Image.Image:
    """Read a photo as upright 8-bit RGB.

    Grey, palette, CMYK and 16-bit pictures are converted, transparency is laid on white, and the
    camera's EXIF rotation is applied, so that what the network sees is what the student sees.

    Args:
        source: a path or an open binary file.

    Returns:
        An RGB image of the source's (rotated) size.

    Raises:
        DataError: no such file, not an image, truncated, not to be read, or too large to be a photo.
    """
    name = str(source) if isinstance(source, str | Path) else getattr(source, "name", "the given file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise DataError(f"there is no photo at {name}") from error
    except IsADirectoryError as error:
        raise DataError(f"{name} is a folder, not a photo") from error
    except PermissionError as error:
        raise DataError(f"{name} may not be read by you: change its permissions, or take a copy") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name} has too many pixels ({error}); scale it down first") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image that Pillow can read (JPEG, PNG, WebP, AVIF, ...)") from error
    except Exception as error:  # Pillow's decoders raise a dozen kinds on broken files
        raise DataError(f"{name} is broken or cut short: {error}") from error


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
