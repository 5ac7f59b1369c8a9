"""``fsplit class`` and ``fsplit grid``: many copies of a chapter, or one chapter at many settings."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from fsplit_lib.cli.progress import progress_bar
from fsplit_lib.data.tables import write_table
from fsplit_lib.errors import ParameterError

Scheduler = Annotated[
    str | None,
    Option(help="Dask scheduler, such as tcp://host:8786; workers have --nthreads 1 and the same folders."),
]
Processes = Annotated[
    int | None, Option(min=0, help="Runs side by side; one per core by default, 0 for none beside this.")
]


def class_(
    folder: Annotated[Path, Argument(help="Holds a folder for each student, with the student's notebooks.")],
    only: Annotated[str | None, Argument(help="Two digits of one chapter; all that were handed in by default.")] = None,
    out: Annotated[Path, Option(help="For class.html, class.csv and results for the next run.")] = Path("build/class"),
    seed: Annotated[int, Option(min=0, help="Not the chapters' own 0, whose results may be known by heart.")] = 1,
    cell_seconds: Annotated[float, Option(min=1, help="Seconds that one cell of a student's may take.")] = 60,
    seconds: Annotated[float, Option(min=1, help="Seconds that a copy may take, repeated runs included.")] = 600,
    memory: Annotated[float, Option(min=100, help="MB that a copy may hold in memory.")] = 4000,
    disk: Annotated[float, Option(min=1, help="MB that one file may have; all of a copy, twice as much.")] = 500,
    scheduler: Scheduler = None,
    processes: Processes = None,
) -> None:
    """Grade a class's copies, each in a process of its own under limits, and write one report. This is no sandbox."""
    from fsplit_lib.classroom.grading import grade_class
    from fsplit_lib.classroom.report import NO_SANDBOX, write_report
    from fsplit_lib.classroom.submissions import find_submissions
    from fsplit_lib.classroom.supervisor import Limits
    from fsplit_lib.runner.execute import chapters

    limits, wanted = Limits(cell_seconds, seconds, memory, disk), {path.name[:2] for path in chapters(only)}
    find_submissions(folder, chapters())  # refuses a wrong folder before anything is said
    typer.echo(NO_SANDBOX, err=True)
    with progress_bar("copy") as bar:
        graded = grade_class(folder, chapters(), out / "results", seed, limits, scheduler, processes, bar, wanted)
    from fsplit_lib.training.machine import machine  # brings torch, which grading does without

    page = write_report(graded, out, seed, limits, machine())
    solved = sum(o.outcome == "solved" for one in graded for o in one.outcomes)
    typer.echo(f"{solved} of {sum(len(one.outcomes) for one in graded)} exercises are solved\n{page}")


def grid(
    chapter: Annotated[str, Argument(help="Two digits of the chapter.")],
    axes: Annotated[list[str], Argument(help="name=value,value,... for each, such as lmbda=0.3,1 seed=0,1")],
    out: Annotated[Path, Option(help="Folder for executed notebooks and CHAPTER.csv.")] = Path("build/grid"),
    timeout: Annotated[int, Option(min=1, help="Seconds that one cell may take.")] = 300,
    scheduler: Scheduler = None,
    processes: Processes = None,
) -> None:
    """Run a chapter at every combination of some parameters, and collect its headline numbers in one table."""
    from fsplit_lib.runner.chapters import run_chapter_grid
    from fsplit_lib.runner.execute import chapters
    from fsplit_lib.runner.parameters import read_parameter

    notebook, *others = chapters(chapter)
    if others:
        raise ParameterError(f"a grid is over one chapter; {chapter!r} is the beginning of {len(others) + 1}")
    values: dict[str, list] = {}
    for axis in axes:
        name, equals, row = axis.partition("=")
        if not equals or name in values:
            raise ParameterError(f"give each parameter once as name=value,value,... got {axis!r}")
        values[name] = [read_parameter(notebook, name, text.strip()) for text in row.split(",") if text.strip()]
    with progress_bar("run") as bar:
        rows = run_chapter_grid(notebook, values, out, timeout, scheduler=scheduler, workers=processes, progress=bar)
    table = out / f"{notebook.name[:2]}.csv"
    write_table(table, rows)
    failed = [row["error"] for row in rows if row["error"]]
    typer.echo(f"{len(rows) - len(failed)} of {len(rows)} runs came to their end\n{table}")
    if failed:
        typer.echo(f"fsplit: {failed[0]}; the same call runs what failed again", err=True)
        raise typer.Exit(1)
