"""Recipes on Caltech-101: the photo codecs, and the arms of the saliency experiment."""

from functools import partial
from typing import get_args

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.objectives import Guidance
from fsplit_lib.recipes.caltech import ANCHORS, FLATTERED, train_on_caltech
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import build_system, load_system
from fsplit_lib.training.config import TrainConfig

__all__ = ["PHOTO_RECIPES"]


def _photo_first(run: RunContext) -> str:
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
    return train_on_caltech(run, config, system, "photo-first", summary, limits)


def _photo_head(run: RunContext) -> str:
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
    return train_on_caltech(run, config, system, "photo-head", summary, limits, crop=128)


def _photo(run: RunContext) -> str:
    config = TrainConfig(
        steps=2200, batch=16, learning_rate=3e-4, seed=1, quantiser="straight_through", objective="head_and_tail",
        optimiser="muon", precision="auto", prior_rate=3.0, gains_rate=0.5,
    )  # fmt: skip
    system = load_system("photo-head", load_backbone("tf_efficientnet_lite0"))
    summary = (
        f"One encoder for every rate: lmbda {ANCHORS[0]:g} to {ANCHORS[-1]:g} at run time; photo-head, trained on "
        "through head and tail."
    )
    limits = [
        "one seed; started from photo-head, whose 80,000 crops come on top",
        "no labels were used; the objective also looks through the frozen tail, which the paper's does not",
        FLATTERED,
    ]
    return train_on_caltech(run, config, system, "photo", summary, limits)


LEAN_SUMMARY = "A quarter of the encoder's work and a fifth of the decoder's"
LEAN_LIMITS = [
    "one seed",
    "no labels were used; the decoder saw straight-through rounding, where the paper's sees noise",
]


def _lean_head(run: RunContext) -> str:
    config = TrainConfig(
        steps=6000, batch=16, learning_rate=6e-3, seed=0, quantiser="straight_through", rate_warmup=0.2,
        optimiser="muon", precision="auto", gains_rate=0.5,
    )  # fmt: skip
    backbone = load_backbone("tf_efficientnet_lite0")
    codec = CodecConfig(widths=(32, 64, 48), strides=(4, 2, 1), kind="lean", lmbda=0.6, anchors=ANCHORS)
    system = build_system(backbone, codec, DecoderConfig(3, 0, 96, "depthwise"), config.seed)
    summary = f"{LEAN_SUMMARY}, by the paper's objective."
    return train_on_caltech(run, config, system, "lean-head", summary, [*LEAN_LIMITS, FLATTERED], crop=128)


def _lean(run: RunContext) -> str:
    config = TrainConfig(
        steps=2600, batch=16, learning_rate=3e-4, seed=1, quantiser="straight_through", objective="head_and_tail",
        optimiser="muon", precision="auto", prior_rate=3.0, gains_rate=0.5,
    )  # fmt: skip
    system = load_system(run.out.parent / "lean-head", load_backbone("tf_efficientnet_lite0"))
    summary = f"{LEAN_SUMMARY}; lean-head, trained on through head and tail."
    limits = [*LEAN_LIMITS, "started from lean-head, whose 96,000 crops come on top", FLATTERED]
    return train_on_caltech(run, config, system, "lean", summary, limits)


def _saliency_arm(guidance: Guidance, seed: int, run: RunContext) -> str:
    config = TrainConfig(
        steps=5000, batch=16, learning_rate=6e-3, seed=seed, quantiser="straight_through", rate_warmup=0.2,
        optimiser="muon", guidance=guidance, precision="auto", gains_rate=0.5,
    )  # fmt: skip
    backbone = load_backbone("tf_efficientnet_lite0")
    codec, decoder = CodecConfig(lmbda=0.6, anchors=ANCHORS), DecoderConfig(2, 0, 96, "dense")
    system = build_system(backbone, codec, decoder, seed)
    summary = f"One arm of the saliency experiment: the paper's objective, {guidance}, seed {seed}."
    limits = ["made to be compared with its siblings, at equal crops and steps", FLATTERED]
    return train_on_caltech(run, config, system, f"saliency-{guidance}-{seed}", summary, limits, crop=96)


PHOTO_RECIPES = (
    Recipe("photo-first", "the first photo codec, on Caltech-101", _photo_first),
    Recipe("photo-head", "the paper's objective at continuous rate, on Caltech-101", _photo_head),
    *(
        Recipe(f"saliency-{g}-{s}", f"an arm of chapter 04: {g}, seed {s}", partial(_saliency_arm, g, s))
        for g in get_args(Guidance)
        for s in (0, 1)
    ),
    Recipe("photo", "the photo codec of continuous rate, on Caltech-101", _photo),
    Recipe("lean-head", "the lean codec by the paper's objective, on Caltech-101", _lean_head),
    Recipe("lean", "the lean codec, after lean-head in the same folder of weights, on Caltech-101", _lean),
)
