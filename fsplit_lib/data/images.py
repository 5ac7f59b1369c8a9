"""Any photo a student may bring, as the (224, 224) RGB crop that a network was trained to see."""

import importlib.resources
import io
import os
import re
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from fsplit_lib.errors import DataError

MAX_SCANS = 64  # of a progressive JPEG: writers make about ten, and each costs a pass over the whole picture
_ENDS = dict.fromkeys(("JPEG", "MPO"), b"\xff\xd9") | {"PNG": b"IEND\xaeB`\x82"}
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # of a JPEG: neither stuffing nor a restart
_HEIF = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")}
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT, _ORIENTATION = 258, 262, 284, 339, 274  # tags of TIFF
_TURNS = dict(enumerate((  # the EXIF orientation, and what makes it upright
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
), start=2))  # fmt: skip

PHOTOS = {  # licensed, of scikit-image and scikit-learn: for looking, never for training
    "astronaut": ("skimage.data", "astronaut.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "china": ("sklearn.datasets", "images/china.jpg"),
    "flower": ("sklearn.datasets", "images/flower.jpg"),
}


def load_photo(name: str) -> Image.Image:
    """Load one of the workbook's photos, a key of :data:`PHOTOS`, or your own, by its path, as RGB.

    Raises:
        DataError: neither a known name nor a readable file.

    >>> load_photo("chelsea").size
    (451, 300)
    """
    if name not in PHOTOS:
        if os.path.exists(name):
            return open_image(name)
        raise DataError(f"no photo is called {name!r} and no such file exists; known photos: {', '.join(PHOTOS)}")
    package, file = PHOTOS[name]
    return open_image(importlib.resources.files(package) / file)


def open_image(source: str | Path | BinaryIO, max_pixels: int = Image.MAX_IMAGE_PIXELS) -> Image.Image:
    """Read a photo as upright 8-bit sRGB.

    An embedded colour profile is converted to sRGB (relative colorimetric, with black point compensation); one that
    is broken is ignored with a warning. Grey, palette, CMYK and 16-bit pictures are converted, transparency is laid on white,
    and the camera's EXIF rotation is applied, so that what the network sees is what the student sees.

    White in a picture of more than 8 bits is the lowest of 255, 65,535 and the file's own largest value that none of
    its values exceeds; in one of floating-point values 1, 255 or 65,535, and one value in a thousand may exceed it.

    A picture of more than ``max_pixels`` is refused from its header, before it is decoded; by default where Pillow
    suspects a decompression bomb.

    Raises:
        DataError: no such file, not an image, truncated, not to be read, too many pixels, a JPEG of more than
            64 scans, or values of which nobody can know what is black or white.
    """
    name = str(source) if isinstance(source, str | Path) else getattr(source, "name", "the given file")
    try:
        with _open(source, name) as image:
            _check_cost(image, name, max_pixels)
            _check_values(image, name)
            image.load()
            rgb = _to_rgb(image, name)
            turn = _TURNS.get(image.getexif().get(_ORIENTATION))
            return rgb.transpose(turn) if turn is not None else rgb
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


def _open(source: str | Path | BinaryIO, name: str) -> Image.Image:
    """Open what Pillow knows, and HEIC where its plugin is installed."""
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        with open(source, "rb") if isinstance(source, str | Path) else nullcontext(source) as file:
            file.seek(0)
            if file.read(12)[4:] not in _HEIF:
                raise
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise DataError(f"{name} is HEIC, which needs a plugin: pip install fsplit_lib[codecs]") from error
    return Image.open(source)


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


def seems_whole(path: Path) -> bool:
    """Look at a photo's first and last bytes alone: its header can be read, and a JPEG or PNG has its end.

    A file that passes may still be broken inside; of other formats only the header is looked at. None is not whole.
    """
    try:
        with _open(path, str(path)) as image, path.open("rb") as file:
            _check_values(image, str(path))
            file.seek(-min(64, path.stat().st_size), os.SEEK_END)  # some writers add a few bytes behind the end
            end = _ENDS.get(image.format, b"")
            return image.width * image.height <= Image.MAX_IMAGE_PIXELS and end in file.read()
    except Exception:  # of a dozen kinds; open_image says which, in a sentence
        return False


def _check_values(image: Image.Image, name: str) -> None:
    """Refuse what Pillow would read as other values than the file's."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_SAMPLE_FORMAT, (1,))[0] == 2 and image.mode == "L":
        raise DataError(f"{name} has signed 8-bit values, and what is black cannot be known: save it as unsigned ones")
    if tags.get(_PLANES) == 2 and 16 in tags.get(_BITS, ()) and image.info.get("compression") == "raw":
        raise DataError(f"{name} has 16-bit colours in planes, which Pillow cannot read: save it with 8 bits or as PNG")
    if image.format == "PNG" and image.mode == "RGB" and "transparency" in image.info and "16" in image.tile[0][3]:
        raise DataError(f"{name} makes one of its 16-bit colours transparent, which Pillow misses: save it with alpha")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    profile, alpha = image.info.get("icc_profile"), None
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits, or float: Pillow would clip them, so scale
        image = _to_grey(image, name)
    elif "transparency" in image.info:  # one colour of these, or a palette's own
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    elif image.mode in ("P", "PA", "RGBa", "La"):
        image = image.convert({"P": "RGB", "La": "LA"}.get(image.mode, "RGBA"))
    if image.mode in ("LA", "RGBA"):
        alpha, image = image.getchannel("A"), image.convert(image.mode[:-1])
    image = _to_srgb(image, profile, name)
    if alpha is not None:
        image.putalpha(alpha)
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image).convert("RGB")
    image.info = {}  # or a profile would be saved with pixels that are no longer in its space
    return image


def _to_grey(image: Image.Image, name: str) -> Image.Image:
    """Values of 16 or 32 bits, or float, as L, or as LA where one of them is transparent."""
    values, tags, key = np.asarray(image), getattr(image, "tag_v2", {}), image.info.get("transparency")
    bits, signed = tags.get(_BITS, (16,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0] == 2
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are NaN or infinite")
        low, top = np.quantile(values, (0.001, 0.999))
        whites, slack = (1, 255, 65535), 0.1
    else:
        if bits == 32 and not signed:
            values = values.view(np.uint32)  # Pillow reads them as signed
        low, top, slack = values.min(), values.max(), 0
        whites = sorted({255, min(65535, 2 ** (bits - signed) - 1), 2 ** (bits - signed) - 1})
    white = next((white for white in whites if top <= white * (1 + slack)), None)
    if white is None or low < -slack * white or (white != whites[0] and 16 * top < white):
        raise DataError(
            f"{name} holds values from {low:.6g} to {top:.6g}, and which of them are black and white cannot be known: "
            f"scale them to 0 to {' or '.join(map(str, whites))}"
        )
    scaled = np.multiply(values, 255.0 / white, dtype=np.float64)
    grey = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    grey = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == 0 else grey)  # 0: white is zero
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    if image.mode == "1":
        image = image.convert("L")
    try:
        if image.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        elif not profile:
            return image.convert("RGB")
        else:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space == "RGB " and image.mode in ("L", "YCbCr"):  # as some writers pair them
                image = image.convert("RGB")
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), intent, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        warnings.warn(
            f"{name}: its colour profile is broken or for another kind of picture and was ignored ({error})",
            stacklevel=4,
        )
        return image.convert("RGB")


def center_crop(image: Image.Image, size: int = 224) -> Image.Image:
    """Resize the short side to ``size / 0.875`` (bicubic) and cut out the middle square: ImageNet's test recipe.

    The same pixels as torchvision's Resize(256) and CenterCrop(224), without torch. A smaller image is scaled up.

    Raises:
        DataError: one side is more than 64 times the other.

    >>> center_crop(Image.new("RGB", (640, 480)), 224).size
    (224, 224)
    """
    short = round(size / 0.875)
    width, height = (short * side // min(image.size) for side in image.size)
    if max(width, height) > 64 * short:
        raise DataError(f"a photo of {image.size[0]} x {image.size[1]} pixels is a line, not a photo; crop it first")
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))


def to_array(image: Image.Image) -> np.ndarray:
    """Return an RGB image as ``(3, H, W)`` float32 in [0, 1], contiguous.

    >>> to_array(Image.new("RGB", (4, 2), (255, 0, 0)))[:, 0, 0]
    array([1., 0., 0.], dtype=float32)
    """
    bands = np.stack([np.asarray(band) for band in image.split()])  # (3, H, W) bytes: Pillow separates them fastest
    return bands.astype(np.float32) / np.float32(255)
