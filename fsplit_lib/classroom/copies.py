"""Students' copies: whose they are, which chapter, and the notebook that is graded.

    FOLDER/<student>/**/01_….ipynb

What runs is the chapter itself with the student's part put in: the cells of the exercises, and cells of the student's
own (a helper, a sketch) where they stand. Cells of the chapter that the student changed are put back, so nobody's
parameters, data or checks are graded but the chapter's.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from fsplit_lib.errors import DataError

__all__ = ["Copy", "Merged", "find_copies", "merge", "plain", "read_copy"]

LARGEST = 50e6  # bytes of a copy; a chapter with all outputs has less than ten


@dataclass(frozen=True)
class Copy:
    """A file that a student handed in.

    Attributes:
        student: name of the folder.
        chapter: two digits; "" where no chapter's name is in the file's.
        path: of the file.
    """

    student: str
    chapter: str
    path: Path


@dataclass
class Merged:
    """What runs for a copy.

    Attributes:
        notebook: cells of the student carry ``{"student": exercise or ""}`` in their metadata.
        given: source of each exercise, as handed in; none for one that was deleted.
        untouched: exercises that are as the chapter has them.
        changed: how many cells of the chapter the student had changed.
    """

    notebook: NotebookNode
    given: dict[str, str] = field(default_factory=dict)
    untouched: set[str] = field(default_factory=set)
    changed: int = 0


def plain(text: Any, longest: int = 300) -> str:
    """Text of a student's as one line that every file can hold: no control characters, no half characters."""
    text = re.sub(r"\x1b\[[\d;]*m|[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", str(text)[: 4 * longest])
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def find_copies(folder: Path, chapters: list[Path]) -> list[Copy]:
    """One copy for each student and chapter, in the order of their names.

    A file belongs to the chapter whose name it contains, or else to the one whose digits it begins with. Where a
    student has several, the one that is named like the chapter counts, or else the youngest.

    Args:
        folder: of one folder for each student.
        chapters: notebooks of the book.

    Raises:
        DataError: there is no such folder, nothing in it, or notebooks lie beside the students' folders.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: give one that holds a folder for each student")
    if loose := sorted(folder.glob("*.ipynb")):
        raise DataError(
            f"{loose[0]} belongs to nobody: put each student's notebooks into a folder of the student's name"
        )
    found: dict[tuple[str, str], list[Path]] = {}
    for home in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in sorted(home.rglob("*.ipynb")):
            hidden = any(part.startswith(".") for part in path.relative_to(home).parts)
            if path.is_file() and not path.is_symlink() and not hidden:
                found.setdefault((home.name, _chapter(path.name, chapters)), []).append(path)
    if not found:
        raise DataError(f"no notebook in the folders of {folder}")
    names = {notebook.name for notebook in chapters}
    best = {key: max(paths, key=lambda p: (p.name in names, p.stat().st_mtime)) for key, paths in found.items()}
    return [Copy(student, chapter, path) for (student, chapter), path in sorted(best.items())]


def _chapter(name: str, chapters: list[Path]) -> str:
    inside = [c.name[:2] for c in chapters if c.stem in name]
    begins = [c.name[:2] for c in chapters if re.match(rf"{c.name[:2]}\D", name)]
    return (inside or begins or [""])[0]


def read_copy(path: Path) -> NotebookNode:
    """A copy as a notebook.

    Raises:
        DataError: too large, or no notebook.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise DataError(f"the copy has {size / 1e6:,.0f} MB; more than {LARGEST / 1e6:.0f} are not read")
    try:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source.strip(), cell.cell_type, cell.metadata.get("exercise")  # what merge asks for
    except Exception as error:  # nbformat raises whatever a broken file makes of its own code
        raise DataError(f"the copy is no notebook ({plain(error, 120)})") from error
    return notebook


def merge(chapter: NotebookNode, copy: NotebookNode, parameters: dict[str, Any], own: bool = False) -> Merged:
    """The chapter with a student's part put in.

    Args:
        chapter: of the book; unchanged.
        copy: what was handed in. Cells are known by the exercise in their metadata, their id, or their text.
        parameters: put in behind the parameters cell.
        own: keep what the student changed in the chapter's code, but for the parameters cell.
    """
    code = {i: cell for i, cell in enumerate(chapter.cells) if cell.cell_type == "code"}
    exercise_at = {cell.metadata["exercise"]: i for i, cell in code.items() if "exercise" in cell.metadata}
    by_id = {cell.id: i for i, cell in enumerate(chapter.cells)}
    by_text = {cell.source.strip(): i for i, cell in enumerate(chapter.cells)}
    settings = next(i for i, cell in code.items() if "parameters" in cell.metadata.get("tags", []))
    handed: dict[int, list[str]] = {}  # by place in the chapter: what the student made of this cell
    extra: dict[int, list[str]] = {}  # by place in the chapter: cells that follow it
    at = settings
    for cell in copy.cells:
        known = exercise_at.get(str(cell.metadata.get("exercise")), by_id.get(cell.get("id")))
        known = by_text.get(cell.source.strip()) if known is None else known
        if known is not None:
            at = max(known, settings)
            if cell.cell_type == "code" and known in code:
                handed.setdefault(known, []).append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            extra.setdefault(at, []).append(cell.source)
    merged = Merged(new_notebook(metadata=chapter.metadata))
    for i, cell in code.items():
        sources = handed.get(i, [])
        if name := cell.metadata.get("exercise"):
            if sources:
                merged.given[name] = "\n".join(sources)
            if [s.strip() for s in sources] == [cell.source.strip()]:
                merged.untouched.add(name)
            merged.notebook.cells += [new_code_cell(s, metadata={"student": name}) for s in sources]
        else:
            other = bool(sources) and cell.source.strip() not in [s.strip() for s in sources] and i != settings
            merged.changed += other
            new = new_code_cell(sources[-1], metadata={"student": ""}) if own and other else new_code_cell(cell.source)
            merged.notebook.cells.append(new)
        if i == settings:
            merged.notebook.cells.append(new_code_cell("\n".join(f"{k} = {v!r}" for k, v in parameters.items())))
        # markdown cells do not run, so what follows one follows the code before it
        places = range(i, next((j for j in code if j > i), len(chapter.cells)))
        own_cells = [source for place in places for source in extra.get(place, ())]
        merged.notebook.cells += [new_code_cell(s, metadata={"student": ""}) for s in own_cells]
    return merged
