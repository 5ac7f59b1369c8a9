"""Where files live, what they hash to, and how they are written: whole or not at all."""

import hashlib
import os
import tempfile
from pathlib import Path

from fsplit_lib.errors import DataError


def data_root() -> Path:
    """Return the folder that holds Fashion-MNIST, shipped weights and result tables.

    It is ``data/`` of the clone, or the folder that the environment variable ``FSPLIT_DATA`` names.

    Raises:
        DataError: the folder does not exist.

    >>> (data_root() / "weights" / "photo" / "card.json").is_file()
    True
    """
    named = os.environ.get("FSPLIT_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "data"
    if not root.is_dir():
        raise DataError(
            f"the data folder {root} does not exist: "
            "work inside a clone of the workbook, or set FSPLIT_DATA to its data/ folder"
        )
    return root


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file as 64 hex digits.

    >>> import tempfile, pathlib
    >>> p = pathlib.Path(tempfile.mkdtemp()) / "empty"; _ = p.write_bytes(b"")
    >>> sha256_of(p)[:8]
    'e3b0c442'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and move it there, so that no reader ever sees half a file.

    Raises:
        DataError: no space, no permission, or no such folder; an older file at ``path`` is untouched.
    """
    path = Path(path)
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
            part = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise DataError(f"cannot write {path}: {error.strerror or error}; nothing was written") from error
