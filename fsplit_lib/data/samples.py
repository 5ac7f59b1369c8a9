"""Seven licensed photos that scikit-image and scikit-learn ship: for looking, never for training."""

import importlib.resources
import os

from PIL import Image

from fsplit_lib.data.images import open_image
from fsplit_lib.errors import DataError

PHOTOS = {
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
