"""A chapter over a grid of its parameters: one executed notebook and one row of headline numbers for each point."""

import itertools
from pathlib import Path
from typing import Any

from fsplit_lib.data.files import sha256_of
from fsplit_lib.errors import ParameterError
from fsplit_lib.runner.execute import ChapterError, run_chapter
from fsplit_lib.runner.grid import Cell, cell_name, run_grid
from fsplit_lib.runner.parameters import check_parameters


def run_chapter_grid(
    chapter: Path, axes: dict[str, list[Any]], out: Path, timeout: int = 300, **options: Any
) -> list[dict[str, Any]]:
    """Run a chapter at every point of a grid of its parameters; points that have a result are not run again.

    Executed notebooks go to a folder of ``out`` for each point. A cell may take ``timeout`` seconds; results that are
    there stay, whatever limit they were made under. Options are those of :func:`~fsplit_lib.runner.grid.run_grid`.

    There is a row for each point: its parameters, ``seconds``, the headline numbers, and ``error``, "" where there was
    none. A point that failed is run again by the next call.

    Raises:
        ParameterError: a name or a value that the chapter does not take, no values, or one twice; nothing ran.
    """
    if empty := [name for name, values in axes.items() if not values]:
        raise ParameterError(f"{empty[0]} needs at least one value")
    if twice := [f"{k} = {v!r}" for k, values in axes.items() for i, v in enumerate(values) if v in values[:i]]:
        raise ParameterError(f"{twice[0]} is there twice; give each value once")
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    version, out = sha256_of(chapter), out.resolve()
    for point in points:
        check_parameters(chapter, point)
    cells = {}
    for point in points:
        text = " ".join([chapter.name[:2], *(f"{name} {value}" for name, value in point.items())])
        name = cell_name(text, point, version)
        where = {"chapter": chapter.resolve(), "folder": out / name, "cwd": Path.cwd()}
        cells[name] = Cell(run_point, where | {"parameters": point, "version": version}, {"timeout": timeout})
    rows = run_grid(cells, out, **options)
    for name, row in rows.items():
        if row["error"]:
            (out / f"{name}.json").unlink()
    return [point | rows[name] | point for point, name in zip(points, cells, strict=True)]


def run_point(
    chapter: Path,
    folder: Path,
    cwd: Path,
    parameters: dict[str, Any],
    timeout: int,
    version: str,  # noqa: ARG001
) -> dict[str, Any]:
    """Run a chapter once: a cell of the grid."""
    try:
        run = run_chapter(chapter, folder, parameters, timeout, progress=False, cwd=cwd if cwd.is_dir() else None)
    except ChapterError as error:
        return {"seconds": None, "error": str(error).splitlines()[0]}
    error = "" if run.numbers else f"chapter {run.chapter} handed over no headline numbers"
    return {"seconds": round(run.seconds, 1), "error": error, **run.numbers}
