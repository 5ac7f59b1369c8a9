"""``fsplit export`` and ``fsplit latency``: what a device needs, and what it and its rivals take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from typer import Argument, Option

from fsplit_lib.cli.photos import DEFAULT, Weights
from fsplit_lib.cli.progress import progress_bar
from fsplit_lib.data import PHOTOS, center_crop, image_folder, load_photo, to_array, training_folder, write_rows
from fsplit_lib.errors import ParameterError

if TYPE_CHECKING:
    from fsplit_lib.device import Bundle

Calibrate = Annotated[
    Path | None, Option(help="Photos that the 8-bit ranges are taken from; none that anything is measured on.")
]
CALIBRATION_PHOTOS = 64


def export(
    out: Annotated[Path, Argument(help="Folder of the bundle; copy it to the device.")],
    weights: Weights = DEFAULT,
    int8: Annotated[bool, Option("--int8", help="Also an encoder of 8-bit weights and activations.")] = False,
    calibrate: Calibrate = None,
    network: Annotated[bool, Option("--network", help="Also the whole backbone, to be timed against.")] = False,
) -> None:
    """Write a device bundle: all that `python -m fsplit_lib.device` needs, without torch."""
    if int8 != (calibrate is not None):
        raise ParameterError("an int8 encoder takes both --int8 and --calibrate FOLDER of photos")
    bundle = _export(out, weights, calibrate, network)
    for file in bundle.files:
        typer.echo(f"{bundle.folder / file}: {(bundle.folder / file).stat().st_size:,} bytes")


def _export(out: Path, weights: str, calibrate: Path | None, network: bool) -> "Bundle":
    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.device.export import export_bundle
    from fsplit_lib.system import load_codec
    from fsplit_lib.zoo import read_card

    codec, photos = load_codec(weights), None
    if calibrate is not None:
        pictures = training_folder(calibrate).readable(thorough=False)
        chosen = np.unique(np.linspace(0, len(pictures) - 1, CALIBRATION_PHOTOS).astype(int)).tolist()
        photos = [to_array(center_crop(pictures[index]))[None] for index in chosen]
    backbone = load_backbone(read_card(weights).architecture["backbone"]) if network else None
    return export_bundle(out, codec, Path(weights).name, photos, backbone)


def latency(
    bundle: Annotated[
        Path, Option(help="Device bundle with --network; made from --weights where there is none.")
    ] = Path("build/device"),
    weights: Weights = DEFAULT,
    calibrate: Calibrate = None,
    photos: Annotated[
        Path | None, Option(help="Photos to measure bytes and agreement on; the workbook's own by default.")
    ] = None,
    agreement: Annotated[list[float] | None, Option(help="Agreement to compare at.")] = None,
    runs: Annotated[int, Option(min=2, help="Timed rounds.")] = 100,
    out: Annotated[Path, Option("--out", "-o", help="CSV table.")] = Path("build/latency.csv"),
    card: Annotated[Path | None, Option(help="Write this machine's device card instead of the table.")] = None,
    name: Annotated[str, Option(help="What the card calls this machine.")] = "my device",
) -> None:
    """Time every stage on device and server, ours and its rivals', in turns; or write a device card."""
    from fsplit_lib.device import write_card
    from fsplit_lib.device.card import make_card
    from fsplit_lib.device.timing import Timing
    from fsplit_lib.evaluation.tables import label_of

    found = _found(bundle, weights, calibrate)
    with progress_bar("step") as progress:
        if card is not None:
            made = make_card(found, name, runs, progress)
            write_card(card, made)
            rows, target = made.rows, card
        else:
            rows, target = _table(found, weights, photos, agreement, runs, progress), out
            write_rows(out, rows)
    lines = []
    for row in rows:
        if row.median_ms is not None:
            doubt = Timing(row.median_ms, row.iqr_ms, row.runs).doubt.partition(":")[0]
            lines.append(
                f"{getattr(row, 'network', ''):22} {row.method:26} {label_of(row.lmbda, row.quality):12} {row.stage:24} {row.precision:8} "
                f"{row.threads} threads {row.median_ms:9.3f} ms, IQR {row.iqr_ms:.3f}  {doubt}"
            )
    typer.echo("\n".join([*dict.fromkeys(lines), f"{target}"]))  # a table repeats what does not depend on the level


def _found(folder: Path, weights: str, calibrate: Path | None) -> "Bundle":
    """The bundle that is there, if it is what was asked for, or else a new one."""
    from fsplit_lib.device import read_bundle
    from fsplit_lib.system import load_codec

    if not (folder / "bundle.json").is_file():
        return _export(folder, weights, calibrate, True)
    bundle = read_bundle(folder)
    if load_codec(weights).codec_id != bundle.packer.codec_id:
        raise ParameterError(
            f"the bundle {folder} was made of other weights than {weights}: delete it, or name its own with --weights"
        )
    if calibrate is not None and "encoder.int8.onnx" not in bundle.files:
        raise ParameterError(
            f"the bundle {folder} was made without --calibrate and has no 8-bit encoder: delete it, or name another --bundle"
        )
    return bundle


def _table(
    bundle: "Bundle", weights: str, photos: Path | None, agreement: list[float] | None, runs: int, progress: object
) -> list:
    from fsplit_lib.evaluation import RatePoint, read_table
    from fsplit_lib.latency.stages import LEVELS, measure_latency
    from fsplit_lib.system import load_system
    from fsplit_lib.zoo import read_card

    system = load_system(weights)
    scores = [RatePoint(**one) for one in read_card(weights).scores if one["backbone"] == system.backbone.name]
    points = scores + [one for one in read_table("photos.csv") if one.quality is not None]
    pictures = [load_photo(name) for name in PHOTOS] if photos is None else image_folder(photos)
    return measure_latency(
        system, bundle, points, load_photo("astronaut"), pictures, agreement or LEVELS, runs, progress
    )
