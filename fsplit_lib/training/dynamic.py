"""A saliency weight that follows the training: maps of the decoded features, made again every few steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from fsplit_lib.objectives import saliency_weight


class DynamicWeight:
    """Weigh the places of one batch of pictures by Grad-CAM of the split network's own answer.

    Implements Eq. (4) of chapter 09. It keeps the weight of its last refresh, so it belongs to one batch of pictures,
    which comes back in the same order.

    Args:
        tail: maps features (B, C, h, w) to logits (B, classes).
        every: calls from one refresh to the next; the first call always makes maps.

    Attributes:
        weight: (B, 1, h, w) in [1/2, 1], or None before the first call.

    >>> weigh = DynamicWeight(lambda h: h.sum(dim=(2, 3)), every=10)
    >>> weigh(0, torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [[[[0.5, 1.0]]]]
    """

    def __init__(self, tail: Callable[[Tensor], Tensor], every: int):
        self.tail, self.every, self.weight = tail, every, None

    def __call__(self, step: int, h_hat: Tensor) -> Tensor:
        """Return the weight at a step; h_hat (B, C, h, w) are the decoded features at it, and get no gradient."""
        if self.weight is None or step % self.every == 0:
            self.weight = saliency_weight(self.map(h_hat), "guided")
        return self.weight

    def map(self, h_hat: Tensor) -> Tensor:
        """Compute Grad-CAM of the answer that the tail gives to features (B, C, h, w), its top-1: (B, 1, h, w) in [0, 1]."""
        h = h_hat.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.tail(h).amax(dim=1).sum(), h)
        cam = (slope.mean(dim=(2, 3), keepdim=True) * h.detach()).sum(dim=1, keepdim=True).clamp_min(0)
        low, high = (end(dim=(2, 3), keepdim=True) for end in (cam.amin, cam.amax))  # of each picture
        return (cam - low) / (high - low + 1e-12)
