"""The whole line as one module: codec, one decoder, and the backbone whose head they replace.

x ──► encoder ──► y_hat ──► decoder ──► h_hat ──► tail ──► logits
      └────── codec ──────┘└──────────── server ───────────┘
"""

import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.backbones import Backbone, PixelBackbone, load_backbone
from fsplit_lib.codec import CodecConfig, FeatureCodec, Quantiser, build_codec
from fsplit_lib.decoders import Decoder, DecoderConfig, build_decoder
from fsplit_lib.errors import ParameterError, WeightsError
from fsplit_lib.packet import Packet

TAIL_FILE = "tail.safetensors"


@dataclass
class ForwardPass:
    """What one pass through the split network leaves for an objective."""

    x: Tensor  # (B, 3, H, W) pixels in [0, 1]
    y_hat: Tensor  # (B, C, h, w) latent at the decoder
    likelihoods: Tensor  # (B, C, h, w) in (0, 1], or (B, n, 1, 1) of all that is sent where there is side information
    h_hat: Tensor  # (B, C_h, h, w) decoded features

    @property
    def bits(self) -> Tensor:
        """(B,) estimated bits: −Σ log2 p(y_hat), Eq. (2) of chapter 05."""
        return -self.likelihoods.log2().sum(dim=(1, 2, 3))

    @property
    def bits_per_pixel(self) -> Tensor:
        """(B,) bits per input pixel."""
        return self.bits / (self.x.shape[-2] * self.x.shape[-1])


class FrankenSplit(nn.Module):
    """The whole line: codec and decoder learn; the backbone, whose head they replace, is the frozen teacher.

    Attributes:
        tuned: a copy of the backbone whose tail was fine-tuned to decoded features, as in prior split computing; None
            where the backbone itself answers, as in the paper.

    >>> out = load_system("label-head")(torch.zeros(2, 3, 32, 32))
    >>> out.y_hat.shape, out.h_hat.shape, out.bits.shape
    (torch.Size([2, 48, 8, 8]), torch.Size([2, 64, 8, 8]), torch.Size([2]))
    """

    def __init__(self, codec: FeatureCodec, decoder: nn.Module, backbone: Backbone):
        super().__init__()
        self.codec, self.decoder, self.backbone = codec, decoder, backbone
        self.tuned: Backbone | None = None

    @property
    def tail(self) -> nn.Module:
        """What turns decoded features into logits."""
        return (self.tuned or self.backbone).tail

    def forward(
        self,
        x: Tensor,
        quantiser: Quantiser = "noise",
        noise: Tensor | None = None,
        lmbda: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> ForwardPass:
        """Compute one pass for training (with ``noise``) or for measuring (without: rounded, as in use).

        ``lmbda`` (B,) steers a codec with gains; its own rate weight by default. ``keep`` (B, C, h, w) multiplies
        what the decoder sees, for dropout.
        """
        y_hat, likelihoods = self.codec.quantise(self.codec.encoder(x), quantiser, noise, lmbda)
        return ForwardPass(x, y_hat, likelihoods, self.decoder(y_hat if keep is None else y_hat * keep))

    @torch.no_grad()
    def answer(self, packets: list[Packet]) -> Tensor:
        """Compute logits (B, classes) of packets of one picture size: all that the server does.

        Raises:
            PacketError: see :meth:`FeatureCodec.decompress`.
        """
        return self.tail(self.decoder(self.codec.decompress(packets)))

    def trainable(self) -> dict[str, nn.Module]:
        """Return the modules that learn; densities and gains take larger steps than convolutions."""
        pieces = self.codec.trainable()
        return {name: pieces.pop(name) for name in ("encoder", "prior")} | {"decoder": self.decoder} | pieces


def build_system(
    backbone: Backbone, codec_config: CodecConfig, decoder_config: DecoderConfig, seed: int
) -> FrankenSplit:
    """Build an untrained system with first weights drawn from ``seed``; the backbone is the teacher.

    Raises:
        ParameterError: the encoder's stride does not divide that of the backbone's cut.

    >>> teacher = load_backbone("fashion_resnet")
    >>> system = build_system(teacher, CodecConfig(strides=(2, 2, 1)), DecoderConfig(width=48, window=4), seed=0)
    >>> list(system.trainable())
    ['encoder', 'prior', 'decoder']
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = build_codec(codec_config)
        return FrankenSplit(codec, _decoder_behind(codec_config, backbone, decoder_config), backbone)


def _decoder_behind(codec_config: CodecConfig, backbone: Backbone, decoder_config: DecoderConfig) -> Decoder:
    stride, left = divmod(backbone.spec.stride, codec_config.stride)
    if left or not stride:
        raise ParameterError(
            f"the encoder has stride {codec_config.stride}, the backbone is cut at stride {backbone.spec.stride}; "
            "no decoder upsamples, so the first must divide the second"
        )
    return build_decoder(codec_config.widths[-1], backbone.spec, decoder_config, stride)


def save_system(folder: Path, system: FrankenSplit, card: zoo.Card) -> zoo.Card:
    """Write codec and decoder with their card; the backbone is not ours to ship."""
    decoder_file = f"decoder-{system.backbone.name}.safetensors"
    card.architecture = {
        "codec": asdict(system.codec.config),
        "decoders": {system.backbone.name: asdict(system.decoder.config)},
        "backbone": system.backbone.name,
    }
    if isinstance(system.backbone, PixelBackbone):
        card.architecture["target"] = "pixels"
    card.training.setdefault("decoders", {})[system.backbone.name] = {"network": system.backbone.fingerprint}
    states = {"codec.safetensors": system.codec.state_dict(), decoder_file: system.decoder.state_dict()}
    if system.tuned is not None:
        states[TAIL_FILE] = system.tuned.tail.learnable().state_dict()
    return zoo.write_model(folder, card, states)


def attach_decoder(codec: FeatureCodec, backbone: Backbone, decoder_config: DecoderConfig, seed: int) -> FrankenSplit:
    """Attach an untrained decoder for another backbone to a trained codec, which is shared, not copied.

    Arguments and errors are those of :func:`build_system`.

    >>> codec = load_codec("label-head")
    >>> other = attach_decoder(codec, load_backbone("fashion_convnext"), DecoderConfig(width=48), seed=0)
    >>> other.codec is codec, other(torch.zeros(1, 3, 32, 32)).h_hat.shape
    (True, torch.Size([1, 64, 8, 8]))
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FrankenSplit(codec, _decoder_behind(codec.config, backbone, decoder_config), backbone)


def add_decoder(folder: Path, system: FrankenSplit, training: dict) -> zoo.Card:
    """Put the decoder of one more backbone, and how it was trained, beside a codec that is already stored.

    Raises:
        WeightsError: the folder holds another codec.
    """
    card = zoo.read_card(folder)
    theirs, ours = load_codec(folder, card).codec_id, system.codec.codec_id
    if theirs != ours:
        raise WeightsError(
            f"{folder} holds codec {theirs.hex()}, the decoder was trained for codec {ours.hex()}: "
            "it cannot read those packets"
        )
    name = system.backbone.name
    card.architecture["decoders"][name] = asdict(system.decoder.config)
    card.training.setdefault("decoders", {})[name] = training | {"network": system.backbone.fingerprint}
    return zoo.write_model(folder, card, {f"decoder-{name}.safetensors": system.decoder.state_dict()})


def load_codec(name: str | Path, card: zoo.Card | None = None) -> FeatureCodec:
    """Load a trained codec, ready to compress: the device's half. A card that was read before serves again.

    Raises:
        WeightsError: see :func:`fsplit_lib.zoo.read_weights`.

    >>> codec = load_codec("photo")
    >>> packet = codec.compress(torch.zeros(1, 3, 224, 224), lmbda=1.0)[0]
    >>> packet.lmbda, codec.decompress([packet]).shape
    (1.0, torch.Size([1, 48, 28, 28]))
    """
    card = card or zoo.read_card(name)
    state = zoo.read_weights(name, "codec.safetensors", card)
    if "codec" not in card.architecture:
        raise WeightsError(f"{card.name} is a {card.kind}, not a codec")
    try:
        codec = build_codec(CodecConfig.from_dict(card.architecture["codec"]))
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:  # what torch says of odd sizes
        raise WeightsError(f"the card of {card.name} describes no codec that can be built: {error}") from error
    zoo.load_strictly(codec, state, f"{card.name}/codec.safetensors")
    return codec.eval()


def load_system(name: str | Path, backbone: Backbone | None = None) -> FrankenSplit:
    """Load a trained codec, shipped or in a folder, with its decoder and backbone: device and server in one process.

    The backbone is the card's own by default, or one already loaded.

    Raises:
        WeightsError: also if there is no decoder for the backbone, or it was trained for other weights of it.

    >>> system = load_system("label-head")
    >>> packets = system.codec.compress(torch.zeros(2, 3, 32, 32))
    >>> len(packets), system.answer(packets).shape
    (2, torch.Size([2, 10]))
    """
    card = zoo.read_card(name)
    codec = load_codec(name, card)
    own, decoders = (card.architecture.get(key) for key in ("backbone", "decoders"))
    if not isinstance(own, str) or not isinstance(decoders, dict):
        raise WeightsError(f"the card of {card.name} names no backbone or no decoders: restore it or train again")
    backbone = backbone or load_backbone(own)
    if card.architecture.get("target") == "pixels":
        backbone = PixelBackbone(backbone, codec.config.stride)
    if backbone.name not in decoders:
        raise WeightsError(
            f"{card.name} has decoders for {', '.join(decoders)}, not for {backbone.name}; "
            "fsplit train photo-decoder makes one"
        )
    try:
        trained_for = card.training["decoders"][backbone.name]["network"]
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"the card of {card.name} does not say for which weights of {backbone.name} its decoder was trained"
        ) from error
    if (here := backbone.fingerprint) != trained_for:
        raise WeightsError(
            f"the decoder for {backbone.name} in {card.name} was trained for other weights of that network "
            f"({trained_for}, these are {here}): load those, or train a decoder for these"
        )
    try:
        config = DecoderConfig(**decoders[backbone.name])
        decoder = _decoder_behind(codec.config, backbone, config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"the card of {card.name} describes no decoder for {backbone.name} that can be built: {error}"
        ) from error
    file = f"decoder-{backbone.name}.safetensors"
    zoo.load_strictly(decoder, zoo.read_weights(name, file, card), f"{card.name}/{file}")
    system = FrankenSplit(codec, decoder.eval(), backbone)
    if TAIL_FILE in card.files:
        system.tuned = copy.deepcopy(backbone)
        state = zoo.read_weights(name, TAIL_FILE, card)
        zoo.load_strictly(system.tuned.tail.learnable(), state, f"{card.name}/{TAIL_FILE}")
    return system
