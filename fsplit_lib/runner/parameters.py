"""Strict parameters: a chapter declares name, type, range and choices once; the runner and its kernel hold both to them.

seed: Annotated[int, 0, 9] = 0                a number and its least and largest value
breaks: Literal["nothing", "the noise"] = …   one of these
photo: str = "chelsea"                        any text
"""

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import nbformat

from fsplit_lib.errors import ParameterError

KINDS = (str, int, float, bool)


@dataclass(frozen=True)
class Parameter:
    """One line of a chapter's parameters cell."""

    name: str  # of the variable
    kind: type  # str, int, float or bool
    options: tuple[Any, ...]  # the allowed values, for ``Literal[...]``; else empty
    span: tuple[float, float] | None  # least and largest, for ``Annotated[...]``; else a number has to be finite
    default: Any = None  # as written

    @classmethod
    def declared(cls, name: str, annotation: Any, default: Any = None) -> "Parameter":
        """Read a type.

        Raises:
            ParameterError: it is none of those above.
        """
        options = get_args(annotation) if get_origin(annotation) is Literal else ()
        kind, *span = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
        kind = type(options[0]) if options else kind
        if kind not in KINDS or len(span) not in (0, 2):
            raise ParameterError(
                f"{name} has type {getattr(annotation, '__name__', annotation)}; allowed: Literal[...], Annotated[int or float, least, largest], "
                f"{', '.join(k.__name__ for k in KINDS)}"
            )
        return cls(name, kind, options, tuple(span) or None, default)

    def check(self, value: Any) -> None:
        """Refuse what the parameter cannot be.

        Raises:
            ParameterError: naming what is allowed.
        """
        if self.options and value not in self.options:
            raise ParameterError(f"{self.name} must be one of {', '.join(map(repr, self.options))}, got {value!r}")
        allowed = (int, float) if self.kind is float else self.kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise ParameterError(f"{self.name} must be of type {self.kind.__name__}, got {value!r}")
        if self.span and not self.span[0] <= value <= self.span[1]:
            raise ParameterError(f"{self.name} must be from {self.span[0]} to {self.span[1]}, got {value!r}")
        if self.kind is float and not math.isfinite(value):
            raise ParameterError(f"{self.name} must be a finite number, got {value!r}")

    def read(self, text: str) -> Any:
        """Read the value that a text of the command line means; what is no number stays a text, which :meth:`check` refuses."""
        if self.kind is bool:
            return {"true": True, "false": False}.get(text.lower(), text)
        try:
            return self.kind(text)
        except ValueError:
            return text


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """Read the typed assignments of the cell tagged ``parameters``.

    Raises:
        ParameterError: no such cell, or a line without a type or a plain value.
    """
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{notebook.name} needs exactly one cell tagged 'parameters', it has {len(cells)}")
    known, found = {"Annotated": Annotated, "Literal": Literal} | {kind.__name__: kind for kind in KINDS}, {}
    for line in ast.parse(cells[0].source).body:
        text = ast.unparse(line)
        if isinstance(line, ast.Import | ast.ImportFrom) or text == "refuse_wrong_parameters(globals())":
            continue
        try:
            value, annotation = ast.literal_eval(line.value), eval(ast.unparse(line.annotation), known)
        except (AttributeError, NameError, TypeError, ValueError) as error:
            rule = f"in {notebook.name}, write parameters as `name: type = value`, not `{text}`"
            raise ParameterError(rule) from error
        found[line.target.id] = Parameter.declared(line.target.id, annotation, value)
    return found


def check_parameters(notebook: Path, given: dict[str, Any]) -> None:
    """Refuse names that the chapter does not have and values that it cannot take.

    Raises:
        ParameterError: naming what is allowed.
    """
    known = parameters_of(notebook)
    for name, value in given.items():
        _known(notebook, known, name).check(value)


def read_parameter(notebook: Path, name: str, text: str) -> Any:
    """Read the value that a text of the command line means for a chapter's parameter, by its declared type.

    Raises:
        ParameterError: an unknown name, or a text that the parameter cannot be.
    """
    parameter = _known(notebook, parameters_of(notebook), name)
    value = parameter.read(text)
    parameter.check(value)
    return value


def _known(notebook: Path, known: dict[str, Parameter], name: str) -> Parameter:
    if name not in known:
        raise ParameterError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")
    return known[name]


def refuse_wrong_parameters(variables: dict[str, Any]) -> None:
    """Hold a running chapter's variables, its ``globals()``, to their declared types, however their values came there.

    Raises:
        ParameterError: naming what is allowed.
    """
    for name, annotation in variables.get("__annotations__", {}).items():
        Parameter.declared(name, annotation).check(variables.get(name))
