"""The factorised prior: one learned density a latent channel, and the integer tables made from it.

    y ──► + U(-½, ½) ──► p(y) ──► rate                 training
    y ──► round around the median ──► symbols          use

Source: Ballé et al. 2018, "Variational image compression with a scale hyperprior", appendix 6.1
(arXiv 1802.01436); the density is CompressAI's ``EntropyBottleneck``.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.entropy.coding import Tables
from fsplit_lib.entropy.context import Context
from fsplit_lib.entropy.packer import to_symbols

with warnings.catch_warnings():  # compressai imports torch_geometric, which still calls torch.jit.script
    warnings.simplefilter("ignore", FutureWarning)
    from compressai._CXX import pmf_to_quantized_cdf
    from compressai.entropy_models import EntropyBottleneck
    from compressai.layers import GDN1  # noqa: F401  (prior_work and decoders import these two from here)
    from compressai.models import FactorizedPrior as ImageCodec  # noqa: F401


def frequencies_of(pmf: Tensor, entries: Tensor) -> Tensor:
    """Compute integer frequencies (R, L + 1) that add up to 2**16, the last one in use for the escape.

    Args:
        pmf: (R, L) probabilities; row r counts up to ``entries[r]``, what they leave goes to the escape.
        entries: (R,) int.

    >>> frequencies_of(torch.tensor([[0.5, 0.25]]), torch.tensor([2])).tolist()
    [[32768, 16384, 16384]]
    """
    out = torch.zeros(len(pmf), pmf.shape[1] + 1, dtype=torch.int32)
    for row, (values, count) in enumerate(zip(pmf, entries.tolist(), strict=True)):
        used = values[:count].double().clamp_min(0)
        shares = [*used.tolist(), max(1 - float(used.sum()), 1e-9)]
        out[row, : count + 1] = torch.tensor(pmf_to_quantized_cdf(shares, 16), dtype=torch.int32).diff()
    return out


class Memo:
    """A value that depends on tensors: made again once one of them was replaced or changed in place.

    It is neither copied nor stored. What is written through ``tensor.data`` or a numpy view escapes its notice.
    """

    def __init__(self) -> None:
        self.stamp, self.tensors, self.value = None, (), None

    def get(self, tensors: tuple[Tensor, ...], make: Callable[[], Any]) -> Any:
        """Return the value for ``tensors``, calling ``make`` if it is not known."""
        stamp = [(id(t), 0 if t.is_inference() else t._version) for t in tensors]
        if stamp != self.stamp:
            self.value, self.stamp, self.tensors = make(), stamp, tensors  # kept, so that no other takes its id
        return self.value

    def __reduce__(self) -> tuple:
        return Memo, ()


class TableBuffers(nn.Module):
    """Integer tables as buffers: they travel in the checkpoint, and nobody builds them again when serving.

    They take the size of the checkpoint that they are loaded from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(0, 0, dtype=torch.int32))
        self.register_buffer("lengths", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("offsets", torch.zeros(0, dtype=torch.int32))
        self._memo = Memo()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        for name in self._buffers:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def tables(self) -> Tables:
        """All tables, in the order of the buffers' rows.

        Raises:
            RuntimeError: ``update()`` was never called.
        """
        if not len(self.lengths):
            raise RuntimeError("there are no tables yet: call update() after training")
        parts = (self.frequencies, self.lengths, self.offsets)
        return self._memo.get(parts, lambda: Tables.from_arrays(self._arrays()))

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: buffer.cpu().numpy() for name, buffer in self._buffers.items()}


class ContextBuffers(TableBuffers):
    """A :class:`~fsplit_lib.entropy.context.Context` as buffers, so that it travels in the checkpoint."""

    def __init__(self, context: Context | None = None):
        super().__init__()
        self.register_buffer("channels", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("groups", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("choices", torch.zeros(0, 0, 0, 0, dtype=torch.uint8))
        for name, array in ({} if context is None else context.to_arrays()).items():
            setattr(self, name, torch.from_numpy(array.copy()))

    @property
    def context(self) -> Context:
        """What the buffers hold."""
        return Context.from_arrays(self._arrays())


class FactorizedPrior(TableBuffers):
    """Learned densities while training, integer tables after :meth:`update`.

    ``init_scale`` is half the width of the first densities, in symbols.

    >>> p = FactorizedPrior(1).likelihood(torch.arange(-500.0, 501).view(1, 1, 1, -1))
    >>> round(p.sum().item(), 3)  # over the whole numbers
    1.0
    """

    def __init__(self, channels: int, init_scale: float = 10.0):
        super().__init__()
        self.density = EntropyBottleneck(channels, init_scale=init_scale)
        self.density.quantiles.requires_grad_(False)  # update() finds them; no gradient ever does
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):  # ours are the ones that travel
            self.density.register_buffer(name, getattr(self.density, name), persistent=False)

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
        (Ballé et al. 2018, Eq. 6, for a quantiser of step 1 / gain). u is (B, C, h, w) float, as is p, which lies in
        (1e-9, 1] and is always float32; the gain is broadcastable to them, 1 by default.
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
        """Round latents (B, C, h, w) to the integers on the wire (B, C, h·w), see :func:`~fsplit_lib.entropy.packer.to_symbols`."""
        return to_symbols(y.flatten(2).cpu().numpy(), self.medians.flatten().cpu().numpy())

    def from_symbols(self, symbols: np.ndarray, height: int, width: int) -> Tensor:
        """Turn integers (B, C, h·w) back into latents (B, C, h, w): symbol + median."""
        return torch.from_numpy(symbols).to(self.medians).unflatten(2, (height, width)) + self.medians

    @torch.no_grad()
    def update(self, update_quantiles: bool = True, keep_grid: bool = False, gains: Tensor | None = None) -> None:
        """Find the quantiles by bisection and build the integer tables from the densities, as CompressAI's ``update``.

        A short training leaves the quantiles far from the truth (they move by one Adam step per step);
        bisection puts them right whatever training did. It also moves the medians, and with them
        the rounding grid: measure accuracy after, not before.

        Without ``update_quantiles`` they stay where training left them, to see what breaks. ``keep_grid`` leaves the
        medians where they are (at 0 unless an earlier call moved them), so that the grid stays the one on which
        straight-through rounding trained the decoder; after training with noise alone, a grid around the true medians
        wastes less. Gains (levels, C) make one set of tables per level, for latents multiplied by these.

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
        frequencies, lengths, offsets = zip(*map(self._integer_tables, gains), strict=True)
        width = max(part.shape[1] for part in frequencies)
        self.frequencies = torch.cat([nn.functional.pad(part, (0, width - part.shape[1])) for part in frequencies])
        self.lengths, self.offsets = torch.cat(lengths), torch.cat(offsets)

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
