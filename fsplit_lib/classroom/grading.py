"""What a student's copy is worth: one outcome for each exercise, whatever the copy does.

copy ──► merge ──► run_watched ──┬──► outcomes
           ▲                     │
           └── without the cell ─┘  that ended its kernel, so that it hides no other
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nbformat

import fsplit_lib
from fsplit_lib.classroom.copies import Merged, find_copies, merge, plain, read_copy
from fsplit_lib.classroom.watch import Limits, Watched, run_watched
from fsplit_lib.data.files import sha256_of
from fsplit_lib.errors import DataError
from fsplit_lib.runner.grid import Cell, GridError, cell_name, run_grid
from fsplit_lib.runner.parameters import check_parameters

__all__ = ["Graded", "Outcome", "grade_class", "grade_copy"]

RESCUED = {("error", other) for other in ("solved", "trap", "wrong")}  # among the chapter's cells, among the student's


@dataclass(frozen=True)
class Outcome:
    """One exercise of one student; a row of the table.

    Attributes:
        student: name of the folder.
        chapter: two digits.
        exercise: chapter and number.
        outcome: solved, trap (a mistake that the check knows), wrong, error, limit, untouched, missing (its cell was
            deleted), unreadable, not graded (a copy is there, but grading it failed), or no copy.
        trap: what the check says to the mistake.
        answer: as Python shows it.
        seconds: that its cells took.
        error: what was raised, or which limit was hit.
        drawn: whether what is right moves with the seed.
        cells: "chapter", or "own" where it only ran among cells that the student had changed.
    """

    student: str
    chapter: str
    exercise: str
    outcome: str
    trap: str = ""
    answer: str = ""
    seconds: float = 0.0
    error: str = ""
    drawn: bool = False
    cells: str = "chapter"


@dataclass(frozen=True)
class Graded:
    """One copy: its outcomes and what else there is to tell."""

    student: str
    chapter: str
    outcomes: list[Outcome]
    notes: list[str]
    seconds: float = 0.0


def grade_class(
    folder: Path,
    chapters: list[Path],
    out: Path,
    seed: int,
    limits: Limits,
    scheduler: str | None = None,
    processes: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    only: set[str] | None = None,
) -> list[Graded]:
    """Grade every copy in a folder; those that were graded before, and are as they were, are not run again.

    A copy whose grading failed is "not graded", with the reason; the same call tries it again.

    Args:
        folder: of one folder for each student.
        chapters: of the book.
        out: folder for the results.
        seed: for the chapters' ``seed`` and for the inputs of functions.
        limits: of each copy.
        scheduler: of Dask, whose workers see the same folders; local processes by default.
        processes: as :func:`~fsplit_lib.runner.grid.run_grid` counts its workers.
        progress: as there.
        only: two digits of each chapter to grade; all by default.

    Raises:
        DataError: the folder is not one of students.
        ParameterError: a chapter has no seed.
    """
    by_number = {path.name[:2]: path.resolve() for path in chapters if only is None or path.name[:2] in only}
    for chapter in by_number.values():
        check_parameters(chapter, {"seed": seed})
    copies, cells = find_copies(folder, chapters), {}
    for copy in copies:
        if copy.chapter in by_number:
            chapter = by_number[copy.chapter]
            what = {
                "student": plain(copy.student, 100),
                "seed": seed,
                "limits": asdict(limits),
                "copy": sha256_of(copy.path),
                "book": [fsplit_lib.__version__, sha256_of(chapter)],
            }
            cells[cell_name(f"{copy.chapter}-{what['student']}", what)] = Cell(
                grade_copy, {"path": copy.path.resolve(), "chapter": chapter, **what}
            )
    lost: dict[tuple[str, str], str] = {}
    try:
        rows = run_grid(cells, out, scheduler, processes, progress)
    except GridError as error:  # a worker died, or this code failed: tell of the others, try again next time
        done = {name: cell for name, cell in cells.items() if (out / f"{name}.json").is_file()}
        rows = run_grid(done, out, workers=0)
        for name in cells.keys() - done.keys():
            options, why = cells[name].options, plain(error.failed.get(name, error), 1000)
            lost[options["student"], options["chapter"].name[:2]] = why
    graded = [Graded(**row | {"outcomes": [Outcome(**o) for o in row["outcomes"]]}) for row in rows.values()]
    handed = {(one.student, one.chapter) for one in graded}
    exercises = {
        number: _exercises(nbformat.read(by_number[number], as_version=4))
        for number in dict.fromkeys(copy.chapter for copy in copies if copy.chapter in by_number)
    }
    for student in dict.fromkeys(plain(copy.student, 100) for copy in copies):
        for number, names in exercises.items():
            if (student, number) not in handed:
                why = lost.get((student, number))
                outcome = "no copy" if why is None else "not graded"
                outcomes = [Outcome(student, number, name, outcome, error=why or "") for name in names]
                graded.append(Graded(student, number, outcomes, [] if why is None else [why]))
    unknown = [copy for copy in copies if not copy.chapter]
    graded += [
        Graded(plain(c.student, 100), "", [], [f"{plain(c.path.name)} is no copy of a chapter"]) for c in unknown
    ]
    return sorted(graded, key=lambda one: (one.chapter, one.student))


def grade_copy(
    path: Path,
    chapter: Path,
    student: str,
    seed: int,
    limits: dict[str, float],
    copy: str = "",  # noqa: ARG001  (these two tell one version of the cell from another)
    book: list[str] | None = None,  # noqa: ARG001
) -> dict[str, Any]:
    """Grade one copy: a cell of the grid.

    Returns:
        A :class:`Graded` as a dictionary.
    """
    begun, number, most = time.monotonic(), chapter.name[:2], Limits(**limits)
    deadline, master = begun + most.seconds, nbformat.read(chapter, as_version=4)
    names = _exercises(master)
    try:
        handed = read_copy(path)
    except DataError as error:
        outcomes = [Outcome(student, number, name, "unreadable", error=str(error)) for name in names]
        return asdict(Graded(student, number, outcomes, [str(error)]))

    def outcomes_of(merged: Merged) -> tuple[list[Outcome], list[str]]:
        run, ended = _run(merged, most, deadline, seed)
        rows = [Outcome(student, number, name, **_outcome(name, merged, run, ended)) for name in names]
        return rows, _notes(merged, run, ended)

    merged = merge(master, handed, {"seed": seed})
    found, notes = outcomes_of(merged)
    if merged.changed and any(one.outcome == "error" for one in found):  # a cell may need what was put back
        again, _ = outcomes_of(merge(master, handed, {"seed": seed}, own=True))
        pairs = zip(found, again, strict=True)
        found = [replace(b, cells="own") if (a.outcome, b.outcome) in RESCUED else a for a, b in pairs]
    return asdict(Graded(student, number, found, notes, round(time.monotonic() - begun, 1)))


def _exercises(chapter: nbformat.NotebookNode) -> list[str]:
    return [cell.metadata["exercise"] for cell in chapter.cells if "exercise" in cell.metadata]


def _run(merged: Merged, limits: Limits, deadline: float, seed: int) -> tuple[Watched, dict[int, str]]:
    """The last run, and why which cells were left out of it."""
    cells, ended = merged.notebook.cells, {}
    while True:
        with tempfile.TemporaryDirectory(prefix="fsplit-class-", ignore_cleanup_errors=True) as scratch:
            run = run_watched(merged.notebook, Path(scratch) / "run", limits, deadline, seed)
        before = range(0 if run.cell is None else run.cell + 1)
        suspects = [i for i in before if "student" in cells[i].metadata and i not in ended]
        late = time.monotonic() > deadline
        if not run.stopped or not suspects or (late and suspects[-1] != run.cell):
            return run, ended
        ended[suspects[-1]] = run.stopped  # the cell itself, or the last of the student's before it
        cells[suspects[-1]].source = ""
        if late:
            return run, ended


def _notes(merged: Merged, run: Watched, ended: dict[int, str]) -> list[str]:
    notes = [f"{merged.changed} of the chapter's own cells had been changed; they were put back"] * bool(merged.changed)
    for i, cell in enumerate(merged.notebook.cells):
        if not cell.metadata.get("student") and (why := ended.get(i) or run.errors.get(i)):
            whose = "a cell of the student's own" if "student" in cell.metadata else "a cell of the chapter"
            notes.append(f"{whose}: {plain(why)}")
    return notes[:6] + [f"the run did not come to its end: {plain(run.stopped)}"] * bool(run.stopped)


def _outcome(name: str, merged: Merged, run: Watched, ended: dict[int, str]) -> dict[str, Any]:
    mine = [i for i, cell in enumerate(merged.notebook.cells) if cell.metadata.get("student") == name]
    checks = [c for c in run.checks if c.get("id") == name and c.get("status") in ("right", "wrong", "unanswered")]
    error = next((plain(run.errors[i]) for i in mine if run.errors.get(i)), "")
    told = {"seconds": round(sum(run.seconds.get(i, 0.0) for i in mine), 2), "error": error}
    if name not in merged.given:
        return {"outcome": "missing"}
    if stopped := [ended[i] for i in mine if i in ended]:
        return {"outcome": "limit", "error": plain(stopped[0])}
    if checks and not (checks[-1]["status"] == "unanswered" and error):
        last = checks[-1]
        told |= {"answer": plain(last.get("answer", "")), "drawn": last.get("drawn") is True}
        if last["status"] == "wrong" and last.get("known") is True:
            return told | {"outcome": "trap", "trap": plain(last.get("message", ""), 600)}
        outcome = {"right": "solved", "wrong": "wrong", "unanswered": "untouched"}[last["status"]]
        return told | {"outcome": outcome} | ({"answer": ""} if outcome == "untouched" else {})
    if not error and any(i not in run.errors for i in mine):
        return told | {"outcome": "limit", "error": f"not reached: {plain(run.stopped)}"}
    return told | {"outcome": "error", "error": error or "the cell never called check"}
