"""`make proof`: every chapter twice, as a student finds it and solved, and every chapter in a real JupyterLab.

On two idle cores about two and a half minutes a chapter. Chromium and its driver must be installed.
"""

import html
import json
import re
import resource
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from browser import chromium, lab, live_figures, open_notebook, run_all, undrawn, wait_for
from calibration import slowness
from selenium.webdriver import Keys
from selenium.webdriver.support.select import Select

from fsplit_lib.exercises import EXERCISES
from fsplit_lib.runner.execute import chapters, run_chapter
from fsplit_lib.runner.headline import compare

HERE = Path(__file__).parent
each_chapter = pytest.mark.parametrize("notebook", chapters(), ids=lambda p: p.stem)


def stated_minutes(number):
    """README's range: from the machine on which the calibration's reference was measured to a slower one."""
    row = re.search(rf"^\| \[{number} .*\| ([\d.]+) to ([\d.]+) \|$", (HERE.parent / "README.md").read_text(), re.M)
    return float(row[1]), float(row[2])


def processor_seconds():
    """Of all kernels that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@each_chapter
def test_twice_the_same_numbers_in_the_stated_time(notebook, tmp_path, monkeypatch):
    number, golden = notebook.name[:2], notebook.parent / "golden"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other would count as work
    begun = processor_seconds()
    solved = run_chapter(
        notebook, tmp_path / "solved", None, 300, notebook.parent / "solutions", golden, progress=False
    )
    found = run_chapter(notebook, tmp_path / "found", None, 300, None, golden, progress=False)  # as a student finds it
    assert solved.differences == found.differences == []
    wanted = json.loads((golden / f"{number}.json").read_text())
    assert (
        compare(found.numbers, {name: wanted[name] | {"value": value} for name, value in solved.numbers.items()}) == []
    )
    shown = nbformat.read(found.executed, as_version=4)
    for cell in shown.cells:
        if "exercise" in cell.metadata:
            said = "".join(str(value) for output in cell.outputs for value in output.get("data", {}).values())
            assert EXERCISES[cell.metadata["exercise"]].hint in html.unescape(said)
    # stated minutes are rounded to tenths; twice as much, for a machine as slow as this one, is too long
    least, most = stated_minutes(number)
    assert least < most
    assert (processor_seconds() - begun) / 2 / 60 <= 2 * (least + 0.05) * slowness()


@each_chapter
def test_lives_in_jupyterlab(notebook, tmp_path):
    """No cell fails, every figure is drawn, and every panel answers a key or a choice: at once, or after its button."""
    for folder in ("desk", "home", "profile"):
        (tmp_path / folder).mkdir()
    shutil.copy(notebook, tmp_path / "desk")
    tags = [cell.metadata.get("tags", []) for cell in nbformat.read(notebook, as_version=4).cells]
    with lab(tmp_path / "desk", tmp_path / "home") as address, chromium(tmp_path / "profile") as browser:
        open_notebook(browser, address, notebook.name)
        assert run_all(browser, 900) == []
        panels = wait_for(browser, "return document.querySelectorAll('.widget-vbox .js-plotly-plot').length", 60)
        assert panels >= max(1, sum("panel" in tag for tag in tags))
        end = time.monotonic() + 60
        while (blank := undrawn(browser)) and time.monotonic() < end:
            time.sleep(0.5)
        assert blank == []
        broken = (
            "return document.body.innerText.match(/Error displaying widget|Error creating widget|Failed to load model/)"
        )
        assert browser.execute_script(broken) is None
        bare = """return [...document.querySelectorAll('.js-plotly-plot')].filter(figure =>
                    figure._fullData.some(trace => trace.y?.length > 0 && !trace.x?.length)).length"""
        assert browser.execute_script(bare) == 0  # no y without its x
        for box in live_figures(browser):
            words = "return arguments[0].querySelector('[role=status]')?.textContent || ''"
            before = browser.execute_script(words, box)
            browser.execute_script("arguments[0].scrollIntoView()", box)
            handles = box.find_elements("css selector", ".noUi-handle")
            if handles:
                least = handles[0].get_attribute("aria-valuenow") == handles[0].get_attribute("aria-valuemin")
                handles[0].send_keys(*[Keys.ARROW_RIGHT if least else Keys.ARROW_LEFT] * 4)
            else:  # arrows open the menu in one browser and move on in another
                choice = Select(box.find_element("css selector", "select"))
                choice.select_by_index([o.is_selected() for o in choice.options].index(False))
            for button in box.find_elements("css selector", "button.mod-primary"):
                button.click()
            changed = "const said = arguments[0].querySelector('[role=status]')?.textContent; return said && said !== arguments[1]"
            wait_for(browser, changed, 300, box, before)
