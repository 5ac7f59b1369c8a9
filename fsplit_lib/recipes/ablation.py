"""The ablation of the photo codec: one change a row (AdamW brings rates of its own), from one seed.

`fsplit train ablation-ROW --data FOLDER` trains a row; `fsplit evaluate photos FOLDER --weights ...` measures them
all in one run. None of these weights are shipped: the tables in data/results are what they are for.
"""

from dataclasses import dataclass, field, replace
from functools import partial

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.recipes.caltech import ANCHORS, FLATTERED, train_on_caltech
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import build_system
from fsplit_lib.training.config import TrainConfig

__all__ = ["ABLATION_RECIPES", "ABLATION_ROWS", "AblationRow"]

BASE = TrainConfig(
    steps=1563, batch=16, learning_rate=6e-3, seed=0, quantiser="straight_through", rate_warmup=0.2,
    optimiser="muon", precision="auto", gains_rate=0.5,
)  # fmt: skip
CODEC = CodecConfig(lmbda=0.6, anchors=ANCHORS)
DECODER = DecoderConfig(2, 0, 96, "dense")


@dataclass(frozen=True)
class AblationRow:
    """What one row changes in the base recipe, which is the paper's objective at continuous rate.

    Attributes:
        summary: in words.
        train: fields of the TrainConfig.
        codec: of the CodecConfig.
        decoder: of the DecoderConfig.
        crop: side in pixels.
    """

    summary: str
    train: dict = field(default_factory=dict)
    codec: dict = field(default_factory=dict)
    decoder: dict = field(default_factory=dict)
    crop: int = 96


ABLATION_ROWS = {
    "base": AblationRow("the base: head distillation, straight-through rounding, Muon, 25,000 crops"),
    "base-1": AblationRow("the base once more, from another seed", {"seed": 1}),
    "quarter": AblationRow("a quarter of the crops", {"steps": 391}),
    "official": AblationRow("the encoder as the authors' public code computes it", codec={"activation": "official"}),
    "half": AblationRow("half the encoder's widths", codec={"widths": (24, 32, 48)}),
    "double": AblationRow("double the encoder's widths", codec={"widths": (96, 128, 48)}),
    "noise": AblationRow("the decoder sees noise instead of rounding, as in the paper", {"quantiser": "noise"}),
    "adamw": AblationRow("AdamW instead of Muon", {"optimiser": "adamw", "learning_rate": 1e-3, "gains_rate": 3.0}),
    "tail": AblationRow("distillation through the frozen tail beside it", {"objective": "head_and_tail"}),
    "channels": AblationRow("channels weighted by what they move behind the tail", {"channels": "sensitive"}),
    "large-crops": AblationRow("crops of 160 pixels instead of 96", crop=160),
    "depthwise": AblationRow(
        "depthwise restoration and transformation blocks", decoder={"transformation": 2, "kind": "depthwise"}
    ),
    "one-0.3": AblationRow("one rate weight, 0.3", {"lmbda": 0.3}, {"lmbda": 0.3, "anchors": ()}),
    "one-1": AblationRow("one rate weight, 1", {"lmbda": 1.0}, {"lmbda": 1.0, "anchors": ()}),
}

SHORT = {"steps": 800}
LIGHT = {"restoration": 3, "kind": "depthwise"}  # 148 million multiply-adds at 224 x 224, for Lite0's head's 114
LEAN = {"widths": (32, 64, 48), "strides": (4, 2, 1), "kind": "lean"}
TINY = {"widths": (64, 128, 48), "strides": (8, 1, 1), "kind": "tiny"}
ENCODER_ROWS = {
    "search-paper": AblationRow("the paper's encoder, before the lean decoder, 12,800 crops", SHORT, {}, LIGHT),
    "search-lean": AblationRow("the lean encoder", SHORT, LEAN, LIGHT),
    "search-lean-1": AblationRow("the lean encoder, from another seed", SHORT | {"seed": 1}, LEAN, LIGHT),
    "search-patch": AblationRow("its stem as one stride of 8", SHORT, LEAN | {"strides": (8, 1, 1)}, LIGHT),
    "search-narrow": AblationRow("its stem half as wide", SHORT, LEAN | {"widths": (16, 64, 48)}, LIGHT),
    "search-tiny": AblationRow("the tiny encoder", SHORT, TINY, LIGHT),
    "search-tiny-flat": AblationRow(
        "wider patches, nothing wider inside", SHORT, TINY | {"widths": (88, 88, 48)}, LIGHT
    ),
}
ABLATION_ROWS |= ENCODER_ROWS


def _train_row(name: str, run: RunContext) -> str:
    row = ABLATION_ROWS[name]
    config = replace(BASE, **row.train)
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, replace(CODEC, **row.codec), replace(DECODER, **row.decoder), config.seed)
    limits = ["a short run, made to be compared with its siblings", FLATTERED]
    summary = f"A row of the ablation: {row.summary}."
    return train_on_caltech(run, config, system, f"ablation-{name}", summary, limits, row.crop)


ABLATION_RECIPES = tuple(
    Recipe(f"ablation-{name}", row.summary, partial(_train_row, name)) for name, row in ABLATION_ROWS.items()
)
