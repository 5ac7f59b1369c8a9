"""Limits: a notebook runs in a process of its own, and whoever takes too much is ended with all that it started.

Memory is what the processes really hold (resident), because torch maps far more than it uses. Limits keep accidents
apart; they are no sandbox: the code may read and write whatever the account that runs it may.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil

from fsplit_lib.data.files import data_root

__all__ = ["Limits", "Watched", "run_watched"]

LOOK = 0.2  # seconds between two looks at a running copy
SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL", re.IGNORECASE)
RECORD_BYTES = 10_000_000  # of events and checks that are read


@dataclass(frozen=True)
class Limits:
    """What a copy of a chapter may take.

    Attributes:
        cell_seconds: for a cell of the student's.
        seconds: for all, runs that are repeated without a cell included.
        memory_mb: of all its processes together, in 10^6 bytes.
        disk_mb: of one file, in 10^6 bytes; all that lies in its folder may have twice as much.
    """

    cell_seconds: float = 60
    seconds: float = 600
    memory_mb: float = 4000
    disk_mb: float = 500


@dataclass
class Watched:
    """What a run left.

    Attributes:
        stopped: why it did not come to its end; "" where it did.
        cell: in which cell; None before the first.
        errors: by cell, "" where it raised none.
        seconds: by cell.
        checks: lines that ``check`` recorded.
    """

    stopped: str = ""
    cell: int | None = None
    errors: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    checks: list[dict] = field(default_factory=list)


def run_watched(notebook: nbformat.NotebookNode, folder: Path, limits: Limits, deadline: float, seed: int) -> Watched:
    """Run a notebook under limits.

    Args:
        notebook: cells with ``student`` in their metadata fall under ``cell_seconds``.
        folder: empty, for this run alone.
        limits: the others.
        deadline: when all has to be over, as ``time.monotonic`` counts.
        seed: what the inputs of functions are drawn with.
    """
    desk = folder / "desk"
    desk.mkdir(parents=True)
    nbformat.write(notebook, folder / "job.ipynb")
    most, env = (limits.disk_mb, limits.seconds), _surroundings(folder, seed)
    told = (folder, *most, os.getpid(), psutil.Process().create_time())
    command = [sys.executable, "-m", "fsplit_lib.classroom.inside", *map(str, told)]
    with open(folder / "said", "w+b") as said:
        process = subprocess.Popen(command, cwd=desk, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        family, stopped = {}, ""
        try:
            while not stopped and process.poll() is None:
                time.sleep(LOOK)
                stopped = _too_much(notebook, folder, limits, deadline, _grown(process.pid, family))
        finally:
            for member in reversed(family.values()):
                with contextlib.suppress(psutil.Error):
                    member.kill()
            process.kill()
            process.wait()
        said.seek(0)
        last = said.read(RECORD_BYTES).decode(errors="replace").strip().rpartition("\n")[2]
    run = Watched(stopped, checks=_lines(folder / "checks.jsonl"))
    begun: dict[int, float] = {}
    for event in _events(folder, notebook):
        cell, now = event["cell"], event["time"]
        if not event.get("ended"):
            run.cell, begun[cell] = cell, now
            continue
        run.errors[cell], run.seconds[cell] = str(event.get("error", "")), now - begun.get(cell, now)
        if event.get("leaves"):
            run.stopped, run.cell = "the cell ended the kernel with exit() or quit()", cell
            return run
    if not stopped and process.returncode != 0:
        run.stopped = "the kernel died" if "DeadKernel" in last else f"the run broke off: {last}"
    return run


def _surroundings(folder: Path, seed: int) -> dict[str, str]:
    desk = str(folder / "desk")
    kept = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
    code = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]))
    return {
        "OMP_NUM_THREADS": "1",  # copies run side by side
        **kept,
        **{name: desk for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "FSPLIT_HOME", "FSPLIT_OUT")},
        "PYTHONPATH": code,
        "FSPLIT_DATA": str(data_root()),
        "FSPLIT_CHECK": "",
        "FSPLIT_RECORD": str(folder / "checks.jsonl"),
        "FSPLIT_SEED": str(seed),
    }


def _grown(pid: int, family: dict[int, psutil.Process]) -> float:
    """Resident bytes of all that the process has started; ``family`` keeps those whose parents are gone."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        family.update({p.pid: p for p in [parent, *parent.children(recursive=True)] if p.pid not in family})
    total = 0
    for member in list(family.values()):
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss if member.is_running() else 0
    return total


def _too_much(notebook: nbformat.NotebookNode, folder: Path, limits: Limits, deadline: float, resident: float) -> str:
    if time.monotonic() > deadline:
        return f"out of time: the copy took more than {limits.seconds:g} s"
    if resident > limits.memory_mb * 1e6:
        return f"out of memory: more than {limits.memory_mb:g} MB"
    if _size(folder) > 2 * limits.disk_mb * 1e6:
        return f"out of disk: more than {2 * limits.disk_mb:g} MB of files"
    last = (_events(folder, notebook) or [{"ended": True}])[-1]
    if last.get("ended") or "student" not in notebook.cells[last["cell"]].metadata:
        return ""
    late = time.time() - last["time"] > limits.cell_seconds
    return f"out of time: the cell took more than {limits.cell_seconds:g} s" if late else ""


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_size
    return total


def _events(folder: Path, notebook: nbformat.NotebookNode) -> list[dict[str, Any]]:
    known, lines = range(len(notebook.cells)), _lines(folder / "events.jsonl")
    whole = [line for line in lines if type(line.get("cell")) is int and type(line.get("time")) is float]
    return [line for line in whole if line["cell"] in known]


def _lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines; what is none is left out: a student may write there too."""
    found = []
    if path.is_file():
        with open(path, "rb") as file:
            for line in file.read(RECORD_BYTES).splitlines():
                with contextlib.suppress(ValueError, RecursionError):
                    found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict)]
