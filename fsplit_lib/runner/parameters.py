"""Strict parameters: papermill only warns of a misspelt name, we stop with a sentence."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from fsplit_lib.errors import ParameterError

__all__ = ["Parameter", "check_parameters", "parameters_of"]

SPAN = re.compile(r"#.*\s(-?\d[\d.]*) to (-?\d[\d.]*)$")  # at the end of a number's comment: "# …, 0.1 to 3"
TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell.

    Attributes:
        name: of the variable.
        kind: "str", "int", "float" or "bool".
        options: the allowed values, for ``Literal[...]``; else empty.
        default: as written.
        span: least and most, where the comment of a number ends in such words as "0.1 to 3".
    """

    name: str
    kind: str
    options: tuple[str, ...]
    default: Any
    span: tuple[float, float] | None = None


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """The typed assignments of the cell tagged ``parameters``.

    Raises:
        ParameterError: no such cell, or a line without a type or a plain value.
    """
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{notebook.name} needs exactly one cell tagged 'parameters', it has {len(cells)}")
    found = {}
    for line in ast.parse(cells[0].source).body:
        if isinstance(line, ast.Import | ast.ImportFrom):
            continue
        if not isinstance(line, ast.AnnAssign) or line.value is None or not _is_literal(line.value):
            raise ParameterError(
                f"in {notebook.name}, write parameters as `name: type = value`, not `{ast.unparse(line)}`"
            )
        kind, options = ast.unparse(line.annotation), ()
        if kind.startswith("Literal["):
            options = ast.literal_eval(f"({kind[len('Literal[') : -1]},)")
            kind = type(options[0]).__name__
        if kind not in TYPES:
            raise ParameterError(
                f"in {notebook.name}, {line.target.id} has type {kind}; allowed: Literal, {', '.join(TYPES)}"
            )
        span = SPAN.search(cells[0].source.splitlines()[line.end_lineno - 1]) if kind in ("int", "float") else None
        value, least_and_most = ast.literal_eval(line.value), span and (float(span[1]), float(span[2]))
        found[line.target.id] = Parameter(line.target.id, kind, options, value, least_and_most)
    return found


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def check_parameters(notebook: Path, given: dict[str, Any]) -> None:
    """Refuse names that the chapter does not have and values it cannot take.

    Raises:
        ParameterError: naming what is allowed.
    """
    known = parameters_of(notebook)
    for name, value in given.items():
        if name not in known:
            raise ParameterError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")
        want = known[name]
        if want.options and value not in want.options:
            raise ParameterError(f"{name} must be one of {', '.join(map(repr, want.options))}, got {value!r}")
        if not isinstance(value, TYPES[want.kind]) or (isinstance(value, bool) and want.kind != "bool"):
            raise ParameterError(f"{name} must be of type {want.kind}, got {value!r}")
        if want.span and not want.span[0] <= value <= want.span[1]:
            raise ParameterError(f"{name} must be from {want.span[0]:g} to {want.span[1]:g}, got {value!r}")
