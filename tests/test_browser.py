"""A real browser: what to install where it is missing, and the lambda slider of chapter 06 by keyboard in JupyterLab."""

import nbformat
import pytest
from browser import BrowserMissing, chromium, lab, live_figures, open_notebook, run_all, wait_for
from selenium.webdriver import Keys

from fsplit_lib.runner.execute import chapters


def test_a_missing_browser_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrowserMissing, match="apt-get install chromium chromium-driver"), chromium(tmp_path):
        pass


def test_the_lambda_slider_by_keyboard(tmp_path):
    """Chapter 06 up to its panel: the arrow keys change the bytes in the sentence and in the figure alike."""
    chapter = nbformat.read(chapters("06")[0], as_version=4)
    last = next(i for i, cell in enumerate(chapter.cells) if "panel" in cell.metadata.get("tags", []))
    chapter.cells = chapter.cells[: last + 1]
    chapter.cells[last].source = chapter.cells[last].source.replace(
        "(system, image)", "(system, image, ())"
    )  # no rivals
    for folder in ("desk", "home", "profile"):
        (tmp_path / folder).mkdir()
    nbformat.write(chapter, tmp_path / "desk" / "slider.ipynb")
    try:
        with chromium(tmp_path / "profile") as browser, lab(tmp_path / "desk", tmp_path / "home") as address:
            open_notebook(browser, address, "slider.ipynb")
            assert run_all(browser) == []
            wait_for(browser, "return document.querySelector('.widget-vbox .js-plotly-plot .main-svg')")
            (box,) = live_figures(browser)
            copies = "return arguments[0].closest('.jp-Cell')?.querySelectorAll('.js-plotly-plot').length"
            assert wait_for(browser, copies, 60, box) == 1  # what is kept for the site is not shown here
            state = """
                const words = arguments[0].querySelector('[role=status]')?.textContent;
                const bytes = Number(/([\\d,]+) bytes/.exec(words)?.[1].replaceAll(',', ''));
                const drawn = arguments[0].querySelector('.js-plotly-plot')?.data?.at(-1).y?.[0];  // none before it is drawn
                return bytes === drawn && bytes !== arguments[1] && bytes"""
            seen = [wait_for(browser, state, 60, box, None)]
            handle = box.find_element("css selector", ".noUi-handle")
            for key in (Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.HOME):  # less lambda, more bytes
                handle.send_keys(*[key] * 5)
                seen.append(wait_for(browser, state, 60, box, seen[-1]))
            assert seen == sorted(set(seen))
            field = box.find_element("css selector", "input[type=number], .widget-text input")
            labels = "return arguments[0].labels.length && arguments[0].labels[0].textContent"
            assert browser.execute_script(labels, field) == "lambda"  # the name that a screen reader says
    except BrowserMissing as missing:
        pytest.skip(str(missing))
