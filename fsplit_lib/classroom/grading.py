"""What a student's copy is worth: one outcome for each exercise, whatever the copy does.

copy ──► merge ──► run_cells ──► records ──► graded again here ──► outcomes
           ▲           │
           └───────────┘  without the cell that ended its kernel, so that it hides no other
"""

import re
import time
from collections.abc import Callable, Sequence
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

PEEPS = re.compile(  # what an answer has no need of
    r"_getframe|currentframe|f_back|f_locals|__closure__|cell_contents|__globals__|gc\.get_\w+|FSPLIT_\w+|\bEXERCISES\b"
    r"|make_check|from_key|kernel_process|checks\.jsonl|ctypes|events\.register"
)
TELL_KEYS = "__import__('fsplit_lib.classroom.kernel_process', fromlist='_').tell_keys(check)"


@dataclass(frozen=True)
class Outcome:
    """One exercise of one student; a row of the table."""

    student: str  # name of the folder
    chapter: str  # two digits
    exercise: str  # chapter and number
    # solved, trap (a mistake that the check knows), wrong, error, limit, untouched, missing (its cell was deleted),
    # unreadable, not graded (a copy is there, but grading it failed), or no copy
    outcome: str
    trap: str = ""  # what the check says to the mistake
    answer: str = ""  # as Python shows it
    tries: int = 0  # how often the copy called ``check`` with an answer; the last answer counts
    seconds: float = 0.0  # that its cells took
    error: str = ""  # what was raised, which limit was hit, or what lies in the folder instead of a copy
    drawn: bool = False  # whether what is right moves with the seed
    cells: str = "chapter"  # "chapter", or "own" where it only ran among cells that the student had changed


@dataclass(frozen=True)
class Graded:
    """One copy: its outcomes and what else there is to tell; ``chapter`` is "" for what belongs to none."""

    student: str
    chapter: str
    outcomes: list[Outcome]
    notes: list[str]
    seconds: float = 0.0


def grade_class(
    folder: Path, chapters: list[Path], out: Path, seed: int, limits: Limits, scheduler: str | None = None,
    processes: int | None = None, progress: Callable[..., None] | None = None, only: set[str] | None = None,
) -> list[Graded]:  # fmt: skip
    """Grade every copy in a folder; those that were graded before, and are as they were, are not run again.

    Every student gets rows for every chapter that anybody handed in. A copy whose grading failed is "not graded",
    with the reason; the same call tries it again.

    The folder holds one for each student. The seed is for the chapters' ``seed`` and for the inputs of functions.
    Results, scheduler, processes and progress are those of :func:`~fsplit_lib.runner.grid.run_grid`. Of the book's
    chapters, ``only`` has the two digits of those to grade; all by default.

    Raises:
        DataError: the folder is not one of students.
        ParameterError: a chapter has no seed.
    """
    by_number = {path.name[:2]: path.resolve() for path in chapters if only is None or path.name[:2] in only}
    for chapter in by_number.values():
        check_parameters(chapter, {"seed": seed})

    def run(cells: dict[str, Cell], told: Callable | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """Results, and why other cells have none: a worker died, or this code failed."""
        try:
            return run_grid(cells, out, scheduler, processes, told), {}
        except GridError as error:
            done = {name: cell for name, cell in cells.items() if (out / f"{name}.json").is_file()}
            lost = {name: plain(error.failed.get(name, error), 1000) for name in cells if name not in done}
            return run_grid(done, out, workers=0), lost

    submissions = find_submissions(folder, chapters)
    handed = {number for one in submissions for number in one.versions} & by_number.keys()
    exercises, same, keys, asked = {}, {}, {}, {}
    for number in sorted(handed or by_number):
        book = nbformat.read(by_number[number], as_version=4)
        names = exercises[number] = _exercises(book)
        edition = [fsplit_lib.__version__, sha256_of(by_number[number])]
        same[number] = {"chapter": by_number[number], "seed": seed, "limits": asdict(limits), "book": edition}
        keys[number] = {name: EXERCISES[name].key for name in names if name in EXERCISES}
        if number in handed and (len(keys[number]) < len(names) or "make_check" in str(book)):
            asked[_name(f"{number}-keys", same[number])] = number
    found, lost = run({name: Cell(answer_keys, same[number]) for name, number in asked.items()})
    keys |= {asked[name]: value for name, value in found.items()}
    lost = {asked[name]: why for name, why in lost.items()}

    graded, copies = [], {}
    for one in submissions:
        student = plain(one.student, 100)
        if one.others:
            graded.append(Graded(student or "nobody", "", [], [f"belongs to no chapter: {_listed(one.others)}"]))
        for number, names in exercises.items() if student else ():
            path, *unused = one.versions.get(number, [None])
            if path is None:
                there = [*one.others, *(path.name for paths in one.versions.values() for path in paths)]
                told = f"the folder holds {_listed(there)}" if there else "the folder is empty"
                graded.append(_all(student, number, names, "no copy", told))
            elif number in lost:
                graded.append(_all(student, number, names, "not graded", lost[number]))
            else:
                notes = [f"not used, beside {plain(path.name)}: {_listed([p.name for p in unused])}"] * bool(unused)
                what = {"student": student, "copy": _digest(path), "notes": notes, "keys": keys[number], **same[number]}
                copies[_name(f"{number}-{student}", what)] = what | {"path": path.resolve()}
    found, lost = run({name: Cell(grade_copy, what) for name, what in copies.items()}, progress)
    graded += [Graded(**row | {"outcomes": [Outcome(**o) for o in row["outcomes"]]}) for row in found.values()]
    for name, why in lost.items():
        student, number = copies[name]["student"], copies[name]["chapter"].name[:2]
        graded.append(_all(student, number, exercises[number], "not graded", why))
    return sorted(graded, key=lambda one: (one.chapter, one.student))


def _name(text: str, what: dict[str, Any]) -> str:
    return cell_name(text, {key: value for key, value in what.items() if not isinstance(value, Path)})


def _exercises(chapter: NotebookNode) -> list[str]:
    return [cell.metadata["exercise"] for cell in chapter.cells if "exercise" in cell.metadata]


def _all(student: str, number: str, names: list[str], outcome: str, why: str, notes: Sequence[str] = ()) -> Graded:
    return Graded(student, number, [Outcome(student, number, n, outcome, error=why) for n in names], [*notes, why])


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
    if told := [line["keys"] for lines in run.records.values() for line in lines if "keys" in line]:
        return told[0]
    told = run.stopped or next((error for error in run.errors.values() if error), "it never made a check")
    raise DataError(f"{chapter.name} does not run with seed {seed}: {plain(told)}")


def grade_copy(
    path: Path, chapter: Path, student: str, seed: int, limits: dict[str, float], keys: dict[str, dict | None],
    notes: list[str], copy: str = "", book: list[str] | None = None,  # noqa: ARG001  (tell versions of the cell apart)
) -> dict[str, Any]:  # fmt: skip
    """Grade one copy: a cell of the grid. Numbers and letters are graded by ``keys``, functions by the copy's kernel.

    What comes back is a :class:`Graded` as a dictionary; its notes begin with ``notes``.
    """
    begun, number, most = time.monotonic(), chapter.name[:2], Limits(**limits)
    master = nbformat.read(chapter, as_version=4)
    names = _exercises(master)
    try:
        handed = read_cells(path)
    except DataError as error:
        return asdict(_all(student, number, names, "unreadable", str(error), notes))

    def outcomes_of(own: bool) -> tuple[list[Outcome], list[str], int]:
        cells, changed = merge(master, handed, {"seed": seed}, own)
        run, ended = _run(cells, most, begun + most.seconds, seed)
        told = [f"{changed} of the chapter's own cells had been changed; they were put back"] * bool(changed)
        told += _notes(cells, run, ended)
        rows = [Outcome(student, number, name, **_outcome(name, cells, run, ended, keys[name], told)) for name in names]
        return rows, told, changed

    rows, told, changed = outcomes_of(own=False)
    if changed and any(row.outcome == "error" for row in rows):  # a cell may need what was put back
        for i, row in enumerate(outcomes_of(own=True)[0]):
            if rows[i].outcome == "error" and row.outcome in ("solved", "trap", "wrong"):
                rows[i] = replace(row, cells="own")
    return asdict(Graded(student, number, rows, notes + told, round(time.monotonic() - begun, 1)))


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


def _notes(cells: list[NotebookNode], run: Run, ended: dict[int, str]) -> list[str]:
    notes = []
    for i, cell in enumerate(cells):
        student, records = cell.metadata.get("student"), run.records.get(i, [])
        own = "a cell of the chapter" if student is None else "a cell of the student's own"
        whose, why = f"the cell of {student}" if student else own, ended.get(i) or run.errors.get(i)
        notes += [f"{whose}: {plain(why)}"] * bool(why and not student)
        if student is not None and (words := sorted(set(PEEPS.findall(cell.source)))):
            notes.append(f"{whose} speaks of {plain(', '.join(words))}")
        notes += [plain(line["note"]) for line in records if "note" in line]
        others = [plain(line["id"]) for line in records if student and line.get("id", student) != student]
        notes += [f"{whose} recorded an answer to {other}" for other in others]
    notes = list(dict.fromkeys(notes))
    few = notes[:12] + [f"{len(notes) - 12} more notes"] * (len(notes) > 12)
    return few + [f"the run did not come to its end: {plain(run.stopped)}"] * bool(run.stopped)


def _outcome(
    name: str, cells: list[NotebookNode], run: Run, ended: dict[int, str], key: dict | None, notes: list[str]
) -> dict[str, Any]:
    mine = [i for i, cell in enumerate(cells) if cell.metadata.get("student") == name]
    if not mine:
        return {"outcome": "missing"}
    if len(mine) > 1:
        notes.append(f"the cell of {name} is there {len(mine)} times; the last one with an answer counts")
    lines = [line for lines in run.records.values() for line in lines if line.get("id") == name]
    checks = [line for line in lines if line.get("status") in STATUSES]
    answered = [line for line in checks if line["status"] != "unanswered"]
    error = next((plain(run.errors[i]) for i in mine if run.errors.get(i)), "")
    told = {"seconds": round(sum(run.seconds.get(i, 0.0) for i in mine), 2), "error": error}
    if answered:
        last = answered[-1]
        right, known, message = last["status"] == "right", last.get("known") is True, last.get("message", "")
        if key is not None:
            message = Exercise.from_key(name, key).grade(last.get("value"))
            if right != (message is True):
                notes.append(f"{name}: its kernel said {last['status']}; graded again here, the answer is not")
            right, known = message is True, isinstance(message, str)
        trap = plain(message, 600) if known and not right else ""
        told |= {"drawn": last.get("drawn") is True, "tries": sum(line["tries"] for line in checks), "trap": trap}
        outcome = "solved" if right else "trap" if trap else "wrong"
        return told | {"answer": plain(last.get("answer", "")), "outcome": outcome}
    if stopped := [ended[i] for i in mine if i in ended]:
        return {"outcome": "limit", "error": plain(stopped[0])}
    if checks and not error:
        return told | {"outcome": "untouched", "drawn": checks[-1].get("drawn") is True}
    if not error and any(i not in run.errors for i in mine):
        return told | {"outcome": "limit", "error": f"not reached: {plain(run.stopped)}"}
    return told | {"outcome": "error", "error": error or "the cell never called check"}
