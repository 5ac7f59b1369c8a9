"""What travels from the training machine to the device: one folder, every file with its checksum.

bundle.json         format, codec, checksums
codec.npz           codec id, lmbda codes, gains, medians, integer tables
encoder.onnx        x (1, 3, H, W) float32 in [0, 1] to y (1, C, H/stride, W/stride)
encoder.int8.onnx   the same with 8-bit weights and activations, if asked for
network.onnx        the whole backbone, if asked for: what staying on the device costs
photo.png           the photo that device cards are timed on
"""

import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fsplit_lib.cards import checked_fields, checked_files, read_object
from fsplit_lib.data.files import sha256_of, write_atomically
from fsplit_lib.entropy.coding import Tables
from fsplit_lib.errors import ParameterError, WeightsError
from fsplit_lib.packet import code_to_lmbda, lmbda_to_code

__all__ = ["Bundle", "read_bundle", "write_manifest"]

FORMAT, VERSION = "fsplit device bundle", 1
ARRAYS = ("codec_id", "lmbda", "stride", "first_code", "gains", "medians", "frequencies", "lengths", "offsets")


@dataclass(frozen=True)
class _Manifest:
    format: str
    version: int
    codec: str
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A codec without its network.

    Attributes:
        folder: of the files.
        name: of the codec.
        codec_id: 4 bytes, as in its packets.
        stride: pixels per latent position and side.
        lmbda: that the codec packs with unless told otherwise.
        first_code: the least lmbda code it has tables for.
        gains: (L, C) float32, one row a code.
        medians: (C,) float32, centres of the rounding grid.
        tables: of all codes, C rows each.
        files: name to sha256.
    """

    folder: Path
    name: str
    codec_id: bytes
    stride: int
    lmbda: float
    first_code: int
    gains: np.ndarray
    medians: np.ndarray
    tables: Tables
    files: dict[str, str]

    @cached_property
    def _levels(self) -> dict[int, tuple[np.ndarray, Tables]]:
        return {}

    def level(self, code: int) -> tuple[np.ndarray, Tables]:
        """Gain (C,) and tables of one lmbda code; kept, since building the coder's models costs more than coding.

        Raises:
            ParameterError: the codec has no tables for the code.
        """
        row, channels = code - self.first_code, len(self.medians)
        if not 0 <= row < len(self.gains):
            ends = (self.first_code, self.first_code + len(self.gains) - 1)
            raise ParameterError(
                f"this codec packs with lmbda {' to '.join(dict.fromkeys(f'{code_to_lmbda(c):.3g}' for c in ends))}, "
                f"got {code_to_lmbda(code):.3g}"
            )
        if code not in self._levels:
            rows = slice(row * channels, (row + 1) * channels)
            parts = (part[rows] for part in (self.tables.frequencies, self.tables.lengths, self.tables.offsets))
            self._levels[code] = self.gains[row], Tables(*parts)
        return self._levels[code]

    def code(self, lmbda: float | None) -> int:
        """The wire's code of a rate weight; of the codec's own by default."""
        return lmbda_to_code(self.lmbda if lmbda is None else lmbda)

    def path(self, file: str) -> Path:
        """One file, after its checksum was compared.

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
        raise WeightsError(
            f"{manifest} is {told.format!r} version {told.version}; only {FORMAT!r} version {VERSION} is known"
        )
    name, files = told.codec, checked_files(told.files, where, WeightsError)
    bare = Bundle(folder, name, b"", 0, 0.0, 0, *(np.zeros(0),) * 2, None, files)
    try:
        with np.load(bare.path("codec.npz"), allow_pickle=False) as stored:
            part = {key: stored[key] for key in ARRAYS}
        tables = Tables(part["frequencies"], part["lengths"], part["offsets"])
        whole = (int(part["stride"]), float(part["lmbda"]), int(part["first_code"]))
        return Bundle(folder, name, part["codec_id"].tobytes(), *whole, part["gains"], part["medians"], tables, files)
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{folder / 'codec.npz'} is not a codec: {error}") from error


def write_manifest(folder: Path, name: str, files: list[str]) -> None:
    """Write bundle.json, last of all: until then the folder is no bundle."""
    told = {"format": FORMAT, "version": VERSION, "codec": name}
    told["files"] = {file: sha256_of(folder / file) for file in files}
    write_atomically(folder / "bundle.json", (json.dumps(told, indent=1) + "\n").encode())
