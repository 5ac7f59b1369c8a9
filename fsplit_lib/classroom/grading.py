"""What a student's copy is worth: one outcome for each exercise, whatever the copy does.

copy ──► merge ──► run_cells ──► records ──► graded again here ──► outcomes
           ▲           │
           └───────────┘  without the cell that ended its kernel, so that it hides no other
"""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

import fsplit_lib
from fsplit_lib.classroom.submissions import code_cell, find_submissions, merge, plain, read_cells
from fsplit_lib.classroom.supervisor import STATUSES, Limits, Run, run_cells
from fsplit_lib.data.files import sha256_of
from fsplit_lib.errors import DataError
from fsplit_lib.exercises import EXERCISES
from fsplit_lib.exercises.core import Exercise
from fsplit_lib.runner.grid import Cell, GridError, cell_name, run_grid
from fsplit_lib.runner.parameters import check_parameters

__all__ = ["Graded", "Outcome", "answer_keys", "grade_class", "grade_copy"]

RESCUED = {("error", other) for other in ("solved", "trap", "wrong")}  # among the chapter's cells, among the student's
PEEPS = re.compile(  # what an answer needs none of
    r"_getframe|currentframe|f_back|f_locals|__closure__|cell_contents|__globals__|gc\.get_\w+|FSPLIT_\w+|\bEXERCISES\b"
    r"|make_check|from_key|kernel_process|checks\.jsonl|ctypes|events\.register"
)
TELL_KEYS = "__import__('fsplit_lib.classroom.kernel_process', fromlist='_').tell_keys(check)"


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
        tries: how often the copy called ``check`` with an answer; the last answer counts.
        seconds: that its cells took.
        error: what was raised, which limit was hit, or what lies in the folder instead of a copy.
        drawn: whether what is right moves with the seed.
        cells: "chapter", or "own" where it only ran among cells that the student had changed.
    """

    student: str
    chapter: str
    exercise: str
    outcome: str
    trap: str = ""
    answer: str = ""
    tries: int = 0
    seconds: float = 0.0
    error: str = ""
    drawn: bool = False
    cells: str = "chapter"


@dataclass(frozen=True)
class Graded:
    """One copy: its outcomes and what else there is to tell; ``chapter`` is "" for what belongs to none."""

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

    Every student gets rows for every chapter that anybody handed in. A copy whose grading failed is "not graded",
    with the reason; the same call tries it again.

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
    submissions = find_submissions(folder, chapters)
    handed = {number for one in submissions for number in one.versions} & by_number.keys()
    books = {n: nbformat.read(path, as_version=4) for n, path in by_number.items() if n in handed or not handed}
    exercises = {number: _exercises(book) for number, book in books.items()}

    def run(cells: dict[str, Cell], told: Callable | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """Results by the cell's name, and why the others have none: a worker died, or this code failed."""
        try:
            return run_grid(cells, out, scheduler, processes, told), {}
        except GridError as error:
            done = {name: cell for name, cell in cells.items() if (out / f"{name}.json").is_file()}
            lost = {name: plain(error.failed.get(name, error), 1000) for name in cells if name not in done}
            return run_grid(done, out, workers=0), lost

    same = {"seed": seed, "limits": asdict(limits)}
    editions = {number: [fsplit_lib.__version__, sha256_of(by_number[number])] for number in books}
    cells = {}
    for number in handed:
        if not set(exercises[number]) <= EXERCISES.keys() or any("make_check" in c.source for c in books[number].cells):
            what = {"book": editions[number], **same}
            cells[number] = cell_name(f"{number}-keys", what), Cell(answer_keys, {"chapter": by_number[number], **what})
    found, lost = run(dict(cells.values()))
    keys = {number: {name: EXERCISES[name].key for name in names if name in EXERCISES} for number, names in exercises.items()}
    keys |= {number: found.get(name) for number, (name, _) in cells.items()}
    why = {number: lost[name] for number, (name, _) in cells.items() if name in lost}

    copies: dict[tuple[str, str], tuple[str, Cell]] = {}
    graded = []
    for one in submissions:
        student = plain(one.student or "beside the folders", 100)
        if one.others:
            graded.append(Graded(student, "", [], [f"belongs to no chapter: {_listed(one.others)}"]))
        for number, names in exercises.items():
            path, *unused = one.versions.get(number, [None])
            if path is None and one.student:
                there = [*one.others, *(path.name for paths in one.versions.values() for path in paths)]
                told = f"the folder holds {_listed(there)}" if there else "the folder is empty"
                graded.append(_all(student, number, names, "no copy", told))
            elif path is not None and number in why:
                graded.append(_all(student, number, names, "not graded", why[number]))
            elif path is not None:
                notes = [f"not used, beside {plain(path.name)}: {_listed([p.name for p in unused])}"] * bool(unused)
                what = {"student": student, "copy": _digest(path), "book": editions[number], "notes": notes, **same}
                what["keys"] = keys[number]
                options = {"path": path.resolve(), "chapter": by_number[number], **what}
                copies[student, number] = cell_name(f"{number}-{student}", what), Cell(grade_copy, options)
    found, lost = run(dict(copies.values()), progress)
    for (student, number), (name, _) in copies.items():
        row = found.get(name)
        if row is None:
            graded.append(_all(student, number, exercises[number], "not graded", lost[name]))
        else:
            graded.append(Graded(**row | {"outcomes": [Outcome(**o) for o in row["outcomes"]]}))
    return sorted(graded, key=lambda one: (one.chapter, one.student))


def _exercises(chapter: NotebookNode) -> list[str]:
    return [cell.metadata["exercise"] for cell in chapter.cells if "exercise" in cell.metadata]


def _all(student: str, number: str, names: list[str], outcome: str, why: str) -> Graded:
    return Graded(student, number, [Outcome(student, number, name, outcome, error=why) for name in names], [why])


def _listed(names: list[str]) -> str:
    return ", ".join(plain(name, 80) for name in names[:10]) + f" and {len(names) - 10} more" * (len(names) > 10)


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:  # it may be gone by now, or not ours to read; reading it again tells why
        return f"{type(error).__name__}"


def answer_keys(chapter: Path, seed: int, limits: dict[str, float], book: list[str] | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Run the unaltered chapter and ask its ``check`` what is right under this seed: a cell of the grid.

    Raises:
        DataError: the chapter did not come to its end.
    """
    cells, _ = merge(nbformat.read(chapter, as_version=4), [], {"seed": seed})
    run = run_cells([*cells, code_cell(TELL_KEYS)], Limits(**limits), time.monotonic() + limits["seconds"], seed)
    found = [line["keys"] for _, line in run.records if "keys" in line]
    if not found:
        told = run.stopped or next((error for error in run.errors.values() if error), "it never made a check")
        raise DataError(f"{chapter.name} does not run with seed {seed}: {plain(told)}")
    return found[-1]


def grade_copy(
    path: Path,
    chapter: Path,
    student: str,
    seed: int,
    limits: dict[str, float],
    keys: dict[str, dict | None],
    notes: list[str],
    copy: str = "",  # noqa: ARG001  (these two tell one version of the cell from another)
    book: list[str] | None = None,  # noqa: ARG001
) -> dict[str, Any]:
    """Grade one copy: a cell of the grid.

    Args:
        path: of the copy.
        chapter: of the book.
        student: for the rows.
        seed: as in :func:`grade_class`.
        limits: as there.
        keys: by exercise, what numbers and letters are graded by; None for what only the copy's kernel can grade.
        notes: told before its own.
        copy: digest of the copy.
        book: version and digest of the chapter.

    Returns:
        A :class:`Graded` as a dictionary.
    """
    begun, number, most = time.monotonic(), chapter.name[:2], Limits(**limits)
    deadline, master = begun + most.seconds, nbformat.read(chapter, as_version=4)
    names = _exercises(master)
    try:
        handed = read_cells(path)
    except DataError as error:
        unreadable = _all(student, number, names, "unreadable", str(error))
        return asdict(replace(unreadable, notes=[*notes, *unreadable.notes]))

    def outcomes_of(own: bool) -> tuple[list[Outcome], list[str], int]:
        cells, changed = merge(master, handed, {"seed": seed}, own)
        run, ended = _run(cells, most, deadline, seed)
        told = [f"{changed} of the chapter's own cells had been changed; they were put back"] * bool(changed)
        told += _notes(cells, run, ended)
        rows = [Outcome(student, number, name, **_outcome(name, cells, run, ended, keys[name], told)) for name in names]
        return rows, told, changed

    found, told, changed = outcomes_of(own=False)
    if changed and any(one.outcome == "error" for one in found):
        again, *_ = outcomes_of(own=True)  # a cell may need what was put back
        pairs = zip(found, again, strict=True)
        found = [replace(b, cells="own") if (a.outcome, b.outcome) in RESCUED else a for a, b in pairs]
    return asdict(Graded(student, number, found, [*notes, *told], round(time.monotonic() - begun, 1)))


def _run(cells: list[NotebookNode], limits: Limits, deadline: float, seed: int) -> tuple[Run, dict[int, str]]:
    """The last run, and why which cells were left out of it."""
    ended: dict[int, str] = {}
    while True:
        run = run_cells(cells, limits, deadline, seed)
        before = range(0 if run.cell is None else run.cell + 1)
        suspects = [i for i in before if "student" in cells[i].metadata and i not in ended]
        late = time.monotonic() > deadline
        if not run.stopped or not suspects or (late and suspects[-1] != run.cell):
            return run, ended
        ended[suspects[-1]] = run.stopped  # the cell itself, or the last of the student's before it
        cells[suspects[-1]].source = ""
        if late:
            return run, ended


def _whose(cell: NotebookNode) -> str:
    student = cell.metadata.get("student")
    own = "a cell of the chapter" if student is None else "a cell of the student's own"
    return f"the cell of {student}" if student else own


def _notes(cells: list[NotebookNode], run: Run, ended: dict[int, str]) -> list[str]:
    notes = []
    for i, cell in enumerate(cells):
        if not cell.metadata.get("student") and (why := ended.get(i) or run.errors.get(i)):
            notes.append(f"{_whose(cell)}: {plain(why)}")
        if "student" in cell.metadata and (words := sorted(set(PEEPS.findall(cell.source)))):
            notes.append(f"{_whose(cell)} speaks of {plain(', '.join(words))}")
    for i, line in run.records:
        if note := line.get("note"):
            notes.append(plain(note))
        elif (during := cells[i].metadata.get("student")) and line.get("id") not in (None, during):
            notes.append(f"{_whose(cells[i])} recorded an answer to {plain(line['id'])}")
    notes = list(dict.fromkeys(notes))
    few = notes[:12] + [f"{len(notes) - 12} more notes"] * (len(notes) > 12)
    return few + [f"the run did not come to its end: {plain(run.stopped)}"] * bool(run.stopped)


def _outcome(
    name: str, cells: list[NotebookNode], run: Run, ended: dict[int, str], key: dict | None, notes: list[str]
) -> dict[str, Any]:
    mine = [i for i, cell in enumerate(cells) if cell.metadata.get("student") == name]
    checks = [line for _, line in run.records if line.get("id") == name and line.get("status") in STATUSES]
    error = next((plain(run.errors[i]) for i in mine if run.errors.get(i)), "")
    told = {"seconds": round(sum(run.seconds.get(i, 0.0) for i in mine), 2), "error": error}
    if not mine:
        return {"outcome": "missing"}
    if len(mine) > 1:
        notes.append(f"the cell of {name} is there {len(mine)} times; the last one with an answer counts")
    answered = [line for line in checks if line["status"] != "unanswered"]
    if not answered and (stopped := [ended[i] for i in mine if i in ended]):
        return {"outcome": "limit", "error": plain(stopped[0])}
    if checks and (answered or not error):
        last = (answered or checks)[-1]
        told |= {"drawn": last.get("drawn") is True, "tries": sum(line["tries"] for line in checks)}
        if not answered:
            return told | {"outcome": "untouched"}
        right, known, message = last["status"] == "right", last.get("known") is True, last.get("message", "")
        if key is not None:
            graded = Exercise.from_key(name, key).grade(last.get("value"))
            if right != (graded is True):
                notes.append(f"{name}: its kernel said {last['status']}; graded again here, the answer is not")
            right, known, message = graded is True, isinstance(graded, str), graded
        told["answer"] = plain(last.get("answer", ""))
        if known and not right:
            return told | {"outcome": "trap", "trap": plain(message, 600)}
        return told | {"outcome": "solved" if right else "wrong"}
    if not error and any(i not in run.errors for i in mine):
        return told | {"outcome": "limit", "error": f"not reached: {plain(run.stopped)}"}
    return told | {"outcome": "error", "error": error or "the cell never called check"}
