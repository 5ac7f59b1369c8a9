"""The runner: strict parameters, chapters that fail loudly, headline numbers, pages that open offline."""

import json
import os
import re
import time

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fsplit_lib.data import data_root, read_rows
from fsplit_lib.errors import ParameterError
from fsplit_lib.latency import LatencyRow
from fsplit_lib.runner import headline
from fsplit_lib.runner.execute import ChapterError, ChapterRun, chapters, fill_solutions, run_chapter
from fsplit_lib.runner.headline import compare
from fsplit_lib.runner.parameters import check_parameters, parameters_of, read_parameter
from fsplit_lib.runner.site import write_chapter, write_index

PARAMETERS = 'from typing import Literal\nprofile: Literal["quick", "full"] = "quick"\nseed: int = 0\nrate: float = 0.5\non: bool = True\nout_dir: str = ""'


def notebook(path, *sources, parameters=PARAMETERS, exercise=None):
    cells = [new_markdown_cell("# 77  A test\n\n> It *runs*.\n\n$$ x^2 $$ and $y_i$")]
    cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in sources]
    if exercise:
        cells.append(new_code_cell(exercise, metadata={"exercise": "77.1", "tags": ["exercise"]}))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
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
kept: Literal[0.8, 0.85] = 0.8
breaks: Literal["nothing", "the escape"] = "nothing"
folder: str = ""
on: bool = True
refuse_wrong_parameters(globals())"""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("rate", "1", 1.0), ("rate", "3e0", 3.0), ("seed", "4294967295", 2**32 - 1), ("kept", "0.85", 0.85), ("folder", "2024", "2024"),
     ("folder", "", ""), ("folder", "None", "None"), ("breaks", "the escape", "the escape"), ("on", "False", False)],
)  # fmt: skip
def test_a_text_is_read_by_the_declared_type(tmp_path, name, text, value):
    found = read_parameter(notebook(tmp_path / "77_x.ipynb", parameters=RANGES), name, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("rate", "3.01", "from 0.1 to 3, got 3.01"), ("rate", "-4", "from 0.1 to 3"), ("rate", "inf", "from 0.1 to 3"), ("rate", "nan", "from 0.1 to 3"),
     ("rate", "fast", "type float, got 'fast'"), ("seed", "-1", "from 0 to 4294967295, got -1"), ("seed", "1.5", "type int"), ("on", "2", "type bool"),
     ("kept", "0.123", "one of 0.8, 0.85, got 0.123"), ("breaks", "the ecape", "'nothing', 'the escape', got 'the ecape'"), ("sead", "1", "it has rate, seed")],
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
    (path,), rows = chapters("08"), read_rows(data_root() / "results" / "latency.csv", LatencyRow, "")
    assert set(parameters_of(path)["kept"].options) == {row.level for row in rows} - {None}


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
    shown = headline("77", str(tmp_path / "out"), bytes=12, kept=0.5)
    assert json.loads((tmp_path / "out" / "77.json").read_text()) == {"bytes": 12.0, "kept": 0.5}
    assert "12" in shown._repr_html_()
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="kept"):
            headline("78", str(tmp_path / "out"), bytes=12, kept=wrong)
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
        "assert os.environ['PLOTLY_RENDERER'] == 'plotly_mimetype+notebook'"
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
    (solutions / "77.py").write_text("# %% 77.1\nfrom fsplit_lib.exercises import check\ncheck('00.1', 1)\n")
    with pytest.raises(ChapterError, match=r"exercise 00\.1 is wrong"):
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


def test_pages_need_no_network(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "1")
    executed = nbformat.read(path, as_version=4)
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "VBox()"}
    plot = {"text/html": '<script src="https://cdn.example.org/x.js"></script><div>plot</div>'}
    executed.cells[-1].outputs = [new_output("display_data", data=widget), new_output("display_data", data=plot)]
    nbformat.write(executed, path)
    run = ChapterRun("77", "77 <A> test", "It & runs.", path, 3.0, {"mean_bytes": 12.5})
    page = write_chapter(run, tmp_path / "site").read_text()
    assert page.count("<math") == 2
    assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page)
    assert "VBox()" not in page and "make lab" in page and "<div>plot</div>" in page
    index = write_index([run], tmp_path / "site", "a <machine>").read_text()
    assert (
        "77 &lt;A&gt; test" in index
        and "It &amp; runs." in index
        and "mean bytes" in index
        and "&lt;machine&gt;" in index
    )
    assert 'href="77_x.html"' in index and "<A>" not in index and "<machine>" not in index
    assert not re.search(r"(?:src|href)=.?https?:|url\(.?https?:|@import", index)
    assert not re.search(r"url\(.?https?:|@import", page)


def test_the_index_lists_chapters_in_order(tmp_path):
    runs = [ChapterRun(n, f"{n}  T", "c", tmp_path / f"{n}_x.ipynb", 1.0) for n in ("00", "05", "09")]
    index = write_index(runs, tmp_path, "m").read_text()
    assert re.findall(r'href="(\d\d)_x\.html"', index) == ["00", "05", "09"]
    assert "aria-label" not in index  # nothing ran, so there is no picture


def test_the_index_draws_the_tagged_figure_or_the_first_large_one(tmp_path):
    def shows(title, height):
        figure = {"data": [{"y": [1, 2], "name": "</script>"}], "layout": {"title": {"text": title}, "height": height}}
        figure["layout"]["meta"] = {"alt": f'The "{title}".'}
        return [new_output("display_data", data={"application/vnd.plotly.v1+json": figure})]

    cells = [
        new_code_cell("1", outputs=shows(title, height))
        for title, height in (("guess", 260), ("large", 420), ("best", 500))
    ]
    runs = [
        ChapterRun("00", "T", "c", tmp_path / "00_x.ipynb", 1.0),
        ChapterRun("01", "T", "c", tmp_path / "01_x.ipynb", 1.0),
    ]
    nbformat.write(new_notebook(cells=cells), runs[0].executed)
    cells[2].metadata["tags"] = ["picture"]
    nbformat.write(new_notebook(cells=cells), runs[1].executed)
    index = write_index(runs, tmp_path, "m").read_text()
    assert re.findall(r'role="img" aria-label="([^"]*)"', index) == ["The &quot;large&quot;.", "The &quot;best&quot;."]
    drawn = re.findall(r'<script type="application/json">(.*?)</script>', index)
    assert [json.loads(one)["layout"]["title"]["text"] for one in drawn] == ["large", "best"]
    assert json.loads(drawn[0])["data"][0]["name"] == "</script>"
    assert (tmp_path / "plotly.min.js").stat().st_size > 1e6 and index.count("<script src=") == 1
