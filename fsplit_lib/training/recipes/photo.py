"""Recipes on Caltech-101: the photo codecs, and the arms of the saliency experiment."""

from dataclasses import asdict
from functools import partial
from typing import get_args

import numpy as np

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import caltech101
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError
from fsplit_lib.objectives import Guidance
from fsplit_lib.saliency import SaliencyMaps
from fsplit_lib.system import FrankenSplit, build_system, load_system, save_system
from fsplit_lib.training.loop import TrainConfig
from fsplit_lib.training.machine import machine
from fsplit_lib.training.recipes.job import Job, Recipe
from fsplit_lib.training.sources import FolderSource
from fsplit_lib.training.systems import train_system

__all__ = ["PHOTO_RECIPES"]

FLATTERED = (
    "scores on the development photos flatter teacher and codec alike: those photos are 500 of the 1,000 pictures "
    "of the public set imagenet-sample-images (names and sha256 in data/results/development_photos.csv), "
    "probably from the teacher's own training set (about 75 % is published for ImageNet's validation set)"
)


def _photo_first(job: Job) -> str:
    config = TrainConfig(
        steps=3600, batch=16, learning_rate=1e-3, seed=0, quantiser="straight_through", lmbda=0.3, rate_warmup=0.3
    )
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig(lmbda=config.lmbda), DecoderConfig(2, 2, 128), config.seed)
    summary = "The first photo codec: plain head distillation for a good half hour; a beginning, not a good codec."
    limits = [
        "one seed, one lmbda, a short training",
        "no labels were used; the decoder saw straight-through rounding, where the paper's sees noise",
        FLATTERED,
    ]
    return _train_on_caltech(job, config, system, "photo-first", summary, limits)


ANCHORS = (0.1, 0.3, 1.0, 3.0)


def _photo_head(job: Job) -> str:
    config = TrainConfig(
        steps=5000,
        batch=16,
        learning_rate=6e-3,
        seed=0,
        quantiser="straight_through",
        rate_warmup=0.2,
        optimiser="muon",
    )
    backbone = load_backbone("tf_efficientnet_lite0")
    codec, decoder = CodecConfig(lmbda=0.6, anchors=ANCHORS), DecoderConfig(3, 0, 128, "dense")
    system = build_system(backbone, codec, decoder, config.seed)
    summary = (
        "The paper's objective, head distillation, at every rate: the photo codec that never looks through the tail."
    )
    limits = [
        "one seed",
        "no labels were used; the decoder saw straight-through rounding, where the paper's sees noise",
        FLATTERED,
    ]
    return _train_on_caltech(job, config, system, "photo-head", summary, limits, crop=128)


def _photo(job: Job) -> str:
    config = TrainConfig(
        steps=4500, batch=16, learning_rate=7e-4, seed=1, quantiser="straight_through", objective="head_and_tail"
    )
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig(lmbda=0.6, anchors=ANCHORS), DecoderConfig(2, 2, 128), config.seed)
    first = load_system("photo-first", backbone)
    system.codec.encoder.load_state_dict(first.codec.encoder.state_dict())
    system.codec.prior.density.load_state_dict(first.codec.prior.density.state_dict())
    system.codec.prior.density.quantiles[:, :, 1] = 0
    system.decoder.load_state_dict(first.decoder.state_dict())
    summary = f"One encoder for every rate: lmbda {ANCHORS[0]:g} to {ANCHORS[-1]:g} at run time, trained through head and tail."
    limits = [
        "one seed; started from photo-first, whose 57,600 crops come on top",
        "no labels were used; the objective also looks through the frozen tail, which the paper's does not",
        FLATTERED,
    ]
    return _train_on_caltech(job, config, system, "photo", summary, limits)


def _saliency_arm(guidance: Guidance, seed: int, job: Job) -> str:
    config = TrainConfig(
        steps=5000, batch=16, learning_rate=6e-3, seed=seed, quantiser="straight_through", rate_warmup=0.2,
        optimiser="muon", guidance=guidance, precision="bf16-mixed", gains_rate=0.5,
    )  # fmt: skip
    backbone = load_backbone("tf_efficientnet_lite0")
    codec, decoder = CodecConfig(lmbda=0.6, anchors=ANCHORS), DecoderConfig(2, 0, 96, "dense")
    system = build_system(backbone, codec, decoder, seed)
    summary = f"One arm of the saliency experiment: the paper's objective, {guidance}, seed {seed}."
    limits = ["made to be compared with its siblings, at equal crops and steps", FLATTERED]
    return _train_on_caltech(job, config, system, f"saliency-{guidance}-{seed}", summary, limits, crop=96)


def _train_on_caltech(
    job: Job, config: TrainConfig, system: FrankenSplit, name: str, summary: str, limits: list[str], crop: int = 160
) -> str:
    if job.data is None:
        raise DataError("this recipe trains on Caltech-101: give its folder with --data")
    folder, maps = caltech101(job.data), None
    if config.guidance != "unguided":
        known = SaliencyMaps.load(job.maps)
        known.check(system.backbone)
        maps = known.of_folder(folder)
        if config.guidance == "shuffled":
            order = np.random.default_rng(config.seed).permutation(len(maps))
            maps = [maps[i] for i in order]
    log = train_system(system, FolderSource(folder, crop=crop, maps=maps), config, **job.options(config))
    tail = log[-200:]
    card = zoo.Card(
        name=job.out.name,
        kind="codec",
        summary=summary,
        command=f"fsplit train {name} --data FOLDER_OF_CALTECH101",
        data=f"Caltech-101 without its background class, {len(folder):,} photos (Fei-Fei et al. 2004; CC BY 4.0)",
        training={
            **asdict(config),
            "lmbda": system.codec.config.anchors or config.lmbda,  # a range where there are gains
            "crops": config.steps * config.batch,
            "crop_pixels": crop,
            "minutes": round(log[-1].seconds / 60, 1),
            "final_distortion": sum(r.values["distortion"] for r in tail) / len(tail),
            "final_bits_per_pixel": sum(r.values["rate"] for r in tail) / len(tail),
        },
        architecture={},
        limits=limits,
        machine=machine(),
    )
    save_system(job.out, system, card)
    return f"{job.out}: {card.training['final_bits_per_pixel']:.3f} bits per pixel, distortion {card.training['final_distortion']:.3f}"


PHOTO_RECIPES = (
    Recipe("photo-first", "the first photo codec, on Caltech-101", _photo_first),
    Recipe("photo-head", "the paper's objective at continuous rate, on Caltech-101", _photo_head),
    *(
        Recipe(f"saliency-{g}-{s}", f"an arm of chapter 04: {g}, seed {s}", partial(_saliency_arm, g, s))
        for g in get_args(Guidance)
        for s in (0, 1)
    ),
    Recipe("photo", "the photo codec of continuous rate, on Caltech-101", _photo),
)
