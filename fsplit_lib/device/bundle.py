"""What travels from the training machine to the device: one folder, every file with its checksum.

bundle.json         format, codec, checksums
codec.npz           the codec's packer: codec id, lmbda codes, gains, medians, integer tables
encoder.onnx        x (1, 3, H, W) float32 in [0, 1] to y (1, C, H/stride, W/stride)
encoder.int8.onnx   the same with 8-bit weights and activations, if asked for
network.onnx        the whole backbone, if asked for: what staying on the device costs
photo.png           the photo that device cards are timed on
"""

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fsplit_lib.cards import checked_fields, checked_files, read_object
from fsplit_lib.data.files import sha256_of, write_atomically
from fsplit_lib.entropy.packer import Packer
from fsplit_lib.errors import WeightsError

FORMAT, VERSION = "fsplit device bundle", 2


@dataclass(frozen=True)
class _Manifest:
    format: str
    version: int
    codec: str
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A codec without its network."""

    folder: Path  # of the files
    name: str  # of the codec
    packer: Packer  # latents to packets
    files: dict[str, str]  # name to sha256

    def path(self, file: str) -> Path:
        """Return the path of one file, after its checksum was compared.

        Raises:
            WeightsError: the bundle does not name it, or it is missing or altered.
        """
        if file not in self.files:
            ask = {"encoder.int8.onnx": " --int8 --calibrate FOLDER", "network.onnx": " --network"}.get(file, "")
            raise WeightsError(f"the bundle {self.folder} has no {file}: make it with `fsplit export OUT{ask}`")
        path = self.folder / file
        if not path.is_file():
            raise WeightsError(f"the bundle {self.folder} lacks its file {file}: copy the whole folder")
        if sha256_of(path) != self.files[file]:
            raise WeightsError(f"{path} is not the file that bundle.json describes (wrong sha256): copy it again")
        return path


def read_bundle(folder: str | Path) -> Bundle:
    """Read a bundle that ``fsplit export`` has written.

    Raises:
        WeightsError: no bundle, one of another version, one that names a file outside its folder, or a damaged file.
    """
    folder = Path(folder)
    manifest = folder / "bundle.json"
    if not manifest.is_file():
        raise WeightsError(f"there is no device bundle in {folder}: make one with `fsplit export {folder}`")
    where, told = f"the manifest {manifest}", read_object(manifest, "manifest of a device bundle", WeightsError)
    told = _Manifest(**checked_fields(told, _Manifest, where, WeightsError))
    if (told.format, told.version) != (FORMAT, VERSION):
        raise WeightsError(f"{manifest} is {told.format!r} version {told.version}, not {FORMAT!r} version {VERSION}")
    bare = Bundle(folder, told.codec, None, checked_files(told.files, where, WeightsError))
    path = bare.path("codec.npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return replace(bare, packer=Packer.from_arrays(stored))
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} is not a codec: {error}") from error


def write_manifest(folder: Path, name: str, files: list[str]) -> None:
    """Write bundle.json, last of all: until then the folder is no bundle."""
    told = {"format": FORMAT, "version": VERSION, "codec": name, "files": {f: sha256_of(folder / f) for f in files}}
    write_atomically(folder / "bundle.json", (json.dumps(told, indent=1) + "\n").encode())
