"""Recipes of chapter 07: the cross-backbone table, mismatched blueprints, and the ablation of decoders."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from fsplit_lib.data import write_rows
from fsplit_lib.evaluation import bd_rates
from fsplit_lib.recipes.job import Job, Recipe
from fsplit_lib.runner.grid import Cell
from fsplit_lib.training.crossing import CrossRow, cross_rows, frozen_cell, measured_of, native_cell, time_decoders

__all__ = ["ABLATION", "CROSS_RECIPES", "PLAN", "CrossPlan", "DecodeTime", "equal_bytes", "smallest_within"]

NETWORKS = ("fashion_resnet", "fashion_convnext", "fashion_swin")


@dataclass(frozen=True)
class CrossPlan:
    """How large the grids are.

    Attributes:
        steps: of 64 pictures, in every cell.
        seeds: of the native pairs; frozen cells take the first.
        pictures: of the test set.
        settings: rate weights a curve.
        restoration: block counts of the ablation.
        widths: of the ablation.
        decoder: of the cross-backbone table.
    """

    steps: int = 1000
    seeds: tuple[int, ...] = (0, 1, 2)
    pictures: int = 10_000
    settings: int = 5
    restoration: tuple[int, ...] = (0, 1, 2, 3, 4)
    widths: tuple[int, ...] = (32, 64)
    decoder: dict = field(default_factory=lambda: {"restoration": 1, "transformation": 2, "width": 48, "window": 4})


@dataclass(frozen=True)
class DecodeTime:
    """How long a decoder of the ablation takes for one latent, on one thread of the machine that wrote the table.

    Attributes:
        decoded: the backbone.
        restoration: number of restoration blocks.
        width: their channels.
        decode_ms: median over the runs, all decoders in turns.
        iqr_ms: between the quartiles.
        runs: after warming up.
    """

    decoded: str
    restoration: int
    width: int
    decode_ms: float
    iqr_ms: float
    runs: int


def _family(network: str) -> str:
    return network.removeprefix("fashion_")


def _native(plan: CrossPlan, network: str, seed: int, decoder: dict, weights: Path) -> Cell:
    options = {"backbone": network, "seed": seed, "steps": plan.steps, "decoder": decoder}
    return Cell(native_cell, options | {"pictures": plan.pictures, "settings": plan.settings, "weights": weights})


def _cross(plan: CrossPlan, job: Job) -> str:
    folders = job.work.resolve() / f"{job.out.name}-weights"
    natives = {
        f"native-{_family(network)}-{seed}": _native(
            plan, network, seed, plan.decoder, folders / f"native-{_family(network)}-{seed}"
        )
        for seed in plan.seeds
        for network in NETWORKS
    }
    results, seed, frozen = job.grid(natives), plan.seeds[0], {}
    for trained in NETWORKS:
        for network in NETWORKS:
            for blueprint in map(_family, NETWORKS):
                if trained == network or blueprint == _family(network):  # mismatched blocks on native codecs only
                    options = {"trained": trained, "backbone": network, "seed": seed, "steps": plan.steps}
                    options |= {"decoder": plan.decoder | {"family": blueprint}}
                    options |= {"pictures": plan.pictures, "settings": plan.settings}
                    codec = folders / f"native-{_family(trained)}-{seed}"
                    name = f"{_family(trained)}-to-{_family(network)}-by-{blueprint}"
                    frozen[name] = Cell(frozen_cell, options | {"codec": codec})
    results |= job.grid(frozen)
    table, deltas = job.out.with_suffix(".csv"), []
    write_rows(table, cross_rows(results))
    for network in NETWORKS:
        here = {cell: result for cell, result in results.items() if result["decoded"] == network}
        anchor = f"native-{_family(network)}-{seed}"
        curves = [one for cell, result in here.items() for one in measured_of(cell, result)]
        deltas += bd_rates(curves, [(cell, anchor) for cell in here if cell != anchor])
    write_rows(table.with_name(f"{table.stem}_bd_rates.csv"), deltas)
    return f"{table}: {len(results)} cells"


def _ablation(plan: CrossPlan, job: Job) -> str:
    folders = job.work.resolve() / f"{job.out.name}-weights"

    def cells(choices: list[tuple[str, int, int]], seeds: tuple[int, ...]) -> dict[str, Cell]:
        made = {}
        for network, restoration, width in choices:
            for seed in seeds:
                name = f"{_family(network)}-r{restoration}-w{width}-{seed}"
                decoder = plan.decoder | {"restoration": restoration, "width": width}
                made[name] = _native(plan, network, seed, decoder, folders / name)
        return made

    choices = [(n, r, w) for n in NETWORKS for r in plan.restoration for w in plan.widths]
    results = job.grid(cells(choices, plan.seeds[:1]))
    winners = smallest_within(cross_rows(results))
    results |= job.grid(cells(winners, plan.seeds))
    table = job.out.with_suffix(".csv")
    write_rows(table, cross_rows(results))
    timed = time_decoders({(n, r, w): (n, plan.decoder | {"restoration": r, "width": w}) for n, r, w in choices})
    times = [DecodeTime(*key, one.median_ms, one.iqr_ms, one.runs) for key, one in timed.items()]
    write_rows(table.with_name(f"{table.stem}_times.csv"), times)
    told = ", ".join(f"{_family(n)} {r} blocks of width {w}" for n, r, w in winners)
    return f"{table}: {len(results)} cells; smallest within half a point: {told}"


def equal_bytes(curves: dict[Hashable, list[CrossRow]]) -> tuple[dict[Hashable, float], tuple[float, float]]:
    """Accuracy at equal bytes: curves are interpolated over ln(bytes), and averaged over the bytes that all of them reach.

    Returns:
        The mean accuracy of each curve, and the range of bytes; one point where the curves share none.
    """
    low = max(min(row.bytes for row in curve) for curve in curves.values())
    high = max(low, min(max(row.bytes for row in curve) for curve in curves.values()))
    at, scores = np.linspace(np.log(low), np.log(high), 20), {}
    for key, curve in curves.items():
        points = sorted((np.log(row.bytes), row.top1) for row in curve)
        scores[key] = float(np.interp(at, *zip(*points, strict=True)).mean())
    return scores, (low, high)


def smallest_within(rows: list[CrossRow], loss: float = 0.005) -> list[tuple[str, int, int]]:
    """By backbone, the decoder of fewest parameters whose accuracy at equal bytes is within ``loss`` of the best one's.

    Implements Eq. (4) of chapter 07.

    Returns:
        (backbone, restoration, width) each.
    """
    found = []
    for network in dict.fromkeys(row.decoded for row in rows):
        curves: dict[Hashable, list[CrossRow]] = {}
        for row in rows:
            if row.decoded == network:
                curves.setdefault((row.parameters, row.restoration, row.width), []).append(row)
        scores, _ = equal_bytes(curves)
        _, restoration, width = min(key for key, value in scores.items() if value >= max(scores.values()) - loss)
        found.append((network, restoration, width))
    return found


PLAN = CrossPlan()
ABLATION = replace(PLAN, steps=600, settings=3)  # thirty cells and their winners' seeds, in half an hour of two cores
CROSS_RECIPES = (
    Recipe("cross_backbone", "one frozen encoder for three backbones, for chapter 07 (a grid)", partial(_cross, PLAN)),
    Recipe("decoder_ablation", "restoration blocks and widths, for chapter 07 (a grid)", partial(_ablation, ABLATION)),
)
