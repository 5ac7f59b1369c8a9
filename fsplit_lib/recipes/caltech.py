"""What is trained on Caltech-101: photo codecs, entropy models, the variants of the saliency experiment, the ablation.

A row of the ablation changes one thing (AdamW brings rates of its own; "both" changes two), from one seed. The tables
in data/results are what variants and rows are for: `fsplit evaluate photos FOLDER --weights ...` measures them all in
one run, and none of these weights are shipped.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from fsplit_lib import zoo
from fsplit_lib.backbones import PixelBackbone, load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import ImageFolder, caltech101
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.objectives import Guidance
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.saliency import SaliencyMaps
from fsplit_lib.system import FrankenSplit, build_system, load_codec, load_system, save_system
from fsplit_lib.training import FolderSource, LogRow, TrainConfig, batches, fine_tune, train_system
from fsplit_lib.training.context import learn_context
from fsplit_lib.training.side_information import WIDTH, train_entropy_models

ANCHORS = (0.1, 0.3, 1.0, 3.0)
ANY_RATE = CodecConfig(lmbda=0.6, anchors=ANCHORS)
SMALL = DecoderConfig(2, 0, 96, "dense")
FLATTERED = (
    "scores on the development photos make teacher and codec look better than they are: those photos are 500 of the 1,000 pictures "
    "of the public set imagenet-sample-images (names and sha256 in data/results/development_photos.csv), "
    "probably from the teacher's own training set (about 75 % is published for ImageNet's validation set); "
    "recipes were compared on these photos, so our own curves are a little flattered"
)
UNLABELLED = "no labels were used; the decoder saw straight-through rounding, where the paper's sees noise"


@dataclass(frozen=True)
class CaltechRun:
    """What one of these trainings is."""

    listed: str  # one line for the list of recipes
    summary: str  # one sentence for the card
    limits: tuple[str, ...]  # what to know before trusting the numbers
    train: TrainConfig
    codec: CodecConfig = ANY_RATE
    decoder: DecoderConfig = SMALL
    crop: int = 96  # side in pixels
    start: str | None = None  # weights to go on from, shipped or beside the run's own; their configurations count then
    behind: bool = False  # fine-tune decoder and tail behind the codec of ``start``, which stays as it is
    pixels: bool = False  # the decoder makes the picture, and the whole network answers
    # is called with the trained system and some latents of training crops, before they are stored
    finish: Callable[[FrankenSplit, Tensor], None] | None = None
    strong: bool = False  # crops are as small as 8 % of the photo, instead of 25 %, and change their colours


STRAIGHT = TrainConfig(
    steps=5000, batch=16, learning_rate=6e-3, quantiser="straight_through", rate_warmup=0.2, optimiser="muon"
)
THROUGH = TrainConfig(
    steps=2200, batch=16, learning_rate=3e-4, seed=1, quantiser="straight_through", objective="head_and_tail",
    optimiser="muon", precision="auto", prior_rate=3.0, gains_rate=0.5,
)  # fmt: skip
LEAN = replace(ANY_RATE, widths=(32, 64, 48), strides=(4, 2, 1), kind="lean")
TINY = replace(ANY_RATE, widths=(64, 128, 48), strides=(8, 1, 1), kind="tiny")
LIGHT = DecoderConfig(3, 0, 88, "depthwise")  # 152 million multiply-adds at 224 x 224; the replaced head does 114
ENCODERS = {"FrankenSplit": ANY_RATE, "lean": LEAN, "tiny": TINY}
DECODERS = {"ablation's base": SMALL, "photo": DecoderConfig(3, 0, 128, "dense"), "lean": LIGHT}
PHOTO = {
    "photo-first": CaltechRun(
        "the first photo codec, on Caltech-101",
        "The first photo codec: plain head distillation for a good half hour; a beginning, not a good codec.",
        ("one seed, one lmbda, a short training", UNLABELLED),
        TrainConfig(steps=3600, batch=16, quantiser="straight_through", lmbda=0.3, rate_warmup=0.3),
        CodecConfig(lmbda=0.3), DecoderConfig(2, 2, 128), 160,
    ),
    "photo-head": CaltechRun(
        "the paper's objective at continuous rate, on Caltech-101",
        "The paper's objective, head distillation, at every rate: the photo codec that never looks through the tail.",
        ("one seed", UNLABELLED), STRAIGHT, ANY_RATE, DecoderConfig(3, 0, 128, "dense"), 128,
    ),
    "lean-head": CaltechRun(
        "a lean encoder and decoder by the paper's objective, on Caltech-101",
        "A quarter of the encoder's work and a fifth of the decoder's, by the paper's objective at every rate.",
        ("one seed", UNLABELLED), replace(STRAIGHT, steps=6000, precision="auto", gains_rate=0.5), LEAN, LIGHT, 128,
    ),
    "photo": CaltechRun(
        "the photo codec of continuous rate, on Caltech-101",
        f"One encoder for every rate: lmbda {ANCHORS[0]:g} to {ANCHORS[-1]:g} at run time; photo-head, trained on through head and tail.",
        ("one seed; started from photo-head, whose 80,000 crops come on top",
         "no labels were used; the objective also looks through the frozen tail, which the paper's does not"),
        THROUGH, crop=160, start="photo-head",
    ),
    "photo-control": CaltechRun(
        "photo's second half by the paper's objective: the same crops, and no answer in the loss",
        "The control of photo: photo-head, trained on by head distillation alone, on the crops that photo saw.",
        ("one seed, that of photo; made to be compared with it",),
        replace(THROUGH, objective="head_distillation"), crop=160, start="photo-head",
    ),
    "photo-longer": CaltechRun(
        "photo, trained on through head and tail for as many crops again",
        "What more training gives: photo, trained on by its own objective on 35,200 crops more.",
        ("one seed; made to be compared with photo",),
        replace(THROUGH, learning_rate=1e-3, seed=2), crop=160, start="photo",
    ),
    "lean": CaltechRun(
        "the lean codec of continuous rate, on Caltech-101",
        "The lean codec: lean-head, trained on through head and tail, its symbols coded with a causal context.",
        ("one seed; started from lean-head, whose 96,000 crops come on top",
         "no labels were used; the objective also looks through the frozen tail, which the paper's does not",
         "the context was learned after the training, which paid by the factorised prior"),
        THROUGH, crop=160, start="lean-head",
        finish=lambda system, y: system.codec.add_context(learn_context(system.codec, y)),
    ),
}  # fmt: skip
SALIENCY = {
    f"saliency-{guidance}-{seed}": CaltechRun(
        f"a variant of chapter 04: {guidance}, seed {seed}",
        f"One variant of the saliency experiment: the paper's objective, {guidance}, seed {seed}.",
        ("made to be compared with its siblings, at equal crops and steps",),
        replace(STRAIGHT, seed=seed, guidance=guidance, precision="auto", gains_rate=0.5),
    )
    for guidance in get_args(Guidance)
    for seed in (0, 1)
}


def short_run(summary: str, train: dict | None = None, **changed: object) -> CaltechRun:
    """Plan a training of 25,008 crops: the base of the ablation, but for ``train`` and what else is ``changed``."""
    base = replace(STRAIGHT, steps=1563, precision="auto", gains_rate=0.5)
    limits = ("a short run, made to be compared with its siblings",)
    return CaltechRun(
        summary, f"One of the short trainings: {summary}.", limits, replace(base, **train or {}), **changed
    )


CONTRAST = {"objective": "head_and_contrast"}
ABLATION = {
    "base": short_run("the base: head distillation, straight-through rounding, Muon, 25,000 crops"),
    "base-1": short_run("the base once more, from another seed", {"seed": 1}),
    "quarter": short_run("a quarter of the crops", {"steps": 391}),
    "official": short_run("the encoder as the authors' public code computes it", codec=replace(ANY_RATE, activation="official")),
    "half": short_run("half the encoder's widths", codec=replace(ANY_RATE, widths=(24, 32, 48))),
    "double": short_run("double the encoder's widths", codec=replace(ANY_RATE, widths=(96, 128, 48))),
    "noise": short_run("the decoder sees noise instead of rounding, as in the paper", {"quantiser": "noise"}),
    "adamw": short_run("AdamW instead of Muon", {"optimiser": "adamw", "learning_rate": 1e-3, "gains_rate": 3.0}),
    "tail": short_run("distillation through the frozen tail beside it", {"objective": "head_and_tail"}),
    "channels": short_run("channels weighted by what they move behind the tail", {"channels": "sensitive"}),
    "large-crops": short_run("crops of 160 pixels instead of 96", crop=160),
    "depthwise": short_run("depthwise restoration and transformation blocks",
                           decoder=replace(SMALL, transformation=2, kind="depthwise")),
    "one-0.3": short_run("one rate weight, 0.3", {"lmbda": 0.3}, codec=CodecConfig(lmbda=0.3)),
    "one-1": short_run("one rate weight, 1", {"lmbda": 1.0}, codec=CodecConfig(lmbda=1.0)),
    "light": short_run("three depthwise restoration blocks, a fifth of the work of photo's decoder", decoder=LIGHT),
    "lean": short_run("the lean encoder before them", codec=LEAN, decoder=LIGHT),
    "tiny": short_run("the tiny encoder before them", codec=TINY, decoder=LIGHT),
    "lean-1": short_run("the lean encoder once more, from another seed", {"seed": 1}, codec=LEAN, decoder=LIGHT),
    "averaging": short_run("ends with a running mean of its weights", {"averaging": 0.99}),
    "ends": short_run("rate weights drawn at both ends of the range more often", {"drawn": "ends"}),
    "contrast": short_run("a contrast between pictures of a batch beside it", CONTRAST),
    "contrast-1": short_run("the contrast once more, from another seed", CONTRAST | {"seed": 1}),
    "augment": short_run("stronger augmentation: smaller crops, other colours", strong=True),
    "augment-1": short_run("stronger augmentation once more, from another seed", {"seed": 1}, strong=True),
    "both": short_run("contrast and stronger augmentation", CONTRAST, strong=True),
    "both-1": short_run("contrast and stronger augmentation once more, from another seed", CONTRAST | {"seed": 1}, strong=True),
}  # fmt: skip
CROPS = {"guidance": "guided", "maps": "crop"}
REGULARISERS = {
    f"regulariser-{name}-{seed}": short_run(f"{summary}, seed {seed}", {"seed": seed} | train, codec=codec)
    for name, (summary, train, codec) in {
        "attention": ("squeeze and excitation behind the encoder's second block", {}, replace(ANY_RATE, kind="attention")),
        "dropout": ("a tenth of the latent hidden from the decoder at every step", {"dropout": 0.1}, ANY_RATE),
        "decay": ("weight decay of 0.05 in encoder and decoder", {"weight_decay": 0.05}, ANY_RATE),
        "guided": ("guided by maps of the very crops", CROPS, ANY_RATE),
        "constant": ("a constant map with the means of those maps", CROPS | {"guidance": "constant"}, ANY_RATE),
        "decoded": ("guided by maps of the decoded features", CROPS | {"maps": "decoded"}, ANY_RATE),
    }.items()
    for seed in (0, 1)
}  # fmt: skip


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


def caltech_photos(run: RunContext) -> tuple[ImageFolder, str]:
    """Read the photos to train on, and what a card says of them."""
    folder = caltech101(run.folder_of("Caltech-101")).readable(thorough=False)
    return folder, f"Caltech-101 without its background class, {len(folder):,} photos ({folder.licence})"


def train_on_caltech(name: str, plan: CaltechRun, run: RunContext) -> str:
    """Run a plan, store weights and card, and return one sentence on the result."""
    config, maps, (folder, data) = plan.train, None, caltech_photos(run)
    backbone = load_backbone("tf_efficientnet_lite0")
    if plan.start is None:
        target = PixelBackbone(backbone, plan.codec.stride) if plan.pixels else backbone
        system = build_system(target, plan.codec, plan.decoder, config.seed)
    else:
        system = load_system(plan.start if plan.start in zoo.card_names() else run.out.parent / plan.start, backbone)
    if config.guidance != "unguided" and config.maps == "photo":
        known = SaliencyMaps.load(run.maps)
        known.check(backbone)
        maps = known.of_folder(folder)
        if config.guidance == "shuffled":
            maps = [maps[i] for i in np.random.default_rng(config.seed).permutation(len(maps))]
    scale = (0.08 if plan.strong else 0.25, 1.0)
    source = FolderSource(folder, plan.crop, scale, maps, colours=plan.strong)
    log = (fine_tune if plan.behind else train_system)(system, source, config, **run.options(config))
    if plan.finish is not None:
        with torch.no_grad():
            plan.finish(system, system.codec.encoder(next(batches(source, 512, 0, 1, config.seed)).x))
    training, command = record_of(config, system, plan.crop, log), f"{name} --data FOLDER_OF_CALTECH101"
    card = run.card("codec", plan.summary, command, data, training, [*plan.limits, FLATTERED])
    save_system(run.out, system, card)
    return f"{run.out}: {card.training['final_bits_per_pixel']:.3f} bits per pixel, distortion {card.training['final_distortion']:.3f}"


def _side_information(run: RunContext) -> str:
    """Three entropy models of one latent."""
    config = TrainConfig(steps=5000, batch=8, learning_rate=2e-3, seed=0)
    folder, data = caltech_photos(run)
    codec = load_codec("photo-first")
    models, log = train_entropy_models(codec, FolderSource(folder, crop=160), config, **run.options(config))
    training = {key: getattr(config, key) for key in ("steps", "batch", "learning_rate", "seed")}
    training |= {"crops": config.steps * config.batch, "crop_pixels": 160, "minutes": round(log[-1].seconds / 60, 1)}
    card = run.card(
        "entropy models",
        "Factorised prior, scale and mean-scale hyperprior, trained on the latents of photo-first's frozen encoder.",
        "side-information --data FOLDER_OF_CALTECH101", data, training,
        ["the encoder was trained with a factorised prior and did not learn to use side information",
         "one seed, a short training"],
    )  # fmt: skip
    card.architecture = {"codec": "photo-first", "z_channels": WIDTH}
    zoo.write_model(run.out, card, {"models.safetensors": models.state_dict()})
    return f"{run.out}: bytes a crop " + ", ".join(f"{k} {v:.0f}" for k, v in log[-1].values.items() if k != "total")


def recipes_of(runs: dict[str, CaltechRun]) -> tuple[Recipe, ...]:
    """Return the recipe of each run, by its name."""
    return tuple(Recipe(name, plan.listed, partial(train_on_caltech, name, plan)) for name, plan in runs.items())


CALTECH_RECIPES = (
    Recipe("side-information", "three entropy models of one latent, for chapter 03", _side_information),
    *recipes_of(PHOTO | SALIENCY | REGULARISERS | {f"ablation-{name}": plan for name, plan in ABLATION.items()}),
)
