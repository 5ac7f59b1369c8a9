"""What every recipe is: a name, a sentence, and a function of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsplit_lib import zoo
from fsplit_lib.errors import DataError
from fsplit_lib.runner.grid import Cell, run_grid
from fsplit_lib.training import LogRow, TrainConfig
from fsplit_lib.training.machine import machine


@dataclass(frozen=True)
class Recipe:
    """A named run: what it trains and how to start it."""

    name: str  # as the command line has it
    summary: str  # one line
    run: Callable[["RunContext"], str]  # trains, and returns one sentence on the result
    choosable: bool = False  # whether backbone and weights are the run's; other recipes are made for their own


@dataclass(frozen=True)
class RunContext:
    """Where one run of a recipe reads and writes, and whom it tells."""

    out: Path  # folder for weights and card
    data: Path | None  # folder of photos, for recipes that need one
    work: Path  # folder for the checkpoint
    # called with steps (or cells of a grid) done, how many there are, and what the objective reports, or the cell
    progress: Callable[[int, int, dict[str, Any]], None] | None = None
    workers: int = 0  # loader processes
    # file of saliency maps, for recipes that are guided by them
    maps: Path = Path("build/saliency/caltech101.safetensors")
    scheduler: str | None = None  # address of a Dask scheduler for recipes that are grids; a local cluster where None
    processes: int | None = None  # of the local cluster, one per core where None; 0 runs a grid in this process
    # as :func:`fsplit_lib.backbones.photo_backbone` reads it, for the recipe that asks for one
    backbone: str | None = None
    weights: str | None = None  # of the codec that gets one more decoder, as a name or folder; "photo" where None
    accelerator: str = "cpu"  # see :func:`fsplit_lib.training.loop.fit`

    def folder_of(self, what: str) -> Path:
        """Return the folder that was given with --data, or raise DataError with ``what`` it has to hold."""
        if self.data is None:
            raise DataError(f"this recipe trains on {what}: give its folder with --data")
        return self.data

    def card(self, kind: str, summary: str, command: str, data: str, training: dict, limits: list[str]) -> zoo.Card:
        """Return a card of what is made here on this machine, by ``fsplit train`` and the rest of its ``command``."""
        made = f"fsplit train {command}", data, training
        return zoo.Card(self.out.name, kind, summary, *made, architecture={}, limits=limits, machine=machine())

    def log_to(self, steps: int) -> Callable[[LogRow], None] | None:
        """Return what :func:`fit` calls after each of so many steps."""
        return (lambda row: self.progress(row.step + 1, steps, row.values)) if self.progress else None

    def options(self, config: TrainConfig) -> dict:
        """Return the keywords that :func:`fit` takes."""
        self.work.mkdir(parents=True, exist_ok=True)
        return {
            "progress": self.log_to(config.steps),
            "checkpoint": self.work / f"{self.out.name}.ckpt",
            "workers": self.workers,
            "accelerator": self.accelerator,
        }

    def grid(self, cells: dict[str, Cell]) -> dict[str, Any]:
        """Return the results of a grid; see :func:`fsplit_lib.runner.grid.run_grid`."""
        return run_grid(cells, self.work / f"{self.out.name}-cells", self.scheduler, self.processes, self.progress)
