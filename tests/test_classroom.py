"""Classes: what a copy may do to itself, what it may not do to others, and what the report says of it."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_cli import fsplit, refused
from test_grid import wait_for

from fsplit_lib.classroom import grading
from fsplit_lib.classroom.grading import Graded, Outcome, answer_keys, grade_class, grade_copy
from fsplit_lib.classroom.report import NO_SANDBOX, WORDS, write_report
from fsplit_lib.classroom.submissions import find_submissions, merge, plain, read_cells
from fsplit_lib.classroom.supervisor import Limits, _new_lines
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.core import Exercise, Trap, make_check
from fsplit_lib.runner.execute import chapters, fill_solutions

HERE = Path(__file__).parent
SETUP = """import random
from fsplit_lib.exercises.core import Exercise, Trap, inputs, make_check
found = random.Random(seed).randrange(10**3, 10**6)  # a number that comes out of the run

def double(answer):
    if not callable(answer):
        return "Hand over the function itself."
    x = inputs(3).random()
    return True if answer(x) == 2 * x else "That is half." if answer(x) == x / 2 else False

check = make_check({
    "77.1": Exercise.number("77.1", found, "Look.", "Yes.", (Trap(found / 2, "Only half: <b>twice</b>."),), drawn=True),
    "77.2": Exercise("77.2", "Twice.", double, "Yes.", drawn=True),
    "77.3": Exercise.choice("77.3", "b", {"a": "A is <i>not</i> it.", "c": "C neither."}, "Guess.", "Yes."),
})"""
BLANK = [f'answer = ...\ncheck("77.{n}", answer)' for n in (1, 2, 3)]
GOOD = ['check("77.1", found)', 'check("77.2", lambda x: 2 * x)', 'check("77.3", "b")']
LIMITS = Limits(cell_seconds=3, seconds=900, memory_mb=700, disk_mb=8)


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


HOG = "held = []\nwhile True:\n    held.append(b'x' * 10**7)"
STUBBORN = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
EVIL = "<script>alert('name')<_script>"
BY_HEART = ['check("77.1", 886439)', "check('77.2', lambda x: 0.17129833428724872)", GOOD[2]]
MESS = """import os, shutil
folder = os.getcwd()
for name in ("checks.jsonl", "events.jsonl"):
    if os.path.exists(f"../{name}"): os.remove(f"../{name}")
    os.mkfifo(f"../{name}")
for _ in range(1500): os.mkdir("deep"), os.chdir("deep")
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
    "twins": chapter([GOOD[0], BLANK[1], "check('77.3', 'a')"]),
    "empty": chapter(),
    "stubborn": chapter([STUBBORN, f"answer = 1\n{HOG}", GOOD[2]]),
    "dying": chapter(["exit()", "import os\nos._exit(3)", GOOD[2]]),
    "writing": chapter([
        "with open('large', 'wb') as file:\n    for _ in range(10**4): file.write(bytes(10**6))",
        "for n in range(10**4):\n    with open(f'file{n}', 'wb') as file: file.write(bytes(10**6))",
        GOOD[2],
    ]),
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
    "empty": "untouched untouched untouched",
    "stubborn": "limit limit solved",
    "dying": "limit limit solved",
    "writing": "error limit solved",
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
    for student, notebook in STUDENTS.items():
        put(place / "copies" / student / "77_fake.ipynb", notebook)
    put(place / "copies" / "sleeping" / "holiday.ipynb", "{}")
    put(place / "copies" / "good" / "77_fake (1).ipynb", STUDENTS["good"])
    put(place / "copies" / "good" / "77_fake.ipynb", chapter())
    told = []
    rows = grade_class(
        place / "copies", [book], place / "out", 1, LIMITS, processes=2, progress=lambda *a: told.append(a[1:])
    )
    assert told == [(n, len(STUDENTS)) for n in range(1, len(STUDENTS) + 1)]
    return {one.student: one for one in rows if one.chapter}, [one for one in rows if not one.chapter]


def test_the_numbers_learned_by_heart_are_those_of_the_chapters_own_seed(tmp_path):
    """So that they fail for the seed alone."""
    hard, book = (put(tmp_path / w / "77_fake.ipynb", c) for w, c in (("c", chapter(BY_HEART)), ("b", chapter())))
    keys = answer_keys(book, 0, vars(LIMITS))
    assert keys == {"77.1": {"expected": 886439.0, "relative": 0.01, "traps": [[886439 / 2, "Only half: <b>twice</b>."]]}, "77.2": None,
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
    assert "cell took more than 8 s" in said["stubborn"][0] and "more than 700 MB" in said["stubborn"][1]
    assert "exit()" in said["dying"][0] and "kernel died" in said["dying"][1]
    assert "File too large" in said["writing"][0] and "more than 16 MB of files" in said["writing"][1]
    assert "no notebook" in said["cut"][0] and said["own"][2] == "SystemExit: 1"
    evil = rows[EVIL]
    assert (evil.outcomes[0].trap, evil.outcomes[2].trap) == ("Only half: <b>twice</b>.", "A is <i>not</i> it.")
    assert [o.cells for o in rows["own"].outcomes] == ["own", "chapter", "chapter"]
    assert "1 of the chapter's own cells" in rows["own"].notes[0]
    assert [o.drawn for o in rows["good"].outcomes] == [True, True, False]
    assert [one.student for one in strays] == ["sleeping"] and "holiday.ipynb" in strays[0].notes[0]


def test_no_process_of_a_copy_is_left(graded):
    here = [p for p in psutil.process_iter(["cmdline"]) if "fsplit-class-" in " ".join(p.info["cmdline"] or [])]
    assert here == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_copies_end_when_whoever_watches_them_is_killed(tmp_path):
    copy = chapter([f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\nwhile True: pass"])
    paths = [put(tmp_path / where / "77_fake.ipynb", notebook) for where, notebook in (("c", copy), ("b", chapter()))]
    code = f"from pathlib import Path; from fsplit_lib.classroom import grade_copy as g; g(*map(Path, {[*map(str, paths)]}), 'x', 1, {{}})"
    watcher = subprocess.Popen(
        [sys.executable, "-c", code], cwd=HERE.parent, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    watcher.kill()
    watcher.wait()
    kernel = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE, 60)


def test_a_copy_ends_even_if_its_watcher_was_gone_before_it_began(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "desk").mkdir()
    nbformat.write(new_notebook(cells=[new_code_cell("while True: pass")]), tmp_path / "job.ipynb")
    command = [sys.executable, "-m", "fsplit_lib.classroom.inside", tmp_path, "8", "60", gone.pid, "0.0"]
    assert subprocess.run([*map(str, command)], cwd=HERE.parent, timeout=60).returncode == 1


def test_a_process_is_told_from_a_later_one_of_the_same_number():
    me = psutil.Process()
    assert inside._lives(me.pid, me.create_time()) and not inside._lives(me.pid, me.create_time() - 5)
    gone = psutil.Popen([sys.executable, "-c", ""])
    begun = gone.create_time()
    gone.wait()
    assert not inside._lives(gone.pid, begun)


def test_finished_copies_are_not_run_again(graded, place, book):
    before = {path: path.stat().st_mtime_ns for path in (place / "out").iterdir()}
    put(place / "copies" / "empty" / "77_fake.ipynb", "[]")
    rows = grade_class(place / "copies", [book], place / "out", 1, LIMITS, processes=0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list((place / "out").iterdir())) == len(before) + 1
    again = {one.student: one for one in rows if one.chapter}
    assert again.pop("empty").outcomes[0].outcome == "unreadable"
    assert again == {name: one for name, one in graded[0].items() if name != "empty"}
    put(place / "copies" / "empty" / "77_fake.ipynb", STUDENTS["empty"])


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
    with pytest.raises(DataError, match="no notebook in the folders"):
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
    lines = ['{"cell": 1, "time": 1.5}', "{", "[1]", '{"cell": true, "time": 1.0}', '{"cell": 99, "time": 1.0}', "[" * 10**5,
             '{"cell": "1", "time": 1.0}', '{"cell": 1, "time": "x"}', '{"cell": [1], "time": 1.0}', '{"cell": -1, "time": 1.0}']  # fmt: skip
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    assert watch._events(tmp_path, chapter()) == [{"cell": 1, "time": 1.5}]


def test_copies_are_found_by_name(tmp_path):
    book = [Path("05_training.ipynb"), Path("06_rate.ipynb")]
    for name in ("a/05_training.ipynb", "a/.ipynb_checkpoints/05_training-checkpoint.ipynb", "a/deep/05_training-Copy1.ipynb",
                 "b/Kopie von 06_rate (1).ipynb", "c/05 mine.ipynb", "c/0505.ipynb", ".git/05_training.ipynb"):  # fmt: skip
        put(tmp_path / name, "{}")
    os.symlink(tmp_path / "a/05_training.ipynb", tmp_path / "b/05_training.ipynb")
    found = [(c.student, c.chapter, c.path.name) for c in find_copies(tmp_path, book)]
    assert found == [("a", "05", "05_training.ipynb"), ("b", "06", "Kopie von 06_rate (1).ipynb"),
                     ("c", "", "0505.ipynb"), ("c", "05", "05 mine.ipynb")]  # fmt: skip


def sources(merged):
    return [(cell.metadata.get("student"), cell.source) for cell in merged.notebook.cells]


def test_the_students_part_goes_into_the_chapter():
    copy = chapter(
        ["x = 1", None, BLANK[2]], parameters="seed: int = 9", setup="check = print", at1="helper = 1", at3="late = 1"
    )
    copy.cells.insert(1, new_code_cell("early = 1"))
    copy.cells.append(new_code_cell("x = 2", metadata={"exercise": "77.1"}))  # a duplicate of the first
    merged = merge(chapter(), copy, {"seed": 5})
    assert sources(merged) == [
        (None, "seed: int = 0\nbreaks: str = ''"), (None, "seed = 5"), ("", "early = 1"), (None, SETUP), ("", "helper = 1"),
        ("77.1", "x = 1"), ("77.1", "x = 2"), ("", "late = 1"), ("77.3", BLANK[2])]  # fmt: skip
    assert (merged.untouched, merged.changed, set(merged.given)) == ({"77.3"}, 1, {"77.1", "77.3"})
    own = merge(chapter(), copy, {"seed": 5}, own=True)
    assert sources(own)[:4] == [*sources(merged)[:3], ("", "check = print")]


def test_cells_without_ids_are_known_by_their_text():
    copy = chapter(["x = 1", "y = 1", "z = 1"], at2="between = 1")
    for cell in copy.cells:
        cell.pop("id")
    merged = merge(chapter(), copy, {"seed": 5})
    assert [s for _, s in sources(merged)][3:] == ["x = 1", "between = 1", "y = 1", "z = 1"] and merged.changed == 0


def test_exercises_that_lost_their_mark_are_known_by_their_id():
    copy = chapter(["x = 1", "y = 1", "z = 1"])
    for cell in copy.cells:
        cell.metadata = {}
    copy.cells[-1] = new_markdown_cell("z = 1", id="e3")  # made a text: no answer
    merged = merge(chapter(), copy, {"seed": 5})
    assert sources(merged)[3:] == [("77.1", "x = 1"), ("77.2", "y = 1")]


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
                                     '{"cells": [{"source": 3}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}'])  # fmt: skip
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, content):
    with pytest.raises(DataError, match="the copy is no notebook"):
        read_copy(put(tmp_path / "x.ipynb", content))


def test_text_of_students_is_made_plain():
    assert plain("a\x1b[31mb\n\n c\ud800\u202e") == "a b c?"
    assert len(plain("x" * 10**6)) == 300 and plain("x" * 300) == "x" * 300


def test_checks_are_recorded(tmp_path, monkeypatch):
    record = tmp_path / "checks.jsonl"
    monkeypatch.setenv("FSPLIT_RECORD", str(record))

    class Odd:
        def __repr__(self):
            raise RuntimeError

    own = make_check({"77.1": Exercise.number("77.1", 4, "h", "w", (Trap(2, "half"),))})
    for answer in (4, 2, 3, ..., Odd(), "x" * 10**6):
        own("77.1", answer)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["status"], line["known"]) for line in lines] == [
        ("right", False), ("wrong", True), ("wrong", False), ("unanswered", False), ("wrong", True), ("wrong", True)]  # fmt: skip
    assert lines[1]["message"] == "half" and lines[0]["answer"] == "4" and len(record.read_bytes()) < 2000


DRAWN = [e.id for e in EXERCISES.values() if e.drawn]


def solution(id):
    """The function that the solutions hand over."""
    text = re.split(r"^# %% (\S+)\n", (HERE / "solutions" / f"{id[:2]}.py").read_text(), flags=re.MULTILINE)
    handed = {}
    import numpy as np

    from fsplit_lib.entropy.coding import encode_symbols

    names = {
        "check": lambda id, answer: handed.setdefault(id, answer),
        "np": np,
        "math": math,
        "encode_symbols": encode_symbols,
    }
    exec(dict(zip(text[1::2], text[2::2], strict=True))[id], names)
    return handed[id]


def result_of(value):
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("id", DRAWN)
def test_functions_are_tried_on_what_the_seed_draws(id, monkeypatch):
    from fsplit_lib.exercises import ch03

    right, by_heart = solution(id), []

    def noting(*arguments):
        by_heart.append(right(*arguments))
        return by_heart[-1]

    ch03._wandered.cache_clear()
    monkeypatch.delenv("FSPLIT_SEED", raising=False)
    assert check(id, noting).status == "right"
    for seed in ("1", "2"):
        ch03._wandered.cache_clear()
        monkeypatch.setenv("FSPLIT_SEED", seed)
        assert check(id, right).status == "right"
        told = iter(by_heart * 2)
        assert check(id, lambda *_, told=told: next(told)).status == "wrong"
    ch03._wandered.cache_clear()


def test_every_exercise_that_asks_for_a_function_is_drawn():
    asked = [e.id for e in EXERCISES.values() if "function itself" in str(e.grade(3))]
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
    assert "notes.ipynb is no copy of a chapter" in (tmp_path / "out" / "class.html").read_text()
    done = fsplit("class", tmp_path / "in", "05", "--out", tmp_path / "out", "--processes", 0)
    assert done.returncode == 0 and f"0 of {count['05']} exercises" in done.stdout
    assert "03_from" not in (tmp_path / "out" / "class.html").read_text()
    refused(fsplit("class", tmp_path / "in", "77", "--out", tmp_path / "none"), "no chapter 77")


def test_a_real_chapter_solved_and_untouched(tmp_path):
    (real,) = chapters("03")
    solved = fill_solutions(nbformat.read(real, as_version=4), HERE / "solutions" / "03.py")
    put(tmp_path / "in" / "solved" / real.name, solved)
    put(tmp_path / "in" / "untouched" / real.name, real.read_text())
    one, other = grade_class(tmp_path / "in", [real], tmp_path / "out", 1, Limits(seconds=250), processes=2)
    assert {o.outcome for o in one.outcomes} == {"solved"} and {o.outcome for o in other.outcomes} == {"untouched"}
    assert one.notes == other.notes == []  # the chapter itself runs with another seed
