"""Grids of runs through Dask: named cells, one result file each, on this machine or on many.

    cells ──► scheduler ──► worker ──► out/<cell>.json, whole or not at all
                       └──► worker ──► …

A cell whose file is there is never run again, whoever wrote it: a dead worker costs the cells that it had not
finished, a dead scheduler or a closed laptop likewise, and the same call goes on from there.
"""

import asyncio
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsplit_lib.data.files import write_atomically
from fsplit_lib.errors import DataError, FsplitError, ParameterError

PATIENCE_S = 10.0  # for a scheduler to answer
ALONE = threading.Lock()  # a cell may set environment variables and seed torch: never two in one process


class GridError(FsplitError):
    """Cells of a grid failed, or the scheduler went away; what had finished is kept.

    ``failed`` says what went wrong with which cell.
    """

    def __init__(self, sentence: str, failed: dict[str, str]):
        super().__init__(sentence)
        self.failed = failed


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    function: Callable[..., Any]  # at the top of a module that every worker can import; returns what JSON can hold
    # its keywords: paths say where things are; all else says what the cell is, and has to be what JSON can hold
    options: dict[str, Any] = field(default_factory=dict)
    # more keywords, which may change without making it another cell, such as the time that it may take
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What tells the cell from another of its name: function and options, but no paths and no limits.

        Raises:
            ParameterError: JSON cannot hold an option.
        """
        what = {k: v for k, v in self.options.items() if not isinstance(v, Path)}
        try:
            text = json.dumps([self.function.__module__, self.function.__qualname__, what], sort_keys=True)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"options of a cell must be paths or what JSON can hold: {error}") from error
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def cell_name(text: str, *what: Any) -> str:
    """Name a cell: what a reader recognises, then a digest of what makes it another cell.

    >>> cell_name("05 lmbda 0.3", 0.3)
    '05_lmbda_0.3-593131121d'
    """
    digest = hashlib.sha256(json.dumps([text, *what], sort_keys=True).encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '_', text)[:60]}-{digest}"


def run_grid(
    cells: dict[str, Cell],
    out: Path,
    scheduler: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int, dict[str, str]], None] | None = None,
) -> dict[str, Any]:
    """Run what has no result yet, through the Dask scheduler at an address such as ``tcp://host:8786``.

    Without one, there is a cluster of local processes of one thread each for as long as the call lasts: one a core, or
    as many as ``workers``, of which 0 runs the cells here, one after the other. A cell's name is that of its file in
    the folder ``out``: workers that see it write there, for others this process does. ``progress`` is called with cells
    that have a result, cells in all, and under "cell" the name of the last one.

    Values are what the functions returned, after a trip through JSON, in the order of ``cells``.

    Raises:
        GridError: naming the cells that failed and why, after all others have finished.
        ParameterError: a name that is no file name, options that JSON cannot hold, or no scheduler at the address.
        DataError: a result in ``out`` belongs to other options.
    """
    if strange := [name for name in cells if not re.fullmatch(r"\w[\w.+-]*", name)]:
        raise ParameterError(f"a cell's name must be made of letters, digits and _ . + -, got {strange[0]!r}")
    for cell in cells.values():
        cell.digest  # noqa: B018  (refuses bad options before anything runs)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    found = {name: row for name, cell in cells.items() if (row := _read(out, name, cell))}
    failed: dict[str, str] = {}

    def tell(name: str) -> None:
        if progress is not None:
            progress(len(found), len(cells), {"cell": name})

    for name in list(found):
        tell(name)
    missing = {name: cell for name, cell in cells.items() if name not in found}
    for name, outcome in _outcomes(missing, out, scheduler, workers) if missing else ():
        if isinstance(outcome, Exception):
            failed[name] = f"{type(outcome).__name__}: {outcome}".splitlines()[0]
            continue
        if not (out / f"{name}.json").is_file():
            _write(out, name, outcome)
        found[name] = outcome
        tell(name)
    if failed:
        told = "; ".join(f"{name} ({why})" for name, why in list(failed.items())[:3])
        raise GridError(
            f"{len(failed)} of {len(cells)} cells have no result: {told}. The others are kept in {out}; "
            "the same call runs what is missing",
            failed,
        )
    return {name: found[name]["value"] for name in cells}


def _outcomes(
    cells: dict[str, Cell], out: Path, scheduler: str | None, workers: int | None
) -> Iterator[tuple[str, dict | Exception]]:
    """Rows, or what went wrong, in the order in which cells end."""
    if scheduler is None and workers == 0:
        for name, cell in cells.items():
            try:
                yield name, _run(name, cell, out)
            except Exception as error:
                yield name, error
        return
    from dask.distributed import Client, as_completed

    processes = min(workers or os.cpu_count() or 1, len(cells))
    with _cluster(scheduler, processes) as cluster, Client(cluster, timeout=PATIENCE_S) as client:
        waiting, names, ended = list(cells.items()), {}, as_completed()

        def hand_out() -> None:
            """Hand out one cell per worker: what is handed out earlier may queue behind a long cell while others are idle."""
            while waiting and len(names) < max(1, len(client.nthreads())):
                name, cell = waiting.pop(0)
                future = client.submit(_run, name, cell, out, key=f"{name}-{cell.digest}")
                names[future] = name
                ended.add(future)

        hand_out()
        for future in ended:
            name = names.pop(future)
            try:
                outcome = future.result()
            except Exception as error:  # of the cell, of a worker that died too often, of a scheduler that is gone
                outcome = error
            future.release()
            try:
                hand_out()
            except Exception as error:  # the scheduler is gone
                yield from ((left, error) for left, _ in waiting)
                waiting.clear()
            yield name, outcome


def _cluster(scheduler: str | None, count: int) -> AbstractContextManager:
    """What a client connects to: the scheduler at an address, or local processes for as long as the context lasts."""
    from dask.distributed import LocalCluster

    if scheduler is not None:
        _check_scheduler(scheduler)
        return nullcontext(scheduler)
    return LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, memory_limit=0, silence_logs=50)


def _check_scheduler(address: str) -> None:
    """Ask what listens there: Dask's own client waits for ever at a port that takes connections and says nothing."""
    from dask.distributed import Security, rpc
    from distributed.utils import LoopRunner

    async def ask() -> str:
        async with asyncio.timeout(PATIENCE_S), rpc(address, connection_args=security) as there:
            return (await there.identity())["type"]

    try:
        security = Security().get_connection_args("client")
        if (kind := LoopRunner().run_sync(ask)) == "Scheduler":
            return
        why = f"a {kind} answers there"
    except TimeoutError:
        why = f"none answers there within {PATIENCE_S:g} s"
    except Exception as error:  # what listens there may say anything, and Dask believes the lengths in it
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    raise ParameterError(
        f"scheduler must be the address of a running Dask scheduler, such as tcp://host:8786, not of its dashboard; "
        f"got {address!r}: {why}"
    )


def _run(name: str, cell: Cell, out: Path) -> dict:
    """What a worker does; it may have been done before by one that died with the result in memory."""
    if known := _read(out, name, cell):
        return known
    with ALONE:
        begun = time.perf_counter()
        value = cell.function(**cell.options, **cell.limits)
        seconds = round(time.perf_counter() - begun, 2)
    row = json.loads(json.dumps({"cell": name, "digest": cell.digest, "seconds": seconds, "value": value}))
    if out.is_dir():
        _write(out, name, row)
    return row


def _write(out: Path, name: str, row: dict) -> None:
    write_atomically(out / f"{name}.json", json.dumps(row).encode())


def _read(out: Path, name: str, cell: Cell) -> dict | None:
    path = out / f"{name}.json"
    if not path.is_file():
        return None
    try:
        row = json.loads(path.read_bytes())
        digest, _ = row["digest"], row["value"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the result of a cell; delete it") from error
    if digest != cell.digest:
        raise DataError(f"{path} was made with other options; delete it, or choose another folder")
    return row
