"""The process that a copy runs in: cell after cell, whatever they raise, under limits that its kernel inherits.

python -m fsplit_lib.classroom.inside FOLDER ...    run by :mod:`fsplit_lib.classroom.watch`

It reads FOLDER/job.ipynb and adds to FOLDER/events.jsonl one line where a cell begins and one where it ends.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient

__all__ = ["main"]


def main(folder: Path, disk_mb: float, seconds: float, watcher: int, created: float) -> None:
    """Run a notebook and tell of its cells.

    Args:
        folder: with the notebook; the kernel works in its ``desk``.
        disk_mb: largest file, in 10^6 bytes, where the system knows such a limit.
        seconds: of processor time, for what nobody could end.
        watcher: process id of who watches; this process ends with it.
        created: when that process began, as ``psutil`` says.
    """
    _limit(int(disk_mb * 1e6), int(seconds * (os.cpu_count() or 1)))
    threading.Thread(target=_end_with, args=(watcher, created), daemon=True).start()

    def tell(**what: Any) -> None:
        with open(folder / "events.jsonl", "a") as file:
            file.write(json.dumps(what | {"time": time.time()}) + "\n")

    def begun(cell: Any, cell_index: int) -> None:  # noqa: ARG001
        tell(cell=cell_index)

    def ended(cell: Any, cell_index: int, execute_reply: dict) -> None:  # noqa: ARG001
        reply = execute_reply["content"]
        leaves = any(p.get("source") == "ask_exit" for p in reply.get("payload", []))  # exit() or quit()
        error = f"{reply['ename']}: {reply['evalue']}" if reply["status"] == "error" else ""
        tell(cell=cell_index, ended=True, error=error, leaves=leaves)

    NotebookClient(
        nbformat.read(folder / "job.ipynb", as_version=4),
        kernel_name="python3",
        allow_errors=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder / "desk")}},
        extra_arguments=["--IPKernelApp.log_level=40"],
        on_cell_execute=begun,
        on_cell_executed=ended,
    ).execute()


def _limit(file_bytes: int, cpu_seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, value in (
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))


def _end_with(watcher: int, created: float) -> None:
    """Nobody watches a copy whose watcher is gone; the kernel in turn ends with this process."""
    while os.getppid() == watcher if os.name == "posix" else _lives(watcher, created):
        time.sleep(1)
    os._exit(1)


def _lives(process: int, created: float) -> bool:
    """Where a process keeps the number of a parent that is gone, and another may be given that number."""
    try:
        return psutil.Process(process).create_time() == created
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:4]), int(sys.argv[4]), float(sys.argv[5]))
