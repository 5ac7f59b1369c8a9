"""Shipped weights: one folder a model, with a card and a checksum for every file.

    data/weights/photo-first/card.json                        what it is, how it was made, what it scores
    data/weights/photo-first/codec.safetensors                encoder and tables: all that the phone needs
    data/weights/photo-first/decoder-<backbone>.safetensors   one for each backbone at the server

Floating-point weights are stored as float16, what has to be exact (tables, medians, densities) as it is.
"""

import hashlib
import json
import pickle
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from fsplit_lib.cards import checked_fields, checked_files, read_object
from fsplit_lib.data.files import data_root, sha256_of, write_atomically
from fsplit_lib.errors import WeightsError

# names of tensors that keep full precision
EXACT = re.compile(r"(^|\.)(\w*prior|factorised)\.|(^|\.)(mean|spread|running_mean|running_var)$")
# names of entropy tables, which have as many entries as the densities ask for
TABLE = re.compile(r"(?:^|\.)(frequencies|lengths|offsets|context\.(?:channels|groups|choices))$")


@dataclass
class Card:
    """What a reader has to know about a set of weights."""

    name: str  # of the folder
    kind: str  # "codec", "backbone" or "entropy models"
    summary: str  # one sentence
    command: str  # what makes these weights again
    data: str  # what they were trained on, with its licence
    training: dict  # steps, samples, seed, objective and so on, as numbers and words
    architecture: dict  # what has to be built before the weights fit
    scores: list[dict] = field(default_factory=list)  # measured, each with data, n and interval
    limits: list[str] = field(default_factory=list)  # what to know before trusting the numbers
    machine: str = ""  # where training and measuring ran
    files: dict[str, str] = field(default_factory=dict)  # name to sha256


def card_names() -> list[str]:
    """List the names of all shipped models."""
    return sorted(path.parent.name for path in (data_root() / "weights").glob("*/card.json"))


def _folder(name: str | Path) -> Path:
    shipped = data_root() / "weights" / str(name)
    return shipped if shipped.is_dir() else Path(name)


def read_card(name: str | Path) -> Card:
    """Read the card of a shipped model, or of a folder of your own.

    Raises:
        WeightsError: no such model, a card that cannot be read, or one that names a file outside its folder.

    >>> card = read_card("photo")
    >>> card.kind, card.architecture["backbone"]
    ('codec', 'tf_efficientnet_lite0')
    """
    path = _folder(name) / "card.json"
    if not path.is_file():
        raise WeightsError(
            f"no weights are called {str(name)!r} and no such folder has a card.json; "
            f"shipped: {', '.join(card_names())}"
        )
    told = read_object(path, "card", WeightsError)
    card = Card(**checked_fields(told, Card, f"the card {path}", WeightsError))
    checked_files(card.files, f"the card {path}", WeightsError)
    return card


def read_weights(name: str | Path, file: str, card: Card | None = None) -> dict[str, Tensor]:
    """Read one state dict of a model, as float32, after its checksum was compared with the card; one read before serves.

    Raises:
        WeightsError: the card does not name the file, or the file is missing, truncated or altered.
    """
    card, path = card or read_card(name), _folder(name) / file
    if file not in card.files:
        raise WeightsError(f"{card.name} has no {file}; it has {', '.join(card.files)}")
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    if sha256_of(path) != card.files[file]:
        raise WeightsError(f"{path} is not the file that its card describes (wrong sha256): restore it or train again")
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in read_state_dict(path).items()}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or a torch file, never unpickling code.

    Raises:
        WeightsError: the file is missing, truncated, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors, such as a whole pickled model, or is damaged: save its state_dict() instead"
        ) from error
    except Exception as error:  # torch and safetensors raise a dozen kinds on damaged files
        raise WeightsError(f"{path} is not a readable weights file: it may be cut short or damaged") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        inner = [name for name, part in state.items() if isinstance(part, dict)] if isinstance(state, dict) else ()
        way = f": it keeps parts under {', '.join(map(repr, inner))}; save the state dict alone" if inner else ""
        raise WeightsError(f"{path} does not hold a plain state dict of tensors{way}")
    if strange := [name for name in state if not isinstance(name, str)]:
        raise WeightsError(f"{path} names tensors by {strange[0]!r} and the like: save the network's state_dict()")
    return dict(state)


def fingerprint(state: dict[str, Tensor]) -> str:
    """Compute 64 bits of SHA-256 over every tensor and its name, as 16 hex digits."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict; every name and shape has to fit, but entropy tables may have any size.

    Raises:
        WeightsError: naming the first three that do not; the module is unchanged.
    """
    own = module.state_dict()
    wrong = sorted(own.keys() ^ state.keys())
    wrong += [k for k in own if k in state and own[k].shape != state[k].shape and not TABLE.search(k)]
    if wrong:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: "
            f"{len(wrong)} of {len(own)} tensors differ, such as {', '.join(wrong[:3])}"
        )
    module.load_state_dict(state)


def write_model(folder: Path, card: Card, states: dict[str, dict[str, Tensor]]) -> Card:
    """Write weights by file name, and the card with their checksums, each file whole or not at all, the card last.

    Raises:
        DataError: no space or no permission.
        WeightsError: a weight is too large for float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, state in states.items():
        write_atomically(folder / file, safetensors.torch.save({k: _stored(k, v) for k, v in state.items()}))
        card.files[file] = sha256_of(folder / file)
    write_atomically(folder / "card.json", _to_json(card))
    return card


def copy_model(name: str | Path, folder: Path) -> None:
    """Copy a model into a folder of its own, byte for byte, the card last.

    Raises:
        WeightsError: see :func:`read_card`; a file is missing.
        DataError: no space or no permission.
    """
    source = _folder(name)
    files = [*read_card(name).files, "card.json"]
    if missing := [file for file in files if not (source / file).is_file()]:
        raise WeightsError(f"there is no weights file {source / missing[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        write_atomically(folder / file, (source / file).read_bytes())


def write_scores(name: str | Path, scores: list[dict]) -> None:
    """Put measured scores into a card, in place of older ones of the same data, codec and backbone."""
    card = read_card(name)
    keys = ("dataset", "codec", "backbone")
    known = {tuple(s.get(key) for key in keys) for s in scores}
    card.scores = [s for s in card.scores if tuple(s.get(key) for key in keys) not in known] + scores
    write_atomically(_folder(name) / "card.json", _to_json(card))


def _to_json(card: Card) -> bytes:
    return (json.dumps(asdict(card), indent=1) + "\n").encode()


def as_stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that a reader of the file will have: what a card's scores must be measured with."""
    return {k: _stored(k, v).to(v.dtype) for k, v in state.items()}


def _stored(name: str, value: Tensor) -> Tensor:
    value = value.detach().contiguous()
    if value.dtype != torch.float32 or EXACT.search(name):
        return value
    half = value.half()
    if torch.isinf(half).any() and torch.isfinite(value).all():
        raise WeightsError(
            f"{name} reaches {value.abs().max():.3g}, which float16 cannot hold: name it in zoo.EXACT, or train again"
        )
    return half
