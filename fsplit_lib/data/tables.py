"""Result tables: one dataclass a row, CSV on disk, whole or not at all."""

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar, get_type_hints

from fsplit_lib.data.files import write_atomically
from fsplit_lib.errors import DataError

Row = TypeVar("Row")


def write_rows(path: Path, rows: list) -> None:
    """Write dataclass instances as CSV; floats with 5 decimals, None as nothing."""
    write_table(path, [{k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows])


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    """Write dictionaries as CSV; columns are all their names, in the order in which they appear."""
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))  # a folder's name may be no Unicode


def read_rows(path: Path, kind: type[Row], command: str) -> list[Row]:
    """Read the rows of a CSV file, whose columns are the fields of a dataclass; errors name the command that makes it.

    Raises:
        DataError: the table is missing, has other columns, or a line that was cut or changed.
    """
    if not path.is_file():
        raise DataError(f"there is no table {path}: make it with `{command}`")
    kinds = get_type_hints(kind)
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} was not saved in UTF-8; restore it, or make it with `{command}`") from error
    table, rows = csv.DictReader(io.StringIO(text, newline="")), []
    if set(table.fieldnames or ()) != set(kinds):
        raise DataError(f"{path} is not the table that `{command}` writes: it needs the columns {', '.join(kinds)}")
    for row in table:
        try:
            if None in row or None in row.values():
                raise ValueError("it has too many or too few values")
            rows.append(kind(**{name: _parse(kinds[name], text) for name, text in row.items()}))
        except ValueError as error:
            where = f"{path}, line {table.line_num}"
            raise DataError(f"{where}: {error}; restore the file, or make it with `{command}`") from error
    return rows


def _parse(kind: type, text: str) -> object:
    if kind in (str, int, float):
        return kind(text)
    return float(text) if text else None
