"""Device cards: what one machine measured, as a small JSON file that travels.

Its fields are "format", "version" and those of :class:`DeviceCard`, with an object for each :class:`DeviceRow`.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from fsplit_lib.cards import checked_fields, read_object
from fsplit_lib.data.files import write_atomically
from fsplit_lib.data.images import open_image
from fsplit_lib.device.benchmark import DeviceRow, int8_symbols_that_differ, measure_device
from fsplit_lib.device.bundle import Bundle
from fsplit_lib.device.timing import cpu_name, instructions
from fsplit_lib.errors import DataError

FORMAT, VERSION = "fsplit device card", 2


@dataclass(frozen=True)
class DeviceCard:
    """What one device measured."""

    name: str  # for figures
    cpu: str  # as the system names it
    cores: int  # of the machine
    system: str  # operating system and architecture
    date: str  # of the measurement, ISO
    codec: str  # whose bundle was timed
    photo: str  # width x height of the photo
    versions: dict[str, str]  # of what was used
    rows: tuple[DeviceRow, ...]  # one per stage
    instructions: str = ""  # of the processor that decide how networks are computed; "" where the system does not say
    int8_symbols_that_differ_percent: float | None = None  # from float32; None without an int8 encoder

    def row(self, method: str, stage: str, precision: str = "", threads: int = 1) -> DeviceRow | None:
        """Return the first row of a stage, or None where the device did not measure it."""
        wanted = (method, stage, precision, threads)
        return next((r for r in self.rows if (r.method, r.stage, r.precision, r.threads) == wanted), None)

    @property
    def doubts(self) -> list[str]:
        """Which rows support no conclusion, and why."""
        return [f"{r.method}, {r.stage}: {r.timing.doubt}" for r in self.rows if r.timing.doubt]


def versions() -> dict[str, str]:
    """List the releases of what takes the time."""
    packages = ("numpy", "pillow", "constriction", "onnxruntime")
    return {"python": platform.python_version()} | {package: metadata.version(package) for package in packages}


def make_card(
    bundle: Bundle, name: str, runs: int = 100, progress: Callable[[int, int], None] | None = None
) -> DeviceCard:
    """Measure this machine, whose name is for figures, with a bundle's own photo, in ``runs`` timed rounds."""
    photo = open_image(bundle.path("photo.png"))
    rows = tuple(measure_device(bundle, photo, runs, progress))
    system, size = f"{platform.system()} {platform.machine()}", f"{photo.width} x {photo.height}"
    today, told = time.strftime("%Y-%m-%d"), " ".join(instructions())
    return DeviceCard(
        name, cpu_name(), os.cpu_count() or 1, system, today, bundle.name, size, versions(), rows, told,
        int8_symbols_that_differ(bundle, photo),
    )  # fmt: skip


def write_card(path: Path, card: DeviceCard) -> None:
    """Write a card, whole or not at all."""
    told = {"format": FORMAT, "version": VERSION} | asdict(card)
    write_atomically(path, (json.dumps(told, indent=1) + "\n").encode())


def read_card(path: Path) -> DeviceCard:
    """Read a card that somebody has brought.

    Raises:
        DataError: naming the field that is missing, of another type, or impossible.
    """
    told = read_object(path, "device card", DataError)
    if told.get("format") != FORMAT:
        raise DataError(f"{path} is not a device card: its field format must be {FORMAT!r}")
    if told.get("version") != VERSION:
        raise DataError(f"{path} is a device card of version {told.get('version')!r}; only version {VERSION} is known")
    rows = told.get("rows")
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path} is not a device card: its field rows must be a list with at least one row")
    made = ()
    for i, fields in enumerate(rows, start=1):
        row = DeviceRow(**checked_fields(fields, DeviceRow, f"{path}, row {i}", DataError))
        if not (0 < row.median_ms < math.inf and 0 <= row.iqr_ms < math.inf and row.runs >= 2 and row.threads >= 1):
            raise DataError(f"{path}, row {i}: times must be positive and finite, with at least 2 runs and 1 thread")
        made += (row,)
    card = DeviceCard(**checked_fields(told | {"rows": made}, DeviceCard, str(path), DataError))
    if not 0 <= (card.int8_symbols_that_differ_percent or 0) <= 100:
        raise DataError(f"{path}: int8_symbols_that_differ_percent must be 0 to 100 or null")
    return card


def read_cards(folder: str | Path) -> list[DeviceCard]:
    """Read every card (``*.json``) of a folder, by file name.

    Raises:
        DataError: no such folder, or a file in it is no card.

    >>> from fsplit_lib.data import data_root
    >>> [card.name for card in read_cards(data_root() / "results" / "device_cards")]
    ['cloud server, 2 cores of an Intel Xeon']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder of device cards {folder}")
    return [read_card(path) for path in sorted(folder.glob("*.json"))]
