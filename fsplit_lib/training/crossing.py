"""One frozen codec, three backbones: the cells of chapter 07 and the rows that come out of them.

    native    encoder, entropy model and decoder trained with one backbone
    frozen    the codec of a native cell as it is, and a new decoder for any backbone, of any family's blocks

A cell stores its weights in a folder that all workers have to see, and returns what it measured on every
test picture, so that intervals and BD-rates can be drawn afterwards.
"""

from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import fashion_mnist
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.device.timing import ENOUGH_RUNS, Timing, interleave
from fsplit_lib.evaluation import Measured, curve_of_images, wilson
from fsplit_lib.system import FrankenSplit, attach_decoder, build_system, load_codec, save_system
from fsplit_lib.training.lab import LAB_WIDTHS
from fsplit_lib.training.loop import TrainConfig
from fsplit_lib.training.sources import ArraySource
from fsplit_lib.training.systems import train_decoder, train_system

__all__ = ["ANCHORS", "CrossRow", "cross_rows", "frozen_cell", "measured_of", "native_cell", "time_decoders"]

ANCHORS = (0.01, 0.05, 0.2, 1.0)


@dataclass(frozen=True)
class CrossRow:
    """One rate weight of one cell, on all test pictures.

    Attributes:
        cell: name in the grid.
        trained: backbone that the codec was trained with.
        decoded: backbone that answers.
        blueprint: family of the decoder's transformation blocks.
        frozen: 1 where only the decoder was trained for this backbone, 0 for a native pair.
        restoration: number of restoration blocks.
        width: of the decoder.
        parameters: of the decoder.
        seed: of everything random.
        lmbda: weight of the rate.
        bytes: mean of whole packets.
        top1: accuracy, with Wilson's 95 % interval.
        top1_low: its lower end.
        top1_high: its upper end.
        kept: share of the answering backbone's own decisions, likewise.
        kept_low: lower end.
        kept_high: upper end.
        n: test pictures.
    """

    cell: str
    trained: str
    decoded: str
    blueprint: str
    frozen: int
    restoration: int
    width: int
    parameters: int
    seed: int
    lmbda: float
    bytes: float
    top1: float
    top1_low: float
    top1_high: float
    kept: float
    kept_low: float
    kept_high: float
    n: int


def _config(seed: int, steps: int) -> TrainConfig:
    return TrainConfig(
        steps=steps, batch=64, learning_rate=2e-2, seed=seed, quantiser="straight_through", rate_warmup=0.3,
        optimiser="muon", precision="auto", gains_rate=0.5,
    )  # fmt: skip


def native_cell(
    backbone: str, seed: int, steps: int, decoder: dict, pictures: int, settings: int, weights: Path
) -> dict:
    """Train codec and decoder together for one of our backbones, and measure them.

    Args:
        backbone: its name.
        seed: of everything random.
        steps: of 64 pictures.
        decoder: fields of a :class:`~fsplit_lib.decoders.DecoderConfig`.
        pictures: of the test set, from its beginning.
        settings: rate weights along the range.
        weights: folder for codec and decoder.
    """
    teacher = load_backbone(backbone)
    codec = CodecConfig(widths=LAB_WIDTHS, strides=(2, 2, 1), lmbda=ANCHORS[1], anchors=ANCHORS)
    system = build_system(teacher, codec, DecoderConfig(**decoder), seed)
    config = _config(seed, steps)
    train_system(system, ArraySource(*fashion_mnist("train")), config)
    card = zoo.Card(weights.name, "codec", "A native pair of the cross-backbone grid.", "", "", asdict(config), {})
    save_system(weights, system, card)
    for piece in (system.codec, system.decoder):  # measured as a reader of the files will have them
        piece.load_state_dict(zoo.as_stored(piece.state_dict()))
    return _measure(system, backbone, seed, False, pictures, settings)


def frozen_cell(
    trained: str, backbone: str, seed: int, steps: int, decoder: dict, pictures: int, settings: int, codec: Path
) -> dict:
    """Train a decoder for one of our backbones behind the codec of a native cell, and measure both.

    Args:
        trained: backbone that the codec was trained with, for the record.
        backbone: that answers.
        seed: of everything random.
        steps: of 64 pictures.
        decoder: fields of a :class:`~fsplit_lib.decoders.DecoderConfig`.
        pictures: of the test set, from its beginning.
        settings: rate weights along the range.
        codec: folder that the native cell left.
    """
    system = attach_decoder(load_codec(codec), load_backbone(backbone), DecoderConfig(**decoder), seed)
    train_decoder(system, ArraySource(*fashion_mnist("train")), _config(seed, steps))
    return _measure(system, trained, seed, True, pictures, settings)


def _measure(system: FrankenSplit, trained: str, seed: int, frozen: bool, pictures: int, settings: int) -> dict:
    images, labels = (part[:pictures] for part in fashion_mnist("test"))
    lmbdas = [float(v) for v in np.geomspace(ANCHORS[0], ANCHORS[-1], settings)]
    measured = curve_of_images(system.eval(), images, labels, "Fashion-MNIST test", "", lmbdas)
    return {
        "trained": trained,
        "decoded": system.backbone.name,
        "blueprint": system.decoder.config.family or system.decoder.spec.family,
        "frozen": int(frozen),
        "restoration": system.decoder.config.restoration,
        "width": system.decoder.config.width,
        "parameters": sum(p.numel() for p in system.decoder.parameters()),
        "seed": seed,
        "codec_id": system.codec.codec_id.hex(),
        "lmbdas": lmbdas,
        "sizes": [one.sizes.tolist() for one in measured],
        "decided": [one.decided.tolist() for one in measured],
        "teacher": measured[0].teacher.tolist(),
    }


def measured_of(cell: str, result: dict) -> list[Measured]:
    """A cell's curve as :func:`fsplit_lib.evaluation.bd_rates` takes it."""
    teacher, labels = np.array(result["teacher"]), fashion_mnist("test")[1][: len(result["teacher"])]
    return [
        Measured("Fashion-MNIST test", cell, f"lmbda {lmbda:.3g}", np.array(sizes), np.array(decided), teacher, labels)
        for lmbda, sizes, decided in zip(result["lmbdas"], result["sizes"], result["decided"], strict=True)
    ]


def cross_rows(results: dict[str, dict]) -> list[CrossRow]:
    """The table of a grid's results."""
    rows = []
    for cell, result in results.items():
        common = {
            k: result[k] for k in ("trained", "decoded", "blueprint", "frozen", "restoration", "width", "parameters")
        }
        for lmbda, one in zip(result["lmbdas"], measured_of(cell, result), strict=True):
            n, shares = len(one.sizes), {}
            for name, truth in (("top1", one.labels), ("kept", one.teacher)):
                right = int((one.decided == truth).sum())
                shares |= dict(zip((name, f"{name}_low", f"{name}_high"), (right / n, *wilson(right, n)), strict=True))
            size = float(one.sizes.mean())
            rows.append(CrossRow(cell, **common, seed=result["seed"], lmbda=lmbda, bytes=size, **shares, n=n))
    return rows


@torch.no_grad()
def time_decoders(decoders: dict[Hashable, tuple[str, dict]], runs: int = ENOUGH_RUNS) -> dict[Hashable, Timing]:
    """How long decoders take to turn one latent into features here, timed in turns, on one thread.

    Args:
        decoders: backbone and configuration, by any name; untrained ones take as long as trained ones.
        runs: rounds.
    """

    def call(backbone: str, config: dict) -> Callable[[], Tensor]:
        spec = load_backbone(backbone, "random").spec
        return partial(build_decoder(LAB_WIDTHS[-1], spec, DecoderConfig(**config)).eval(), y_hat)

    y_hat, threads = torch.zeros(1, LAB_WIDTHS[-1], 8, 8), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return interleave({key: call(*one) for key, one in decoders.items()}, runs)
    finally:
        torch.set_num_threads(threads)
