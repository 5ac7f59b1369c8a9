"""Every chapter: run once with its solutions, graded strictly, its numbers held against the golden ones; and the book of them."""

import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browser import BrowserMissing, chromium, requested, undrawn, wait_for
from PIL import Image
from selenium.webdriver import Keys

from fsplit_lib.exercises import EXERCISES
from fsplit_lib.runner.execute import chapters, run_chapter
from fsplit_lib.runner.parameters import parameters_of
from fsplit_lib.runner.site import build_site

HERE = Path(__file__).parent
BOOK = chapters()
RUNS = []  # what ran so far, for the tests of the site


@pytest.fixture(scope="module", autouse=True)
def trainings_are_repeated():
    """Not here: nbval runs the same chapters, without solutions, and trains the same networks."""


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_runs_with_solutions_and_meets_its_golden_numbers(notebook, tmp_path_factory):
    out = tmp_path_factory.mktemp("executed")
    run = run_chapter(
        notebook, out, None, 300, notebook.parent / "solutions", notebook.parent / "golden", progress=False, site=True
    )
    RUNS.append(run)
    assert run.numbers
    assert run.differences == []
    assert 2 <= len(run.results) <= 3 and not any(re.search(r"[{}_]", sentence) for sentence in run.results)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the book's pages."""
    if not RUNS:
        pytest.skip("no chapter ran before this")
    return build_site(RUNS, tmp_path_factory.mktemp("book") / "site", "test").parent


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        with chromium(tmp_path_factory.mktemp("profile")) as browser:  # it resolves no name at all
            yield browser
    except BrowserMissing as missing:
        pytest.skip(str(missing))


def opened(browser, page):
    """Open a page and every lesser section of it; return how many of these there are."""
    browser.get(page.as_uri())
    drawn = "return [...document.querySelectorAll('figure.plot')].every(f => f.querySelector('.main-svg'))"
    wait_for(browser, drawn, 60)
    folded = "return document.querySelectorAll('details.more:not([open]) > summary > :is(h2, h3)').length"
    lesser = browser.execute_script(folded)
    browser.execute_script("document.querySelectorAll('details.more').forEach(fold => fold.open = true)")
    return lesser


def test_the_book_is_whole_and_small(site):
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 20e6
    index = (site / "index.html").read_text()
    panels = 0
    for run in RUNS:
        page = (site / f"{run.executed.stem}.html").read_text()
        assert len(page) < 5e6
        drawings = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
        alive = [one for one in drawings if json.loads(one).get("panel", {}).get("states")]
        panels += len(alive)
        assert drawings and max(map(len, alive), default=0) < 1.5e6
        text = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
        assert "<math" in text and "$$" not in text and "{eq}" not in text and "\\tag" not in text
        numbers = re.findall(rf'id="equation-eq-{run.chapter}-(\d+)".*?class="eqno">\((\d+)\)', page, re.DOTALL)
        assert numbers and all(label == number for label, number in numbers)
        assert [int(number) for _, number in numbers] == list(range(1, len(numbers) + 1))
        assert all(sentence.replace("'", "&#x27;") in index for sentence in run.results)
    assert panels >= len(RUNS) - 1  # chapter 05's trains


def test_every_page_lives_with_the_network_off(site, browser):
    """All figures are drawn, in lesser sections as well; nothing is asked of the network; a key moves every panel."""
    wide = """return [...document.querySelectorAll('details.more .drawing')].every(box =>
                Math.abs(box.querySelector('.main-svg').getBoundingClientRect().width - box.clientWidth) < 2)"""
    folds = 0
    for page in [site / "index.html", *sorted(site.glob("[0-9]*.html"))]:
        asked = len(re.findall(r"<h[23]>More: ", page.read_text()))
        folds += asked
        assert opened(browser, page) == asked, page.name
        wait_for(browser, wide, 30)
        assert undrawn(browser) == [], page.name
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), page.name
        for panel in browser.find_elements("css selector", "figure.panel:has(input, select)"):
            control, seen = panel.find_element("css selector", "input, select"), []
            for key in (Keys.HOME, Keys.END):
                control.send_keys(key)
                seen.append(
                    browser.execute_script(
                        """const box = arguments[0].querySelector('.drawing');
                           return [arguments[0].querySelector('.said').textContent, box.ariaLabel, JSON.stringify([box.data, box.layout])]""",
                        panel,
                    )
                )
            (said, alt, drawn), (said_then, alt_then, drawn_then) = seen
            assert said == alt and said_then == alt_then
            assert said != said_then and drawn != drawn_then, page.name
            label = "return arguments[0].labels.length === 1 && arguments[0].labels[0].textContent"
            assert len(browser.execute_script(label, control)) > 2  # what a screen reader says
        # the last two are of the browser's empty first page
        own = ("file:", "data:", "blob:", "chrome:", "chrome-untrusted:")
        assert [address for address in requested(browser) if not address.startswith(own)] == []
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert folds or len(RUNS) < len(BOOK)


def test_bytes_in_the_sentence_are_those_in_the_figure(site, browser):
    page = next(site.glob("06*.html"), None)
    if page is None:
        pytest.skip("chapter 06 did not run")
    opened(browser, page)
    panel = browser.find_element("css selector", "figure.panel")
    state = """const words = arguments[0].querySelector('.said').textContent;
               return [Number(/([\\d,]+) bytes/.exec(words)[1].replaceAll(',', '')), arguments[0].querySelector('.drawing').data.at(-1).y[0]]"""
    slider, seen = panel.find_element("css selector", "input[type=range]"), []
    slider.send_keys(Keys.HOME)
    for _ in range(5):
        told, drawn = browser.execute_script(state, panel)
        assert told == drawn
        seen.append(told)
        slider.send_keys(Keys.ARROW_RIGHT)
    assert seen == sorted(set(seen), reverse=True)  # more lambda, fewer bytes


def test_search_finds_a_word_and_leads_there(site, browser):
    browser.get((site / "index.html").as_uri())
    field = browser.find_element("css selector", "input[name=q]")
    field.send_keys("entropy", Keys.ENTER)
    wait_for(browser, "return document.querySelector('ul.search li a')", 30)
    browser.execute_script("document.querySelector('ul.search li a').click()")
    wait_for(browser, "return /\\d\\d_/.test(location.pathname) && document.querySelector('article')", 30)
    assert "entropy" in browser.find_element("css selector", "article").text.lower()
    assert browser.find_elements("css selector", ".related-pages a, .sidebar-tree a")


def brightness(browser, element):
    """Of the pixels of an element, from 0 to 255, sorted."""
    return np.sort(np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("L")).ravel())


def test_the_dark_reaches_figures(site, browser):
    opened(browser, site / "index.html")
    figure = browser.find_element("css selector", "figure.picture")
    seen = {}
    for _ in range(3):  # auto, light, dark, in an order that the system's own choice decides
        theme = browser.execute_script("return document.body.dataset.theme")
        seen[theme] = brightness(browser, figure)
        browser.execute_script("document.querySelector('.content-icon-container .theme-toggle').click()")
    some = len(seen["light"]) // 1000  # text: dark on light, light on dark
    assert np.median(seen["light"]) > 200 and seen["light"][some] < 120
    assert np.median(seen["dark"]) < 60 and seen["dark"][-some] > 140


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_follows_the_template(notebook):
    content = nbformat.read(notebook, as_version=4)
    number = notebook.name[:2]
    tags = [tag for cell in content.cells for tag in cell.metadata.get("tags", [])]
    exercises = [cell.metadata["exercise"] for cell in content.cells if "exercise" in cell.metadata]
    text = "\n".join(cell.source for cell in content.cells if cell.cell_type == "markdown")
    code = "\n".join(cell.source for cell in content.cells if cell.cell_type == "code")
    assert content.cells[0].source.startswith(f"# {number}") and "\n> " in content.cells[0].source
    box = r'<div style="[^"]*">\n\n\*\*You will\*\* .*\n\n\*\*You need\*\* .*\n\n\*\*Time\*\* .*\n\n\*\*Data\*\* .*\n\n</div>$'
    assert re.search(box, content.cells[0].source)
    assert {"parameters", "predict", "breaks", "panel", "hide-input", "hide-cell"} <= set(tags)
    for cell in content.cells:  # a solution that Run all would show below its build
        if cell.cell_type == "code" and "getsource" in cell.source:
            assert "hide-cell" in cell.metadata.tags and set(cell.metadata.jupyter.values()) == {True}, cell.source
    told, tagged = re.findall(r"\*\*Eq\. \((\d+)\)\*\*", text), re.findall(r"\\tag\{(\d+)\} \$\$", text)
    assert sorted(told, key=int) == tagged == [str(n) for n in range(1, len(tagged) + 1)]
    assert {"profile", "seed", "breaks", "out_dir"} <= parameters_of(notebook).keys()
    breaks = parameters_of(notebook)["breaks"]
    assert breaks.default == "nothing" and len(breaks.options) >= 4  # each choice removes one ingredient
    assert len(exercises) >= 3
    assert exercises == [id for id in EXERCISES if id.startswith(number)]
    assert exercises == [f"{number}.{place}" for place in range(1, len(exercises) + 1)]
    for part in ("What could go wrong", "## Summary", "## References", "Further reading", "**Eq. (1)**"):
        assert part in text, part
    assert "headline(" in code and ".static()" not in code  # a panel is there once
    assert max(len(c.source.splitlines()) for c in content.cells if c.cell_type == "code") <= 25
    golden = json.loads((notebook.parent / "golden" / f"{number}.json").read_text())
    assert all({"value", "why"} < entry.keys() for entry in golden.values())


def minutes_of(content):
    """Stated minutes of each exercise: those of the builds on the main path, and all others."""
    builds, others, fold = [], [], 0
    for line in "\n".join(cell.source for cell in content.cells if cell.cell_type == "markdown").splitlines():
        if heading := re.match(r"(#+) (.*)", line):
            level, title = len(heading[1]), heading[2]
            fold = (level if title.startswith("More: ") else 0) if not fold or level <= fold else fold
        if exercise := re.match(r"\*\*\d\d\.\d+\*\* [●○]{3} (\d+) min\. (\*\*Build\.\*\*)?", line):
            (builds if exercise[2] and not fold else others).append(int(exercise[1]))
    return builds, others


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_the_stated_times_are_those_of_the_parts_and_at_most_an_hour(notebook):
    content, readme = nbformat.read(notebook, as_version=4), (HERE.parent / "README.md").read_text()
    head = content.cells[0].source
    time = re.search(
        r"\*\*Time\*\* about (\d+) minutes to read and do, (\d+) of them for the (\w+) builds\. (.*) another (\d+) minutes\. "
        r"The cells together run in ([\d.]+ to [\d.]+) minutes\.", head
    )  # fmt: skip
    builds, others = minutes_of(content)
    assert len(builds) + len(others) == sum("exercise" in cell.metadata for cell in content.cells)
    assert sum(builds) < int(time[1]) <= 60 and int(time[2]) == sum(builds)
    assert time[3] == {2: "two", 3: "three", 6: "six"}[len(builds)]
    assert int(time[5]) >= sum(others)
    more = any("More: " in cell.source for cell in content.cells if cell.cell_type == "markdown")
    assert ("*More*" in time[4]) == more and "short exercises:" in time[4]
    claim = re.search(r"^> (.*)$", head, re.MULTILINE)[1]
    assert re.search(rf"^\| \[{notebook.name[:2]} .*\| {re.escape(claim)} \| {time[6]} \|$", readme, re.MULTILINE)


def test_readme_and_chapters_state_the_same_minutes():
    """The table's range of each chapter's run, the sentence on their sum, and the least and most minutes of reading."""
    readme = (HERE.parent / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(\d\d) .*\| ([\d.]+) to ([\d.]+) \|$", readme, re.M)
    boxes = {path.name[:2]: nbformat.read(path, as_version=4).cells[0].source for path in BOOK}
    assert [number for number, *_ in rows] == list(boxes)
    assert all(f"in {least} to {most} minutes." in boxes[number] for number, least, most in rows)
    least, most = (sum(float(row[i]) for row in rows) for i in (1, 2))
    assert f"of the table add up to {least:.0f} to {most:.0f} minutes" in " ".join(readme.split())
    reading = [int(re.search(r"\*\*Time\*\* about (\d+) minutes to read and do", box)[1]) for box in boxes.values()]
    assert f"to read and do, {min(reading)} to {max(reading)} minutes" in readme


@pytest.mark.parametrize("notebook", BOOK, ids=lambda p: p.stem)
def test_is_committed_without_outputs(notebook):
    content = nbformat.read(notebook, as_version=4)
    assert "widgets" not in content.metadata
    for cell in content.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
