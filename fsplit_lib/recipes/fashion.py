"""Recipes on Fashion-MNIST: the sweeps behind chapters 01 and 05."""

from dataclasses import asdict
from functools import partial

from fsplit_lib import zoo
from fsplit_lib.evaluation import RatePoint
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import save_system
from fsplit_lib.training.lab import LabRun
from fsplit_lib.training.machine import machine
from fsplit_lib.training.sweep import FASHION_SWEEP, LABEL_BITS, Sweep, run_sweep

__all__ = ["FASHION_RECIPES"]


def _sweep(sweep: Sweep, run: RunContext) -> str:
    table = run.out.with_suffix(".csv")

    def keep(lab: LabRun, point: RatePoint) -> None:
        card = zoo.Card(
            name=f"label-{lab.config.objective.split('_')[0]}",
            kind="codec",
            summary=f"One cell of the sweep {sweep.name}: {lab.config.objective.replace('_', ' ')} at lmbda {lab.config.lmbda:g}.",
            command=f"fsplit train {sweep.name}",
            data="Fashion-MNIST, 60,000 training images padded to 32x32 (MIT licence)",
            training=asdict(lab.config) | {"pictures": lab.config.steps * lab.config.batch},
            architecture={},
            scores=[asdict(point)],
            limits=["one seed, one lmbda, a short training; made to be compared with its siblings"],
            machine=machine(),
        )
        save_system(run.out.parent / card.name, lab.system, card)

    return f"{table}: {len(run_sweep(sweep, table, run.progress, keep))} runs"


FASHION_RECIPES = (
    Recipe("fashion_sweep", "rate and accuracy by objective and lmbda, for chapter 05", partial(_sweep, FASHION_SWEEP)),
    Recipe("label_bits", "bits that each objective spends on a label, for chapter 01", partial(_sweep, LABEL_BITS)),
)
