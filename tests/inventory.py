"""The table in data/README.md: every file with source, licence, bytes and sha256.

python tests/inventory.py        writes the table again after a file has changed
"""

import json
from pathlib import Path

from fsplit_lib.data.files import data_root, sha256_of, write_atomically
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import TABLES

__all__ = ["inventory"]

HEAD = "| file | source | licence | bytes | sha256 |\n|---|---|---|---|---|\n"
SOURCES = {
    "fashion-mnist": "Fashion-MNIST, as Zalando Research publishes it (arXiv 1708.07747)",
    "pictures": "drawn from chapter 00; the photo is scikit-image's coffee (CC0)",
    "speech/japanese_vowels.npz": "Japanese Vowels (Kudo, Toyama & Shimbo 1999, UCI Machine Learning Repository, "
    "doi 10.24432/C5NS47), its values as float32, unchanged",
    "speech/seven.wav": "a voice made by espeak-ng 1.51: `espeak-ng -v en-us -s 150 -w seven.wav seven`",
    "results/device_cards": "measured by `fsplit latency --card` on the machine that the card names",
    "results/development_photos.csv": "names and checksums of the development photos",
    **{
        f"results/{name}": f"measured by `{table.command.replace('FOLDER', 'PHOTOS')}`"
        for name, table in TABLES.items()
    },
}
LICENCES = {"speech/japanese_vowels.npz": "CC BY 4.0"}  # of what is not MIT


def inventory(root: Path) -> str:
    """The table's rows for all files below ``root``.

    Raises:
        DataError: nobody has said where a file comes from.
    """
    rows = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name != "README.md" and not path.name.startswith("."):
            source, licence = _origin(root, name)
            rows.append(f"| `{name}` | {source} | {licence} | {path.stat().st_size:,} | `{sha256_of(path)}` |")
    return "\n".join(rows) + "\n"


def _origin(root: Path, name: str) -> tuple[str, str]:
    if name.startswith("weights/"):
        card = json.loads((root / "weights" / name.split("/")[1] / "card.json").read_text())
        learned_from = {
            "Caltech-101": "; the training photos are CC BY 4.0",
            "Spoken Digit": "; the recordings are CC BY-SA 4.0",
        }
        added = (
            card["training"].get("decoders", {}).get(name.partition("/decoder-")[2].removesuffix(".safetensors"), card)
        )
        return f"trained by `{added.get('command', card['command'])}`", "MIT" + "".join(
            told for data, told in learned_from.items() if data in card["data"]
        )
    for prefix, source in SOURCES.items():
        if name.startswith(prefix):
            return source, LICENCES.get(prefix, "MIT")
    raise DataError(f"say in SOURCES where data/{name} comes from")


if __name__ == "__main__":
    readme = data_root() / "README.md"
    before, _, rest = readme.read_text("utf-8").partition(HEAD)
    behind = rest[rest.index("\n\n") + 1 :]
    write_atomically(readme, (before + HEAD + inventory(data_root()) + behind).encode())
