"""Images in memory as the tensors that networks take."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsplit_lib.data.images import to_array


def images_to_tensor(images: np.ndarray) -> Tensor:
    """Make grey images (N, H, W) uint8 RGB (N, 3, H, W) float32 in [0, 1]; images (N, C, H, W) keep their channels.

    >>> images_to_tensor(np.full((1, 2, 2), 255, np.uint8))[0, 2].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    x = torch.tensor(images).float().div(255)  # copies: images may be read-only
    return x if images.ndim == 4 else x.unsqueeze(1).repeat(1, 3, 1, 1)


def photo_tensor(image: Image.Image) -> Tensor:
    """Return a picture as a batch of one: (1, 3, H, W) float32 in [0, 1].

    >>> photo_tensor(Image.new("RGB", (4, 2), "white")).shape
    torch.Size([1, 3, 2, 4])
    """
    return torch.from_numpy(to_array(image)).unsqueeze(0)
