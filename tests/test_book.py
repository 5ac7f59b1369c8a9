"""Every chapter: run once with its solutions, graded strictly, its headline numbers held against the golden ones."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from browser import BrowserMissing, chromium, undrawn, wait_for

from fsplit_lib.exercises import EXERCISES
from fsplit_lib.runner.execute import chapters, run_chapter
from fsplit_lib.runner.parameters import parameters_of
from fsplit_lib.runner.site import write_chapter, write_index

HERE = Path(__file__).parent
BOOK = chapters()


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of the site and the runs so far."""
    return tmp_path_factory.mktemp("site"), []


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_runs_with_solutions_and_meets_its_golden_numbers(notebook, tmp_path, book):
    run = run_chapter(notebook, tmp_path, None, 300, HERE / "solutions", HERE / "golden", progress=False)
    book[1].append(run)
    assert run.numbers
    assert run.differences == []
    page = write_chapter(run, book[0]).read_text()
    text = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert "plotly" in page and "<math" in text and "$$" not in text


def test_every_page_shows_its_figures_with_the_network_off(book, tmp_path):
    site, runs = book
    if not runs:
        pytest.skip("no chapter ran before this")
    pages = [write_index(runs, site, "test"), *sorted(site.glob("[0-9]*.html"))]
    try:
        with chromium(tmp_path) as browser:  # it resolves no name at all
            for page in pages:
                wanted = page.read_text().count('class="picture"') or page.read_text().count("Plotly.newPlot(")
                browser.get(page.as_uri())
                count = "return document.querySelectorAll('.js-plotly-plot:has(.main-svg)').length >= arguments[0]"
                wait_for(browser, count, 60, wanted)
                assert wanted and undrawn(browser) == [], page.name
                assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    except BrowserMissing as missing:
        pytest.skip(str(missing))


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
    breaks = parameters_of(notebook)["breaks"]
    assert breaks.default == "nothing" and len(breaks.options) >= 4  # each choice removes one ingredient
    assert 3 <= len(exercises) <= 5
    assert exercises == [id for id in EXERCISES if id.startswith(number)]
    for part in ("What could go wrong", "## Summary", "## References", "Further reading", "**Eq. (1)**"):
        assert part in text, part
    assert ("headline(" in code and "panel.static()" in code) or "panel.curve()" in code
    assert max(len(c.source.splitlines()) for c in content.cells if c.cell_type == "code") <= 25
    golden = json.loads((HERE / "golden" / f"{number}.json").read_text())
    assert all({"value", "why"} < entry.keys() for entry in golden.values())


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_is_committed_without_outputs(notebook):
    content = nbformat.read(notebook, as_version=4)
    assert "widgets" not in content.metadata
    for cell in content.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
