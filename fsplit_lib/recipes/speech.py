"""Recipes on the Free Spoken Digit Dataset: the teacher of spoken digits, and the codec in front of it.

The classes, the loop and the objective are the photo codec's. A patch of log-mel values is the picture, of one channel.
"""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data.speech import patches, spoken_digits
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.recipes.teachers import fit_teacher, write_teacher
from fsplit_lib.system import build_system, save_system
from fsplit_lib.training import ArraySource, TrainConfig, train_system

DATA = "Free Spoken Digit Dataset, {:,} recordings of four speakers, each warped {} times at random (CC BY-SA 4.0)"
LIMITS = (
    "tested on two speakers that nothing was trained on (theo and yweweler); intervals over their recordings do not "
    "say how it does for a third",
    "ten English words in quiet rooms, 0.8 seconds at 8 kHz",
)
COPIES = 8
TEACHER = TrainConfig(steps=800, batch=64, learning_rate=1e-2, weight_decay=0.05, optimiser="muon")
SPEECH_CODEC = CodecConfig((16, 32, 16), lmbda=1.0, anchors=(0.3, 1.0, 3.0, 10.0), channels=1)
SPEECH_DECODER = DecoderConfig(2, 0, 48, "dense")
CODEC = TrainConfig(
    steps=1500, batch=32, learning_rate=6e-3, quantiser="straight_through", rate_warmup=0.2, optimiser="muon",
    gains_rate=0.5,
)  # fmt: skip


def warped(images: np.ndarray, copies: int, seed: int) -> np.ndarray:
    """Draw speakers that nobody recorded: stretched in time and frequency, shifted, louder, softer, and tilted.

    Patches (N, 1, H, W) uint8 become (copies · N, 1, H, W).
    """
    generator, made = torch.Generator().manual_seed(seed), []
    for _ in range(copies):
        x = images_to_tensor(images)
        draws = 2 * torch.rand(len(x), 6, generator=generator) - 1  # (N, 6)
        affine = torch.zeros(len(x), 2, 3)
        affine[:, 0, 0], affine[:, 0, 2] = 1 + 0.2 * draws[:, 0], 0.2 * draws[:, 1]  # time
        affine[:, 1, 1], affine[:, 1, 2] = 1 + 0.1 * draws[:, 2], 0.1 * draws[:, 3]  # frequency
        x = F.grid_sample(x, F.affine_grid(affine, list(x.shape), align_corners=False), align_corners=False)
        tilt = 0.1 * draws[:, 4, None] * torch.linspace(-1, 1, x.shape[2]) + 0.1 * draws[:, 5, None]
        x = (x + (x > 0) * tilt[:, None, :, None]).clamp(0, 1)  # silence stays silent
        made.append((255 * x).round().to(torch.uint8).numpy())
    return np.concatenate(made)


def _source(run: RunContext, seed: int) -> tuple[ArraySource, str]:
    paths, digits = spoken_digits(run.folder_of("the Free Spoken Digit Dataset"), "train")
    return ArraySource(warped(patches(paths), COPIES, seed), np.tile(digits, COPIES)), DATA.format(len(paths), COPIES)


def _teacher(run: RunContext) -> str:
    source, data = _source(run, TEACHER.seed)
    paths, digits = spoken_digits(run.data, "test")
    dataset = "Free Spoken Digit Dataset, held-out speakers"
    network, point, log = fit_teacher(
        "speech-teacher", source, TEACHER, run.options(TEACHER), dataset, (patches(paths), digits)
    )
    recorded = ("steps", "batch", "learning_rate", "weight_decay", "optimiser", "seed")
    training = {key: getattr(TEACHER, key) for key in recorded} | {"minutes": round(log[-1].seconds / 60, 1)}
    summary = "timm's ResNet with BasicBlocks (1, 1, 1, 1) of widths 16, 32, 64, 96 for spoken digits as 64x64 log-mel values."
    command = "speech-teacher --data FOLDER"
    card = run.card("backbone", summary, command, data, training, ["one seed", *LIMITS])
    write_teacher(run, "speech-teacher", network, point, card)
    return f"{run.out}: {point.top1:.1%} of {point.n:,} recordings of held-out speakers"


def _codec(seed: int, run: RunContext) -> str:
    config = replace(CODEC, seed=seed)
    source, data = _source(run, seed)
    system = build_system(load_backbone("speech-teacher"), SPEECH_CODEC, SPEECH_DECODER, seed)
    log = train_system(system, source, config, **run.options(config))
    count, minutes = config.steps * config.batch, round(log[-1].seconds / 60, 1)
    card = run.card(
        "codec",
        "The encoder class of photos on log-mel patches of one channel: the speech codec, at every rate from one encoder.",
        f"speech{f'-{seed}' if seed else ''} --data FOLDER",
        data,
        asdict(config) | {"lmbda": SPEECH_CODEC.anchors, "patches": count, "minutes": minutes},
        ["one of two seeds, see data/results/speech.csv", "no labels were used", *LIMITS],
    )
    save_system(run.out, system, card)
    last = {name: np.mean([row.values[name] for row in log[-200:]]) for name in ("rate", "distortion")}
    return f"{run.out}: {last['rate']:.3f} bits per mel value, distortion {last['distortion']:.3f}"


SPEECH_RECIPES = (
    Recipe("speech-teacher", "the teacher of spoken digits, four speakers of six", _teacher),
    Recipe("speech", "the codec for spoken digits, of one channel and continuous rate", partial(_codec, 0)),
    Recipe("speech-1", "the codec for spoken digits once more, from another seed", partial(_codec, 1)),
)
