"""Limits: a notebook runs in a kernel of its own, and whoever takes too much is ended with all that it started.

Memory is what the processes really hold (resident), because torch maps far more than it uses. Limits keep accidents
apart; they are no sandbox: the code may read and write whatever the account that runs it may.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from fsplit_lib.classroom.submissions import code_cell, files_below
from fsplit_lib.data.files import data_root

__all__ = ["STATUSES", "Limits", "Run", "run_cells"]

LOOK = 0.2  # seconds between two looks at a running copy
SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL", re.IGNORECASE)
RECORD_BYTES = 10_000_000  # of one cell's record that are read, the last ones
STATUSES = ("right", "wrong", "unanswered")
LEFT = "the cell ended the kernel with exit() or quit()"


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
class Run:
    """What a run left.

    Attributes:
        stopped: why it did not come to its end; "" where it did.
        cell: the last that began; None before the first.
        errors: by cell that ended, "" where it raised none.
        seconds: by cell that ended.
        records: what ``check`` and the guard recorded, each with the cell that ran.
    """

    stopped: str = ""
    cell: int | None = None
    errors: dict[int, str] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    records: list[tuple[int, dict]] = field(default_factory=list)


class _Client(NotebookClient):
    """Runs cell after cell, whatever they raise; what they display is dropped."""

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> None:
        if msg["msg_type"] == "status":
            super().process_message(msg, cell, cell_index)


def run_cells(cells: list[NotebookNode], limits: Limits, deadline: float, seed: int) -> Run:
    """Run code cells under limits, in a scratch folder that is removed.

    Args:
        cells: those with ``student`` in their metadata fall under ``cell_seconds``.
        limits: the others.
        deadline: when all has to be over, as ``time.monotonic`` counts.
        seed: what the inputs of functions are drawn with.
    """
    with _scratch() as folder, open(folder / "checks.jsonl", "w+b") as record:
        return _supervise(cells, folder, record, limits, deadline, seed)


def _supervise(cells: list, folder: Path, record: Any, limits: Limits, deadline: float, seed: int) -> Run:
    (folder / "desk").mkdir()
    run, begun, family = Run(), [time.monotonic()], {}
    most = int(limits.disk_mb * 1e6), int(limits.seconds * (os.cpu_count() or 1))
    start = code_cell(f"__import__('fsplit_lib.classroom.kernel_process', fromlist='_').begin{most}")

    def on_begin(cell: Any, cell_index: int) -> None:  # noqa: ARG001
        if cell_index:
            run.cell, begun[0] = cell_index - 1, time.monotonic()

    def on_end(cell: Any, cell_index: int, execute_reply: dict) -> None:  # noqa: ARG001
        at, reply = cell_index - 1, execute_reply["content"]
        error = f"{reply['ename']}: {reply['evalue']}"[:10_000] if reply["status"] == "error" else ""
        if at < 0:
            if error:
                raise RuntimeError(error)
            return
        run.errors[at], run.seconds[at] = error, time.monotonic() - begun[0]
        run.records += [(at, line) for line in _new_lines(record)]
        if any(part.get("source") == "ask_exit" for part in reply.get("payload", [])):
            raise RuntimeError(LEFT)

    client = _Client(
        NotebookNode(cells=[start, *cells], metadata=NotebookNode(), nbformat=4, nbformat_minor=5),
        kernel_name="python3",
        allow_errors=True,
        store_widget_state=False,
        shutdown_kernel="immediate",
        extra_arguments=["--IPKernelApp.log_level=40"],
        on_cell_execute=on_begin,
        on_cell_executed=on_end,
    )
    ended: list[str] = []

    def work() -> None:
        try:
            client.execute(
                cwd=str(folder / "desk"),
                env=_surroundings(folder, seed),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except DeadKernelError:
            ended.append("the kernel died")
        except BaseException as error:
            ended.append(LEFT if str(error) == LEFT else f"the run broke off: {type(error).__name__}: {error}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while not run.stopped and thread.is_alive():
            thread.join(LOOK)
            resident, timed = _grown(client, family), run.cell is not None and run.cell not in run.errors
            if time.monotonic() > deadline:
                run.stopped = f"out of time: the copy took more than {limits.seconds:g} s"
            elif resident > limits.memory_mb * 1e6:
                run.stopped = f"out of memory: more than {limits.memory_mb:g} MB"
            elif sum(_size(entry) for entry in files_below(folder)) > 2 * limits.disk_mb * 1e6:
                run.stopped = f"out of disk: more than {2 * limits.disk_mb:g} MB of files"
            elif timed and "student" in cells[run.cell].metadata and time.monotonic() - begun[0] > limits.cell_seconds:
                run.stopped = f"out of time: the cell took more than {limits.cell_seconds:g} s"
    finally:
        while True:
            _grown(client, family)
            for member in reversed(family.values()):
                with contextlib.suppress(psutil.Error):
                    member.kill()
            if not thread.is_alive():
                break
            thread.join(LOOK)
    run.stopped = run.stopped or "".join(ended)
    return run


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for one run. Its nesting may be deeper than Python's recursion: the system's own tools remove that."""
    folder = Path(tempfile.mkdtemp(prefix="fsplit-class-"))
    try:
        yield folder
    finally:
        if os.name == "posix":
            for tool in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
                subprocess.run([*tool, str(folder)], stderr=subprocess.DEVNULL, check=False)
        else:
            shutil.rmtree(folder, ignore_errors=True)


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


def _grown(client: NotebookClient, family: dict[int, psutil.Process]) -> float:
    """Resident bytes of all that the kernel has started; ``family`` keeps those whose parents are gone."""
    provisioner = getattr(client.km, "provisioner", None)
    with contextlib.suppress(psutil.Error):
        if pid := getattr(provisioner, "pid", None):
            parent = psutil.Process(pid)
            family.update({p.pid: p for p in [parent, *parent.children(recursive=True)] if p.pid not in family})
    total = 0
    for member in list(family.values()):
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss if member.is_running() else 0
    return total


def _size(entry: os.DirEntry) -> int:
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0


def _new_lines(record: Any) -> list[dict[str, Any]]:
    """JSON objects since the last call, each id's answers as its last one with their number in ``tries``.

    What is none is left out: a student may write there too. The file was opened before the kernel began, so neither
    deleting nor replacing it hides a record.
    """
    read, end = record.tell(), record.seek(0, os.SEEK_END)
    record.seek(max(read if read <= end else 0, end - RECORD_BYTES))
    found, answers = [], {}
    for text in record.read().splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if not isinstance(line, dict):
                continue
            if line.get("status") not in STATUSES or not isinstance(line.get("id"), str):
                found.append(line)
                continue
            last = answers.get(line["id"], line | {"tries": 0})
            tries = last["tries"] + (line["status"] != "unanswered")
            answers[line["id"]] = (last if line["status"] == "unanswered" else line) | {"tries": tries}
    return found[:100] + list(answers.values())[:100]
