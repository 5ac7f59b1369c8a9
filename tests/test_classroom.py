"""Classes: what a copy may do to itself, what it may not do to others, and what the report says of it."""

import csv
import io
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_cli import fsplit, refused
from test_grid import wait_for

from fsplit_lib.classroom import grading, kernel_process
from fsplit_lib.classroom.grading import Graded, Outcome, answer_keys, grade_class, grade_copy
from fsplit_lib.classroom.report import NO_SANDBOX, WORDS, write_report
from fsplit_lib.classroom.submissions import find_submissions, merge, plain, read_cells
from fsplit_lib.classroom.supervisor import Limits, Run, _new_lines
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.core import Exercise, make_check
from fsplit_lib.runner.execute import chapters, fill_solutions

HERE = Path(__file__).parent
SOLUTIONS = HERE.parent / "notebooks" / "solutions"
SETUP = """import random
from fsplit_lib.exercises.core import Exercise, inputs, make_check
found = random.Random(seed).randrange(10**3, 10**6)  # a number that comes out of the run

def double(answer):
    if not callable(answer):
        return "Hand over the function itself."
    x = inputs(3).random()
    return True if answer(x) == 2 * x else "That is half." if answer(x) == x / 2 else False

check = make_check({
    "77.1": Exercise.number("77.1", found, "Look.", "Yes.", (found / 2, "Only half: <b>twice</b>."), drawn=True),
    "77.2": Exercise("77.2", "Twice.", double, "Yes.", drawn=True),
    "77.3": Exercise.choice("77.3", "b", "Guess.", "Yes.", a="A is <i>not</i> it.", c="C neither."),
})"""
BLANK = [f'answer = ...\ncheck("77.{n}", answer)' for n in (1, 2, 3)]
GOOD = ['check("77.1", found)', 'check("77.2", lambda x: 2 * x)', 'check("77.3", "b")']
LIMITS = Limits(cell_seconds=5, seconds=900, memory_mb=700, disk_mb=8)


def chapter(sources=BLANK, parameters="seed: int = 0\nbreaks: str = ''", setup=SETUP, before=(), **between):
    """The fake chapter, or a student's copy of it; ``between`` names a place and a cell that stands there."""
    cells = [new_markdown_cell("# 77  A test", id="c0"), *before]
    cells.append(new_code_cell(parameters, id="c1", metadata={"tags": ["parameters"]}))
    cells.append(new_code_cell(setup, id="c2"))
    for n, source in enumerate(sources, 1):
        cells.append(new_markdown_cell(f"Exercise {n}", id=f"m{n}"))
        cells += [new_code_cell(between[f"at{n}"])] if f"at{n}" in between else []
        if source is not None:
            cells.append(new_code_cell(source, id=f"e{n}", metadata={"exercise": f"77.{n}", "tags": ["exercise"]}))
    return new_notebook(cells=cells)


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else nbformat.writes(content))
    return path


HOG = "held = []\nwhile True:\n    held.append(b'x' * 10**8)"
FILES = "for n in range(10**4):\n    with open(f'file{n}', 'wb') as file: file.write(bytes(10**6))"
STUBBORN = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
EVIL = "<script>alert('name')<_script>"
BY_HEART = ['check("77.1", 886440)', "check('77.2', lambda x: 0.17129833428724872)", GOOD[2]]
MESS = """import os, shutil
folder = os.getcwd()
for name in ("checks.jsonl", "events.jsonl"):
    if os.path.exists(f"../{name}"): os.remove(f"../{name}")
    os.mkfifo(f"../{name}")
for _ in range(1100): os.mkdir("deep"), os.chdir("deep")
os.chmod(".", 0)
os.chdir(folder)
os.rename("deep", "../deep")
shutil.rmtree(folder)"""
STUDENTS = {
    "good": chapter(
        ["check('77.1', mine(found))", GOOD[1], GOOD[2]], at1="def mine(x):\n    return x", parameters="seed: int = 44"
    ),
    "seeds": chapter(  # honest-looking lines, each of which turned a remembered result into a solved exercise
        BY_HEART, before=[new_code_cell("seed = 0")], parameters="seed: int = 0",
        at1="import os, random\nseed, breaks = 0, 'all'\nos.environ['FSPLIT_SEED'] = '0'\nrandom.seed(3)",
        at2="import fsplit_lib.exercises.core as core\ncore.SEED = 0",
        at3="import math\ncheck = print\nmath.isclose = lambda *a, **k: True",
    ),
    "reset": chapter([f"{GOOD[0]}\n%reset -f", GOOD[1], GOOD[2]], at2="check = print", at3=MESS),
    "cheat": chapter(
        ["import math\nmath.isclose = lambda *a, **k: True\ncheck('77.1', 5)",
         "import sys\nframe = sys._getframe()\nfor letter in 'acab': check('77.3', letter)",
         "class Any:\n    def __eq__(self, other): return True\n    def __float__(self): return 3.0\n"
         "check.__closure__\ncheck('77.3', Any())"],
    ),
    "twins": chapter([GOOD[0], BLANK[1], "check('77.3', 'a')"], at1="with open('large', 'wb') as file: file.write(bytes(10**7))"),
    "stubborn": chapter([STUBBORN, f"answer = 1\n{HOG}", FILES]),
    "dying": chapter(["exit()", "import os\nos._exit(3)", GOOD[2]]),
    "cut": '{"cells": [{"cell_type": "code", "sour',
    EVIL: chapter(
        ["check('77.1', found / 2)", None, "raise ValueError('<script>alert(1)</script> \\x1b[31m\u202e =1+1')"],
        at1="check('77.3', 'a')\n1 / 0",
    ),
    "own": chapter(["check('77.1', helper(found))", "check('77.2', 3)", "import sys\nsys.exit(1)"], setup=SETUP + "\ndef helper(x): return x"),
}  # fmt: skip
for n, source in enumerate((BLANK[0], GOOD[1], GOOD[2]), 1):  # twins: blank ones and answered ones
    STUDENTS["twins"].cells.append(new_code_cell(source, metadata={"exercise": f"77.{n}", "tags": ["exercise"]}))
EXPECTED = {
    "good": "solved solved solved",
    "seeds": "wrong wrong solved",
    "reset": "solved solved solved",
    "cheat": "wrong error trap",
    "twins": "solved solved solved",
    "stubborn": "limit limit limit",
    "dying": "limit limit solved",
    "cut": "unreadable unreadable unreadable",
    EVIL: "trap missing trap",
    "own": "solved trap error",
    "sleeping": "no copy no copy no copy",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("class")


@pytest.fixture(scope="module")
def book(place):
    return put(place / "book" / "77_fake.ipynb", chapter())


@pytest.fixture(scope="module")
def graded(place, book):
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(tempfile, "tempdir", str(place / "scratch"))
    monkeypatch.setenv("TMPDIR", str(place / "scratch"))
    (place / "scratch").mkdir()
    for student, notebook in STUDENTS.items():
        put(place / "copies" / student / "77_fake.ipynb", notebook)
    put(place / "copies" / "sleeping" / "holiday.ipynb", "{}")
    put(place / "copies" / "good" / "77_fake (1).ipynb", STUDENTS["good"])
    put(place / "copies" / "good" / "77_fake.ipynb", chapter())
    told = []
    rows = grade_class(
        place / "copies", [book], place / "out", 1, LIMITS, processes=0, progress=lambda *a: told.append(a[:2])
    )
    monkeypatch.undo()
    assert told == [(n, len(STUDENTS)) for n in range(1, len(STUDENTS) + 1)]
    return {one.student: one for one in rows if one.chapter}, [one for one in rows if not one.chapter]


def test_the_numbers_learned_by_heart_are_those_of_the_chapters_own_seed(tmp_path):
    """So that they fail for the seed alone."""
    hard, book = (put(tmp_path / w / "77_fake.ipynb", c) for w, c in (("c", chapter(BY_HEART)), ("b", chapter())))
    keys = answer_keys(book, 0, vars(LIMITS))
    assert keys == {"77.1": {"expected": 886440.0, "relative": 0.01, "traps": [[886440 / 2, "Only half: <b>twice</b>."]]}, "77.2": None,
                    "77.3": {"expected": "b", "options": {"a": "A is <i>not</i> it.", "c": "C neither."}}}  # fmt: skip
    row = grade_copy(hard, book, "x", 0, vars(LIMITS), keys, [])
    assert [o["outcome"] for o in row["outcomes"]] == ["solved", "solved", "solved"]


@pytest.mark.parametrize("student", EXPECTED, ids=lambda s: plain(s).strip("<>"))
def test_each_student_gets_what_the_copy_deserves_and_no_other_suffers(graded, student):
    rows, _ = graded
    assert " ".join(o.outcome for o in rows[student].outcomes) == EXPECTED[student]


def test_why_is_said(graded, tmp_path):
    rows, strays = graded
    said = {name: [o.error for o in one.outcomes] for name, one in rows.items()}
    assert "cell took more than 5 s" in said["stubborn"][0] and "more than 700 MB" in said["stubborn"][1]
    assert "exit()" in said["dying"][0] and "kernel died" in said["dying"][1]
    assert "more than 16 MB of files" in said["stubborn"][2]
    assert rows["twins"].notes[0] == "a cell of the student's own: OSError: [Errno 27] File too large"
    assert "no notebook" in said["cut"][0] and said["own"][2] == "SystemExit: 1"
    evil = rows[EVIL]
    assert (evil.outcomes[0].trap, evil.outcomes[2].trap) == ("Only half: <b>twice</b>.", "A is <i>not</i> it.")
    assert [o.cells for o in rows["own"].outcomes] == ["own", "chapter", "chapter"]
    assert "1 of the chapter's own cells" in rows["own"].notes[0]
    assert [o.drawn for o in rows["good"].outcomes] == [True, True, False]
    assert [one.student for one in strays] == ["sleeping"] and "holiday.ipynb" in strays[0].notes[0]
    assert said["sleeping"] == ["the folder holds holiday.ipynb"] * 3 == rows["sleeping"].notes * 3


def test_what_was_overwritten_is_put_back_and_noted(graded):
    rows, _ = graded
    notes = {name: "; ".join(one.notes) for name, one in rows.items()}
    for what in ("changed seed", "changed breaks", "changed check", "changed the environment's FSPLIT_ variables",
                 "replaced math.isclose", "replaced fsplit_lib.exercises.core.SEED", "speaks of FSPLIT_SEED"):  # fmt: skip
        assert f"a cell of the student's own {what}" in notes["seeds"]
    assert "the cell of 77.1 deleted Exercise, breaks, check and " in notes["reset"]
    assert notes["good"] == "not used, beside 77_fake (1).ipynb: 77_fake.ipynb"


def test_what_a_student_may_have_tricked_is_graded_again_and_told(graded):
    cheat = graded[0]["cheat"]
    assert "77.1: its kernel said right; graded again here, the answer is not" in cheat.notes
    assert "the cell of 77.1 replaced math.isclose; put back" in cheat.notes
    assert "the cell of 77.2 speaks of _getframe" in cheat.notes
    assert "the cell of 77.2 recorded an answer to 77.3" in cheat.notes
    assert "the cell of 77.3 speaks of __closure__" in cheat.notes
    assert [o.tries for o in cheat.outcomes] == [1, 0, 5]


def test_of_cells_that_exist_twice_the_answered_one_counts(graded):
    twins = graded[0]["twins"]
    assert twins.notes[1:] == [
        f"the cell of 77.{n} is there 2 times; the last one with an answer counts" for n in (1, 2, 3)
    ]
    assert [o.tries for o in twins.outcomes] == [1, 1, 2]


def test_nothing_of_a_copy_is_left(graded, place):
    assert [p for p in psutil.Process().children(recursive=True) if "ipykernel" in " ".join(p.cmdline())] == []
    assert [path for path in (place / "scratch").iterdir() if path.name.startswith("fsplit-class-")] == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_copies_end_when_whoever_watches_them_is_killed(tmp_path):
    copy = chapter([f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\nwhile True: pass"])
    paths = [put(tmp_path / where / "77_fake.ipynb", notebook) for where, notebook in (("c", copy), ("b", chapter()))]
    code = f"from pathlib import Path; from fsplit_lib.classroom.grading import grade_copy as g; g(*map(Path, {[*map(str, paths)]}), 'x', 1, {{}}, {{}}, [])"
    watcher = subprocess.Popen(
        [sys.executable, "-c", code], cwd=HERE.parent, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    wait_for(lambda: watcher.poll() is not None or ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()))
    watcher.kill()
    watcher.wait()
    kernel = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE, 60)


def test_finished_copies_are_not_run_again(graded, place, book):
    before = {path: path.stat().st_mtime_ns for path in (place / "out").iterdir()}
    put(place / "copies" / "own" / "77_fake.ipynb", "[]")
    rows = grade_class(place / "copies", [book], place / "out", 1, LIMITS, processes=0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list((place / "out").iterdir())) == len(before) + 1
    again = {one.student: one for one in rows if one.chapter}
    assert again.pop("own").outcomes[0].outcome == "unreadable"
    assert again == {name: one for name, one in graded[0].items() if name != "own"}
    put(place / "copies" / "own" / "77_fake.ipynb", STUDENTS["own"])


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_shows_text_of_students_as_text(graded, tmp_path):
    rows, strays = graded
    page = write_report([*rows.values(), *strays], tmp_path, 1, LIMITS, "a <machine>").read_text()
    parsed = Tags(page)
    assert not {"script", "b", "i", "machine", "img", "link", "iframe"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on") or name in ("src", "href")]
    text = " ".join(" ".join(parsed.text).split())
    assert "<script>alert('name')<_script>" in text and "ValueError: <script>alert(1)</script> =1+1" in text
    assert "default-src 'none'" in page and NO_SANDBOX in text and "holiday.ipynb" in text
    assert not re.search(r"url\(|@import|https?:", page)


def test_the_report_counts_misconceptions_and_never_speaks_in_colour_alone(tmp_path):
    def one(student, *outcomes):
        return Graded(
            student, "77", [Outcome(student, "77", f"77.{n}", *o) for n, o in enumerate(outcomes, 1)], [], 2.0
        )

    rows = [one("a", ("trap", "too small"), ("solved",)), one("b", ("trap", "too small"), ("trap", "=2+2")),
            one("c", ("trap", "too large"), ("limit",)), one("d", ("no copy",), ("no copy",)),
            one("e", ("wrong", "", "17"), ("wrong", "", "18")), one("f", ("wrong", "", "17"), ("limit",))]  # fmt: skip
    page = Tags(write_report(rows, tmp_path, 7, LIMITS, "m").read_text())
    text = " ".join(" ".join(page.text).split())
    assert text.index("2 of 5 40 % too small") < text.index("1 of 5 20 % too large")
    assert "2 of 5 40 % no hint yet; they answered 17" in text and "answered 18" not in text
    assert "6 students, 5 copies of chapter 77, run with seed 7" in text
    assert text.count("✗ known mistake") == 2 * 4 + 1  # table and details, and the list of words
    assert (
        "<" not in "".join(mark for mark, *_ in WORDS.values()) and len({word for _, word, _ in WORDS.values()}) == 10
    )
    assert page.tags.count("caption") == page.tags.count("table") and ("lang", "en") in page.attributes
    table = list(csv.DictReader((tmp_path / "class.csv").open()))
    assert [row["exercise"] for row in table if row["student"] == "b"] == ["77.1", "77.2"]
    assert table[3]["trap"] == "'=2+2"  # no formula for a spreadsheet
    assert set(table[0]) >= {"student", "chapter", "exercise", "outcome", "trap", "seconds", "error"}


def test_an_empty_class_and_a_folder_that_is_none(tmp_path, book):
    with pytest.raises(DataError, match="no folder"):
        grade_class(tmp_path / "none", [book], tmp_path / "out", 1, LIMITS)
    with pytest.raises(DataError, match="no student's folder"):
        grade_class(tmp_path, [book], tmp_path / "out", 1, LIMITS)
    put(tmp_path / "77_fake.ipynb", chapter())
    with pytest.raises(DataError, match="belongs to nobody"):
        grade_class(tmp_path, [book], tmp_path / "out", 1, LIMITS)
    seedless = put(tmp_path / "b" / "78_x.ipynb", chapter(parameters="rate: float = 1.0"))
    with pytest.raises(ParameterError, match="no parameter 'seed'; it has rate"):
        grade_class(tmp_path, [seedless], tmp_path / "out", 1, LIMITS)


def test_a_copy_that_cannot_be_graded_is_told_of_and_tried_again(tmp_path, book, monkeypatch):
    for student in ("a", "b", "c"):
        put(tmp_path / "in" / student / "77_fake.ipynb", f'["{student}"]')

    broken = {"b"}

    def failing(student, **options):
        if student in broken:
            raise MemoryError("the grader's own")
        return grade_copy(student=student, **options)

    monkeypatch.setattr(grading, "grade_copy", failing)
    monkeypatch.setattr(grading, "answer_keys", lambda chapter, **_: {})
    rows = grade_class(tmp_path / "in", [book], tmp_path / "out", 1, LIMITS, processes=0)
    assert [(one.student, one.chapter) for one in rows] == [("a", "77"), ("b", "77"), ("c", "77")]
    assert [{o.outcome for o in one.outcomes} for one in rows] == [{"unreadable"}, {"not graded"}, {"unreadable"}]
    assert rows[1].notes == ["MemoryError: the grader's own"] == list({o.error for o in rows[1].outcomes})
    text = " ".join(" ".join(Tags(write_report(rows, tmp_path, 1, LIMITS, "m").read_text()).text).split())
    assert "3 students, 3 copies" in text and "↻ not graded" in text
    assert {r["outcome"] for r in csv.DictReader((tmp_path / "class.csv").open()) if r["student"] == "b"} == {
        "not graded"
    }
    broken.add("a")
    put(tmp_path / "alone" / "a" / "77_fake.ipynb", "[]")
    rows = grade_class(tmp_path / "alone", [book], tmp_path / "out2", 1, LIMITS, processes=0)
    assert [o.outcome for one in rows for o in one.outcomes] == [
        "not graded"
    ] * 3  # no other copy of that chapter is there
    broken.clear()
    rows = grade_class(tmp_path / "in", [book], tmp_path / "out", 1, LIMITS, processes=0)
    assert [o.outcome for one in rows for o in one.outcomes] == ["unreadable"] * 9


def test_forged_lines_are_no_reason_to_fail(tmp_path):
    good = {"id": "77.1", "status": "wrong"}
    lines = [json.dumps(good), "{", "[1]", "[" * 10**5, "\xff", '{"id": [1], "status": "right"}', '{"id": "77.1", "status": "fine"}',
             json.dumps(good | {"status": "right", "tries": "x"}), json.dumps(good | {"status": "unanswered"})]  # fmt: skip
    with open(tmp_path / "record", "w+b") as record:
        record.write("\n".join(lines).encode("latin-1"))
        record.seek(0)
        strange = [{"id": [1], "status": "right"}, {"id": "77.1", "status": "fine"}]
        assert _new_lines(record) == [*strange, {"id": "77.1", "status": "right", "tries": 2}]
        assert _new_lines(record) == []
        with open(tmp_path / "record", "w", encoding="utf-8") as again:  # a student emptied it
            again.write(json.dumps(good))
        assert _new_lines(record) == [good | {"tries": 1}]


def test_the_guard_leaves_the_chapters_random_numbers_and_the_students_names(monkeypatch):
    space = {"seed": 1, "check": check, "table": [1], "_i": "x"}
    monkeypatch.setattr(kernel_process, "get_ipython", lambda: SimpleNamespace(user_ns=space))
    monkeypatch.setattr(kernel_process, "_held", {"home": os.getcwd()})
    monkeypatch.setattr(core, "RECORD", io.StringIO())

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seeding in (random.seed, np.random.seed, torch.manual_seed):
        seeding(5)
    expected = draw()
    for seeding in (random.seed, np.random.seed, torch.manual_seed):
        seeding(5)
    kernel_process.guard(["seed", "check"], None)
    draw()
    space.update(seed=1.0, table=[2], mine=3)
    del space["_i"]
    kernel_process.guard(["seed", "check"], "77.1")
    assert draw() == expected and space == {"seed": 1, "check": check, "table": [2], "mine": 3}
    assert json.loads(core.RECORD.getvalue())["note"] == "the cell of 77.1 changed seed; put back"


@pytest.fixture
def handed(tmp_path):
    """What students hand in instead of one notebook of the chapter's name; and the book."""
    book, folder = put(tmp_path / "book" / "77_fake.ipynb", chapter()), tmp_path / "in"
    some, blank = chapter([GOOD[0], *BLANK[1:]]), chapter()
    for name in ("Ada/homework.zip", "Ada/.DS_Store", "__MACOSX/Ada/._77_fake.ipynb", "grades.csv", "Ina/a/._x.ipynb"):
        put(folder / name, "")
    (folder / "Bela").mkdir()
    put(folder / "Cleo" / "77_FAKE.IPYNB", blank)
    put(folder / "Dora" / "77_fake.ipynb.txt", blank)
    for student, versions in {
        "Eva": {"77_fake.ipynb": blank, "77_fake (1).ipynb": some, "deep/er/Copy of 77_fake.ipynb": "[]"},
        "Finn": {"77_fake.ipynb": blank, "77_fake-Copy1.ipynb": blank},
        "Gus": {"77_fake (1).ipynb": some, "77 mine.ipynb": some},
    }.items():
        for age, (name, content) in enumerate(versions.items()):
            os.utime(put(folder / student / name, content), (10**9 + age, 10**9 + age))
    os.mkfifo(put(folder / "Hal" / "77_fake.ipynb", blank).with_name("77_fake (1).ipynb"))
    os.symlink(folder / "Hal" / "77_fake.ipynb", folder / "Ina" / "77_fake.ipynb")
    for name in ("0077.ipynb", "77_fake.pdf"):
        put(folder / "Ina" / name, "")
    return folder, book


def test_a_chapter_that_cannot_say_what_is_right_grades_nobody(handed, tmp_path, monkeypatch):
    folder, book = handed
    monkeypatch.setattr(grading, "run_cells", lambda cells, *_: Run(errors={1: "", 2: "NameError: found"}))
    rows = {
        one.student: one for one in grade_class(folder, [book], tmp_path / "out", 1, LIMITS, processes=0) if one.chapter
    }
    assert {o.outcome for o in rows["Ada"].outcomes} == {"no copy"}
    assert {o.outcome for o in rows["Eva"].outcomes} == {"not graded"}
    assert "77_fake.ipynb does not run with seed 1: NameError: found" in rows["Eva"].notes[0]


def test_whatever_lies_in_a_folder_its_student_is_found(handed):
    folder, book = handed
    found = {one.student: one for one in find_submissions(folder, [book])}
    assert list(found) == ["", "Ada", "Bela", "Cleo", "Dora", "Eva", "Finn", "Gus", "Hal", "Ina"]
    first = {name: [path.name for path in one.versions.get("77", [])] for name, one in found.items()}
    assert [name for name in found if not first[name]] == ["", "Ada", "Bela", "Ina"]
    assert first["Cleo"] == ["77_FAKE.IPYNB"] and first["Dora"] == ["77_fake.ipynb.txt"]
    assert first["Eva"] == [
        "77_fake (1).ipynb",
        "77_fake.ipynb",
        "Copy of 77_fake.ipynb",
    ]  # most answers, then the name
    assert first["Finn"] == ["77_fake.ipynb", "77_fake-Copy1.ipynb"] and first["Gus"] == [
        "77 mine.ipynb",
        "77_fake (1).ipynb",
    ]
    assert found["Hal"].others == ["77_fake (1).ipynb"] and found["Ada"].others == ["homework.zip"]
    assert found["Ina"].others == ["0077.ipynb", "77_fake.ipynb", "77_fake.pdf"] and found[""].others == ["grades.csv"]


def test_every_student_has_rows_whatever_was_handed_in(handed, tmp_path, monkeypatch):
    folder, book = handed
    monkeypatch.setattr(grading, "answer_keys", lambda chapter, **_: dict.fromkeys(("77.1", "77.2", "77.3")))
    monkeypatch.setattr(grading, "run_cells", lambda cells, *_: Run(errors=dict.fromkeys(range(len(cells)), "")))
    (folder / "Cleo" / "77_FAKE.IPYNB").write_text("[]")
    rows = {
        one.student: one for one in grade_class(folder, [book], tmp_path / "out", 1, LIMITS, processes=0) if one.chapter
    }
    assert list(rows) == ["Ada", "Bela", "Cleo", "Dora", "Eva", "Finn", "Gus", "Hal", "Ina"]
    told = {name: (one.outcomes[0].outcome, one.outcomes[0].error) for name, one in rows.items()}
    assert told["Ada"] == ("no copy", "the folder holds homework.zip") and told["Bela"] == (
        "no copy",
        "the folder is empty",
    )
    assert told["Ina"] == ("no copy", "the folder holds 0077.ipynb, 77_fake.ipynb, 77_fake.pdf")
    assert told["Cleo"][0] == "unreadable" and {told[name][0] for name in ("Dora", "Eva", "Finn", "Gus", "Hal")} == {
        "error"
    }
    assert rows["Eva"].notes == ["not used, beside 77_fake (1).ipynb: 77_fake.ipynb, Copy of 77_fake.ipynb"]
    page = write_report(list(rows.values()), tmp_path, 1, LIMITS, "m").read_text()
    assert "Ada, no copy of chapter 77: the folder holds homework.zip" in page
    assert len(list(csv.DictReader((tmp_path / "class.csv").open()))) == 3 * len(rows)


def test_a_class_of_nothing_but_zips_has_rows_too(tmp_path, book):
    put(tmp_path / "in" / "Ada" / "all.zip", "")
    _, one = grade_class(tmp_path / "in", [book], tmp_path / "out", 1, LIMITS, processes=0)
    assert [o.outcome for o in one.outcomes] == ["no copy"] * 3 and one.notes == ["the folder holds all.zip"]


def test_a_copy_that_vanishes_hides_no_other(tmp_path, book, monkeypatch):
    for student in ("a", "b"):
        put(tmp_path / "in" / student / "77_fake.ipynb", "[]")
    monkeypatch.setattr(grading, "answer_keys", lambda chapter, **_: (tmp_path / "in/a/77_fake.ipynb").unlink())
    rows = grade_class(tmp_path / "in", [book], tmp_path / "out", 1, LIMITS, processes=0)
    assert [one.outcomes[0].outcome for one in rows] == ["unreadable"] * 2 and "FileNotFoundError" in rows[0].notes[0]


def test_reading_takes_no_longer_than_json_for_very_many_cells(tmp_path):
    """The checks of nbformat take hundreds of times as long, and longer for each cell the more there are."""
    text = json.dumps({"cells": [{"cell_type": "code", "metadata": {}, "source": ["x = 1"]}] * 40_000})
    begun = time.process_time()
    json.loads(text)
    unit = time.process_time() - begun
    cells = read_cells(put(tmp_path / "x.ipynb", text))
    assert len(merge(chapter(), cells, {"seed": 1})[0]) > 40_000
    assert time.process_time() - begun < 60 * unit


def sources(cells):
    """Without the cells that call the guard."""
    return [(cell.metadata.get("student"), cell.source) for cell in cells if "kernel_process" not in cell.source]


def read(notebook, tmp_path):
    return read_cells(put(tmp_path / "x.ipynb", json.dumps(notebook)))  # as it is: nbformat would give ids to cells


def test_the_students_part_goes_into_the_chapter(tmp_path):
    copy = chapter(
        ["x = 1", None, BLANK[2]], parameters="seed: int = 9", setup="check = print", at1="helper = 1", at3="late = 1"
    )
    copy.cells.insert(1, new_code_cell("early = 1"))
    copy.cells.append(new_code_cell("x = 2", metadata={"exercise": "77.1"}))  # a duplicate of the first
    handed = read(copy, tmp_path)
    cells, changed = merge(chapter(), handed, {"seed": 5})
    assert sources(cells) == [
        (None, "seed: int = 0\nbreaks: str = ''"), (None, "seed = 5"), ("", "early = 1"), (None, SETUP), ("", "helper = 1"),
        ("77.1", "x = 1"), ("77.1", "x = 2"), ("", "late = 1"), ("77.3", BLANK[2])]  # fmt: skip
    assert changed == 1
    own, _ = merge(chapter(), handed, {"seed": 5}, own=True)
    assert sources(own)[:4] == [*sources(cells)[:3], ("", "check = print")]


def test_the_guard_stands_where_the_students_cells_begin_and_end(tmp_path):
    copy = chapter(["x = 1", "y = 1", "z = 1"], at1="own = 1", at2="own = 2")
    copy.cells.insert(2, new_code_cell("early = 1"))
    cells, _ = merge(chapter(), read(copy, tmp_path), {})
    calls = [cell.source.partition(".guard")[2] for cell in cells]
    names = "['seed', 'breaks', 'check'], "
    assert calls == ["", "", f"({names}None)", "", f"({names}'')", "", f"({names}None)", "", f"({names}'')", "", f"({names}'77.1')",
                     "", f"({names}'')", "", f"({names}'77.2')", ""]  # fmt: skip


def test_cells_without_ids_are_known_by_their_text(tmp_path):
    copy = chapter(["x = 1", "y = 1", "z = 1"], at2="between = 1")
    for cell in copy.cells:
        cell.pop("id")
    cells, changed = merge(chapter(), read(copy, tmp_path), {"seed": 5})
    assert [s for _, s in sources(cells)][3:] == ["x = 1", "between = 1", "y = 1", "z = 1"] and changed == 0


def test_exercises_that_lost_their_mark_are_known_by_their_id(tmp_path):
    copy = chapter(["x = 1", "y = 1", "z = 1"])
    for cell in copy.cells:
        cell.metadata = {}
    copy.cells[-1] = new_markdown_cell("z = 1", id="e3")  # made a text: no answer
    cells, _ = merge(chapter(), read(copy, tmp_path), {"seed": 5})
    assert sources(cells)[3:] == [("77.1", "x = 1"), ("77.2", "y = 1")]


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
                                     '{"cells": [{"source": 3}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}'])  # fmt: skip
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, content):
    with pytest.raises(DataError, match="the copy is no notebook"):
        read_cells(put(tmp_path / "x.ipynb", content))


def test_text_of_students_is_made_plain():
    assert plain("a\x1b[31mb\n\n c\ud800\u202e") == "a b c?"
    assert len(plain("x" * 10**6)) == 300 and plain("x" * 300) == "x" * 300


def test_checks_are_recorded(monkeypatch):
    record = io.StringIO()
    monkeypatch.setattr(core, "RECORD", record)

    class Odd:
        def __repr__(self):
            raise RuntimeError

    own = make_check({"77.1": Exercise.number("77.1", 4, "h", "w", (2, "half"))})
    for answer in (4, np.float32(2), "3", ..., Odd(), "x" * 10**6, True, 10**400):
        own("77.1", answer)
    lines = [json.loads(line) for line in record.getvalue().splitlines()]
    assert [(line["status"], line["known"]) for line in lines] == [
        ("right", False), ("wrong", True), ("wrong", False), ("unanswered", False), *[("wrong", True)] * 4]  # fmt: skip
    assert lines[1]["message"] == "half" and lines[0]["answer"] == "4" and len(record.getvalue()) < 4000
    assert [line["value"] for line in lines] == [4, 2, "3", None, None, "x" * 1000, True, None]


DRAWN = [e.id for e in EXERCISES.values() if e.drawn]


def solution(id):
    """The function that the solutions hand over."""
    text = re.split(r"^# %% (\S+)\n", (SOLUTIONS / f"{id[:2]}.py").read_text(), flags=re.MULTILINE)
    handed = {}
    import struct
    import zlib

    import torch
    import torch.nn.functional as F
    from scipy.interpolate import PchipInterpolator
    from torch import nn

    from fsplit_lib.entropy.coding import encode_symbols

    names = {
        "check": lambda id, answer: handed.setdefault(id, answer),
        **{"np": np, "math": math, "struct": struct, "zlib": zlib, "torch": torch, "F": F, "nn": nn},
        "PchipInterpolator": PchipInterpolator,
        "encode_symbols": encode_symbols,
    }
    exec(dict(zip(text[1::2], text[2::2], strict=True))[id], names)
    return handed[id]


def result_of(value):
    return value.tolist() if hasattr(value, "tolist") else value


# classes, and a step that changes the modules which it is given: test_ch05.py and test_ch07.py try them under other seeds
BUILT = ("05.1", "05.2", "05.6", "07.1")


@pytest.mark.parametrize("id", [id for id in DRAWN if id not in BUILT])
def test_functions_are_tried_on_what_the_seed_draws(id, monkeypatch):
    from fsplit_lib.exercises import ch03

    right, by_heart = solution(id), []

    def noting(*arguments):
        by_heart.append(right(*arguments))
        return by_heart[-1]

    ch03._wandered.cache_clear()
    monkeypatch.setattr(core, "SEED", 0)
    assert check(id, noting).status == "right"
    for seed in (1, 2):
        ch03._wandered.cache_clear()
        monkeypatch.setattr(core, "SEED", seed)
        assert check(id, right).status == "right"
        told = iter(by_heart * 2)
        assert check(id, lambda *_, told=told: next(told)).status == "wrong"
    ch03._wandered.cache_clear()


def test_every_exercise_that_asks_for_a_function_is_drawn():
    asked = [e.id for e in EXERCISES.values() if " itself, without calling it" in str(e.grade(3))]
    assert asked == DRAWN and len(asked) >= 8


def test_the_command_grades_what_it_is_asked_for(tmp_path):
    for name in ("03_from.ipynb", "05_training.ipynb", "notes.ipynb"):
        put(tmp_path / "in" / "Ada" / name, "[]")
    count = Counter(id[:2] for id in EXERCISES)
    done = fsplit("class", tmp_path / "in", "--out", tmp_path / "out", "--processes", 0)
    assert (
        done.returncode == 0
        and NO_SANDBOX in done.stderr
        and f"0 of {count['03'] + count['05']} exercises are solved" in done.stdout
    )
    assert {row["chapter"] for row in csv.DictReader((tmp_path / "out" / "class.csv").open())} == {"03", "05"}
    assert "Ada: belongs to no chapter: notes.ipynb" in (tmp_path / "out" / "class.html").read_text()
    done = fsplit("class", tmp_path / "in", "05", "--out", tmp_path / "out", "--processes", 0)
    assert done.returncode == 0 and f"0 of {count['05']} exercises" in done.stdout
    assert "03_from" not in (tmp_path / "out" / "class.html").read_text()
    refused(fsplit("class", tmp_path / "in", "77", "--out", tmp_path / "none"), "no chapter 77")


def test_a_real_chapter_half_solved(tmp_path):
    """The chapter itself runs with another seed, and no honest answer draws a note."""
    (real,) = chapters("03")
    copy, blank = nbformat.read(real, as_version=4), nbformat.read(real, as_version=4)
    fill_solutions(copy, SOLUTIONS / "03.py")
    for at in (i for i, cell in enumerate(copy.cells) if cell.metadata.get("exercise") in ("03.5", "03.6")):
        copy.cells[at] = blank.cells[at]
    put(tmp_path / "in" / "one" / real.name, copy)
    (one,) = grade_class(tmp_path / "in", [real], tmp_path / "out", 1, Limits(seconds=250), processes=0)
    blank = {o.exercise for o in one.outcomes if o.outcome == "untouched"}
    assert blank == {"03.5", "03.6"} and {o.outcome for o in one.outcomes if o.exercise not in blank} == {"solved"}
    assert len(one.outcomes) == 7 and one.notes == []
