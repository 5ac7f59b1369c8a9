"""Side information: a second, smaller latent that says how wide each symbol's distribution is.

    y ──► h_a ──► z ──► its own stream ──► h_s ──► scales (and means) ──► p(y | z)

Source: Ballé et al. 2018 (arXiv 1802.01436) for scales, Minnen, Ballé & Toderici 2018 (arXiv 1809.02736) for means.
Both chapters' models code latents that are already whole symbols: of a frozen encoder, so that every entropy model codes
the very same ones, or of one that was trained with its hyperprior (:class:`fsplit_lib.codec.side_information.SideInformationCodec`).

y's tables are chosen by a network in floating point, at both ends: two machines may round differently and then read
another message. So these streams are decoded on the machine that made them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.entropy.coding import decode_symbols, encode_symbols
from fsplit_lib.entropy.models import FactorizedPrior, TableBuffers, frequencies_of

SCALES = torch.logspace(np.log10(0.11), np.log10(32), 48)  # tables exist for these
PHASES = torch.tensor([-0.375, -0.125, 0.125, 0.375])  # and for means that lie this far from a whole symbol
Gain = Tensor | float


def gaussian_likelihood(y: Tensor, scales: Tensor, means: Tensor) -> Tensor:
    """p(y|z) = Φ((y + ½ − μ) / σ) − Φ((y − ½ − μ) / σ), all of one shape, σ > 0: Eq. (6) of chapter 03.

    >>> gaussian_likelihood(torch.zeros(1), torch.ones(1), torch.zeros(1))  # what a normal has within ½
    tensor([0.3829])
    """
    away = -(y - means).abs()  # in the left tail, where Φ keeps its digits
    return (torch.special.ndtr((away + 0.5) / scales) - torch.special.ndtr((away - 0.5) / scales)).clamp_min(1e-9)


class SideStreams(NamedTuple):
    """A latent on the wire with side information: two streams of one packet."""

    z: bytes
    y: bytes


class Hyperprior(TableBuffers):
    """Entropy model of a latent y through side information z, of a quarter of its sides and ``width`` channels.

    With means, h_s says those as well as scales.

    >>> model = Hyperprior(48, 16, means=True)
    >>> p_y, p_z = model(torch.zeros(1, 48, 28, 28), torch.zeros(1, 16, 7, 7))
    >>> p_y.shape, p_z.shape
    (torch.Size([1, 48, 28, 28]), torch.Size([1, 16, 7, 7]))
    """

    def __init__(self, channels: int, width: int, means: bool):
        super().__init__()
        self.means = means
        self.h_a = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(),
            nn.Conv2d(width, width, 5, stride=2, padding=2), nn.LeakyReLU(),
            nn.Conv2d(width, width, 5, stride=2, padding=2),
        )  # fmt: skip
        self.h_s = nn.Sequential(
            nn.ConvTranspose2d(width, width, 5, stride=2, padding=2, output_padding=1), nn.LeakyReLU(),
            nn.ConvTranspose2d(width, width, 5, stride=2, padding=2, output_padding=1), nn.LeakyReLU(),
            nn.Conv2d(width, channels * (1 + means), 3, padding=1),
        )  # fmt: skip
        self.prior = FactorizedPrior(width, init_scale=3.0)
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))

    @torch.no_grad()
    def start_from(self, y: Tensor) -> None:
        """Take each channel's mean out of symbols y (B, C, h, w), and begin with its own scale.

        An encoder trained with a hyperprior learns to be centred; a frozen one has to be centred for it.
        """
        self.mean.copy_(y.mean(dim=(0, 2, 3), keepdim=True).round())
        last, std = self.h_s[-1], y.std(dim=(0, 2, 3)).clamp_min(0.15)
        last.bias[: len(std)] = std.expm1().log()  # softplus backwards
        last.weight.mul_(0.1)

    def parameters_of_y(self, z_hat: Tensor, height: int, width: int, gain: Gain = 1.0) -> tuple[Tensor, Tensor]:
        """Compute the scales and means (B, C, height, width) that z_hat stands for, of symbols with a gain."""
        out = self.h_s(z_hat)[..., :height, :width]
        scales, means = out.chunk(2, dim=1) if self.means else (out, torch.zeros_like(out))
        return (gain * nn.functional.softplus(scales)).clamp_min(0.11), gain * means

    def forward(self, y: Tensor, noise_z: Tensor) -> tuple[Tensor, Tensor]:
        """Compute likelihoods of symbols y (B, C, h, w) and of their noisy side information z (B, N, ⌈h/4⌉, ⌈w/4⌉)."""
        y = y - self.mean
        return self.likelihoods(y, self.analyse(y) + noise_z)

    def likelihoods(self, y: Tensor, z: Tensor, gain: Gain = 1.0) -> tuple[Tensor, Tensor]:
        """Compute the likelihoods of centred symbols y (B, C, h, w) that z and the gain describe, and of z."""
        return gaussian_likelihood(y, *self.parameters_of_y(z, *y.shape[-2:], gain)), self.prior.likelihood(z)

    def analyse(self, y: Tensor) -> Tensor:
        """Compute side information z (B, N, ⌈h/4⌉, ⌈w/4⌉) of centred symbols y (B, C, h, w)."""
        return self.h_a(y if self.means else y.abs())

    @torch.no_grad()
    def update(self) -> None:
        """Build the integer tables of z, and of y for every scale and phase."""
        self.prior.update()
        scales, phases = SCALES.repeat_interleave(len(PHASES)), PHASES.repeat(len(SCALES))
        reach = torch.ceil(scales * 5 + 0.5).int()
        symbols = torch.arange(2 * int(reach.max()) + 1).unsqueeze(0) - reach.unsqueeze(1)
        pmf = gaussian_likelihood(symbols.float(), scales.unsqueeze(1), phases.unsqueeze(1))
        self.frequencies = frequencies_of(pmf, 2 * reach + 1)
        self.lengths, self.offsets = 2 * reach + 2, -reach

    @torch.no_grad()
    def compress(self, y: Tensor, latent: Tensor | None = None, gain: Gain = 1.0) -> SideStreams:
        """Compress whole symbols y (1, C, h, w) to two streams.

        z is made of the latent (1, C, h, w) before its gain (1, C, 1, 1), which both ends know, and its rounding; of
        the symbols themselves by default.
        """
        y = y - self.mean
        z_symbols = self.prior.to_symbols(self.analyse(y if latent is None else latent))
        index, whole = self._context(z_symbols, *y.shape[-2:], gain)
        symbols = (y - whole).int().numpy().ravel()
        return SideStreams(encode_symbols(z_symbols[0], self.prior.tables), encode_symbols(symbols, self.tables, index))

    @torch.no_grad()
    def decompress(self, streams: SideStreams, height: int, width: int, gain: Gain = 1.0) -> Tensor:
        """Decompress two streams to symbols (1, C, h, w), with the gain of :meth:`compress`.

        Raises:
            PacketError: a stream does not decode.
        """
        z_symbols = decode_symbols(streams.z, self.prior.tables, -(-height // 4) * -(-width // 4))[None]
        index, whole = self._context(z_symbols, height, width, gain)
        symbols = decode_symbols(streams.y, self.tables, index=index)
        return torch.from_numpy(symbols).float().view_as(whole) + whole + self.mean

    def _context(self, z_symbols: np.ndarray, height: int, width: int, gain: Gain) -> tuple[np.ndarray, Tensor]:
        """The table of each symbol (C·h·w,), and the whole part of its mean (1, C, h, w)."""
        z_hat = self.prior.from_symbols(z_symbols, -(-height // 4), -(-width // 4))
        scales, means = self.parameters_of_y(z_hat, height, width, gain)
        whole = means.round()
        middle = (SCALES[1:] * SCALES[:-1]).sqrt()  # the nearest scale, by ratio
        scale = torch.bucketize(scales, middle)
        phase = torch.bucketize(means - whole, (PHASES[1:] + PHASES[:-1]) / 2)
        return (scale * len(PHASES) + phase).numpy().ravel(), whole
