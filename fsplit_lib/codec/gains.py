"""One codec for every rate weight: a gain per channel, steered by lmbda.

    y ──► × gain(lmbda) ──► round ──► symbols ──► × inverse(lmbda) ──► y_hat

A larger gain is a finer quantiser. The encoder never learns which lmbda is asked for, so a phone
encodes once and only scales again when the control moves.

Source: Cui et al. 2021, "Asymmetric gained deep image compression with continuous rate adaptation"
(arXiv 2003.02012): gains at a few anchors, geometric interpolation in between, and an inverse of its own.
"""

import torch
from torch import Tensor, nn


class Gains(nn.Module):
    """Gain and inverse gain of every channel, learned at the anchors.

    Args:
        anchors: (A,) ascending rate weights.
        channels: C of the latent.

    >>> gains = Gains((0.1, 1.0), 48)
    >>> gain, inverse = gains(torch.tensor([0.1, 0.3]))
    >>> gain.shape, sum(p.numel() for p in gains.parameters())
    (torch.Size([2, 48, 1, 1]), 192)
    """

    def __init__(self, anchors: tuple[float, ...], channels: int):
        super().__init__()
        at = torch.tensor(anchors, dtype=torch.float64).log().float()
        self.register_buffer("log_anchors", at, persistent=False)
        # a uniform quantiser's distortion grows with the square of its step: step ~ sqrt(lmbda), middle anchor 1
        first = 0.5 * (at[len(at) // 2] - at).unsqueeze(1).repeat(1, channels)
        self.log_gain = nn.Parameter(first.clone())
        self.log_inverse = nn.Parameter(-first.clone())

    def forward(self, lmbda: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and inverse (B, C, 1, 1) for rate weights (B,).

        Geometric interpolation, as in Cui et al. 2021: gain = gain_a^(1-t) · gain_b^t between neighbouring anchors.
        """
        at = lmbda.log().contiguous()
        right = torch.searchsorted(self.log_anchors, at).clamp(1, len(self.log_anchors) - 1)
        low, high = self.log_anchors[right - 1], self.log_anchors[right]
        t = ((at - low) / (high - low)).clamp(0, 1).unsqueeze(1)
        both = (torch.lerp(table[right - 1], table[right], t) for table in (self.log_gain, self.log_inverse))
        gain, inverse = (logs.exp()[:, :, None, None] for logs in both)
        return gain, inverse
