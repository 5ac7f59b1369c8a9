"""``fsplit train``: make shipped weights again; ``fsplit saliency``: the maps that guide some of them, once."""

import logging
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from fsplit_lib.cli.classroom import Processes, Scheduler
from fsplit_lib.cli.photos import Backbone
from fsplit_lib.cli.progress import progress_bar
from fsplit_lib.data import training_folder


def train(
    recipe: Annotated[str, Argument(help="Name of a recipe; 'list' shows all.")],
    data: Annotated[Path | None, Option(help="Folder of training photos, for recipes that need one.")] = None,
    out: Annotated[Path | None, Option(help="Folder for weights and card; build/weights/RECIPE by default.")] = None,
    work: Annotated[Path, Option(help="Folder for the checkpoint that a killed run resumes from.")] = Path(
        "build/runs"
    ),
    maps: Annotated[
        Path, Option(help="Saliency maps of the training photos, for recipes that are guided by them.")
    ] = Path("build/saliency/caltech101.safetensors"),
    workers: Annotated[int, Option(min=0, help="Loader processes.")] = 0,
    scheduler: Scheduler = None,
    processes: Processes = None,
    backbone: Backbone = None,
    weights: Annotated[str | None, Option(help="Codec that photo-decoder adds a decoder to; photo by default.")] = None,
    accelerator: Annotated[str, Option(help="auto takes a GPU where there is one; or cpu, or cuda.")] = "auto",
) -> None:
    """Run a named recipe; run it again to resume after a crash. ``torchrun`` may start it in several processes."""
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
            shown = {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in values.items()}
            bar(done, total, shown)

        if rank:  # the first process tells and writes for all
            out, progress = work / f"process-{rank}" / out.name, None
        run = RunContext(out, data, work, progress, workers, maps, scheduler, processes, backbone, weights, accelerator)
        sentence = run_recipe(recipe, run)
    if not rank:
        if not steps:
            typer.echo(f"{recipe} had already finished: its checkpoint in {work} was used; delete it to train again")
        typer.echo(sentence)


def saliency(
    folder: Annotated[Path, Argument(help="Photos to train on; Caltech-101's folder leaves its background out.")],
    out: Annotated[
        Path | None, Option("--out", "-o", help="File of maps; build/saliency/FOLDER.safetensors by default.")
    ] = None,
    method: Annotated[str, Option(help="gradcam, xgradcam, gradcam++, hirescam, layercam or eigencam.")] = "xgradcam",
    backbone: Annotated[str, Option(help="The teacher whose top-1 is explained.")] = "tf_efficientnet_lite0",
) -> None:
    """Compute the saliency map of every photo and keep them in one file; run it again to go on after a crash."""
    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.saliency import build_saliency_maps

    pictures = training_folder(folder).readable(thorough=False)
    target = out or Path("build/saliency") / f"{pictures.name}.safetensors"
    begun = time.perf_counter()
    with progress_bar("photo", pictures.name) as progress:
        maps = build_saliency_maps(load_backbone(backbone), pictures, target, method, progress)
    mean = sum(float(one.float().mean()) for one in maps.maps.values()) / len(maps.maps)
    typer.echo(
        f"{target}: {len(maps.maps):,} maps by {method}, mean {mean:.3f}, "
        f"{target.stat().st_size / 1e6:.1f} MB, {(time.perf_counter() - begun) / 60:.1f} minutes"
    )
