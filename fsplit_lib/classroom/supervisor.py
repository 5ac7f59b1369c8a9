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
from typing import IO, Any

import psutil
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from fsplit_lib.classroom.submissions import code_cell, files_below
from fsplit_lib.data.files import data_root

LOOK = 0.2  # seconds between two looks at a running copy
SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL", re.IGNORECASE)
RECORD_BYTES = 10_000_000  # of one cell's record that are read, the last ones
STATUSES = ("right", "wrong", "unanswered")


@dataclass(frozen=True)
class Limits:
    """What a copy of a chapter may take."""

    cell_seconds: float = 60  # for a cell of the student's
    seconds: float = 600  # for all, runs that are repeated without a cell included
    memory_mb: float = 4000  # of all its processes together, in 10^6 bytes
    disk_mb: float = 500  # of one file, in 10^6 bytes; all that lies in its folder may have twice as much


@dataclass
class Run:
    """What a run left."""

    stopped: str = ""  # why it did not come to its end; "" where it did
    cell: int | None = None  # the last that began; None before the first
    errors: dict[int, str] = field(default_factory=dict)  # by cell that ended, "" where it raised none
    seconds: dict[int, float] = field(default_factory=dict)  # by cell that ended
    records: dict[int, list[dict]] = field(default_factory=dict)  # what ``check`` and the guard recorded, by cell


class _Left(Exception):
    """A cell ended its kernel in good order."""


class _Client(NotebookClient):
    """Runs cell after cell, whatever they raise, and notes in ``run`` what comes of each."""

    def __init__(self, cells: list[NotebookNode], record: IO[bytes]):
        notebook = NotebookNode(cells=cells, metadata=NotebookNode(), nbformat=4, nbformat_minor=5)
        super().__init__(notebook, kernel_name="python3", allow_errors=True, shutdown_kernel="immediate")
        self.run, self.record, self.begun = Run(), record, 0.0
        self.on_cell_execute, self.on_cell_executed = self.note_begin, self.note_end

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> None:
        """Drop what cells display."""
        if msg["msg_type"] == "status":
            super().process_message(msg, cell, cell_index)

    def note_begin(self, cell: NotebookNode, cell_index: int) -> None:  # noqa: ARG002
        self.run.cell, self.begun = cell_index, time.monotonic()

    def note_end(self, cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:  # noqa: ARG002
        reply, run = execute_reply["content"], self.run
        run.seconds[cell_index] = time.monotonic() - self.begun
        run.errors[cell_index] = f"{reply['ename']}: {reply['evalue']}"[:10_000] if reply["status"] == "error" else ""
        run.records[cell_index] = _new_lines(self.record)
        if any(part.get("source") == "ask_exit" for part in reply.get("payload", [])):
            raise _Left

    def work(self, **options: Any) -> None:
        try:
            self.execute(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        except DeadKernelError:
            told = "the kernel died"
        except _Left:
            told = "the cell ended the kernel with exit() or quit()"
        except Exception as error:  # of nbclient, of the kernel's start
            told = f"the run broke off: {type(error).__name__}: {error}"
        else:
            return
        self.run.stopped = self.run.stopped or told

    def too_much(self, limits: Limits, deadline: float, resident: float, folder: Path) -> str:
        run, now = self.run, time.monotonic()
        mine = run.cell is not None and run.cell not in run.errors and "student" in self.nb.cells[run.cell].metadata
        if now > deadline:
            return f"out of time: the copy took more than {limits.seconds:g} s"
        if resident > limits.memory_mb * 1e6:
            return f"out of memory: more than {limits.memory_mb:g} MB"
        if sum(map(_size, files_below(folder))) > 2 * limits.disk_mb * 1e6:
            return f"out of disk: more than {2 * limits.disk_mb:g} MB of files"
        late = mine and now - self.begun > limits.cell_seconds
        return f"out of time: the cell took more than {limits.cell_seconds:g} s" if late else ""


def run_cells(cells: list[NotebookNode], limits: Limits, deadline: float, seed: int) -> Run:
    """Run code cells, the first of which is the chapter's, under limits in a scratch folder that is removed.

    Cells with ``student`` in their metadata fall under ``cell_seconds``. All has to be over at the deadline, as
    ``time.monotonic`` counts. Inputs of functions are drawn with the seed.
    """
    most = int(limits.disk_mb * 1e6), int(limits.seconds * (os.cpu_count() or 1))
    begin = f"__import__('fsplit_lib.classroom.kernel_process', fromlist='_').begin{most}\n"
    with _scratch() as folder, open(folder / "checks.jsonl", "w+b") as record:
        client = _Client([code_cell(begin + cells[0].source, **cells[0].metadata), *cells[1:]], record)
        options = {"cwd": str(folder / "desk"), "env": _surroundings(folder, seed)}
        thread, family = threading.Thread(target=client.work, kwargs=options, daemon=True), {}
        thread.start()
        try:
            while not client.run.stopped and thread.is_alive():
                thread.join(LOOK)
                told = client.too_much(limits, deadline, _grown(client, family), folder)
                client.run.stopped = client.run.stopped or told * thread.is_alive()
        finally:
            while True:
                _grown(client, family)
                for member in reversed(family.values()):
                    with contextlib.suppress(psutil.Error):
                        member.kill()
                if not thread.is_alive():
                    break
                thread.join(LOOK)
    return client.run


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for one run. Its nesting may be deeper than Python's recursion: the system's own tools remove that."""
    folder = Path(tempfile.mkdtemp(prefix="fsplit-class-"))
    (folder / "desk").mkdir()
    try:
        yield folder
    finally:
        for tool in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]) if os.name == "posix" else ():
            subprocess.run([*tool, str(folder)], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _surroundings(folder: Path, seed: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
    code = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]))
    places = ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "FSPLIT_HOME", "FSPLIT_OUT")
    ours = {"PYTHONPATH": code, "FSPLIT_DATA": str(data_root()), "FSPLIT_SEED": str(seed)}
    ours |= {"FSPLIT_CHECK": "", "FSPLIT_RUNS": ""}  # copies train what they train
    ours |= {"FSPLIT_RECORD": str(folder / "checks.jsonl"), **dict.fromkeys(places, str(folder / "desk"))}
    return {"OMP_NUM_THREADS": "1"} | kept | ours  # copies run side by side


def _grown(client: NotebookClient, family: dict[int, psutil.Process]) -> float:
    """Resident bytes of all that the kernel has started; ``family`` keeps those whose parents are gone."""
    total = 0
    with contextlib.suppress(psutil.Error):
        if pid := getattr(getattr(client.km, "provisioner", None), "pid", None):
            parent = psutil.Process(pid)
            family.update({p.pid: p for p in [parent, *parent.children(recursive=True)] if p.pid not in family})
    for member in list(family.values()):
        with contextlib.suppress(psutil.Error):
            total += member.memory_info().rss if member.is_running() else 0
    return total


def _size(entry: os.DirEntry) -> int:
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_size
    return 0


def _new_lines(record: IO[bytes]) -> list[dict[str, Any]]:
    """JSON objects since the last call; of each id's answers only the last, with their number in ``tries``.

    What is no object is left out: a student may write there too. The file was opened before the kernel began, so
    neither deleting nor replacing it hides a record.
    """
    read, end = record.tell(), record.seek(0, os.SEEK_END)
    record.seek(max(read if read <= end else 0, end - RECORD_BYTES))
    found, answers = [], {}
    for text in record.read().splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if not isinstance(line, dict) or line.get("status") not in STATUSES or not isinstance(line.get("id"), str):
                found += [line] * isinstance(line, dict)
                continue
            last = answers.get(line["id"], line | {"tries": 0})
            answered = line["status"] != "unanswered"
            answers[line["id"]] = (line if answered else last) | {"tries": last["tries"] + answered}
    return found[:100] + list(answers.values())[:100]
