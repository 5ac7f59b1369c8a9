"""The factorised prior: one learned density a latent channel, and the integer tables made from it.

    y ──► + U(-½, ½) ──► p(y) ──► rate                 training
    y ──► round around the median ──► symbols          use

Source: Ballé et al. 2018, "Variational image compression with a scale hyperprior", appendix 6.1
(arXiv 1802.01436); the density is CompressAI's ``EntropyBottleneck``.
"""

import hashlib
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.entropy.coding import Tables

with warnings.catch_warnings():  # compressai imports torch_geometric, which still calls torch.jit.script
    warnings.simplefilter("ignore", FutureWarning)
    from compressai._CXX import pmf_to_quantized_cdf
    from compressai.entropy_models import EntropyBottleneck

__all__ = ["FactorizedPrior", "frequencies_of"]


def frequencies_of(pmf: Tensor, entries: Tensor) -> Tensor:
    """Integer frequencies (R, L + 1) that add up to 2**16, the last one in use for the escape.

    Args:
        pmf: (R, L) probabilities; row r counts up to ``entries[r]``, what they leave goes to the escape.
        entries: (R,) int.
    """
    out = torch.zeros(len(pmf), pmf.shape[1] + 1, dtype=torch.int32)
    for row, (values, count) in enumerate(zip(pmf, entries.tolist(), strict=True)):
        used = values[:count].double().clamp_min(0)
        shares = [*used.tolist(), max(1 - float(used.sum()), 1e-9)]
        out[row, : count + 1] = torch.tensor(pmf_to_quantized_cdf(shares, 16), dtype=torch.int32).diff()
    return out


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
        self._tables: dict[int, Tables] = {}  # views of the buffers, made on demand
        self._digest: bytes | None = None

    def _forget(self) -> None:
        self._tables.clear()
        self._digest = None

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        tables = state_dict.get(f"{prefix}frequencies")
        if tables is not None and tables.ndim == 2:
            self.reserve(*tables.shape)  # a new prior has none
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._forget()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_tables": {}}  # the range coder's models can be neither copied nor pickled

    @property
    def channels(self) -> int:
        """C of the latent."""
        return self.density.channels

    @property
    def medians(self) -> Tensor:
        """(C, 1, 1): the centre of each channel's rounding grid."""
        return self.density.quantiles[:, 0, 1].detach().view(-1, 1, 1)

    def likelihood(self, u: Tensor, gain: Tensor | None = None) -> Tensor:
        """p(u) of a (noisy or rounded) latent u = gain · y.

        Implements p(u) = c((u + ½) / gain) − c((u − ½) / gain), with c the learned cumulative of y
        (Ballé et al. 2018, Eq. 6, for a quantiser of step 1 / gain).

        Args:
            u: (B, C, h, w) float.
            gain: broadcastable to u; 1 by default.

        Returns:
            (B, C, h, w) in (1e-9, 1], always float32.
        """
        with torch.autocast(u.device.type, enabled=False):
            step = 1.0 if gain is None else 1 / gain.float()
            upper, lower = (self._cumulative_logits((u.float() + half) * step) for half in (0.5, -0.5))
            sign = torch.where(upper + lower > 0, -1.0, 1.0)  # the sigmoid is sharpest on its left half
            p = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
            return self.density.likelihood_lower_bound(p)

    def _cumulative_logits(self, y: Tensor) -> Tensor:
        b, c, h, w = y.shape
        flat = self.density._logits_cumulative(y.transpose(0, 1).reshape(c, 1, -1), stop_gradient=False)
        return flat.reshape(c, b, h, w).transpose(0, 1)

    def quantise(self, y: Tensor) -> Tensor:
        """Round to the grid around the medians. y: (B, C, h, w)."""
        return torch.round(y - self.medians) + self.medians

    def to_symbols(self, y: Tensor) -> np.ndarray:
        """Latents (B, C, h, w) to the integers on the wire (B, C, h·w) int32; ValueError for NaN or infinity."""
        if not torch.isfinite(y).all():
            raise ValueError("the latent holds NaN or infinity: the picture or the encoder's weights are damaged")
        symbols = torch.round(y - self.medians).clamp(-(2.0**30), 2.0**30)
        return symbols.to(torch.int32).flatten(2).cpu().numpy()

    def from_symbols(self, symbols: np.ndarray, height: int, width: int) -> Tensor:
        """Integers (B, C, h·w) back to latents (B, C, h, w): symbol + median."""
        return torch.from_numpy(symbols).to(self.medians).unflatten(2, (height, width)) + self.medians

    @torch.no_grad()
    def freeze(self, update_quantiles: bool = True, keep_grid: bool = False, gains: Tensor | None = None) -> None:
        """Find the quantiles by bisection and make the integer tables from the densities.

        A short training leaves the quantiles far from the truth (they move by Adam's step a step);
        bisection puts them right whatever training did. It also moves the medians, and with them
        the rounding grid: measure accuracy after, not before.

        Args:
            update_quantiles: False leaves them where training did, to see what breaks.
            keep_grid: leaves the medians where they are (at 0 unless an earlier call moved them), so that the
                grid stays the one on which straight-through rounding trained the decoder. After training with
                noise alone, a grid around the true medians wastes less.
            gains: (levels, C) makes one set of tables a level, for latents multiplied by these.

        Raises:
            ValueError: the densities hold NaN or infinity.
        """
        if not all(torch.isfinite(p).all() for p in self.density.parameters()):
            raise ValueError("the densities hold NaN or infinity: training diverged; lower the learning rate")
        grid = self.density.quantiles[:, :, 1].clone()
        if update_quantiles:
            self.density._update_quantiles()
        if keep_grid:
            self.density.quantiles[:, :, 1] = grid
        gains = torch.ones(1, self.channels) if gains is None else gains
        levels = [self._integer_tables(gain) for gain in gains]
        width = max(frequencies.shape[1] for frequencies, _, _ in levels)
        pad = torch.nn.functional.pad
        self.frequencies = torch.cat([pad(f, (0, width - f.shape[1])) for f, _, _ in levels])
        self.lengths = torch.cat([lengths for _, lengths, _ in levels])
        self.offsets = torch.cat([offsets for _, _, offsets in levels])
        self._forget()

    def _integer_tables(self, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frequencies (C, L), lengths and offsets (C,) for symbols of one gain (C,)."""
        low, centre, high = self.density.quantiles[:, 0].T  # where the density has its mass
        below = torch.ceil((centre - low) * gain).clamp_min(0).int()
        above = torch.ceil((high - centre) * gain).clamp_min(0).int()
        entries = below + above + 1
        offsets = torch.arange(int(entries.max())) - below.unsqueeze(1)
        symbols = (offsets + centre.unsqueeze(1)).view(1, self.channels, -1, 1)
        pmf = self.likelihood(symbols, gain.view(1, -1, 1, 1))[0, :, :, 0]
        return frequencies_of(pmf, entries), entries + 1, -below  # one more entry: the escape

    def reserve(self, rows: int, width: int) -> None:
        """Make room for a checkpoint's tables before it is loaded: ``rows`` = levels · C, of ``width`` entries."""
        self.frequencies = self.frequencies.new_zeros(rows, width)
        self.lengths, self.offsets = (self.lengths.new_zeros(rows) for _ in range(2))
        self._forget()

    def tables_at(self, level: int = 0) -> Tables:
        """The frozen tables of one level.

        Raises:
            RuntimeError: :meth:`freeze` was never called.
        """
        if self.frequencies.shape[1] == 0:
            raise RuntimeError("this prior has no tables yet: call freeze() after training")
        if level not in self._tables:
            rows = slice(level * self.channels, (level + 1) * self.channels)
            parts = (part[rows].cpu().numpy() for part in (self.frequencies, self.lengths, self.offsets))
            self._tables[level] = Tables(*parts)
        return self._tables[level]

    @property
    def tables(self) -> Tables:
        """The frozen tables of a prior with one level."""
        return self.tables_at(0)

    @property
    def table_digest(self) -> bytes:
        """SHA-256 of all tables as canonical little-endian bytes; made once, since every packet asks for it."""
        if self.frequencies.shape[1] == 0:
            raise RuntimeError("this prior has no tables yet: call freeze() after training")
        if self._digest is None:
            whole = Tables(*(part.cpu().numpy() for part in (self.frequencies, self.lengths, self.offsets)))
            self._digest = hashlib.sha256(whole.to_bytes()).digest()
        return self._digest
