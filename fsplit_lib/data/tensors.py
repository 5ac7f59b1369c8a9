"""Images in memory as the tensors that networks take."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsplit_lib.data.images import to_array


def images_to_tensor(images: np.ndarray) -> Tensor:
    """Grey images (N, H, W) uint8 as RGB (N, 3, H, W) float32 in [0, 1], contiguous.

    >>> images_to_tensor(np.full((1, 2, 2), 255, np.uint8))[0, 2].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    grey = torch.tensor(images).float().div(255).unsqueeze(1)  # copies: images may be read-only
    return grey.repeat(1, 3, 1, 1)


def photo_tensor(image: Image.Image) -> Tensor:
    """Return a picture as a batch of one: (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(to_array(image)).unsqueeze(0)
