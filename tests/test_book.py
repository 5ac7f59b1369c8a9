"""Every chapter: run once with its solutions, graded strictly, its headline numbers held against the golden ones."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from fsplit_lib.exercises import EXERCISES
from fsplit_lib.runner.execute import chapters, run_chapter
from fsplit_lib.runner.parameters import parameters_of
from fsplit_lib.runner.site import write_chapter

HERE = Path(__file__).parent
BOOK = chapters()


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_runs_with_solutions_and_meets_its_golden_numbers(notebook, tmp_path):
    run = run_chapter(notebook, tmp_path, None, 300, HERE / "solutions", HERE / "golden", progress=False)
    assert run.numbers
    assert run.differences == []
    page = write_chapter(run, tmp_path / "site").read_text()
    text = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "plotly" in page and "<math" in text and "$$" not in text


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_follows_the_template(notebook):
    content = nbformat.read(notebook, as_version=4)
    number = notebook.name[:2]
    tags = [tag for cell in content.cells for tag in cell.metadata.get("tags", [])]
    exercises = [cell.metadata["exercise"] for cell in content.cells if "exercise" in cell.metadata]
    text = "\n".join(cell.source for cell in content.cells if cell.cell_type == "markdown")
    code = "\n".join(cell.source for cell in content.cells if cell.cell_type == "code")
    assert content.cells[0].source.startswith(f"# {number}") and "\n> " in content.cells[0].source
    assert {"parameters", "predict", "breaks"} <= set(tags)
    assert {"profile", "seed", "breaks", "out_dir"} <= parameters_of(notebook).keys()
    assert 3 <= len(exercises) <= 5
    assert exercises == [id for id in EXERCISES if id.startswith(number)]
    for part in ("What could go wrong", "## Summary", "## References", "Further reading", "**Eq. (1)**"):
        assert part in text, part
    assert ("headline(" in code and "panel.static()" in code) or "panel.curve()" in code
    assert max(len(c.source.splitlines()) for c in content.cells if c.cell_type == "code") <= 25
    golden = json.loads((HERE / "golden" / f"{number}.json").read_text())
    assert all({"value"} < entry.keys() for entry in golden.values())


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_is_committed_without_outputs(notebook):
    content = nbformat.read(notebook, as_version=4)
    assert "widgets" not in content.metadata
    for cell in content.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
