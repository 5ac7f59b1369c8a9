"""The device's own command, in a bare install: ``python -m fsplit_lib.device photo.jpg --bundle DIR``."""

import argparse
import sys
from pathlib import Path

from fsplit_lib.data.files import write_atomically
from fsplit_lib.data.images import open_image
from fsplit_lib.device.bundle import read_bundle
from fsplit_lib.device.card import make_card, write_card
from fsplit_lib.device.runtime import DeviceEncoder
from fsplit_lib.errors import FsplitError, ParameterError


def main(arguments: list[str] | None = None) -> int:
    """Compress a photo, or measure this machine; what goes wrong on purpose ends in one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m fsplit_lib.device", description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?", help="any photo that Pillow reads")
    parser.add_argument("--bundle", type=Path, required=True, help="folder that `fsplit export` has written")
    parser.add_argument("--out", "-o", type=Path, help="packet file; the photo's name with .fsp by default")
    parser.add_argument("--lmbda", type=float, help="rate weight: larger means fewer bytes")
    parser.add_argument("--precision", choices=("float32", "int8"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--card", type=Path, help="measure this machine and write its device card")
    parser.add_argument("--name", default="my device", help="what the card calls this machine")
    parser.add_argument("--runs", type=int, default=100, help="timed rounds for the card")
    asked = parser.parse_args(arguments)
    try:
        print(_measure(asked) if asked.card else _compress(asked))
        return 0
    except FsplitError as error:
        print(f"fsplit: {error}", file=sys.stderr)
    except OSError as error:
        print(f"fsplit: {error.filename}: {error.strerror}" if error.filename else f"fsplit: {error}", file=sys.stderr)
    return 2


def _compress(asked: argparse.Namespace) -> str:
    if asked.photo is None:
        raise ParameterError("name a photo to compress, or --card FILE to measure this machine")
    encoder = DeviceEncoder(asked.bundle, asked.precision, asked.threads)
    wire = encoder.compress(open_image(asked.photo), asked.lmbda)
    target = asked.out or asked.photo.with_suffix(".fsp")
    write_atomically(target, wire)
    return f"{target}: {len(wire):,} bytes"


def _measure(asked: argparse.Namespace) -> str:
    card = make_card(read_bundle(asked.bundle), asked.name, asked.runs)
    write_card(asked.card, card)
    told = [f"{r.method:14} {r.stage:16} {r.precision:8} {r.threads} threads {r.median_ms:9.3f} ms" for r in card.rows]
    return "\n".join([*told, *card.doubts, f"{asked.card}"])


if __name__ == "__main__":
    sys.exit(main())
