"""Everything between the pixels and the wire, and back to y_hat.

x (B, 3, H, W) ──► g_a ──► y (B, 48, H/8, W/8) ──► quantise ──► entropy coder ──► Packet
                           │
                           └──► p(y) ──► bits
"""

import hashlib
from dataclasses import asdict, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.codec.encoder import CodecConfig, Encoder
from fsplit_lib.codec.gains import Gains
from fsplit_lib.entropy.coding import Tables
from fsplit_lib.entropy.context import Context
from fsplit_lib.entropy.models import ContextBuffers, FactorizedPrior, Memo
from fsplit_lib.entropy.packer import Packer
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.packet import Packet, check_size, code_to_lmbda, lmbda_to_code

Quantiser = Literal["noise", "straight_through", "none"]
# fields younger than codec ids
LATER = {"anchors": (), "kind": "residual", "channels": 3, "context": False, "side_information": 0}


class FeatureCodec(nn.Module):
    """Encoder and entropy model; with anchors, the gains that make its rate a continuous control.

    It knows no backbone. Decoders are separate modules, so the same packet serves any of them.
    """

    def __init__(self, config: CodecConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.gains = Gains(config.anchors, config.widths[-1]) if config.anchors else None
        self.prior = FactorizedPrior(config.widths[-1])
        self.context = ContextBuffers() if config.context else None
        self._memo = Memo()

    @property
    def noise_channels(self) -> int:
        """Channels of the noise that :meth:`quantise` takes: those of y, then those of side information."""
        return self.config.widths[-1] + self.config.side_information

    def trainable(self) -> dict[str, nn.Module]:
        """Return the modules that learn."""
        pieces = {"encoder": self.encoder, "prior": self.prior}
        return pieces if self.gains is None else pieces | {"gains": self.gains}

    @property
    def codes(self) -> range:
        """The lmbda codes that the codec has tables for, see :func:`fsplit_lib.packet.lmbda_to_code`."""
        ends = self.config.anchors or (self.config.lmbda,)
        return range(lmbda_to_code(ends[0]), lmbda_to_code(ends[-1]) + 1)

    @property
    def lmbdas(self) -> list[float]:
        """The rate weights that the wire can name and the codec can use, ascending."""
        return [code_to_lmbda(code) for code in self.codes]

    @torch.no_grad()
    def update(self, update_quantiles: bool = True, keep_grid: bool = False) -> None:
        """Build the integer tables, for every code where there are gains; see :meth:`FactorizedPrior.update`."""
        if self.gains is None:
            self.prior.update(update_quantiles, keep_grid)
            return
        if self.prior.medians.any():
            raise ValueError("a codec of several rates rounds around 0: set the medians to 0 before it is trained")
        gain, _ = self.gains(torch.tensor(self.lmbdas))
        self.prior.update(update_quantiles, keep_grid=True, gains=gain[:, :, 0, 0])

    def add_context(self, context: Context) -> None:
        """Code with a context from now on: the packets, and with them the codec's id, are others afterwards."""
        self.context, self.config = ContextBuffers(context), replace(self.config, context=True)

    @property
    def packer(self) -> Packer:
        """What turns latents into packets and back, made from the weights as they are now.

        Raises:
            RuntimeError: :meth:`update` was never called.
        """
        return self._memo.get((*self.parameters(), *self.buffers()), self._make_packer)

    @torch.no_grad()
    def _make_packer(self) -> Packer:
        medians, tables = self.prior.medians.flatten().cpu().numpy(), self.prior.tables
        both = [torch.ones(len(self.codes), len(medians))] * 2
        if self.gains is not None:
            both = [part[:, :, 0, 0] for part in self.gains(torch.tensor(self.lmbdas))]
        used = {k: v for k, v in asdict(self.config).items() if LATER.get(k) != v}
        digest = hashlib.sha256(repr(sorted(used.items())).encode())
        for part in (self.encoder, self.gains):
            for parameter in part.state_dict().values() if part is not None else ():
                digest.update(parameter.cpu().half().numpy().astype("<f2").tobytes())
        digest.update(medians.astype("<f4").tobytes())
        digest.update(hashlib.sha256(tables.to_bytes()).digest())
        context = None if self.context is None else self.context.context
        for array in () if context is None else context.to_arrays().values():
            digest.update(array.astype("<i4").tobytes())
        stride, lmbda, gains = self.config.stride, self.config.lmbda, (part.numpy() for part in both)
        return Packer(digest.digest()[:4], stride, lmbda, self.codes[0], *gains, medians, tables, context)

    @property
    def codec_id(self) -> bytes:
        """4 bytes: SHA-256 of configuration, encoder and gains (as float16), medians, the tables' digest and the context."""
        return self.packer.codec_id

    def tables(self, lmbda: float | None = None) -> Tables:
        """The tables for a rate weight; for the codec's own by default.

        Raises:
            ParameterError: lmbda outside the codec's range.
            RuntimeError: :meth:`update` was never called.
        """
        return self.packer.tables_at(self.packer.code(lmbda))

    @torch.no_grad()
    def compress(self, x: Tensor, lmbda: float | None = None) -> list[Packet]:
        """Make one packet per picture of x (B, 3, H, W), floats in [0, 1]; at the codec's own rate weight by default.

        Raises:
            ValueError: a size off the grid, or too many pixels.
            ParameterError: pixels outside [0, 1], or lmbda outside the codec's range.
        """
        check_size(*x.shape[-2:], self.config.stride)
        _check_pixels(x)
        return self.pack(self.encoder(x.contiguous()), lmbda)

    def pack(self, y: Tensor, lmbda: float | None = None) -> list[Packet]:
        """Make packets of latents (B, C, h, w): the second half of :meth:`compress`."""
        return [self.packer.pack(one, lmbda) for one in y.detach().cpu().numpy()]

    def symbols(self, y: Tensor, lmbda: float | None = None) -> np.ndarray:
        """Compute the integers on the wire (B, C, h·w) int32 of latents (B, C, h, w), at a rate weight."""
        packer = self.packer
        return np.stack([packer.symbols(one, packer.code(lmbda)) for one in y.detach().cpu().numpy()])

    def decompress(self, packets: list[Packet]) -> Tensor:
        """Read the quantised latents y_hat (B, C, h, w) of packets of one picture size.

        Raises:
            PacketError: there is none, or one belongs to another codec, differs in size, or does not decode.
        """
        self._size_of(packets)
        packer = self.packer
        return torch.from_numpy(np.stack([packer.unpack(packet) for packet in packets]))

    def _size_of(self, packets: list[Packet]) -> tuple[int, int]:
        """Height and width of the latents of packets of one picture size; PacketError where they differ."""
        sizes = {(packet.height, packet.width) for packet in packets}
        if len(sizes) != 1:
            told = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)) or "no packet"
            raise PacketError(f"one call decodes packets of one picture size, got {told}: call once for each size")
        height, width = sizes.pop()
        return height // self.config.stride, width // self.config.stride

    @torch.no_grad()
    def ideal_bits(self, x: Tensor, lmbda: float | None = None) -> list[float]:
        """Compute the bits that the integer tables assign to each picture of x: the floor for any coder."""
        _check_pixels(x)
        return self.bits_map(self.encoder(x), lmbda).sum(axis=(1, 2)).tolist()

    def bits_map(self, y: Tensor, lmbda: float | None = None) -> np.ndarray:
        """Compute where the bits of latents (B, C, h, w) go: (B, h, w), summed over the channels."""
        packer, size = self.packer, y.shape[-2:]
        bits = [packer.symbol_bits(one, packer.code(lmbda), *size).sum(axis=0) for one in self.symbols(y, lmbda)]
        return np.stack(bits).reshape(len(bits), *size)

    def _gain(self, y: Tensor, lmbda: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.gains is None:
            one = torch.ones(1, 1, 1, 1, dtype=y.dtype, device=y.device)
            return one, one
        return self.gains(torch.tensor([self.config.lmbda], device=y.device) if lmbda is None else lmbda)

    def quantise(
        self, y: Tensor, quantiser: Quantiser, noise: Tensor | None, lmbda: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The latent that the decoder sees, and the likelihood of the one that is paid for.

        Args:
            y: (B, C, h, w).
            quantiser: "noise" shows both sides y + U(−½, ½), as [FS24] trains. "straight_through"
                shows the decoder the rounded latent with the gradient of the identity. "none"
                removes the quantiser from training, to see what breaks.
            noise: U(−½, ½) of y's shape; None measures with rounding, as in use.
            lmbda: (B,) rate weights, for a codec with gains; its own by default.

        Returns:
            y_hat and p, both (B, C, h, w).
        """
        gain, inverse = self._gain(y, lmbda)
        u = y * gain
        if noise is None:
            u_hat = u_paid = self.prior.quantise(u)
        elif quantiser == "noise":
            u_hat = u_paid = u + noise
        elif quantiser == "straight_through":
            u_hat, u_paid = u + (self.prior.quantise(u) - u).detach(), u + noise
        else:
            u_hat = u_paid = u
        return u_hat * inverse, self.prior.likelihood(u_paid, gain)


def _check_pixels(x: Tensor) -> None:
    low, high = x.aminmax() if x.numel() else (0, 0)
    if not x.is_floating_point() or low < -1e-6 or high > 1 + 1e-6:
        raise ParameterError(
            f"x must hold pixels as floats in [0, 1], got {x.dtype} from {low:.3g} to {high:.3g}: "
            "divide bytes by 255, and do not normalise"
        )
