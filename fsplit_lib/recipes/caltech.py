"""What all runs on Caltech-101 share: crops, saliency maps where asked for, and the card."""

from dataclasses import asdict

import numpy as np

from fsplit_lib import zoo
from fsplit_lib.data import caltech101
from fsplit_lib.errors import DataError
from fsplit_lib.recipes.context import RunContext
from fsplit_lib.saliency import SaliencyMaps
from fsplit_lib.system import FrankenSplit, save_system
from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.loop import LogRow, train_system
from fsplit_lib.training.machine import machine
from fsplit_lib.training.sources import FolderSource

__all__ = ["ANCHORS", "FLATTERED", "record_of", "train_on_caltech"]

ANCHORS = (0.1, 0.3, 1.0, 3.0)
FLATTERED = (
    "scores on the development photos flatter teacher and codec alike: those photos are 500 of the 1,000 pictures "
    "of the public set imagenet-sample-images (names and sha256 in data/results/development_photos.csv), "
    "probably from the teacher's own training set (about 75 % is published for ImageNet's validation set); "
    "recipes were compared on these photos, so our own curves are a little flattered"
)


def record_of(config: TrainConfig, system: FrankenSplit, crop: int, log: list[LogRow]) -> dict:
    """What a card says of a run on crops of photos."""
    tail = log[-200:]
    return {
        **asdict(config),
        "lmbda": system.codec.config.anchors or config.lmbda,  # a range where there are gains
        "crops": config.steps * config.batch,
        "crop_pixels": crop,
        "minutes": round(log[-1].seconds / 60, 1),
        "final_distortion": sum(r.values["distortion"] for r in tail) / len(tail),
        "final_bits_per_pixel": sum(r.values["rate"] for r in tail) / len(tail),
    }


def train_on_caltech(
    run: RunContext,
    config: TrainConfig,
    system: FrankenSplit,
    name: str,
    summary: str,
    limits: list[str],
    crop: int = 160,
) -> str:
    """Train, save weights and card, and say in one sentence what came out.

    Args:
        run: where to read and write.
        config: of the run.
        system: untrained, or where to go on from.
        name: of the recipe.
        summary: one sentence for the card.
        limits: what to know before trusting the numbers.
        crop: side in pixels.

    Raises:
        DataError: no folder of photos, or no saliency maps where they are asked for.
    """
    if run.data is None:
        raise DataError("this recipe trains on Caltech-101: give its folder with --data")
    folder, maps = caltech101(run.data), None
    if config.guidance != "unguided":
        known = SaliencyMaps.load(run.maps)
        known.check(system.backbone)
        maps = known.of_folder(folder)
        if config.guidance == "shuffled":
            order = np.random.default_rng(config.seed).permutation(len(maps))
            maps = [maps[i] for i in order]
    log = train_system(system, FolderSource(folder, crop=crop, maps=maps), config, **run.options(config))
    card = zoo.Card(
        name=run.out.name,
        kind="codec",
        summary=summary,
        command=f"fsplit train {name} --data FOLDER_OF_CALTECH101",
        data=f"Caltech-101 without its background class, {len(folder):,} photos ({folder.licence})",
        training=record_of(config, system, crop, log),
        architecture={},
        limits=limits,
        machine=machine(),
    )
    save_system(run.out, system, card)
    return f"{run.out}: {card.training['final_bits_per_pixel']:.3f} bits per pixel, distortion {card.training['final_distortion']:.3f}"
