"""``fsplit train``: make shipped weights again."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

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
) -> None:
    """Run a named recipe; run it again to resume after a crash."""
    from fsplit_lib.training.loop import LogRow
    from fsplit_lib.training.recipes import RECIPES, Job, run_recipe

    if recipe == "list":
        for known in RECIPES.values():
            typer.echo(f"{known.name:22} {known.summary}")
        return
    bars: list[tqdm] = []

    def progress(row: LogRow, steps: int) -> None:
        if not bars or row.step < bars[-1].n:  # a sweep starts anew with every run
            bars.append(tqdm(desc=recipe, total=steps, unit="step"))
        bars[-1].set_postfix({name: f"{value:.4f}" for name, value in row.values.items()}, refresh=False)
        bars[-1].update(row.step + 1 - bars[-1].n)

    sentence = run_recipe(recipe, Job(out or Path("build/weights") / recipe, data, work, progress, workers, maps))
    for bar in bars:
        bar.close()
    typer.echo(sentence)
