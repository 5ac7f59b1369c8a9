"""Grids: every cell once, whatever dies; with a real scheduler and real worker processes."""

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from dask.distributed import Client
from grid_cells import divide, square, whose_turn
from test_cli import fsplit

from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.runner import grid as engine
from fsplit_lib.runner.execute import chapters
from fsplit_lib.runner.grid import Cell, GridError, run_grid

HERE = Path(__file__).parent
ENV = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}


@contextmanager
def dask(tmp_path, workers, threads=1):
    """A scheduler and worker processes without nannies, as (address, [scheduler, *workers])."""
    file, started = tmp_path / "scheduler.json", []
    start = partial(subprocess.Popen, env=ENV, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cli = [sys.executable, "-W", "ignore", "-m"]
    try:
        where = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        started.append(start([*cli, "distributed.cli.dask_scheduler", *where, "--scheduler-file", str(file)]))
        wait_for(lambda: file.is_file() and file.read_text())
        address = json.loads(file.read_text())["address"]
        options = ["--nthreads", str(threads), "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        for _ in range(workers):
            started.append(start([*cli, "distributed.cli.dask_worker", address, *options]))
        yield address, started
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def lines(diary, kind):
    """(cell, process) of every entry of a kind."""
    text = diary.read_text() if diary.exists() else ""
    return [tuple(line.split()[1:]) for line in text.splitlines() if line.startswith(kind)]


def grid(diary, count=12, seconds=0.3):
    return {f"cell-{x}": Cell(square, {"x": x, "diary": diary, "seconds": seconds}) for x in range(count)}


def test_a_killed_worker_loses_nothing_that_was_finished(tmp_path):
    out, diary, told, dead = tmp_path / "out", tmp_path / "diary", [], []

    with dask(tmp_path, 2) as (address, (_, *workers)):

        def progress(done, total, shown):
            told.append((done, total))
            if done == 4:  # kill one that is in the middle of a cell
                before = len(lines(diary, "begin"))
                begun = wait_for(lambda: lines(diary, "begin")[before:])  # just now
                dead.append(int(begun[-1][1]))
                assert dead[0] in {worker.pid for worker in workers}
                os.kill(dead[0], signal.SIGKILL)

        results = run_grid(grid(diary), out, scheduler=address, progress=progress)
    assert [results[f"cell-{x}"]["square"] for x in range(12)] == [x * x for x in range(12)]
    assert told == [(n, 12) for n in range(1, 13)]
    begun, ended = (Counter(x for x, _ in lines(diary, kind)) for kind in ("begin", "end"))
    assert set(ended.values()) == {1} and len(ended) == 12  # nothing finished is done twice
    assert sum(begun.values()) in (12, 13)  # at most what the dead one was doing began twice
    assert len({pid for _, pid in lines(diary, "end")} - {str(dead[0])}) == 1
    assert all(json.loads((out / f"cell-{x}.json").read_text())["value"]["square"] == x * x for x in range(12))


def test_a_killed_scheduler_loses_nothing_that_was_finished(tmp_path):
    out, diary = tmp_path / "out", tmp_path / "diary"
    with dask(tmp_path, 2) as (address, (scheduler, *_)):

        def progress(done, total, shown):
            if done == 3:
                scheduler.kill()

        with pytest.raises(GridError, match=r"of 12 cells have no result.*kept"):
            run_grid(grid(diary), out, scheduler=address, progress=progress)
    kept = len(list(out.glob("*.json")))
    assert 3 <= kept < 12
    finished = {path.stem: path.read_bytes() for path in out.glob("*.json")}
    results = run_grid(grid(diary), out, workers=0)
    assert [results[f"cell-{x}"]["square"] for x in range(12)] == [x * x for x in range(12)]
    assert all((out / f"{name}.json").read_bytes() == content for name, content in finished.items())
    here = {x for x, pid in lines(diary, "end") if pid == str(os.getpid())}
    assert here == {str(x) for x in range(12)} - {name.split("-")[1] for name in finished}


def test_a_worker_of_several_threads_still_runs_one_cell_at_a_time(tmp_path):
    cells = {f"c{x}": Cell(whose_turn, {"x": x, "seconds": 0.2}) for x in range(6)}
    with dask(tmp_path, 1, threads=3) as (address, _):
        assert all(run_grid(cells, tmp_path / "out", scheduler=address).values())


def test_no_cell_waits_behind_a_long_one_while_a_worker_is_idle(tmp_path):
    diary = tmp_path / "diary"
    cells = grid(diary, count=4, seconds=0.1)
    cells["cell-0"] = Cell(square, {"x": 0, "diary": diary, "seconds": 3.0})
    run_grid(cells, tmp_path / "out", workers=2)
    assert [x for x, _ in lines(diary, "end")][-1] == "0"  # all others ended beside it


def test_a_local_cluster_is_the_default(tmp_path):
    results = run_grid({f"c{x}": Cell(square, {"x": x}) for x in range(4)}, tmp_path, workers=2)
    assert [row["square"] for row in results.values()] == [0, 1, 4, 9]
    assert os.getpid() not in {row["by"][0] for row in results.values()}


def test_a_local_cluster_has_no_more_processes_than_asked_for(tmp_path):
    run_grid(grid(diary := tmp_path / "diary", count=4), tmp_path / "out", workers=1)
    assert len({pid for _, pid in lines(diary, "begin")}) == 1


def test_workers_that_do_not_see_the_folder_return_their_results(tmp_path, monkeypatch):
    run = engine._run
    monkeypatch.setattr(engine, "_run", lambda name, cell, out: run(name, cell, out / "elsewhere"))
    assert run_grid({"one": Cell(square, {"x": 3})}, tmp_path, workers=0)["one"]["square"] == 9
    assert [path.name for path in tmp_path.iterdir()] == ["one.json"]
    assert json.loads((tmp_path / "one.json").read_text())["value"]["square"] == 9


def test_failures_are_told_after_the_others_have_finished(tmp_path):
    cells = {f"d{x}": Cell(divide, {"x": x}) for x in (0, 1, 2)}
    with pytest.raises(GridError, match=r"1 of 3 cells have no result: d0 .ZeroDivisionError: division by zero"):
        run_grid(cells, tmp_path, workers=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d1.json", "d2.json"]
    with pytest.raises(GridError, match="1 of 3 cells.*ZeroDivisionError"):
        run_grid(cells, tmp_path, workers=2)


@contextmanager
def listening(kind):
    """An address where something listens that is no scheduler."""
    with contextlib.ExitStack() as stack:
        if kind == "silent":
            port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        else:  # as a scheduler's dashboard does
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dashboard))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
            port = server.server_port
        yield f"tcp://127.0.0.1:{port}"


class Dashboard(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass


COMMANDS = {
    "grid": ["grid", "01", "seed=0", "--out", "out"],
    "class": ["class", "folder", "01", "--out", "out"],
    "train": ["train", "decoder_ablation", "--work", "out", "--out", "out/weights"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["silent", "dashboard"])
def test_what_is_no_scheduler_gets_one_sentence_in_time(tmp_path, monkeypatch, kind, command):
    monkeypatch.setattr(engine, "PATIENCE_S", 0.5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder/ada").mkdir(parents=True)
    shutil.copy(chapters("01")[0], tmp_path / "folder/ada")
    with listening(kind) as address:
        begun = time.monotonic()
        done = fsplit(*COMMANDS[command], "--scheduler", address)
    assert time.monotonic() - begun < 30  # it was for ever
    *_, last = done.stderr.strip().splitlines()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith("fsplit: scheduler must be the address of a running Dask scheduler") and address in last
    assert not list(tmp_path.glob("out/**/*.json"))


def test_addresses_that_cannot_be_a_scheduler(tmp_path):
    cells = {"a": Cell(square, {"x": 1})}
    with dask(tmp_path, 1) as (address, _):
        with Client(address) as client:
            client.wait_for_workers(1)
            (worker,) = client.scheduler_info()["workers"]
        for strange in ("tcp://", "nowhere", "http://127.0.0.1:9", "tls://127.0.0.1:9", "tcp://127.0.0.1:x", worker):
            with pytest.raises(ParameterError, match="scheduler must be the address of a running"):
                run_grid(cells, tmp_path / "out", scheduler=strange)
        assert run_grid(cells, tmp_path / "out", scheduler=address)["a"]["square"] == 1


def test_results_are_those_of_their_options_or_refused(tmp_path):
    one = {"a": Cell(square, {"x": 2, "diary": tmp_path / "d1"})}
    assert run_grid(one, tmp_path / "out", workers=0)["a"]["square"] == 4
    moved = {"a": Cell(square, {"x": 2, "diary": tmp_path / "d2"})}  # a path is not what a cell is
    assert run_grid(moved, tmp_path / "out", workers=0)["a"]["square"] == 4
    assert not (tmp_path / "d2").exists()
    slower = {"a": Cell(square, {"x": 2}, {"seconds": 9.0})}  # nor is a limit
    assert run_grid(slower, tmp_path / "out", workers=0)["a"]["square"] == 4
    for other in (Cell(square, {"x": 3}), Cell(divide, {"x": 2})):
        with pytest.raises(DataError, match="made with other options"):
            run_grid({"a": other}, tmp_path / "out", workers=0)
    for broken in (b"", b"[]", b'{"digest": 1}', b'{"digest"'):
        (tmp_path / "out/a.json").write_bytes(broken)
        with pytest.raises(DataError, match="not the result of a cell"):
            run_grid(one, tmp_path / "out", workers=0)


def test_names_and_options_that_cannot_be(tmp_path):
    for name in ("", "../a", "a/b", ".a", "a b"):
        with pytest.raises(ParameterError, match="name must be made of letters"):
            run_grid({name: Cell(square, {"x": 1})}, tmp_path, workers=0)
    with pytest.raises(ParameterError, match="what JSON can hold"):
        run_grid({"a": Cell(square, {"x": {1}})}, tmp_path, workers=0)
    assert run_grid({}, tmp_path) == {}
