"""The runner: strict parameters, chapters that fail loudly, headline numbers, pages that open offline."""

import json
import os
import re
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

from fsplit_lib.cli import app
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import read_table
from fsplit_lib.runner import headline
from fsplit_lib.runner.execute import ChapterError, ChapterRun, chapters, fill_solutions, run_chapter, run_chapters
from fsplit_lib.runner.headline import compare
from fsplit_lib.runner.parameters import check_parameters, parameters_of, read_parameter
from fsplit_lib.runner.site import FIGURE, build_site

PARAMETERS = 'from typing import Literal\nprofile: Literal["quick", "full"] = "quick"\nseed: int = 0\nrate: float = 0.5\non: bool = True\nout_dir: str = ""'

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def notebook(path, *sources, parameters=PARAMETERS, exercise=None):
    cells = [new_markdown_cell("# 77  A test\n\n> It *runs*.\n\n$$ x^2 $$ and $y_i$")]
    cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in sources]
    if exercise:
        cells.append(new_code_cell(exercise, metadata={"exercise": "77.1", "tags": ["exercise"]}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def test_parameters_are_read_with_type_and_options(tmp_path):
    found = parameters_of(notebook(tmp_path / "77_x.ipynb"))
    assert found["profile"].options == ("quick", "full")
    assert (found["seed"].kind, found["seed"].default, found["rate"].default) == (int, 0, 0.5)
    assert list(found) == ["profile", "seed", "rate", "on", "out_dir"]
    assert {name: p.options for name, p in found.items() if name != "profile"} == dict.fromkeys(list(found)[1:], ())


@pytest.mark.parametrize(
    ("given", "message"),
    [({"sead": 1}, "profile, seed, rate"), ({"profile": "slow"}, "'quick', 'full'"), ({"seed": 1.5}, "type int"),
     ({"seed": True}, "type int"), ({"rate": "x"}, "type float"), ({"rate": float("inf")}, "finite"), ({"on": 1}, "type bool")],
)  # fmt: skip
def test_wrong_parameters_are_refused_by_name(tmp_path, given, message):
    with pytest.raises(ParameterError, match=message):
        check_parameters(notebook(tmp_path / "77_x.ipynb"), given)


def test_right_parameters_pass(tmp_path):
    check_parameters(notebook(tmp_path / "77_x.ipynb"), {"profile": "full", "seed": 3, "rate": 1, "on": False})


@pytest.mark.parametrize(
    ("source", "message"),
    [("seed = 1", "name: type = value"), ("seed: list = []", "has type list"), ("x: int", "name: type"),
     ("print('hello')", "name: type"), ("x: int = max(1, 2)", "name: type = value"),
     ("from typing import Annotated\nx: Annotated[int, 0] = 1", "least, largest"), ("x: Path = ''", "name: type = value")],
)  # fmt: skip
def test_parameter_cells_are_strict_too(tmp_path, source, message):
    with pytest.raises(ParameterError, match=message):
        parameters_of(notebook(tmp_path / "77_x.ipynb", parameters=source))


RANGES = """from typing import Annotated, Literal

from fsplit_lib.runner import refuse_wrong_parameters

rate: Annotated[float, 0.1, 3] = 0.5  # of bits
seed: Annotated[int, 0, 2**32 - 1] = 0
agreement: Literal[0.8, 0.85] = 0.8
breaks: Literal["nothing", "the escape"] = "nothing"
folder: str = ""
on: bool = True
refuse_wrong_parameters(globals())"""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("rate", "1", 1.0), ("rate", "3e0", 3.0), ("seed", "4294967295", 2**32 - 1), ("agreement", "0.85", 0.85), ("folder", "2024", "2024"),
     ("folder", "", ""), ("folder", "None", "None"), ("breaks", "the escape", "the escape"), ("on", "False", False)],
)  # fmt: skip
def test_a_text_is_read_by_the_declared_type(tmp_path, name, text, value):
    found = read_parameter(notebook(tmp_path / "77_x.ipynb", parameters=RANGES), name, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("rate", "3.01", "from 0.1 to 3, got 3.01"), ("rate", "-4", "from 0.1 to 3"), ("rate", "inf", "from 0.1 to 3"), ("rate", "nan", "from 0.1 to 3"),
     ("rate", "fast", "type float, got 'fast'"), ("seed", "-1", "from 0 to 4294967295, got -1"), ("seed", "1.5", "type int"), ("on", "2", "type bool"),
     ("agreement", "0.123", "one of 0.8, 0.85, got 0.123"), ("breaks", "the ecape", "'nothing', 'the escape', got 'the ecape'"), ("sead", "1", "it has rate, seed")],
)  # fmt: skip
def test_a_text_out_of_range_is_refused_in_one_sentence(tmp_path, name, text, message):
    with pytest.raises(ParameterError, match=f"{name}.*{re.escape(message)}"):
        read_parameter(notebook(tmp_path / "77_x.ipynb", parameters=RANGES), name, text)


def test_a_kernel_refuses_what_papermill_or_a_hand_put_in(tmp_path):
    """As in JupyterLab: the cell after the parameters holds what was injected, their own cell what was typed."""
    lesson = ("refuse_wrong_parameters(globals())", "print('a wrong lesson')")
    injected = notebook(tmp_path / "77_x.ipynb", *lesson, parameters=RANGES)
    typed = notebook(tmp_path / "78_x.ipynb", *lesson, parameters=RANGES.replace("= 0.5", "= -4.0"))
    out = tmp_path / "out.ipynb"
    for path, given, said in ((injected, {"breaks": "the ecape"}, "got 'the ecape'"), (typed, {}, "to 3, got -4.0")):
        with pytest.raises(papermill.PapermillExecutionError, match=f"ParameterError.*{said}"):
            papermill.execute_notebook(path, out, parameters=given, progress_bar=False)
        assert "a wrong lesson" not in json.dumps([c.get("outputs") for c in nbformat.read(out, 4).cells])


def test_paths_are_the_shells_and_modules_are_not(tmp_path, monkeypatch):
    (tmp_path / "shell").mkdir()
    (tmp_path / "shell" / "flower.txt").write_text("mine")
    (tmp_path / "shell" / "colorsys.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path / "shell")
    body = "import colorsys, pathlib\nfrom fsplit_lib.runner import headline\nheadline('77', letters=len(pathlib.Path(folder).read_text()))"
    run = run_chapter(
        notebook(tmp_path / "book" / "77_x.ipynb", body, parameters=RANGES),
        tmp_path / "out",
        {"folder": "flower.txt"},
        progress=False,
    )
    assert run.numbers == {"letters": 4.0}


@pytest.mark.parametrize("path", chapters(), ids=lambda p: p.stem)
def test_every_number_of_a_chapter_has_a_range_that_its_kernel_holds(path):
    first, *later = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    call = "refuse_wrong_parameters(globals())"
    assert first.splitlines()[-1] == call and sum(call in source for source in later[:2]) == 1
    assert [p.name for p in parameters_of(path).values() if p.kind in (int, float) and not (p.span or p.options)] == []


def test_shares_to_compare_at_are_those_of_the_table():
    (path,), rows = chapters("08"), read_table("latency.csv")
    assert set(parameters_of(path)["agreement"].options) == {row.level for row in rows} - {None}


@pytest.mark.parametrize("path", chapters(), ids=lambda p: p.stem)
def test_chapters_allow_their_own_defaults(path):
    check_parameters(path, {name: p.default for name, p in parameters_of(path).items()})


def test_literals_may_be_numbers(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", parameters="from typing import Literal\nstride: Literal[4, 8] = 8")
    check_parameters(path, {"stride": 4})
    for wrong in (6, "4", True):
        with pytest.raises(ParameterError, match="one of 4, 8|type int"):
            check_parameters(path, {"stride": wrong})


@pytest.mark.parametrize("tagged", [0, 2])
def test_one_cell_holds_the_parameters(tmp_path, tagged):
    cells = [new_code_cell("seed: int = 0", metadata={"tags": ["parameters"]}) for _ in range(tagged)]
    nbformat.write(new_notebook(cells=[new_code_cell("1"), *cells]), tmp_path / "77_x.ipynb")
    with pytest.raises(ParameterError, match=f"exactly one cell tagged 'parameters', it has {tagged}"):
        parameters_of(tmp_path / "77_x.ipynb")


def test_headline_writes_json_and_refuses_nan(tmp_path, monkeypatch):
    shown = headline("77", str(tmp_path / "out"), bytes=12, agreement=0.5)
    assert json.loads((tmp_path / "out" / "77.json").read_text()) == {"bytes": 12.0, "agreement": 0.5}
    assert "12" in shown._repr_html_()
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="agreement"):
            headline("78", str(tmp_path / "out"), bytes=12, agreement=wrong)
    assert not (tmp_path / "out" / "78.json").exists()
    monkeypatch.setenv("FSPLIT_OUT", str(tmp_path / "runner"))
    headline("77", bytes=1)
    headline("78", str(tmp_path / "mine"), bytes=2)
    assert json.loads((tmp_path / "runner" / "77.json").read_text()) == {"bytes": 1.0}
    assert sorted(p.name for p in tmp_path.glob("*/78.json")) == ["78.json"]
    monkeypatch.delenv("FSPLIT_OUT")
    monkeypatch.chdir(tmp_path)
    assert headline("79", bytes=3).numbers == {"bytes": 3.0}
    assert not list(tmp_path.rglob("79.json"))


def test_compare_names_every_difference():
    golden = {"a": {"value": 10.0, "rel": 0.1}, "b": {"value": 0.0, "abs": 0.5}, "c": {"value": 1.0, "rel": 0.0}}
    assert compare({"a": 10.9, "b": -0.5, "c": 1.0}, golden) == []
    said = compare({"a": 11.2, "b": 0.6, "d": 1.0}, golden)
    assert [line.split()[0] for line in said] == ["a", "b", "c", "d"]
    assert compare({"a": float("inf")}, {"a": golden["a"]}) != []


def test_a_chapter_runs_and_hands_over_its_numbers(tmp_path):
    path = notebook(
        tmp_path / "notebooks" / "77_x.ipynb",
        "import os\nfrom fsplit_lib.runner import headline\nassert os.environ['FSPLIT_CHECK'] == ''\nheadline('77', out_dir, seed=seed)",
    )
    (tmp_path / "77.json").write_text(json.dumps({"seed": {"value": 1, "abs": 0}}))
    run = run_chapter(path, tmp_path / "out", golden=tmp_path, progress=False)
    assert (run.chapter, run.title, run.claim, run.numbers) == ("77", "77  A test", "It runs.", {"seed": 0.0})
    assert run.differences == ["seed is 0, expected 1 ± 0"]
    other = run_chapter(path, tmp_path / "out", {"seed": 5}, golden=tmp_path, progress=False)
    assert (other.numbers, other.differences) == ({"seed": 5.0}, [])  # golden values are of its own parameters


def test_an_executed_chapter_keeps_outputs_but_no_widget_state(tmp_path):
    slider = "import ipywidgets\nipywidgets.IntSlider()"
    run = run_chapter(notebook(tmp_path / "77_x.ipynb", slider, "print(6 * 7)"), tmp_path / "out", progress=False)
    executed = nbformat.read(run.executed, as_version=4)
    assert "widgets" not in executed.metadata
    assert "application/vnd.jupyter.widget-view+json" in executed.cells[2].outputs[0].data
    assert executed.cells[3].outputs[0].text == "42\n"
    assert run.numbers == {} and run.seconds > 0


def test_numbers_of_an_earlier_run_are_not_taken_for_this_one(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "77.json").write_text('{"bytes": 1.0}')
    assert run_chapter(notebook(tmp_path / "77_x.ipynb", "1"), tmp_path / "out", progress=False).numbers == {}


@pytest.mark.parametrize("source", ["assert True", "1 / 0"], ids=["success", "failure"])
def test_the_environment_is_put_back(tmp_path, monkeypatch, source):
    monkeypatch.setenv("FSPLIT_OUT", "before")
    for name in ("FSPLIT_CHECK", "FSPLIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    inside = (
        "import os\n"
        "assert os.environ['FSPLIT_OUT'].endswith('out') and os.environ['FSPLIT_HOME'].startswith(os.environ['FSPLIT_OUT'])\n"
        "assert os.environ['PLOTLY_RENDERER'] == 'plotly_mimetype'"
    )
    path = notebook(tmp_path / "77_x.ipynb", inside, source)
    try:
        run_chapter(path, tmp_path / "out", progress=False)
        assert source == "assert True"
    except ChapterError as error:
        assert "ZeroDivisionError" in str(error) and source != "assert True"
    assert dict(os.environ) == before


def test_a_failing_cell_is_named(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "a = 1", "1 / 0", "b = 2")
    with pytest.raises(ChapterError, match=r"77_x failed in cell 3: ZeroDivisionError: division by zero"):
        run_chapter(path, tmp_path / "out", progress=False)
    executed = nbformat.read(tmp_path / "out" / "77_x.ipynb", as_version=4)
    assert executed.cells[-1].execution_count is None


def test_a_cell_that_takes_too_long_is_stopped(tmp_path):
    told = tmp_path / "pid"
    slow = f"import os, time\nopen({str(told)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    path = notebook(tmp_path / "77_x.ipynb", slow, "raise SystemExit")
    begun = time.monotonic()
    with pytest.raises(ChapterError, match=r"77_x failed in cell 2: A cell timed out.*after 2 seconds"):
        run_chapter(path, tmp_path / "out", timeout=2, progress=False)
    assert time.monotonic() - begun < 40
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):  # its kernel is gone
            os.kill(int(told.read_text()), 0)


def test_a_kernel_that_dies_is_reported(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "import os; os._exit(1)")
    with pytest.raises(ChapterError, match=r"77_x failed in cell 2.*DeadKernel"):
        run_chapter(path, tmp_path / "out", progress=False)


def test_an_unknown_parameter_runs_nothing(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "open('ran', 'w')")
    with pytest.raises(ParameterError):
        run_chapter(path, tmp_path / "out", {"sead": 1}, progress=False)
    assert not (tmp_path / "out").exists()


def test_solutions_are_filled_in_and_graded_strictly(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "import os", exercise="answer = ...")
    solutions = tmp_path / "solutions"
    solutions.mkdir()
    (solutions / "77.py").write_text("# %% 77.1\nassert os.environ['FSPLIT_CHECK'] == 'strict'\nanswer = 42\n")
    run = run_chapter(path, tmp_path / "out", solutions=solutions, progress=False)
    assert "answer = 42" in nbformat.read(run.executed, as_version=4).cells[-1].source
    assert [p.name for p in (tmp_path / "out").glob(".*")] == []
    assert "answer = ..." in path.read_text()
    (solutions / "77.py").write_text("# %% 77.1\nfrom fsplit_lib.exercises import check\ncheck('00.3', 1)\n")
    with pytest.raises(ChapterError, match=r"exercise 00\.3 is wrong"):
        run_chapter(path, tmp_path / "out", solutions=solutions, progress=False)


@pytest.mark.parametrize(
    ("solutions", "missing"),
    [("# %% 77.2\nanswer = 1\n", r"77\.1, 77\.2"), ("# nothing\n", r"77\.1"),
     ("# %% 77.1\na = 1\n# %% 77.2\nb = 1\n", r"77\.2")],
)  # fmt: skip
def test_solutions_and_exercises_must_agree(tmp_path, solutions, missing):
    path = notebook(tmp_path / "77_x.ipynb", exercise="answer = ...")
    (tmp_path / "77.py").write_text(solutions)
    with pytest.raises(ChapterError, match=f"exercises {missing}$"):
        fill_solutions(nbformat.read(path, as_version=4), tmp_path / "77.py")


def test_chapters_are_found_in_order():
    assert [path.name[:2] for path in chapters()] == sorted(path.name[:2] for path in chapters())
    assert len(chapters("05")) == 1
    with pytest.raises(ChapterError, match="no chapter 99"):
        chapters("99")


def book_of(folder, *names):
    """Executed chapters of a panel that has run, a plain figure with its caption, and what the cell printed."""
    runs = []
    for name in names:
        figure = {"data": [{"y": [1, 2], "name": "</script>"}], "layout": {"title": {"text": name}, "height": 420}}
        figure["layout"]["meta"] = {"alt": f'The <"{name}">.'}
        caption = new_output("display_data", data={"text/html": f"<p>The &lt;&quot;{name}&quot;&gt;.</p>"})
        table = new_output("display_data", data={"text/markdown": "| one | two |\n|---|---|\n| $x$ | **3** |"})
        small = {"data": [], "layout": {"title": {"text": "guess"}, "height": 260}}
        equation = "**Eq. (1)** of chapter 98, Eq. (1) and chapter 99, Eq. (7):\n\n$$ a < b \\tag{1} $$"
        cells = [
            new_markdown_cell(f"# {name}  T <b>\n\n> c\n\n{equation}"),
            new_code_cell("seed = 5", metadata={"tags": ["injected-parameters"]}),
            new_code_cell("1", outputs=[new_output("display_data", data={FIGURE: small})]),
            new_code_cell("2", outputs=[new_output("display_data", data={FIGURE: figure}), caption]),
            new_code_cell("3", outputs=[new_output("display_data", data={FIGURE: figure | {"panel": {"states": []}}})]),
            new_code_cell("4", outputs=[table]),
        ]
        path = folder / f"{name}_x.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
        runs.append(ChapterRun(name, f"{name} <A> test", "It & runs.", path, 3.0, {}, [], ["It has 12 & 5."]))
    return runs


def test_a_book_of_its_chapters(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the command's own folder is a relative one
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "97_old.html").write_text("of an earlier book")
    build_site(book_of(tmp_path, "96"), Path("first"), "a machine")  # a second book in one process warns of nothing
    index = build_site(book_of(tmp_path, "98", "99"), Path("site"), "a <machine>").read_text()
    assert all((tmp_path / "site/_static" / name).is_file() for name in ("plotly.min.js", "book.js", "book.css"))
    assert "WARNING" not in capsys.readouterr().err
    page = (tmp_path / "site" / "99_x.html").read_text()
    assert not (tmp_path / "site" / "97_old.html").exists() and not list(tmp_path.glob(".site*"))
    assert re.findall(r'<h2><a href="(\d\d)_x\.html">', index) == ["98", "99"]
    for said in ("98 &lt;A&gt; test", "It &amp; runs.", "<li>It has 12 &amp; 5.</li>", "a &lt;machine&gt;", "took 3 s"):
        assert said in index
    drawings = [re.findall(r'<script type="application/json">(.*?)</script>', text) for text in (index, page)]
    assert [json.loads(one)["layout"]["title"]["text"] for one in drawings[0]] == ["98", "99"]  # the first large one
    assert [len(json.loads(one)["data"]) for one in drawings[1]] == [0, 1, 1] and "panel" in json.loads(drawings[1][2])
    assert json.loads(drawings[1][1])["data"][0]["name"] == "</script>"
    assert page.count('<span class="said">The &lt;&quot;99&quot;&gt;.</span>') == 2 and "<p>The &lt;" not in page
    assert re.findall(r"Figure (\d+\.\d)\.", page) == ["99.1", "99.2", "99.3"]
    assert "<details" in page  # what was injected is folded
    assert 'href="98_x.html#equation-eq-98-1">(1)</a>' in page and "Eq. (7)" in page and page.count("<math") == 2
    assert "<strong>3</strong>" in page and page.count("<table") == 1 and "|--" not in page
    for text in (index, page, *(file.read_text() for file in (tmp_path / "site" / "_static").rglob("*.css"))):
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="?https?:|url\(.?https?:|@import', text)


def test_the_tagged_figure_is_the_picture(tmp_path):
    (run,) = book_of(tmp_path, "98")
    notebook = nbformat.read(run.executed, as_version=4)
    notebook.cells[3].outputs[0].data[FIGURE]["layout"]["title"]["text"] = "first"
    notebook.cells[4].metadata["tags"] = ["picture"]
    nbformat.write(notebook, run.executed)
    index = build_site([run], tmp_path / "site", "m").read_text()
    (drawn,) = re.findall(r'<script type="application/json">(.*?)</script>', index)
    assert json.loads(drawn)["layout"]["title"]["text"] == "98" and "panel" not in json.loads(drawn)


def test_a_chapter_that_fails_is_told_and_the_others_are_built(tmp_path, monkeypatch):
    good, bad = notebook(tmp_path / "78_good.ipynb", "1"), notebook(tmp_path / "77_bad.ipynb", "1 / 0")
    monkeypatch.setattr("fsplit_lib.runner.execute.chapters", lambda only: [bad, good])
    done = CliRunner().invoke(app, ["book", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1 and "ZeroDivisionError" in done.output and "77_bad" in done.output
    assert (tmp_path / "out" / "site" / "78_good.html").is_file()
    assert "78_good" in (tmp_path / "out" / "site" / "index.html").read_text()
    assert not (tmp_path / "out" / "site" / "77_bad.html").exists()


MEETS = """import os, pathlib, time
desk = pathlib.Path(os.environ["FSPLIT_OUT"])
(desk / "{own}.begun").touch()
while not (desk / "{other}.begun").exists():
    assert time.monotonic() < {start} + 120  # it waits for one that runs beside it
    time.sleep(0.02)
assert not list(desk.glob("79.begun"))
threads = int(os.environ["OMP_NUM_THREADS"])
from fsplit_lib.runner import headline
headline("{own}", threads=threads)
(desk / "{own}.ended").touch()"""
ALONE = """import os, pathlib
desk = pathlib.Path(os.environ["FSPLIT_OUT"])
(desk / "79.begun").touch()
from fsplit_lib.runner import headline
headline("79", others=len(list(desk.glob("*.ended"))))"""


def test_chapters_run_beside_each_other_and_those_that_measure_time_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    timed = notebook(tmp_path / "76_timed.ipynb", ALONE)  # first in the book, last to run
    content = nbformat.read(timed, as_version=4)
    content.metadata["measures_time"] = True
    nbformat.write(content, timed)
    bad = notebook(tmp_path / "80_bad.ipynb", "1 / 0")
    pair = [
        notebook(tmp_path / f"{own}_x.ipynb", MEETS.format(own=own, other=other, start=time.monotonic()))
        for own, other in (("77", "78"), ("78", "77"))
    ]
    told = []
    first, *met, failed = run_chapters(
        {path: {} for path in (timed, *pair, bad)}, tmp_path / "out", 2, lambda *a: told.append(a[:2]), timeout=200
    )
    assert [run.chapter for run in (first, *met)] == ["76", "77", "78"] and told == [(n, 4) for n in range(1, 5)]
    assert [run.numbers for run in met] == [{"threads": 3.0}] * 2 and "OMP_NUM_THREADS" not in os.environ
    assert isinstance(failed, ChapterError) and "ZeroDivisionError" in str(failed)
    assert json.loads((tmp_path / "out" / "79.json").read_text()) == {"others": 2.0}


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (RuntimeError("Kernel didn't respond in 60 seconds"), 2),  # what a port that was just taken leaves
        (RuntimeError("Kernel died before replying to kernel_info"), 2),
        (DeadKernelError("Kernel died"), 1),  # in the middle of a cell
    ],
)
def test_a_kernel_that_never_came_up_gets_one_more_try(tmp_path, monkeypatch, error, calls):
    started, execute = [], papermill.execute_notebook

    def stumble(*notebooks, **options):
        started.append(notebooks)
        if len(started) == 1:
            raise error
        return execute(*notebooks, **options)

    monkeypatch.setattr(papermill, "execute_notebook", stumble)
    path = notebook(tmp_path / "81_late.ipynb", "from fsplit_lib.runner import headline\nheadline('81', ran=1)")
    if calls == 2:
        assert run_chapter(path, tmp_path / "out", progress=False).numbers == {"ran": 1.0}
    else:
        with pytest.raises(ChapterError, match="Kernel died"):
            run_chapter(path, tmp_path / "out", progress=False)
    assert len(started) == calls


def test_only_the_chapter_on_latency_measures_time():
    timed = [path.name[:2] for path in chapters() if nbformat.read(path, as_version=4).metadata.get("measures_time")]
    assert timed == ["08"]
