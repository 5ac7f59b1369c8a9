"""``fsplit train``: make shipped weights again."""

import os
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from fsplit_lib.cli.classroom import Scheduler
from fsplit_lib.cli.photos import Backbone

__all__ = ["train"]


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
    processes: Annotated[
        int | None, typer.Option(min=0, help="Local processes of a grid; one a core by default, 0 for none of its own.")
    ] = None,
    backbone: Backbone = None,
    weights: Annotated[
        str | None, typer.Option(help="Codec that photo-decoder adds a decoder to; photo by default.")
    ] = None,
) -> None:
    """Run a named recipe; run it again to resume after a crash. ``torchrun`` may start it in several processes."""
    import logging

    from fsplit_lib.recipes import RECIPES, RunContext, run_recipe
    from fsplit_lib.training.loop import LogRow

    if recipe == "list":
        for known in RECIPES.values():
            typer.echo(f"{known.name:22} {known.summary}")
        return
    logging.basicConfig(format="%(message)s")
    logging.getLogger("fsplit_lib.training").setLevel(logging.INFO)
    bars: list[tqdm] = []

    def progress(row: LogRow, steps: int) -> None:
        if not bars or row.step < bars[-1].n:  # a sweep starts anew with every run
            bars.append(tqdm(desc=recipe, total=steps, unit="step"))
        bars[-1].set_postfix({name: f"{value:.4f}" for name, value in row.values.items()}, refresh=False)
        bars[-1].update(row.step + 1 - bars[-1].n)

    out = out or Path("build/weights") / recipe
    if rank := int(os.environ.get("RANK", 0)):  # the first process tells and writes for all
        out, told = work / f"process-{rank}" / out.name, None
    else:
        told = progress
    sentence = run_recipe(
        recipe, RunContext(out, data, work, told, workers, maps, scheduler, processes, backbone, weights)
    )
    for bar in bars:
        bar.close()
    if not rank:
        if not bars:
            typer.echo(f"{recipe} had already finished: its checkpoint in {work} was used; delete it to train again")
        typer.echo(sentence)
