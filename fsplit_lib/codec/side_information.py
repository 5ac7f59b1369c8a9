"""A codec that says in a second, smaller latent how wide the distribution of every symbol is, and where its mean lies.

    y ──► h_a ──► z ──► first stream ──► h_s ──► scales, means ──► × gain ──┐
    └───► × gain ──► u ─────────────────────────────────────────────► p(u | z) ──► second stream

Encoder and side information are trained together, as Minnen, Ballé & Toderici 2018 do (arXiv 1809.02736). It is here to be
measured: both ends compute the tables of u in floating point, so its packets are read on the machine that made them.
"""

import torch
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.codec.encoder import CodecConfig
from fsplit_lib.codec.feature_codec import FeatureCodec, Quantiser
from fsplit_lib.entropy.hyperprior import Hyperprior, SideStreams
from fsplit_lib.entropy.packer import Packer
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.packet import Packet, code_to_lmbda, lmbda_to_code


class SideInformationCodec(FeatureCodec):
    """Encoder, gains and mean-scale hyperprior; its packets hold two streams.

    >>> codec = SideInformationCodec(CodecConfig(side_information=16))
    >>> codec.update()
    >>> packet = codec.compress(torch.zeros(1, 3, 64, 64))[0]
    >>> len(packet.streams), codec.decompress([packet]).shape
    (2, torch.Size([1, 48, 8, 8]))
    """

    def __init__(self, config: CodecConfig):
        super().__init__(config)
        self.prior = Hyperprior(config.widths[-1], config.side_information, means=True)

    def trainable(self) -> dict[str, nn.Module]:
        """Return the modules that learn; "prior" is the density of z."""
        networks = nn.ModuleList([self.prior.h_a, self.prior.h_s])
        return super().trainable() | {"prior": self.prior.prior, "hyperprior": networks}

    def update(self, update_quantiles: bool = True, keep_grid: bool = False) -> None:  # noqa: ARG002
        """Build the integer tables, of z and of every scale; u is rounded to whole numbers at all times."""
        self.prior.update()

    @property
    def packer(self) -> Packer:
        """There is none: it raises ParameterError."""
        raise ParameterError("a network chooses the tables of this codec, so no phone can pack with it")

    @property
    def codec_id(self) -> bytes:
        """4 bytes: SHA-256 of all weights and tables, every bit of them: a slightly other h_s reads another message."""
        return self._memo.get((*self.parameters(), *self.buffers()), self._make_id)

    def _make_id(self) -> bytes:
        return bytes.fromhex(zoo.fingerprint({name: value.cpu() for name, value in self.state_dict().items()}))[:4]

    def quantise(
        self, y: Tensor, quantiser: Quantiser, noise: Tensor | None, lmbda: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute what the decoder sees, (B, C, h, w), and the likelihoods (B, C·h·w + N·⌈h/4⌉·⌈w/4⌉, 1, 1) of u and z.

        Arguments as in :meth:`FeatureCodec.quantise`, but for the noise (B, C + N, h, w): z takes its last N channels,
        at every fourth place.

        Raises:
            ValueError: quantiser "none", which has no rate.
        """
        if quantiser == "none":
            raise ValueError("a codec with side information cannot be trained without a quantiser")
        gain, inverse = self._gain(y, lmbda)
        u = y * gain
        u_hat = u.round()
        if noise is None:
            paid = self.prior.likelihoods(u_hat, self.prior.prior.quantise(self.prior.analyse(y)), gain)
        else:
            channels = y.shape[1]
            noisy = u + noise[:, :channels]
            u_hat = noisy if quantiser == "noise" else u + (u_hat - u).detach()
            paid = self.prior.likelihoods(noisy, self.prior.analyse(y) + noise[:, channels:, ::4, ::4], gain)
        return u_hat * inverse, torch.cat([p.flatten(1) for p in paid], 1)[..., None, None]

    @torch.no_grad()
    def pack(self, y: Tensor, lmbda: float | None = None) -> list[Packet]:
        """Make packets of latents (B, C, h, w), at a rate weight; the codec's own by default.

        Raises:
            ParameterError: lmbda outside the codec's range.
        """
        code = lmbda_to_code(self.config.lmbda if lmbda is None else lmbda)
        if code not in self.codes:
            raise ParameterError(f"this codec packs with lmbda {self.lmbdas[0]:.3g} to {self.lmbdas[-1]:.3g}")
        gain, _ = self._gain(y, torch.tensor([code_to_lmbda(code)]))
        streams = [self.prior.compress((one * gain).round(), one, gain) for one in y.split(1)]
        height, width = (side * self.config.stride for side in y.shape[-2:])
        return [Packet(self.codec_id, height, width, code, tuple(one)) for one in streams]

    @torch.no_grad()
    def decompress(self, packets: list[Packet]) -> Tensor:
        """Read packets that were made on this machine, as :meth:`FeatureCodec.decompress` does, with its errors."""
        height, width = self._size_of(packets)
        found = []
        for packet in packets:
            if packet.codec_id != self.codec_id or len(packet.streams) != 2 or packet.lmbda_code not in self.codes:
                raise PacketError(f"the packet of codec {packet.codec_id.hex()} is none of codec {self.codec_id.hex()}")
            gain, inverse = self._gain(torch.zeros(1), torch.tensor([packet.lmbda]))
            found.append(self.prior.decompress(SideStreams(*packet.streams), height, width, gain) * inverse)
        return torch.cat(found)


def build_codec(config: CodecConfig) -> FeatureCodec:
    """Build the untrained codec of a configuration, with side information or without.

    >>> type(build_codec(CodecConfig(side_information=16))).__name__
    'SideInformationCodec'
    """
    return (SideInformationCodec if config.side_information else FeatureCodec)(config)
