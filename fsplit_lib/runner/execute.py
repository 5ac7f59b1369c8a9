"""Run chapters through papermill: strict parameters, a time limit, one place for what they leave."""

import json
import logging
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import papermill

from fsplit_lib.data.files import data_root
from fsplit_lib.errors import FsplitError
from fsplit_lib.runner.headline import compare, sentences
from fsplit_lib.runner.parameters import check_parameters, parameters_of

NEVER_STARTED = ("Kernel didn't respond", "Kernel died before replying")  # jupyter_client's words, before any cell


class ChapterError(FsplitError):
    """A cell of a chapter failed; the message names chapter, cell and error."""


@dataclass
class ChapterRun:
    """What one execution of a chapter left."""

    chapter: str  # two digits
    title: str  # of the chapter
    claim: str  # its first quoted line
    executed: Path  # the executed notebook
    seconds: float  # wall time, kernel start included
    numbers: dict[str, float] = field(default_factory=dict)  # headline numbers
    differences: list[str] = field(default_factory=list)  # from golden values; empty where all agree or none are stored
    results: list[str] = field(default_factory=list)  # sentences on some of the numbers, as the golden values have them


def chapters(only: str | None = None) -> list[Path]:
    """List the notebooks of the book in order, or those whose name begins with ``only``.

    Raises:
        ChapterError: there is none.
    """
    folder = data_root().parent / "notebooks"
    found = sorted(p for p in folder.glob("[0-9][0-9]_*.ipynb") if only is None or p.name.startswith(only))
    if not found:
        raise ChapterError(f"no chapter {only or ''} in {folder}".replace("  ", " "))
    return found


def run_chapter(
    notebook: Path,
    out: Path,
    parameters: dict[str, Any] | None = None,
    timeout: int = 300,
    solutions: Path | None = None,
    golden: Path | None = None,
    progress: bool = True,
    cwd: Path | None = None,
    site: bool = False,
) -> ChapterRun:
    """Execute one chapter, a cell of which may take ``timeout`` seconds; all that it leaves goes to the folder ``out``.

    Solutions of a folder are filled in and then graded strictly; without it, exercises stay as a student finds them.
    Golden numbers of a folder are compared only where the parameters are the chapter's own. The chapter looks up paths
    from ``cwd``, by default where the caller stands. For a site, pages without a kernel, panels draw all their states.

    Raises:
        ParameterError: an unknown parameter or an illegal value; nothing ran.
        ChapterError: a cell failed or took too long; the notebook up to there is in ``out``.
    """
    given = dict(parameters or {})
    check_parameters(notebook, given)
    number = notebook.name[:2]
    out.mkdir(parents=True, exist_ok=True)
    source, executed, handed = notebook, out / notebook.name, out / f"{number}.json"
    handed.unlink(missing_ok=True)  # numbers of an earlier run are not this run's
    if solutions is not None:
        source = out / f".{notebook.stem}.solved.ipynb"
        nbformat.write(fill_solutions(nbformat.read(notebook, as_version=4), solutions / f"{number}.py"), source)
    surroundings = {
        "PLOTLY_RENDERER": "plotly_mimetype",  # figures as data; the site draws them
        "FSPLIT_SITE": "1" if site else "",
        "FSPLIT_CHECK": "strict" if solutions is not None else "",
        "FSPLIT_OUT": str(out.resolve()),
        "FSPLIT_HOME": str((out / "home" / number).resolve()),  # of its own: others may run beside it
    }
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of names that check_parameters has checked
    begun = time.perf_counter()
    with patch.dict(os.environ, surroundings):
        try:
            _execute(
                source,
                executed,
                parameters=given,
                kernel_name="python3",
                cwd=cwd or Path.cwd(),
                progress_bar={"desc": notebook.stem} if progress else False,
                execution_timeout=timeout,
                store_widget_state=False,  # one FigureWidget would add 5 MB
                extra_arguments=[
                    "--IPKernelApp.log_level=40",  # errors only
                    "--InteractiveShellApp.ignore_cwd=True",  # modules are not the shell's
                ],
            )
        except Exception as error:  # papermill, nbclient and the kernel each raise their own
            raise ChapterError(_explain(notebook, executed, error)) from error
        finally:
            if source is not notebook:
                source.unlink(missing_ok=True)
    title, claim = _title_and_claim(notebook)
    run = ChapterRun(number, title, claim, executed, time.perf_counter() - begun)
    run.numbers = json.loads(handed.read_text()) if handed.is_file() else {}
    if golden and (stored := golden / f"{number}.json").is_file():
        wanted = json.loads(stored.read_text("utf-8"))
        run.results = sentences(run.numbers, wanted)
        defaults = {name: p.default for name, p in parameters_of(notebook).items()}
        if all(defaults[k] == v for k, v in given.items()):
            run.differences = compare(run.numbers, wanted)
    return run


def _execute(*notebooks: Path, **options: Any) -> None:
    """Let papermill execute a notebook, once more where its kernel never came up.

    jupyter_client looks for free ports and lets go of them before the kernel binds them, so a kernel that starts beside
    it may take one; no cell has run by then.
    """
    try:
        papermill.execute_notebook(*notebooks, **options)
    except RuntimeError as error:
        if not str(error).startswith(NEVER_STARTED):
            raise
        papermill.execute_notebook(*notebooks, **options)


def run_chapters(
    wanted: dict[Path, dict[str, Any]],
    out: Path,
    jobs: int = 1,
    progress: Callable[[int, int, dict[str, object]], None] | None = None,
    **options: Any,
) -> list[ChapterRun | ChapterError]:
    """Execute chapters beside each other, each with its share of the cores; those that measure time run alone, at the end.

    A notebook whose metadata hold ``"measures_time": true`` is one of the latter. At most ``jobs`` run at once, each in
    a process that starts its kernel; folder and options are those of :func:`run_chapter`. ``progress`` is called with
    chapters done, chapters in all, and which one that was; one that runs alone draws its own bar too. A chapter that
    failed does not stop the others; what each left is in the order of ``wanted``.
    """
    alone = [p for p in wanted if jobs == 1 or nbformat.read(p, as_version=4).metadata.get("measures_time")]
    call, done = partial(_run_or_error, out=out, **options), {}

    def note(notebook: Path, left: ChapterRun | ChapterError) -> None:
        done[notebook] = left
        if progress is not None:
            progress(len(done), len(wanted), {"done": notebook.stem})

    beside = {notebook: given for notebook, given in wanted.items() if notebook not in alone}
    if beside:
        threads = str(max(1, (os.cpu_count() or 1) // jobs))  # more would wait for each other
        with (
            patch.dict(os.environ, OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", threads)),
            ProcessPoolExecutor(min(jobs, len(beside)), multiprocessing.get_context("spawn")) as pool,
        ):
            turns = reversed(beside.items())  # late chapters take longest: one that starts last would run alone
            running = {pool.submit(call, notebook, given, False): notebook for notebook, given in turns}
            for future in as_completed(running):
                note(running[future], future.result())
    for notebook in alone:
        note(notebook, call(notebook, wanted[notebook], progress is not None))
    return [done[notebook] for notebook in wanted]


def _run_or_error(notebook: Path, given: dict[str, Any], progress: bool, **options: Any) -> ChapterRun | ChapterError:
    try:
        return run_chapter(notebook, parameters=given, progress=progress, **options)
    except ChapterError as error:
        return error


def fill_solutions(notebook: nbformat.NotebookNode, solutions: Path) -> nbformat.NotebookNode:
    """Replace the source of every exercise cell by its solution, in the notebook itself, which is returned.

    Cells have an exercise's id in their metadata; solutions stand in a Python file, each below a line ``# %% 00.1``.

    Raises:
        ChapterError: a cell without a solution, or a solution without a cell.
    """
    parts = re.split(r"^# %% (\S+)\n", solutions.read_text("utf-8"), flags=re.MULTILINE)
    known = dict(zip(parts[1::2], parts[2::2], strict=True))
    cells = {cell.metadata["exercise"]: cell for cell in notebook.cells if "exercise" in cell.metadata}
    if differ := sorted(cells.keys() ^ known.keys()):
        raise ChapterError(f"{solutions.name} and the chapter disagree about exercises {', '.join(differ)}")
    for name, cell in cells.items():
        cell.source = known[name].strip()
    return notebook


def _title_and_claim(notebook: Path) -> tuple[str, str]:
    text = "\n".join(c.source for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "markdown")
    title, claim = (re.search(rf"^{mark} +(.*)", text, re.MULTILINE) for mark in "#>")
    return title[1] if title else notebook.stem, re.sub(r"[*_`]", "", claim[1]) if claim else ""


def _explain(notebook: Path, executed: Path, error: Exception) -> str:
    index, cause = getattr(error, "cell_index", None), f"{type(error).__name__}: {error}"
    if hasattr(error, "ename"):
        cause = f"{error.ename}: {error.evalue}"
    elif "Timeout" in type(error).__name__:
        cause = str(error).splitlines()[0]
    if index is None and executed.is_file():
        cells = nbformat.read(executed, as_version=4).cells
        begun = [i for i, c in enumerate(cells) if c.metadata.get("papermill", {}).get("start_time")]
        index = begun[-1] if begun else None  # papermill calls a cell that ran out of time "completed"
    where = "before its first cell" if index is None else f"in cell {index}"
    return f"chapter {notebook.stem} failed {where}: {cause} (executed so far: {executed})"
