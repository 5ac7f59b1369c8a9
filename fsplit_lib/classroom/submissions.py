"""What students handed in, as FOLDER/<student>/**/01_….ipynb, and the cells that are graded.

What runs is the chapter itself with the student's part put in: the cells of the exercises, and cells of the student's
own (a helper, a sketch) where they stand. Cells of the chapter that the student changed are put back, so nobody's
parameters, data or checks are graded but the chapter's.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
from nbformat import NotebookNode

from fsplit_lib.errors import DataError

LARGEST = 50e6  # bytes of a copy; a chapter with all outputs has less than ten
NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)  # browsers add what follows .ipynb
GUARD = "__import__('fsplit_lib.classroom.kernel_process', fromlist='_').guard"


@dataclass
class Submission:
    """All that one student handed in."""

    student: str  # name of the folder; "" for files that lie beside the folders
    versions: dict[str, list[Path]] = field(default_factory=dict)  # by chapter's two digits, the graded one first
    others: list[str] = field(default_factory=list)  # names of the files that belong to no chapter


def plain(text: Any, longest: int = 300) -> str:
    """Make a student's text one line that every file can hold: no control characters, no half characters."""
    text = re.sub(r"\x1b\[[\d;]*m|[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+", " ", str(text)[: 4 * longest])
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def files_below(folder: str | Path) -> Iterator[os.DirEntry]:
    """Yield all files below a folder, however deep; what cannot be listed is left out, links are not followed."""
    folders = [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry


def find_submissions(folder: Path, chapters: list[Path]) -> list[Submission]:
    """Find what each student handed in, in the order of their names.

    A file belongs to the chapter whose name it contains, or else to the one whose digits it begins with. Of several
    versions, the one with the most answered exercises comes first; then the one that is named like the chapter; then
    the youngest.

    Raises:
        DataError: there is no such folder, no folder in it, or notebooks lie beside the students' folders.
    """
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    there = [path for path in there if not path.name.startswith((".", "__MACOSX"))]
    homes, beside = [p for p in there if p.is_dir()], [p for p in there if not p.is_dir()]
    if loose := [path for path in beside if NOTEBOOK.search(path.name)]:
        raise DataError(f"{loose[0]} belongs to nobody: put each student's notebooks into a folder of the student")
    if not homes:
        what = "student's folder in" if folder.is_dir() else "folder"
        raise DataError(f"no {what} {folder}: give one that holds a folder for each student")
    found = [Submission("", others=[path.name for path in beside])] if beside else []
    for home in homes:
        one = Submission(home.name)
        for path in sorted(Path(entry.path) for entry in files_below(home)):
            name = path.relative_to(home)
            if any(part.startswith(".") for part in name.parts):
                continue
            known = NOTEBOOK.search(path.name) and path.is_file() and not path.is_symlink()
            named = known and [c for c in chapters if c.stem in path.name]
            begun = known and [c for c in chapters if re.match(rf"{c.name[:2]}\D", path.name)]
            if chapter := next(iter(named or begun or ()), None):
                one.versions.setdefault(chapter.name[:2], []).append(path)
            else:
                one.others.append(name.as_posix())
        for chapter in chapters:
            if len(paths := one.versions.get(chapter.name[:2], [])) > 1:
                rank = {p: (_answered(p, chapter), p.name == chapter.name, p.stat().st_mtime) for p in paths}
                paths.sort(key=rank.get, reverse=True)
        found.append(one)
    return found


def _answered(path: Path, chapter: Path) -> int:
    """Count the exercises whose cell is not as the chapter has it; -1 for what is no notebook."""
    master = nbformat.read(chapter, as_version=4)
    blank = {cell.source.strip() for cell in master.cells}
    try:
        cells, _ = merge(master, read_cells(path), {})
    except DataError:
        return -1
    return len({c.metadata["student"] for c in cells if c.metadata.get("student") and c.source.strip() not in blank})


def read_cells(path: Path) -> list[SimpleNamespace]:
    """Read a copy's cells, without the checks of ``nbformat``, which take minutes over 100,000 of them.

    Raises:
        DataError: unreadable, too large, or no notebook.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise DataError(f"the copy has {size / 1e6:,.0f} MB; more than {LARGEST / 1e6:.0f} are not read")
        cells = []
        for cell in json.loads(path.read_bytes())["cells"]:
            known = {"id": str(cell.get("id")), "exercise": str(cell["metadata"].get("exercise"))}
            source = "".join(cell["source"]).encode("utf-8", "replace").decode()
            cells.append(SimpleNamespace(code=cell["cell_type"] == "code", source=source, **known))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DataError(f"the copy is no notebook ({plain(f'{type(error).__name__}: {error}', 120)})") from error
    return cells


def code_cell(source: str, **metadata: str) -> NotebookNode:
    """Make a cell that runs; ``nbformat.v4.new_code_cell`` checks each one against a schema, which is slow."""
    return NotebookNode(cell_type="code", source=source, metadata=NotebookNode(metadata), outputs=[])


def merge(
    chapter: NotebookNode, handed: list[SimpleNamespace], parameters: dict[str, Any], own: bool = False
) -> tuple[list[NotebookNode], int]:
    """Put a student's part into the chapter, and the parameters behind its parameters cell.

    Cells of the copy are known by the exercise in their metadata, their id, or their text. With ``own``, what the
    student changed in the chapter's code is kept, but for the parameters cell.

    Returned are the code cells, and how many cells of the chapter the student had changed. Cells of the student carry
    ``{"student": exercise or ""}`` in their metadata; where they meet the chapter's, a cell calls the guard.
    """
    code = {i: cell for i, cell in enumerate(chapter.cells) if cell.cell_type == "code"}
    exercise_at = {cell.metadata["exercise"]: i for i, cell in code.items() if "exercise" in cell.metadata}
    by_id = {cell.id: i for i, cell in enumerate(chapter.cells)}
    by_text = {cell.source.strip(): i for i, cell in enumerate(chapter.cells)}
    at = settings = next(i for i, cell in code.items() if "parameters" in cell.metadata.get("tags", []))
    taken: dict[int, list[str]] = {}  # by place in the chapter: what the student made of this cell
    extra: dict[int, list[str]] = {}  # by place of a code cell: what the student put behind it
    for cell in handed:
        known = exercise_at.get(cell.exercise, by_id.get(cell.id, by_text.get(cell.source.strip())))
        if known is not None:
            at = max(i for i in code if i <= max(known, settings))
            if cell.code and known in code:
                taken.setdefault(known, []).append(cell.source)
        elif cell.code and cell.source.strip():
            extra.setdefault(at, []).append(cell.source)
    cells, changed = [], 0
    for i, cell in code.items():
        sources = list(dict.fromkeys(taken.get(i, [])))
        if name := cell.metadata.get("exercise"):
            cells += [code_cell(source, student=name) for source in sources]
        else:
            other = bool(sources) and cell.source.strip() not in [s.strip() for s in sources] and i != settings
            changed += other
            cells.append(code_cell(sources[-1], student="") if own and other else code_cell(cell.source))
        if i == settings:
            cells.append(code_cell("\n".join(f"{k} = {v!r}" for k, v in parameters.items())))
        cells += [code_cell(source, student="") for source in extra.get(i, ())]
    names = [*re.findall(r"^(\w+)\s*[:=]", code[settings].source, re.MULTILINE), "check"]
    guarded, last = [], None
    for cell in cells:
        student = cell.metadata.get("student")
        if {last, student} not in ({None}, {""}):  # not between two of the chapter's, or two of the student's own
            guarded.append(code_cell(f"{GUARD}({names}, {last!r})"))
        guarded.append(cell)
        last = student
    return guarded, changed
