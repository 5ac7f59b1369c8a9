"""Grids of small runs, objective × lmbda × seed, one table row a finished run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fsplit_lib.backbones import load_backbone
from fsplit_lib.data import fashion_mnist, read_rows, write_rows
from fsplit_lib.evaluation import TABLES, RatePoint, SweepRow, evaluate_images, ideal_bits_of_images
from fsplit_lib.training.lab import LAB_WIDTHS, LabRun, distortion_in_use, train_lab
from fsplit_lib.training.loop import LogRow

__all__ = ["FASHION_SWEEP", "LABEL_BITS", "Sweep", "run_sweep"]


@dataclass(frozen=True)
class Sweep:
    """What a grid runs.

    Attributes:
        name: of the recipe and of the table.
        lmbdas: by objective.
        seeds: of every cell.
        steps: of one run.
        widths: of the encoder.
        keep: the cells (objective, lmbda) whose first seed's weights are kept.
    """

    name: str
    lmbdas: dict[str, tuple[float, ...]]
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 600
    widths: tuple[int, int, int] = LAB_WIDTHS
    keep: tuple[tuple[str, float], ...] = field(default=())


FASHION_SWEEP = Sweep(
    "fashion_sweep", {"head_distillation": (0.01, 0.03, 0.1, 0.3), "cross_entropy": (0.1, 0.3, 1.0, 3.0)}
)
LABEL_BITS = Sweep(
    "label_bits",
    {
        "head_distillation": (0.1, 0.3, 1.0),
        "tail_distillation": (0.3, 1.0, 3.0),
        "cross_entropy": (0.3, 1.0, 3.0),
    },
    seeds=(0, 1),
    widths=(48, 64, 48),
    keep=(("head_distillation", 1.0), ("tail_distillation", 1.0), ("cross_entropy", 1.0)),
)


def run_sweep(
    sweep: Sweep,
    path: Path,
    progress: Callable[[LogRow, int], None] | None = None,
    keep: Callable[[LabRun, RatePoint], None] | None = None,
) -> list[SweepRow]:
    """Run what the table does not hold yet; it is written after every run, so a killed sweep goes on.

    Args:
        sweep: the grid.
        path: of the table.
        progress: called after every step, with the number of steps.
        keep: called with the runs whose weights are kept and what they scored.
    """
    rows = read_rows(path, SweepRow, TABLES[f"{sweep.name}.csv"].command) if path.exists() else []
    backbone = load_backbone("fashion_resnet")
    images, labels = fashion_mnist("test")
    told = (lambda row: progress(row, sweep.steps)) if progress else None
    plan = [(o, lmbda, seed) for seed in sweep.seeds for o, lmbdas in sweep.lmbdas.items() for lmbda in lmbdas]
    for objective, lmbda, seed in plan:
        if any((row.objective, row.lmbda, row.seed) == (objective, lmbda, seed) for row in rows):
            continue
        run = train_lab(backbone, lmbda, sweep.steps, seed, objective, progress=told, widths=sweep.widths)
        point = evaluate_images(run.system, images, labels, "Fashion-MNIST test", f"label-{objective.split('_')[0]}")
        bits = float(ideal_bits_of_images(run.system.codec, images).mean())
        distortion = distortion_in_use(run.system, images)
        row = SweepRow(objective, lmbda, seed, point.bytes, bits, point.top1, point.agreement, distortion, point.n)
        if keep and seed == sweep.seeds[0] and (objective, lmbda) in sweep.keep:
            keep(run, point)
        rows.append(row)
        write_rows(path, rows)
    return rows
