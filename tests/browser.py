"""A real browser for tests: JupyterLab on a scratch folder, headless Chromium in front of it.

    folder of notebooks ──► lab() ──► address ──► chromium() ──► open_notebook() ──► run_all() ──► screenshot()

Chromium and its driver are the system's own (Debian: ``apt-get install chromium chromium-driver``);
selenium downloads nothing, and the browser resolves no name but the loopback's.
"""

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRIVER = ("chromedriver", "chromium.chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
TOKEN = "offline"  # of a server that listens on the loopback for the length of a test
SETTINGS = {  # no questions to the visitor; every cell in the page, so that all figures can be found
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


class BrowserMissing(RuntimeError):
    """Chromium or its driver is not installed; the message says how to get them."""


def _found(names: tuple[str, ...]) -> str:
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        raise BrowserMissing(
            f"no {names[0]} on this machine: install it with `apt-get install chromium chromium-driver`, "
            "or your system's packages of those names"
        )
    return path


@contextlib.contextmanager
def chromium(profile: Path, width: int = 1400, height: int = 1400) -> Iterator[WebDriver]:
    """A headless browser without a network.

    Args:
        profile: an empty folder of its own.
        width: of the window in pixels.
        height: likewise.

    Raises:
        BrowserMissing: Chromium or its driver is not installed.
    """
    options, driver = Options(), _found(DRIVER)
    options.binary_location = _found(CHROMIUM)
    for flag in (*FLAGS, LOOPBACK_ONLY, f"--window-size={width},{height}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    browser.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})  # JupyterLab follows the focus
    try:
        yield browser
    finally:
        browser.quit()


@contextlib.contextmanager
def lab(folder: Path, home: Path) -> Iterator[str]:
    """JupyterLab on a folder; gives its address and stops it with its kernels afterwards.

    Args:
        folder: of the notebooks; they are written to.
        home: a folder for settings, kernels' connections and the log, so that the user's own stay out of it.

    Raises:
        RuntimeError: the server does not start; the message ends with its log.
    """
    for name, values in SETTINGS.items():
        file = home / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    places = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "FSPLIT_HOME": "fsplit"}
    places |= {f"JUPYTER_{kind}_DIR": kind.lower() for kind in ("CONFIG", "DATA", "RUNTIME")}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}",
               f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]  # fmt: skip
    environment = os.environ | {key: str(home / value) for key, value in places.items()}
    log = home / "lab.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            time.sleep(0.5)
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5).close()
                break
            if server.poll() is not None:
                break
        else:
            server.kill()
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
        yield address
    finally:
        server.terminate()  # it shuts its kernels down
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(browser: WebDriver, script: str, seconds: float = 60, *arguments: object) -> object:
    """What a piece of JavaScript returns, as soon as that is anything but null, false, 0 or "".

    Raises:
        TimeoutError: it did not in time; the message holds the script and the browser's last complaints.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.execute_script(script, *arguments):
            return found
        time.sleep(0.1)
    said = "; ".join(entry["message"] for entry in browser.get_log("browser")[-5:])
    raise TimeoutError(f"not within {seconds:g} s: {script.strip()[:200]} (browser: {said or 'silent'})")


def open_notebook(browser: WebDriver, address: str, name: str, seconds: float = 120) -> None:
    """Open a notebook of the server's folder alone, and wait until its kernel is idle."""
    browser.get(f"{address}/lab/tree/{quote(name)}?reset&token={TOKEN}")
    ready = """
        const app = window.jupyterapp, panel = app && [...app.shell.widgets('main')].find(w => w.sessionContext);
        if (!panel) return false;
        if (app.shell.currentWidget !== panel) app.shell.activateById(panel.id);
        const session = panel.sessionContext.session;
        return app.shell.currentWidget === panel && session && session.kernel && session.kernel.status === 'idle';"""
    wait_for(browser, ready, seconds)
    browser.execute_script("window.jupyterapp.shell.collapseLeft()")  # a student's window has room for the page


def run_all(browser: WebDriver, seconds: float = 300) -> list[str]:
    """Run every cell, in order, until the kernel has answered all.

    Returns:
        "cell number: error" for every output that is an error.
    """
    browser.execute_script(
        "window.ran = false; window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => window.ran = true)"
    )
    wait_for(browser, "return window.ran", seconds)
    return browser.execute_script(
        """return window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, i) =>
             (cell.model.type === 'code' ? cell.model.sharedModel.getOutputs() : [])
               .filter(output => output.output_type === 'error')
               .map(output => `${i}: ${output.ename}: ${output.evalue}`));"""
    )


def screenshot(browser: WebDriver, path: Path, element: WebElement | None = None) -> Path:
    """A picture of an element, or of the whole page however long it is."""
    if element is not None:
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.screenshot(str(path))
        return path
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    taken = browser.execute_cdp_cmd(
        "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": size | {"x": 0, "y": 0, "scale": 1}}
    )
    path.write_bytes(base64.b64decode(taken["data"]))
    return path


def live_figures(browser: WebDriver) -> list[WebElement]:
    """The panels of the page: the outermost boxes that hold a figure and the sentence that tells it."""
    return browser.execute_script(
        """return [...document.querySelectorAll('.widget-vbox')].filter(box =>
             !box.parentElement.closest('.widget-vbox') && box.querySelector('.js-plotly-plot') && box.querySelector('.widget-html'));"""
    )


def requested(browser: WebDriver) -> list[str]:
    """The addresses that pages have asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def undrawn(browser: WebDriver) -> list[str]:
    """The titles of figures on the page that show nothing: no line, bar, picture or box of any size."""
    return browser.execute_script(
        """return [...document.querySelectorAll('.js-plotly-plot')].filter(figure => {
             const where = figure.data.length ? '.cartesianlayer .trace path, .cartesianlayer .trace text, .cartesianlayer image'
                                              : '.shapelayer path';  // a drawing of boxes has no traces
             const marks = figure.querySelectorAll(where);
             return figure.getBoundingClientRect().width < 200 || !marks.length;
           }).map(figure => (figure.layout && figure.layout.title && figure.layout.title.text) || 'untitled');"""
    )
