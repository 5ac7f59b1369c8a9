"""The sweep behind chapter 05: objective × lmbda × seed, one row a finished run."""

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fsplit_lib.backbones import load_backbone
from fsplit_lib.data import fashion_mnist, write_atomically
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import evaluate_images
from fsplit_lib.training.lab import distortion_in_use, train_lab
from fsplit_lib.training.loop import LogRow

__all__ = ["STEPS", "SweepRow", "read_sweep", "run_sweep"]

STEPS, SEEDS = 600, (0, 1, 2)
LMBDAS = {"head_distillation": (0.01, 0.03, 0.1, 0.3), "cross_entropy": (0.1, 0.3, 1.0, 3.0)}


@dataclass(frozen=True)
class SweepRow:
    """One trained system, measured with real packets on all test pictures.

    Attributes:
        objective: a key of :data:`fsplit_lib.objectives.OBJECTIVES`.
        lmbda: weight of the rate.
        seed: of everything random.
        bytes: mean of whole packets.
        top1: accuracy.
        kept: share of the teacher's decisions.
        distortion: of the decoded features, with rounding.
        n: test pictures.
    """

    objective: str
    lmbda: float
    seed: int
    bytes: float
    top1: float
    kept: float
    distortion: float
    n: int


def read_sweep(path: Path) -> list[SweepRow]:
    """The rows of a sweep table.

    Raises:
        DataError: the table is missing or has other columns.
    """
    if not path.is_file():
        raise DataError(f"there is no table {path}: make it with `fsplit train fashion_sweep`")
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        kinds = {f.name: f.type for f in fields(SweepRow)}
        if set(table.fieldnames or ()) != set(kinds):
            raise DataError(f"{path} is not a sweep table: it needs the columns {', '.join(kinds)}")
        return [SweepRow(**{name: kinds[name](value) for name, value in row.items()}) for row in table]


def run_sweep(path: Path, progress: Callable[[LogRow, int], None] | None = None) -> list[SweepRow]:
    """Run what the table does not hold yet; it is written after every run, so a killed sweep goes on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = read_sweep(path) if path.exists() else []
    backbone = load_backbone("fashion_resnet")
    images, labels = fashion_mnist("test")
    told = (lambda row: progress(row, STEPS)) if progress else None
    plan = [(o, lmbda, seed) for seed in SEEDS for o, lmbdas in LMBDAS.items() for lmbda in lmbdas]
    for objective, lmbda, seed in plan:
        if any((row.objective, row.lmbda, row.seed) == (objective, lmbda, seed) for row in rows):
            continue
        system = train_lab(backbone, lmbda, STEPS, seed, objective, progress=told).system
        point = evaluate_images(system, images, labels, "Fashion-MNIST test", f"lmbda {lmbda:g}")
        distortion = distortion_in_use(system, images)
        rows.append(SweepRow(objective, lmbda, seed, point.bytes, point.top1, point.kept, distortion, point.n))
        _write(path, rows)
    return rows


def _write(path: Path, rows: list[SweepRow]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, [f.name for f in fields(SweepRow)], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(row).items()})
    write_atomically(path, text.getvalue().encode())
