"""The runner: strict parameters, chapters that fail loudly, headline numbers, pages that open offline."""

import json
import os
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from fsplit_lib.errors import ParameterError
from fsplit_lib.runner import headline
from fsplit_lib.runner.execute import ChapterError, ChapterRun, chapters, fill_solutions, run_chapter
from fsplit_lib.runner.headline import compare
from fsplit_lib.runner.parameters import check_parameters, parameters_of
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
    assert (found["seed"].kind, found["seed"].default, found["rate"].default) == ("int", 0, 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"sead": 1}, "profile, seed, rate"), ({"profile": "slow"}, "'quick', 'full'"), ({"seed": 1.5}, "type int"),
     ({"seed": True}, "type int"), ({"rate": "x"}, "type float"), ({"on": 1}, "type bool")],
)  # fmt: skip
def test_wrong_parameters_are_refused_by_name(tmp_path, given, message):
    with pytest.raises(ParameterError, match=message):
        check_parameters(notebook(tmp_path / "77_x.ipynb"), given)


def test_right_parameters_pass(tmp_path):
    check_parameters(notebook(tmp_path / "77_x.ipynb"), {"profile": "full", "seed": 3, "rate": 1, "on": False})


@pytest.mark.parametrize(
    ("source", "message"),
    [("seed = 1", "name: type = value"), ("seed: list = []", "has type list"), ("x: int", "name: type")],
)
def test_parameter_cells_are_strict_too(tmp_path, source, message):
    with pytest.raises(ParameterError, match=message):
        parameters_of(notebook(tmp_path / "77_x.ipynb", parameters=source))


def test_headline_writes_json_and_refuses_nan(tmp_path):
    shown = headline("77", str(tmp_path / "out"), bytes=12, kept=0.5)
    assert json.loads((tmp_path / "out" / "77.json").read_text()) == {"bytes": 12.0, "kept": 0.5}
    assert "12" in shown._repr_html_()
    with pytest.raises(ValueError, match="kept"):
        headline("77", kept=float("nan"))


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
    before = os.environ.get("FSPLIT_OUT")
    run = run_chapter(path, tmp_path / "out", golden=tmp_path, progress=False)
    assert (run.chapter, run.title, run.claim, run.numbers) == ("77", "77  A test", "It runs.", {"seed": 0.0})
    assert run.differences == ["seed is 0, expected 1 ± 0"]
    assert "widgets" not in nbformat.read(run.executed, as_version=4).metadata
    assert os.environ.get("FSPLIT_OUT") == before
    assert (
        run_chapter(path, tmp_path / "out", {"seed": 5}, golden=tmp_path, progress=False).differences == []
    )  # not its own


def test_a_failing_cell_is_named(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "a = 1", "1 / 0", "b = 2")
    with pytest.raises(ChapterError, match=r"77_x failed in cell 3: ZeroDivisionError: division by zero"):
        run_chapter(path, tmp_path / "out", progress=False)
    executed = nbformat.read(tmp_path / "out" / "77_x.ipynb", as_version=4)
    assert executed.cells[-1].execution_count is None


def test_a_cell_that_takes_too_long_is_stopped(tmp_path):
    path = notebook(tmp_path / "77_x.ipynb", "import time; time.sleep(60)")
    with pytest.raises(ChapterError, match="timed out"):
        run_chapter(path, tmp_path / "out", timeout=2, progress=False)


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
    (solutions / "77.py").write_text("# %% 77.2\nanswer = 1\n")
    with pytest.raises(ChapterError, match=r"77\.1, 77\.2"):
        fill_solutions(nbformat.read(path, as_version=4), solutions / "77.py")


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
    assert 'href="77_x.html"' in index
