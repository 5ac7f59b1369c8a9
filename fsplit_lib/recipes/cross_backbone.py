"""Recipes of chapter 07: the cross-backbone table, mismatched blueprints, and the ablation of decoders.

    native    encoder, entropy model and decoder trained with one backbone
    frozen    the codec of a native cell as it is, and a new decoder for any backbone, of any family's blocks

A cell stores its codec in a folder that all workers have to see, and returns what it measured on every test
picture, so that intervals and BD-rates can be computed afterwards.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import fashion_mnist, write_rows
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.device.timing import interleave
from fsplit_lib.evaluation import PerImageResult, bd_rates, curve_of_images
from fsplit_lib.evaluation.cross_backbone import smallest_within
from fsplit_lib.evaluation.tables import CrossRow, DecodeTime
from fsplit_lib.latency.profiling import one_thread
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.runner.grid import Cell
from fsplit_lib.system import attach_decoder, build_system, load_codec, save_system
from fsplit_lib.training import ArraySource, TrainConfig, train_decoder, train_system
from fsplit_lib.training.lab import LAB_WIDTHS

ANCHORS = (0.01, 0.05, 0.2, 1.0)
NETWORKS = ("fashion_resnet", "fashion_convnext", "fashion_swin")


@dataclass(frozen=True)
class CrossPlan:
    """How large the grids are."""

    steps: int = 1000  # of 64 pictures, in every cell
    seeds: tuple[int, ...] = (0, 1, 2)  # of the native pairs; frozen cells take the first
    pictures: int = 10_000  # of the test set
    settings: int = 5  # rate weights of a curve
    restoration: tuple[int, ...] = (0, 1, 2, 3, 4)  # block counts of the ablation
    widths: tuple[int, ...] = (32, 64)  # of the ablation
    # of the cross-backbone table
    decoder: dict = field(default_factory=lambda: {"restoration": 1, "transformation": 2, "width": 48, "window": 4})

    def cell(self, trained: str, backbone: str, frozen: bool, seed: int, decoder: dict, codec: Path) -> Cell:
        """Describe one cell of a grid."""
        options = {"trained": trained, "backbone": backbone, "frozen": frozen, "seed": seed, "decoder": decoder}
        size = {"steps": self.steps, "pictures": self.pictures, "settings": self.settings}
        return Cell(train_cell, options | size | {"codec": codec})


PLAN = CrossPlan()
ABLATION = replace(PLAN, steps=600, settings=3)  # thirty cells and their winners' seeds, in half an hour of two cores


def train_cell(
    trained: str,
    backbone: str,
    frozen: bool,
    seed: int,
    decoder: dict,
    steps: int,
    pictures: int,
    settings: int,
    codec: Path,
) -> dict:
    """Train one cell of a :class:`CrossPlan` and measure it on the first pictures of Fashion-MNIST's test set.

    The codec is, or was, trained with ``trained``. If ``frozen``, only the decoder for ``backbone`` learns, behind the
    codec in the folder ``codec``; else both learn, and are stored there. Returns what the cell is, and bytes and
    decisions of every picture at every rate weight.
    """
    config = TrainConfig(
        steps=steps, batch=64, learning_rate=2e-2, seed=seed, quantiser="straight_through", rate_warmup=0.3,
        optimiser="muon", precision="auto", gains_rate=0.5,
    )  # fmt: skip
    source, teacher = ArraySource(*fashion_mnist("train")), load_backbone(backbone)
    if frozen:
        system = attach_decoder(load_codec(codec), teacher, DecoderConfig(**decoder), seed)
        train_decoder(system, source, config)
    else:
        shape = CodecConfig(widths=LAB_WIDTHS, strides=(2, 2, 1), lmbda=ANCHORS[1], anchors=ANCHORS)
        system = build_system(teacher, shape, DecoderConfig(**decoder), seed)
        train_system(system, source, config)
        card = zoo.Card(codec.name, "codec", "A native pair of the cross-backbone grid.", "", "", asdict(config), {})
        save_system(codec, system, card)
        for part in (system.codec, system.decoder):  # measured as a reader of the files will have them
            part.load_state_dict(zoo.as_stored(part.state_dict()))
    images, labels = (part[:pictures] for part in fashion_mnist("test"))
    lmbdas = [float(v) for v in np.geomspace(ANCHORS[0], ANCHORS[-1], settings)]
    measured = curve_of_images(system.eval(), images, labels, "Fashion-MNIST test", "", lmbdas)
    return {
        "trained": trained,
        "decoded": backbone,
        "blueprint": system.decoder.config.family or system.decoder.spec.family,
        "frozen": int(frozen),
        "restoration": system.decoder.config.restoration,
        "width": system.decoder.config.width,
        "parameters": sum(p.numel() for p in system.decoder.parameters()),
        "seed": seed,
        "lmbdas": lmbdas,
        "sizes": [one.sizes.tolist() for one in measured],
        "decided": [one.decided.tolist() for one in measured],
        "teacher": measured[0].teacher.tolist(),
    }


def measured_of(cell: str, result: dict) -> list[PerImageResult]:
    """Read a cell's curve as :func:`fsplit_lib.evaluation.bd_rates` takes it."""
    teacher, labels = np.array(result["teacher"]), fashion_mnist("test")[1][: len(result["teacher"])]
    curve, judge = ("Fashion-MNIST test", cell), result["decoded"]
    return [
        PerImageResult(*curve, lmbda, None, judge, np.array(sizes), np.array(decided), teacher, labels)
        for lmbda, sizes, decided in zip(result["lmbdas"], result["sizes"], result["decided"], strict=True)
    ]


def cross_rows(results: dict[str, dict]) -> list[CrossRow]:
    """Make the table of a grid's results."""
    rows, known = [], ("trained", "decoded", "blueprint", "frozen", "restoration", "width", "parameters", "seed")
    for cell, result in results.items():
        for p in (one.point() for one in measured_of(cell, result)):
            shares = p.top1, p.top1_low, p.top1_high, p.agreement, p.agreement_low, p.agreement_high
            rows.append(CrossRow(cell, *(result[k] for k in known), p.lmbda, p.bytes, *shares, p.n))
    return rows


@torch.no_grad()
def _time_decoders(plan: CrossPlan, choices: list[tuple[str, int, int]]) -> list[DecodeTime]:
    """How long decoders take to turn one latent into features here, in turns, on one thread, trained or not."""
    y_hat, calls = torch.zeros(1, LAB_WIDTHS[-1], 8, 8), {}
    for network, restoration, width in choices:
        config = DecoderConfig(**plan.decoder | {"restoration": restoration, "width": width})
        decoder = build_decoder(LAB_WIDTHS[-1], load_backbone(network, "random").spec, config)
        calls[network, restoration, width] = partial(decoder.eval(), y_hat)
    with one_thread():
        return [DecodeTime(*key, one.median_ms, one.iqr_ms, one.runs) for key, one in interleave(calls).items()]


def _family(network: str) -> str:
    return network.removeprefix("fashion_")


def _cross(plan: CrossPlan, run: RunContext) -> str:
    folders, first = run.work.resolve() / f"{run.out.name}-weights", plan.seeds[0]

    def codec(network: str, seed: int) -> Path:
        return folders / f"native-{_family(network)}-{seed}"

    native, frozen = {}, {}
    for seed, network in product(plan.seeds, NETWORKS):
        stored = codec(network, seed)
        native[stored.name] = plan.cell(network, network, False, seed, plan.decoder, stored)
    for trained, network, other in product(NETWORKS, repeat=3):
        if trained == network or other == network:  # mismatched blocks on native codecs only
            name = f"{_family(trained)}-to-{_family(network)}-by-{_family(other)}"
            decoder = plan.decoder | {"family": _family(other)}
            frozen[name] = plan.cell(trained, network, True, first, decoder, codec(trained, first))
    results = run.grid(native) | run.grid(frozen)
    table, deltas = run.out.with_suffix(".csv"), []
    write_rows(table, cross_rows(results))
    for network in NETWORKS:
        here = {cell: result for cell, result in results.items() if result["decoded"] == network}
        anchor = codec(network, first).name
        curves = [one for cell, result in here.items() for one in measured_of(cell, result)]
        deltas += bd_rates(curves, [(cell, anchor) for cell in here if cell != anchor])
    write_rows(table.with_name(f"{table.stem}_bd_rates.csv"), deltas)
    return f"{table}: {len(results)} cells"


def _ablation(plan: CrossPlan, run: RunContext) -> str:
    folders = run.work.resolve() / f"{run.out.name}-weights"

    def cells(choices: list[tuple[str, int, int]], seeds: tuple[int, ...]) -> dict[str, Cell]:
        made = {}
        for (network, restoration, width), seed in product(choices, seeds):
            name = f"{_family(network)}-r{restoration}-w{width}-{seed}"
            decoder = plan.decoder | {"restoration": restoration, "width": width}
            made[name] = plan.cell(network, network, False, seed, decoder, folders / name)
        return made

    choices = list(product(NETWORKS, plan.restoration, plan.widths))
    results = run.grid(cells(choices, plan.seeds[:1]))
    winners = smallest_within(cross_rows(results))
    results |= run.grid(cells(winners, plan.seeds))
    table = run.out.with_suffix(".csv")
    write_rows(table, cross_rows(results))
    write_rows(table.with_name(f"{table.stem}_times.csv"), _time_decoders(plan, choices))
    told = ", ".join(f"{_family(n)} {r} blocks of width {w}" for n, r, w in winners)
    return f"{table}: {len(results)} cells; smallest within half a point: {told}"


CROSS_RECIPES = (
    Recipe("cross_backbone", "one frozen encoder for three backbones, for chapter 07 (a grid)", partial(_cross, PLAN)),
    Recipe("decoder_ablation", "restoration blocks and widths, for chapter 07 (a grid)", partial(_ablation, ABLATION)),
)
