"""``fsplit book``, ``fsplit test``, ``fsplit lab`` and ``fsplit predictions``: the workbook as a whole."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from fsplit_lib.cli.progress import progress_bar
from fsplit_lib.data.files import data_root
from fsplit_lib.errors import ParameterError


def book(
    only: Annotated[str | None, Argument(help="Two digits of one chapter; all by default.")] = None,
    profile: Annotated[str, Option(help="quick, or full for the measured settings.")] = "quick",
    out: Annotated[Path, Option(help="Folder for executed notebooks and the site.")] = Path("build"),
    timeout: Annotated[int, Option(min=1, help="Seconds that one cell may take.")] = 300,
    solved: Annotated[bool, Option(help="Fill in the solutions and grade them strictly.")] = False,
    set_: Annotated[list[str] | None, Option("--set", help="name=value, a parameter of the chapter.")] = None,
    jobs: Annotated[
        int | None,
        Option(min=1, help="Chapters that run at once; as many as there are cores, up to four, by default."),
    ] = None,
) -> None:
    """Run every chapter and write an HTML site that opens offline to build/site/index.html."""
    from fsplit_lib.runner.execute import ChapterRun, chapters, run_chapters
    from fsplit_lib.runner.parameters import read_parameter
    from fsplit_lib.runner.site import build_site

    root = data_root().parent
    texts = {"profile": profile}
    for text in set_ or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set takes name=value, got {text!r}")
        texts[name] = value
    wanted = {  # refused before anything runs
        notebook: {name: read_parameter(notebook, name, text) for name, text in texts.items()}
        for notebook in chapters(only)
    }
    solutions, golden = root / "notebooks" / "solutions" if solved else None, root / "notebooks" / "golden"
    options = {"timeout": timeout, "solutions": solutions, "golden": golden, "site": True}
    jobs = min(jobs or _processes(), len(wanted))
    with progress_bar("chapter", "The book") as progress:
        left = run_chapters(wanted, out / "executed", jobs, progress, **options)
    runs = [one for one in left if isinstance(one, ChapterRun)]
    failures = [str(one) for one in left if not isinstance(one, ChapterRun)]
    if runs:
        from fsplit_lib.training.machine import machine  # brings torch, which refusing does without

        index = build_site(runs, out / "site", f"{machine()}, {jobs} chapters at a time" if jobs > 1 else machine())
        _table(runs)
        typer.echo(f"\n{index}")
    for failure in failures:
        typer.echo(failure, err=True)
    if failures or any(run.differences for run in runs):
        raise typer.Exit(1)


def _processes() -> int:
    """One a core, up to four, since each holds about 1 GB: they share the chapters of the book."""
    return min(os.cpu_count() or 1, 4)


def _table(runs: list) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("chapter", "seconds", "status", "headline numbers", title="The book")
    for run in runs:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in run.numbers.items())
        status = "ok" if not run.differences else "differs: " + "; ".join(run.differences)
        table.add_row(run.executed.stem, f"{run.seconds:.0f}", status, numbers)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def test(
    paths: Annotated[list[str] | None, Argument(help="Files or folders; everything by default.")] = None,
) -> None:
    """Run everything: unit, property and doctests, nbval on every chapter, the golden numbers.

    Without paths one process more than a book takes shares the files, since some tests wait for a time to pass, and each has
    one thread for torch. What a chapter trains with its solutions is not trained again for nbval, which comes last.
    """
    call, environment = [sys.executable, "-m", "pytest", *(paths or [])], dict(os.environ)
    with tempfile.TemporaryDirectory() as runs:
        if not paths:
            call += ["-n", str(_processes() + 1), "--dist", "loadfile", "--no-loadscope-reorder"]
            environment["OMP_NUM_THREADS"] = "1"  # threads of several processes that wait for one core slow all of them
            environment["FSPLIT_RUNS"] = runs
        raise typer.Exit(subprocess.call(call, cwd=data_root().parent, env=environment))


def lab() -> None:
    """Open JupyterLab on a copy of the chapters, so that git stays clean while you work."""
    root, desk = data_root().parent, _desk()
    desk.mkdir(parents=True, exist_ok=True)
    for chapter in sorted((root / "notebooks").glob("*.ipynb")):
        copy = desk / chapter.name
        if copy.exists() and copy.read_bytes() != chapter.read_bytes():
            continue  # a student's own work is never written over
        shutil.copyfile(chapter, copy)
    environment = os.environ | {"FSPLIT_HOME": str(desk / ".fsplit")}
    started = time.strftime("%H:%M")
    typer.echo(f"{started} JupyterLab opens {desk}; your work is kept there, delete a copy to get the original again.")
    raise typer.Exit(subprocess.call([sys.executable, "-m", "jupyter", "lab", str(desk)], env=environment))


def _desk() -> Path:
    return data_root().parent / "build" / "desk"


def predictions(
    out: Annotated[Path, Option("--out", "-o", help="The file to write.")] = Path("predictions.csv"),
) -> None:
    """Write what was guessed in the Predict boxes, and the truth beside it, as CSV; it holds no names."""
    from fsplit_lib.panels import predictions_csv

    ledger = _desk() / ".fsplit" / "predictions.json"  # of `fsplit lab`
    text = predictions_csv(ledger if "FSPLIT_HOME" not in os.environ and ledger.is_file() else None)
    out.write_text(text, encoding="utf-8", newline="")
    typer.echo(f"{out}: {text.count(chr(10)) - 1} guesses")
