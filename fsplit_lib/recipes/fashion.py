"""Recipes on Fashion-MNIST: the sweeps behind chapters 01 and 05, objective × lmbda × seed, a table row per run."""

from dataclasses import asdict, dataclass
from functools import partial

from fsplit_lib.backbones import load_backbone
from fsplit_lib.data import fashion_mnist, read_rows, write_rows
from fsplit_lib.evaluation import RatePoint, SweepRow, evaluate_images, ideal_bits_of_images
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import save_system
from fsplit_lib.training.lab import LAB_WIDTHS, LabRun, distortion_in_use, train_lab


@dataclass(frozen=True)
class Sweep:
    """What a grid runs."""

    name: str  # of the recipe and of the table
    lmbdas: dict[str, tuple[float, ...]]  # by objective
    seeds: tuple[int, ...] = (0, 1, 2)  # of every cell
    steps: int = 600  # of one run
    widths: tuple[int, int, int] = LAB_WIDTHS  # of the encoder
    keep: tuple[tuple[str, float], ...] = ()  # the cells (objective, lmbda) whose first seed's weights are kept


FASHION_SWEEP = Sweep(
    "fashion_sweep", {"head_distillation": (0.01, 0.03, 0.1, 0.3), "cross_entropy": (0.1, 0.3, 1.0, 3.0)}
)
LABEL_BITS = Sweep(
    "label_bits",
    {"head_distillation": (0.1, 0.3, 1.0), "tail_distillation": (0.3, 1.0, 3.0), "cross_entropy": (0.3, 1.0, 3.0)},
    seeds=(0, 1),
    widths=(48, 64, 48),
    keep=(("head_distillation", 1.0), ("tail_distillation", 1.0), ("cross_entropy", 1.0)),
)


def _run(sweep: Sweep, run: RunContext) -> str:
    """Run what the table does not hold yet; it is written after every run, so a killed sweep goes on."""
    path = run.out.with_suffix(".csv")
    rows = read_rows(path, SweepRow, f"fsplit train {sweep.name}") if path.exists() else []
    backbone = load_backbone("fashion_resnet")
    images, labels = fashion_mnist("test")
    plan = [(o, lmbda, seed) for seed in sweep.seeds for o, lmbdas in sweep.lmbdas.items() for lmbda in lmbdas]
    for objective, lmbda, seed in plan:
        if any((row.objective, row.lmbda, row.seed) == (objective, lmbda, seed) for row in rows):
            continue
        told, name = run.log_to(sweep.steps), f"label-{objective.split('_')[0]}"
        lab = train_lab(backbone, lmbda, sweep.steps, seed, objective, progress=told, widths=sweep.widths)
        point = evaluate_images(lab.system, images, labels, "Fashion-MNIST test", name)
        bits = float(ideal_bits_of_images(lab.system.codec, images).mean())
        distortion = distortion_in_use(lab.system, images)
        if seed == sweep.seeds[0] and (objective, lmbda) in sweep.keep:
            _keep(sweep, run, lab, point)
        rows.append(
            SweepRow(objective, lmbda, seed, point.bytes, bits, point.top1, point.agreement, distortion, point.n)
        )
        write_rows(path, rows)
    return f"{path}: {len(rows)} runs"


def _keep(sweep: Sweep, run: RunContext, lab: LabRun, point: RatePoint) -> None:
    card = run.card(
        "codec",
        f"One cell of the sweep {sweep.name}: {lab.config.objective.replace('_', ' ')} at lmbda {point.lmbda:g}.",
        sweep.name, "Fashion-MNIST, 60,000 training images padded to 32x32 (MIT licence)",
        asdict(lab.config) | {"pictures": lab.config.steps * lab.config.batch},
        ["one seed, one lmbda, a short training; made to be compared with its siblings"],
    )  # fmt: skip
    card.name, card.scores = point.codec, [asdict(point)]
    save_system(run.out.parent / card.name, lab.system, card)


FASHION_RECIPES = (
    Recipe("fashion_sweep", "rate and accuracy by objective and lmbda, for chapter 05", partial(_run, FASHION_SWEEP)),
    Recipe("label_bits", "bits that each objective spends on a label, for chapter 01", partial(_run, LABEL_BITS)),
)
