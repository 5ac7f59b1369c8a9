"""The factorised prior: one learned density a latent channel, and the integer tables made from it.

    y ──► + U(-½, ½) ──► p(y) ──► rate                 training
    y ──► round around the median ──► symbols          use

Source: Ballé et al. 2018, "Variational image compression with a scale hyperprior", appendix 6.1
(arXiv 1802.01436); the density is CompressAI's ``EntropyBottleneck``.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.entropy.coding import Tables

with warnings.catch_warnings():  # compressai imports torch_geometric, which still calls torch.jit.script
    warnings.simplefilter("ignore", FutureWarning)
    from compressai.entropy_models import EntropyBottleneck

__all__ = ["FactorizedPrior"]


class FactorizedPrior(nn.Module):
    """Learned densities while training, frozen integer tables after :meth:`freeze`.

    The tables, their offsets and the medians are buffers: they travel in the checkpoint, and
    nobody builds them again when serving.

    Args:
        channels: C of the latent.
        init_scale: half the width of the first densities, in symbols.
    """

    def __init__(self, channels: int, init_scale: float = 10.0):
        super().__init__()
        self.density = EntropyBottleneck(channels, init_scale=init_scale)
        self.density.quantiles.requires_grad_(False)  # freeze() finds them; no gradient ever does
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):  # ours below are the ones that travel
            self.density.register_buffer(name, getattr(self.density, name), persistent=False)
        self.register_buffer("frequencies", torch.zeros(channels, 0, dtype=torch.int32))
        self.register_buffer("lengths", torch.zeros(channels, dtype=torch.int32))
        self.register_buffer("offsets", torch.zeros(channels, dtype=torch.int32))
        self._tables: Tables | None = None

    @property
    def channels(self) -> int:
        """C of the latent."""
        return self.density.channels

    @property
    def medians(self) -> Tensor:
        """(C, 1, 1): the centre of each channel's rounding grid."""
        return self.density.quantiles[:, 0, 1].detach().view(-1, 1, 1)

    def likelihood(self, y: Tensor) -> Tensor:
        """p(y) of a (noisy or rounded) latent.

        Implements p(y) = c(y + ½) − c(y − ½), with c the learned cumulative (Ballé et al. 2018, Eq. 6).

        Args:
            y: (B, C, h, w) float.

        Returns:
            (B, C, h, w) in (1e-9, 1], always float32.
        """
        with torch.autocast(y.device.type, enabled=False):
            values = y.float().transpose(0, 1).reshape(self.channels, 1, -1)  # (C, 1, B h w)
            p, _, _ = self.density._likelihood(values)
            p = self.density.likelihood_lower_bound(p)
        b, c, h, w = y.shape
        return p.reshape(c, b, h, w).transpose(0, 1)

    def quantise(self, y: Tensor) -> Tensor:
        """Round to the grid around the medians. y: (B, C, h, w)."""
        return torch.round(y - self.medians) + self.medians

    def to_symbols(self, y: Tensor) -> np.ndarray:
        """Latents (B, C, h, w) to the integers on the wire (B, C, h·w) int32."""
        symbols = torch.round(y - self.medians).clamp(-(2.0**30), 2.0**30)
        return symbols.to(torch.int32).flatten(2).cpu().numpy()

    def from_symbols(self, symbols: np.ndarray, height: int, width: int) -> Tensor:
        """Integers (B, C, h·w) back to latents (B, C, h, w): symbol + median."""
        return torch.from_numpy(symbols).to(self.medians).unflatten(2, (height, width)) + self.medians

    @torch.no_grad()
    def freeze(self, update_quantiles: bool = True, keep_grid: bool = False) -> None:
        """Find the quantiles by bisection and make the integer tables from the densities.

        A short training leaves the quantiles far from the truth (they move by Adam's step a step);
        bisection puts them right whatever training did. It also moves the medians, and with them
        the rounding grid: measure accuracy after, not before.

        Args:
            update_quantiles: False leaves them where training did, to see what breaks.
            keep_grid: rounds the medians to whole symbols, so that the grid stays the one on which
                straight-through rounding trained the decoder. After training with noise alone, a grid
                around the true medians wastes less.

        Raises:
            ValueError: the densities hold NaN or infinity.
        """
        if not all(torch.isfinite(p).all() for p in self.density.parameters()):
            raise ValueError("the densities hold NaN or infinity: training diverged; lower the learning rate")
        if update_quantiles:
            self.density._update_quantiles()
        if keep_grid:
            self.density.quantiles[:, :, 1].round_()
        self.density.update(force=True)
        self.lengths = self.density._cdf_length.to(torch.int32) - 1  # a cdf has one entry more
        self.offsets = self.density._offset.to(torch.int32)
        steps = self.density._quantized_cdf.to(torch.int32).diff(dim=1)
        used = torch.arange(steps.shape[1]) < self.lengths[:, None]
        self.frequencies = torch.where(used, steps, torch.zeros_like(steps))
        self._tables = None

    def reserve(self, width: int) -> None:
        """Make room for tables of ``width`` entries, before a checkpoint is loaded into this module."""
        self.frequencies = torch.zeros(self.channels, width, dtype=torch.int32)
        self._tables = None

    @property
    def tables(self) -> Tables:
        """The frozen tables.

        Raises:
            RuntimeError: :meth:`freeze` was never called.
        """
        if self.frequencies.shape[1] == 0:
            raise RuntimeError("this prior has no tables yet: call freeze() after training")
        if self._tables is None:
            self._tables = Tables(*(part.cpu().numpy() for part in (self.frequencies, self.lengths, self.offsets)))
        return self._tables
