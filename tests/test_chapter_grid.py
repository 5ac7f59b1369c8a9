"""Grids of a chapter: every combination once, headline numbers in one table, nothing runs that is not allowed."""

import csv

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from test_cli import fsplit, refused

from fsplit_lib.errors import ParameterError
from fsplit_lib.runner.chapters import run_chapter_grid
from fsplit_lib.runner.parameters import parameters_of

PARAMETERS = 'from typing import Annotated, Literal\nlmbda: Annotated[float, 0.1, 3] = 0.5\nbackbone: Literal["small", "large"] = "small"\nseed: int = 0'
BODY = """from fsplit_lib.runner import headline
assert not (lmbda == 2 and seed == 1), "not together"
headline("77", bytes=100 / lmbda + seed, lmbda=-1, size=len(backbone))"""


@pytest.fixture
def chapter(tmp_path):
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(BODY)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path = tmp_path / "book" / "77_x.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


def test_every_point_once_and_a_failed_one_again(chapter, tmp_path):
    axes, told = {"lmbda": [1, 2], "seed": [1], "backbone": ["large"]}, []
    rows = run_chapter_grid(chapter, axes, tmp_path / "out", workers=1, progress=lambda *a: told.append(a[:2]))
    good, bad = rows
    assert told == [(1, 2), (2, 2)]
    assert (good["lmbda"], good["seed"], good["backbone"], good["bytes"], good["size"]) == (1, 1, "large", 101.0, 5.0)
    assert good["error"] == "" and "AssertionError: not together" in bad["error"] and "bytes" not in bad
    executed = sorted((tmp_path / "out").glob("*/77_x.ipynb"))
    assert len(executed) == 2 and "77_lmbda_1_seed_1_backbone_large" in executed[0].parent.name
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.json")}
    assert len(kept) == 1
    chapter_before = executed[0].stat().st_mtime_ns
    again = run_chapter_grid(chapter, axes | {"lmbda": [1]}, tmp_path / "out", workers=0)
    assert again == [good] and executed[0].stat().st_mtime_ns == chapter_before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(
    ("axes", "message"),
    [({"lamda": [1]}, "no parameter 'lamda'; it has lmbda, backbone, seed"), ({"lmbda": [1, 4]}, "from 0.1 to 3, got 4"),
     ({"backbone": ["small", "huge"]}, "one of 'small', 'large', got 'huge'"), ({"seed": [0, 0.5]}, "type int, got 0.5"),
     ({"seed": []}, "seed needs at least one value"), ({"seed": [0], "lmbda": [0.3, 1, 1.0]}, "lmbda = 1.0 is there twice")],
)  # fmt: skip
def test_nothing_runs_where_one_point_is_not_allowed(chapter, tmp_path, axes, message):
    with pytest.raises(ParameterError, match=message):
        run_chapter_grid(chapter, axes, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_in_one_sentence(tmp_path):
    out = ("--out", tmp_path / "out")
    refused(fsplit("grid", "05", "lamda=1", *out), "has no parameter 'lamda'; it has", "lmbda")
    refused(fsplit("grid", "05", "lmbda=0.3,-1", *out), "lmbda must be from 0.001 to 3, got -1.0")
    refused(fsplit("grid", "05", "lmbda", *out), "name=value,value")
    refused(fsplit("grid", "05", "seed=1", "seed=2", *out), "give each parameter once")
    refused(fsplit("grid", "0", "seed=1", *out), "a grid is over one chapter")
    refused(fsplit("class", tmp_path / "none", "--out", tmp_path / "out"), "folder")
    assert not (tmp_path / "out").exists()


def test_a_point_that_ran_out_of_time_runs_again_with_more_and_the_others_stay(chapter, tmp_path):
    book = nbformat.read(chapter, as_version=4)
    book.cells[1].source = f"import time\nif seed:\n    time.sleep(4)\n{BODY}"
    nbformat.write(book, chapter)
    good, late = run_chapter_grid(chapter, {"seed": [0, 1]}, tmp_path / "out", timeout=2, workers=0)
    assert good["error"] == "" and "2 s" in late["error"]
    again, now = run_chapter_grid(chapter, {"seed": [0, 1]}, tmp_path / "out", timeout=60, workers=0)
    assert again == good and now["error"] == "" and now["bytes"] == 201.0


def test_the_command_writes_one_table(chapter, tmp_path, monkeypatch):
    monkeypatch.setattr("fsplit_lib.runner.execute.chapters", lambda _: [chapter])
    done = fsplit("grid", "77", "lmbda=2", "seed=0,1", "--out", tmp_path / "out", "--processes", 0)
    assert done.returncode == 1 and "1 of 2 runs" in done.stdout and "not together" in done.stderr
    first, second = csv.DictReader((tmp_path / "out" / "77.csv").open())
    assert list(first) == ["lmbda", "seed", "seconds", "error", "bytes", "size"]
    assert (first["bytes"], first["lmbda"], second["bytes"]) == ("50.0", "2.0", "")
    assert "not together" in second["error"]
    assert list(parameters_of(chapter)) == ["lmbda", "backbone", "seed"]


def test_a_chapter_without_a_headline_is_a_failure_and_runs_again(chapter, tmp_path):
    book = nbformat.read(chapter, as_version=4)
    book.cells[1].source = "quiet = True"
    nbformat.write(book, chapter)
    (row,) = run_chapter_grid(chapter, {"lmbda": [1]}, tmp_path / "out", workers=0)
    assert row["error"] == "chapter 77 handed over no headline numbers"
    assert not list((tmp_path / "out").glob("*.json"))
