"""Maps of a whole folder of photos, computed once, kept in one file, and found again by the photo's content.

A file of maps says which network they came from and how. It refuses to serve another network, and a
photo that it has not seen: maps that belong to something else train without complaint, and wrongly.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.data import ImageFolder
from fsplit_lib.data.files import sha256_of, write_atomically
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import DataError, WeightsError
from fsplit_lib.saliency.maps import saliency_layers, saliency_map

SHORT_SIDE = 256  # pixels: the scale at which the teacher is tested
SAVED = 500  # photos between two writings


@dataclass(frozen=True)
class MapOrigin:
    """How a file of maps was made: what has to agree before they are used."""

    backbone: str  # its name
    weights: str  # its fingerprint
    method: str  # a key of METHODS
    strides: tuple[int, ...]  # of the mixed layers
    stride: int  # input pixels per value of a map

    @classmethod
    def of(cls, backbone: Backbone, method: str) -> "MapOrigin":
        """Describe what maps of this backbone would be."""
        return cls(backbone.name, backbone.fingerprint, method, tuple(saliency_layers(backbone)), backbone.spec.stride)


@dataclass(frozen=True)
class SaliencyMaps:
    """The maps of one file."""

    origin: MapOrigin  # network and method
    maps: dict[str, Tensor]  # SHA-256 of a photo's file to (h, w) float16 in [0, 1]

    @classmethod
    def load(cls, path: Path) -> "SaliencyMaps":
        """Read a file of maps.

        Raises:
            DataError: there is none, or it is damaged.
        """
        if not path.is_file():
            raise DataError(f"there are no saliency maps at {path}: make them with `fsplit saliency FOLDER`")
        try:
            with safetensors.safe_open(path, "pt") as file:
                origin = json.loads(file.metadata()["origin"])
                maps = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return cls(MapOrigin(**origin | {"strides": tuple(origin["strides"])}), maps)
        except Exception as error:  # safetensors and json raise many kinds on damaged files
            raise DataError(f"{path} is not a file of saliency maps, or it is damaged; make it again") from error

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        content = safetensors.torch.save(self.maps, {"origin": json.dumps(asdict(self.origin))})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def check(self, backbone: Backbone) -> None:
        """Raise WeightsError unless the maps came from this very network."""
        wanted = MapOrigin.of(backbone, self.origin.method)
        if wanted != self.origin:
            raise WeightsError(
                f"these saliency maps came from {self.origin.backbone} with weights {self.origin.weights}, the teacher "
                f"is {wanted.backbone} with weights {wanted.weights}: make maps of this teacher with `fsplit saliency`"
            )

    def of_folder(self, folder: ImageFolder) -> list[Tensor]:
        """Return one map per photo, (1, h, w) float32 in [0, 1], in the folder's order.

        Raises:
            DataError: a photo has none, or its map is not one.
        """
        keys = [sha256_of(path) for path in folder.paths]
        missing = [path.name for path, key in zip(folder.paths, keys, strict=True) if key not in self.maps]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(keys)} photos have no saliency map, such as {missing[0]}: "
                "the folder has changed since `fsplit saliency` ran; run it again"
            )
        found = [self.maps[key].float().unsqueeze(0) for key in keys]
        for path, one in zip(folder.paths, found, strict=True):
            if not (torch.isfinite(one).all() and 0 <= one.min() <= one.max() <= 1):
                raise DataError(f"the saliency map of {path.name} leaves 0 to 1; make the maps again")
        return found


def build_saliency_maps(
    backbone: Backbone,
    folder: ImageFolder,
    out: Path,
    method: str = "xgradcam",
    progress: Callable[..., None] = lambda *_: None,
) -> SaliencyMaps:
    """Compute the maps of every photo of a folder, at the teacher's own scale; a run that broke off goes on.

    The backbone's own top-1 is explained, so no label is needed. A photo that the network ignores gives a map without
    any place in it: it is replaced by 0.5 everywhere, with a warning that names it.

    Raises:
        WeightsError: the file at ``out`` came from another network or method.
    """
    origin = MapOrigin.of(backbone, method)
    done = SaliencyMaps.load(out) if out.exists() else SaliencyMaps(origin, {})
    if done.origin != origin:
        raise WeightsError(f"{out} holds maps of {done.origin}, not of {origin}; choose another file")
    fresh = 0
    try:
        for count, path in enumerate(folder.paths, start=1):
            key = sha256_of(path)
            if key not in done.maps:
                done.maps[key] = _map_of(backbone, folder[count - 1], method, path.name)
                fresh += 1
                if fresh % SAVED == 0:
                    done.save(out)
            progress(count, len(folder))
    finally:  # neither an unreadable photo nor Ctrl-C throws away what is made
        if fresh:
            done.save(out)
    return done


def at_map_scale(image: Image.Image, name: str) -> Tensor:
    """Return a photo as its map is made: (1, 3, H, W) in [0, 1], the short side 256, the other a multiple of 32.

    Raises:
        DataError: it is too long for its width.
    """
    deepest = 32  # sides have to be multiples of the network's last stride
    factor = SHORT_SIDE / min(image.size) / deepest
    size = [deepest * max(1, round(side * factor)) for side in image.size]
    if max(size) > 16 * SHORT_SIDE:
        raise DataError(f"{name} is a line, not a photo; take it out of the folder")
    return photo_tensor(image.resize(size, Image.Resampling.BICUBIC))


def _map_of(backbone: Backbone, image: Image.Image, method: str, name: str) -> Tensor:
    x = at_map_scale(image, name)
    grid = [side // backbone.spec.stride for side in x.shape[-2:]]
    found = F.interpolate(saliency_map(backbone, x, method), size=grid, mode="area")[0, 0]
    if not torch.isfinite(found).all() or found.max() <= 0:
        warnings.warn(f"{name}: the network sees nothing in it; its map is flat", stacklevel=2)
        found = torch.full_like(found, 0.5)
    return found.clamp(0, 1).half()
