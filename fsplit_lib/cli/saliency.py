"""``fsplit saliency``: the maps of a folder of photos, once."""

from pathlib import Path
from typing import Annotated

import typer

from fsplit_lib.cli.progress import progress_bar


def saliency(
    folder: Annotated[Path, typer.Argument(help="Photos to train on; Caltech-101's folder leaves its background out.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File of maps; build/saliency/FOLDER.safetensors by default.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="gradcam, xgradcam, gradcam++, hirescam, layercam or eigencam.")
    ] = "xgradcam",
    backbone: Annotated[str, typer.Option(help="The teacher whose top-1 is explained.")] = "tf_efficientnet_lite0",
) -> None:
    """Compute the saliency map of every photo and keep them in one file; run it again to go on after a crash."""
    import time

    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.data import training_folder
    from fsplit_lib.saliency import build_saliency_maps

    pictures = training_folder(folder).readable(thorough=False)
    target = out or Path("build/saliency") / f"{pictures.name}.safetensors"
    begun = time.perf_counter()
    with progress_bar("photo", pictures.name) as progress:
        maps = build_saliency_maps(load_backbone(backbone), pictures, target, method, progress)
    minutes = (time.perf_counter() - begun) / 60
    mean = sum(float(one.float().mean()) for one in maps.maps.values()) / len(maps.maps)
    typer.echo(
        f"{target}: {len(maps.maps):,} maps by {method}, mean {mean:.3f}, "
        f"{target.stat().st_size / 1e6:.1f} MB, {minutes:.1f} minutes"
    )
