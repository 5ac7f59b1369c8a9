"""One photo at every rate: what can be computed when it is picked is, so that a slider answers at once.

photo ──► crop ──► y = g_a(x)                          once
              └──► the size of every packet             once
              └──► files of JPEG and AVIF of those sizes, and what the teacher says of each
lmbda ──► gain ──► packet ──► h_hat ──► answer          on every move
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import encode_to_budget
from fsplit_lib.data import center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation.answers import Rival, probs_of
from fsplit_lib.packet import Packet
from fsplit_lib.system import FrankenSplit

WRONG_GAINS = ("nothing", "the inverse gain", "the server's lambda", "the control")

EVERY = {"JPEG": 4, "AVIF": 8}  # of the codec's qualities: finer steps would not show


@dataclass(frozen=True)
class AtRate:
    """A photo at one rate weight."""

    lmbda: float  # as the wire has it
    size: int  # bytes of the whole packet
    bits: np.ndarray  # (h, w) bits of the payload at each place of the latent
    probs: np.ndarray  # (classes,) from the packet
    rivals: dict[str, Rival | None]  # each image codec's best file of at most as many bytes, if any


def _rivals(backbone: Backbone, crop: Image.Image, codec: str, sizes: Sequence[int]) -> list[Rival]:
    """Collect the files of an image codec that some packet has to be compared with, smallest first."""
    files, probs = list(dict.fromkeys(filter(None, encode_to_budget(crop, codec, sorted(sizes), EVERY[codec])))), []
    for start in range(0, len(files), 8):
        probs.extend(probs_of(backbone(torch.cat([photo_tensor(file.image) for file in files[start : start + 8]]))))
    return [Rival(*pair) for pair in zip(files, probs, strict=True)]


class RateExplorer:
    """A system with a codec of continuous rate, with one photo of any size loaded; ``rivals`` are image codecs.

    Attributes:
        crop: what is coded.
        teacher: (classes,) probabilities without compression.
        lmbdas: (L,) every rate weight of the wire that the codec can use.
        sizes: (L,) bytes of the whole packet at each of them.
        files: of each image codec, the files that some packet has to be compared with, smallest first.

    >>> from fsplit_lib.data import load_photo
    >>> from fsplit_lib.system import load_system
    >>> explorer = RateExplorer(load_system("photo"), load_photo("chelsea"), rivals=())
    >>> len(explorer.sizes), explorer.sizes[0] > explorer.sizes[-1]
    (76, True)
    """

    @torch.no_grad()
    def __init__(self, system: FrankenSplit, image: Image.Image, rivals: tuple[str, ...] = ("JPEG", "AVIF")):
        self.system = system
        self.crop = center_crop(image, system.backbone.input_size)
        x = photo_tensor(self.crop)
        self.y = system.codec.encoder(x)
        (self.teacher,) = probs_of(system.backbone(x))
        self.lmbdas = np.array(system.codec.lmbdas)
        self.sizes = np.array([len(system.codec.pack(self.y, lmbda)[0].to_bytes()) for lmbda in self.lmbdas])
        self.files = {codec: _rivals(system.backbone, self.crop, codec, self.sizes.tolist()) for codec in rivals}

    @torch.no_grad()
    def at(self, lmbda: float) -> AtRate:
        """Send the photo at a rate weight through a real packet and back.

        Raises:
            ParameterError: lmbda outside the codec's range.
        """
        packer, (y,) = self.system.codec.packer, self.y.numpy()
        code, size = packer.code(lmbda), y.shape[1:]
        symbols = packer.symbols(y, code)
        wire = packer.pack_symbols(symbols, code, *size).to_bytes()
        bits = packer.symbol_bits(symbols, code, *size).sum(axis=0).reshape(size)
        packet = Packet.from_bytes(wire)
        return AtRate(packet.lmbda, len(wire), bits, probs_of(self.system.answer([packet]))[0], self.rivals(len(wire)))

    def rivals(self, size: int) -> dict[str, Rival | None]:
        """Return each image codec's best file of at most so many bytes, None where none is as small."""
        return {
            name: next((rival for rival in reversed(rivals) if len(rival.file.data) <= size), None)
            for name, rivals in self.files.items()
        }


@torch.no_grad()
def encode_with_wrong_gain(system: FrankenSplit, y: Tensor, lmbda: float, breaks: str) -> tuple[int, np.ndarray]:
    """Compute the bytes and (classes,) probabilities of a latent whose gain went wrong at one of the two ends.

    The latent y (1, C, h, w) is of a codec of continuous rate, asked for ``lmbda``. What ``breaks`` is "nothing", "the
    inverse gain" (the server forgets it), "the server's lambda" (it takes the inverse of the finest) or "the control"
    (the phone always packs at the coarsest).

    Raises:
        ParameterError: nothing of that name can break.

    >>> from fsplit_lib.system import load_system
    >>> system, y = load_system("photo"), torch.zeros(1, 48, 28, 28)
    >>> sizes = [encode_with_wrong_gain(system, y, 1.0, breaks)[0] for breaks in ("nothing", "the inverse gain")]
    >>> sizes[0] == sizes[1]  # the server's fault changes no byte
    True
    """
    if breaks not in WRONG_GAINS:
        raise ParameterError(f"breaks must be one of {', '.join(WRONG_GAINS)}, got {breaks!r}")
    codec = system.codec
    used = codec.lmbdas[-1] if breaks == "the control" else lmbda
    packet = codec.pack(y, used)[0]
    y_hat = codec.decompress([packet])
    own, finest = (codec.gains(torch.tensor([at]))[1] for at in (packet.lmbda, codec.lmbdas[0]))
    if breaks == "the inverse gain":
        y_hat = y_hat / own
    elif breaks == "the server's lambda":
        y_hat = y_hat / own * finest
    return len(packet.to_bytes()), probs_of(system.backbone.tail(system.decoder(y_hat)))[0]
