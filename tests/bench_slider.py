"""`make bench`: what a move of the lambda slider costs, in the kernel and in a real browser.

Limits: 100 ms (median) for the callback, 250 ms (95th percentile) from the event that moves the value (a
key pressed, the handle released) to a figure and a sentence that both show the new bytes. Two cores, idle.

It also counts how often a reader who follows one move, or `fsplit compress`, goes from one module to another: Python
calls into functions of fsplit_lib, seen by `sys.setprofile` without comprehensions, generators and lambdas, and among
them the calls whose module is not that of the call before. Loading the weights is a part of `fsplit compress`.
"""

import itertools
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, lab, open_notebook, run_all, wait_for
from selenium.webdriver import ActionChains, Keys

import fsplit_lib
from fsplit_lib.chapters.ch06 import LambdaPanel
from fsplit_lib.cli.photos import compress
from fsplit_lib.evaluation.explorer import RateExplorer
from fsplit_lib.runner.execute import chapters
from fsplit_lib.system import load_system

MOVES, DRAGS = 60, 20
PANEL = "return [...document.querySelectorAll('.widget-vbox')].find(box => box.querySelector('.js-plotly-plot'))"
WATCH = """
const box = arguments[0], figure = box.querySelector('.js-plotly-plot'), slider = window.slider = {draws: []};
const words = () => box.querySelector('[role=status]').textContent;
const bytes = () => Number(/([\\d,]+) bytes/.exec(words())[1].replaceAll(',', ''));
const look = () => {
  if (slider.begun && !slider.ended && slider.drawn === bytes() && words() !== slider.words) slider.ended = performance.now();
};
figure.on('plotly_afterplot', () => {
  slider.drawn = figure.data.at(-1).y[0]; slider.draws.push(performance.now()); look();
});
new MutationObserver(look).observe(box, {subtree: true, childList: true, characterData: true});
slider.ready = moved => Object.assign(slider, {begun: 0, ended: 0, draws: [], words: words(), moved});
for (const kind of ['keydown', 'pointerup', 'mouseup'])
  document.addEventListener(kind, event => { if (kind === slider.moved) slider.begun ||= event.timeStamp; }, true);
"""


def told(what, milliseconds, limit):
    middle, high = np.percentile(milliseconds, [50, 95])
    print(f"\n{what}: {len(milliseconds)} moves, median {middle:.0f} ms, 95th percentile {high:.0f} ms (limit {limit})")
    return middle, high


def crossings(work):
    """Calls into the library while ``work`` runs, and how many of them change the module."""
    modules, home = [], os.path.dirname(fsplit_lib.__file__) + os.sep

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(home) and not code.co_name.startswith("<"):
            modules.append(code.co_filename)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return len(modules), sum(a != b for a, b in itertools.pairwise(modules))


def test_modules(tmp_path):
    import skimage.data

    system = load_system("photo")
    ends = system.codec.lmbdas[0], system.codec.lmbdas[-1]
    panel = LambdaPanel(lambda image: RateExplorer(system, image), system.backbone.class_names, ends)
    carrier, photo = panel.controls["lmbda"].carrier, Path(skimage.data.__file__).with_name("coffee.png")
    calls, moved = crossings(lambda: setattr(carrier, "value", 0.3))
    all_calls, compressed = crossings(lambda: compress(photo, tmp_path / "packet.fsp", "photo", 1.0))
    print(f"\none move changes module {moved} times in {calls} calls, fsplit compress {compressed} in {all_calls}")
    assert moved <= 63 / 2  # half of what it was before the library was thinned


@pytest.mark.parametrize("codec", ["photo-head", "photo"])
def test_callback(codec):
    system = load_system(codec)
    lmbdas = system.codec.lmbdas
    begun = time.perf_counter()
    panel = LambdaPanel(lambda image: RateExplorer(system, image), system.backbone.class_names, (lmbdas[0], lmbdas[-1]))
    print(f"\n{codec}: loaded a photo in {time.perf_counter() - begun:.1f} s")
    took, cpu = [], []
    for lmbda in random.Random(0).sample(lmbdas[1:-1], MOVES + 5):  # no rate twice
        begun, worked = time.perf_counter(), time.process_time()
        panel.controls["lmbda"].carrier.value = lmbda
        took.append(1e3 * (time.perf_counter() - begun))
        cpu.append(1e3 * (time.process_time() - worked))
    told(f"{codec}, processor time", cpu[5:], "none")
    middle, _ = told(f"{codec}, callback", took[5:], "100 median")
    assert middle <= 100


def test_browser(tmp_path):
    (notebook,) = chapters("06")
    for folder in ("desk", "home", "profile"):
        (tmp_path / folder).mkdir()
    shutil.copy(notebook, tmp_path / "desk")
    with lab(tmp_path / "desk", tmp_path / "home") as address, chromium(tmp_path / "profile") as browser:
        open_notebook(browser, address, notebook.name)
        assert run_all(browser) == []
        box = wait_for(browser, PANEL)
        browser.execute_script("arguments[0].scrollIntoView()", box)
        handle = box.find_element("css selector", ".noUi-handle")
        browser.execute_script(WATCH, box)

        def move(kind, act):
            browser.execute_script("window.slider.ready(arguments[0])", kind)
            act()
            wait_for(browser, "return window.slider.ended", 30)
            time.sleep(0.3)  # late redraws would be counted to the next move
            return browser.execute_script("return [slider.ended - slider.begun, slider.draws.length]")

        def key(name):
            return lambda: handle.send_keys(name)

        def drag(pixels):
            return ActionChains(browser, 20).click_and_hold(handle).move_by_offset(pixels, 0).release().perform

        strokes = [Keys.ARROW_LEFT] * 25 + [Keys.ARROW_RIGHT] * (MOVES - 25)
        keys = [move("keydown", key(stroke)) for stroke in strokes]
        drags = [move("pointerup", drag(pixels)) for pixels in [-60, 85, -70, 40] * (DRAGS // 4)]
        late = [told(what, [ms for ms, _ in rows[3:]], "250 at the 95th percentile")[1]
                for what, rows in (("arrow key", keys), ("mouse", drags))]  # fmt: skip
        print(f"redraws a move: {np.mean([draws for _, draws in keys + drags]):.1f}")
    assert max(late) <= 250
