"""``fsplit train``: make shipped weights again."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fsplit_lib.cli.classroom import Processes, Scheduler
from fsplit_lib.cli.photos import Backbone
from fsplit_lib.cli.progress import progress_bar


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe; 'list' shows all.")],
    data: Annotated[Path | None, typer.Option(help="Folder of training photos, for recipes that need one.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for weights and card; build/weights/RECIPE by default.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for the checkpoint that a killed run resumes from.")] = Path(
        "build/runs"
    ),
    maps: Annotated[
        Path, typer.Option(help="Saliency maps of the training photos, for recipes that are guided by them.")
    ] = Path("build/saliency/caltech101.safetensors"),
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 0,
    scheduler: Scheduler = None,
    processes: Processes = None,
    backbone: Backbone = None,
    weights: Annotated[
        str | None, typer.Option(help="Codec that photo-decoder adds a decoder to; photo by default.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto takes a GPU where there is one; or cpu, or cuda.")] = "auto",
) -> None:
    """Run a named recipe; run it again to resume after a crash. ``torchrun`` may start it in several processes."""
    import logging

    from fsplit_lib.recipes import RECIPES, RunContext, run_recipe

    if recipe == "list":
        for known in RECIPES.values():
            typer.echo(f"{known.name:22} {known.summary}")
        return
    logging.basicConfig(format="%(message)s")
    logging.getLogger("fsplit_lib.training").setLevel(logging.INFO)
    out = out or Path("build/weights") / recipe
    rank, steps = int(os.environ.get("RANK", 0)), []
    with progress_bar("step", recipe) as bar:

        def progress(done: int, total: int, values: dict[str, Any]) -> None:
            steps.append(done)
            bar(
                done,
                total,
                {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in values.items()},
            )

        if rank:  # the first process tells and writes for all
            out, progress = work / f"process-{rank}" / out.name, None
        run = RunContext(out, data, work, progress, workers, maps, scheduler, processes, backbone, weights, accelerator)
        sentence = run_recipe(recipe, run)
    if not rank:
        if not steps:
            typer.echo(f"{recipe} had already finished: its checkpoint in {work} was used; delete it to train again")
        typer.echo(sentence)
