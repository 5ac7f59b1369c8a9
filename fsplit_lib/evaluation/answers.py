"""One photo at a time: what the packet leads to, what its rivals lead to, and what damage does."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import LIVE, BudgetFile, encode_to_budget
from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import ParameterError
from fsplit_lib.packet import Packet
from fsplit_lib.system import FrankenSplit


@dataclass(frozen=True)
class Answer:
    """One photo through the whole line, beside what the teacher says without compression."""

    crop: Image.Image  # what both saw
    wire: bytes  # the packet as it travels
    ideal_bits: float  # what the integer tables assign to the latent; no coder can go below
    teacher: np.ndarray  # (classes,) softmax probabilities without compression
    split: np.ndarray  # (classes,) softmax probabilities from the packet

    @property
    def agreement(self) -> bool:
        """Whether the packet led to the teacher's own top-1."""
        return bool(self.split.argmax() == self.teacher.argmax())

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole packet per pixel of the crop: Eq. (1) of chapter 00."""
        return 8 * len(self.wire) / (self.crop.width * self.crop.height)


@dataclass(frozen=True)
class Rival:
    """An image codec's file under a byte limit, and (classes,) softmax probabilities of the teacher on what it left."""

    file: BudgetFile
    probs: np.ndarray


@torch.no_grad()
def answer_photo(system: FrankenSplit, image: Image.Image) -> Answer:
    """Compress the centre crop of a photo (RGB, any size), answer from the packet, and ask the teacher as well.

    >>> from fsplit_lib.system import load_system
    >>> answer = answer_photo(load_system("label-head"), Image.new("RGB", (64, 48)))
    >>> answer.crop.size, Packet.from_bytes(answer.wire).width, answer.split.shape
    ((32, 32), 32, (10,))
    """
    crop = center_crop(image, system.backbone.input_size)
    x = photo_tensor(crop)
    wire = system.codec.compress(x)[0].to_bytes()
    (teacher,), (split,) = probs_of(system.backbone(x)), probs_of(system.answer([Packet.from_bytes(wire)]))
    return Answer(crop, wire, system.codec.ideal_bits(x)[0], teacher, split)


@torch.no_grad()
def answer_rivals(backbone: Backbone, crop: Image.Image, limit_bytes: int) -> dict[str, Rival | None]:
    """Return what the teacher says of a crop that each image codec coded; None where none of its files fits."""
    found = {codec: encode_to_budget(crop, codec, [limit_bytes])[0] for codec in LIVE}
    return {
        codec: None if one is None else Rival(one, probs_of(backbone(photo_tensor(one.image)))[0])
        for codec, one in found.items()
    }


@torch.no_grad()
def answer_damaged(system: FrankenSplit, wire: bytes, damage: str, seed: int) -> np.ndarray:
    """Serve a packet after something, drawn from ``seed``, went wrong: (classes,) probabilities.

    ``damage`` is "nothing", "a flipped bit", "a cut packet", "another codec" (the server has loaded other weights) or
    "shuffled channels" (of the latent, behind the entropy decoder).

    Raises:
        PacketError: the damage was noticed.
        ParameterError: no such damage.
    """
    rng = np.random.default_rng(seed)
    codec, order, broken = system.codec, np.arange(system.codec.prior.channels), bytearray(wire)
    if damage == "a flipped bit":
        broken[rng.integers(len(wire))] ^= 1 << int(rng.integers(8))
    elif damage == "a cut packet":
        del broken[rng.integers(len(wire)) :]
    elif damage == "another codec":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codec = FeatureCodec(system.codec.config)
        codec.update()
    elif damage == "shuffled channels":
        order = rng.permutation(order)
    elif damage != "nothing":
        raise ParameterError(f"no damage is called {damage!r}")
    y_hat = codec.decompress([Packet.from_bytes(bytes(broken))])[:, torch.from_numpy(order)]
    return probs_of(system.backbone.tail(system.decoder(y_hat)))[0]


def probs_of(logits: Tensor) -> np.ndarray:
    """Return the softmax of logits (B, classes)."""
    return logits.softmax(1).numpy()
