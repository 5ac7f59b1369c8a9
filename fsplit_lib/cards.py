"""Small JSON files that others may have written: cards and manifests, read field by field before anything trusts them."""

import json
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from fsplit_lib.errors import FsplitError


def read_object(path: Path, kind: str, error: type[FsplitError]) -> dict:
    """Read a file that holds one JSON object, or raise ``error`` that it is not the ``kind`` of thing it should be."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as wrong:
        raise error(f"{path} is not a {kind}: {wrong}") from wrong
    if not isinstance(told, dict):
        raise error(f"{path} is not a {kind}: it must be an object, got a {type(told).__name__}")
    return told


def checked_fields(told: object, kind: type, where: str, error: type[FsplitError]) -> dict[str, Any]:
    """Read the fields of a dataclass from what JSON held, each of its own type; those with a default may be missing.

    If one is missing or of another type, ``error`` is raised, and says ``where`` it stood.
    """
    if not isinstance(told, dict):
        raise error(f"{where} must be an object with the fields {', '.join(f.name for f in fields(kind))}")
    found = {}
    for field in fields(kind):
        if field.name in told:
            value = told[field.name]
            if not _fits(value, field.type):
                name = field.type.__name__ if type(field.type) is type else field.type
                raise error(f"{where}: the field {field.name} must be of type {name}, got {_short(value)}")
            found[field.name] = value
        elif field.default is MISSING and field.default_factory is MISSING:
            raise error(f"{where} lacks the field {field.name}")
    return found


def checked_files(files: dict[str, str], where: str, error: type[FsplitError]) -> dict[str, str]:
    """Return names with their sha256, once each is a plain name that cannot lead out of the folder of its card."""
    for name, digest in files.items():
        if name in ("", ".", "..") or any(c in "/\\:" or not c.isprintable() for c in name):
            raise error(f"{where}: a file must lie in the folder of its card, got the name {_short(name)}")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise error(f"{where}: the sha256 of {name} must be 64 hex digits, got {_short(digest)}")
    return files


def _fits(value: object, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is tuple:  # what stands for a tuple was made by the reader
        return isinstance(value, tuple)
    if origin is dict and parts:
        return isinstance(value, dict) and all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
    if origin is list and parts:
        return isinstance(value, list) and all(_fits(v, parts[0]) for v in value)
    return isinstance(value, (int, float) if origin is float else origin) and not isinstance(value, bool)


def _short(value: object) -> str:
    said = repr(value) if not isinstance(value, dict | list) else f"a {type(value).__name__}"
    return said if len(said) <= 60 else said[:57] + "..."
