"""What every recipe is: a name, a sentence, and a function of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsplit_lib.runner.grid import Cell, run_grid
from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.loop import LogRow

__all__ = ["Recipe", "RunContext"]


@dataclass(frozen=True)
class Recipe:
    """A named run: what it trains and how to start it.

    Attributes:
        name: as the command line has it.
        summary: one line.
        run: trains, and returns one sentence on the result.
        choosable: whether backbone and weights are the run's; other recipes are made for their own.
    """

    name: str
    summary: str
    run: Callable[["RunContext"], str]
    choosable: bool = False


@dataclass(frozen=True)
class RunContext:
    """Where one run of a recipe reads and writes, and whom it tells.

    Attributes:
        out: folder for weights and card.
        data: folder of photos, for recipes that need one.
        work: folder for the checkpoint.
        maps: file of saliency maps, for recipes that are guided by them.
        progress: called with every step and the number of steps.
        workers: loader processes.
        scheduler: address of a Dask scheduler for recipes that are grids; a local cluster where None.
        processes: of the local cluster, one a core where None; 0 runs a grid in this process.
        backbone: as :func:`fsplit_lib.backbones.photo_backbone` reads it, for the recipe that asks for one.
        weights: of the codec that gets one more decoder, likewise; "photo" where None.
    """

    out: Path
    data: Path | None
    work: Path
    progress: Callable[[LogRow, int], None] | None = None
    workers: int = 0
    maps: Path = Path("build/saliency/caltech101.safetensors")
    scheduler: str | None = None
    processes: int | None = None
    backbone: str | None = None
    weights: str | None = None

    def options(self, config: TrainConfig) -> dict:
        """The keywords that :func:`fit` takes."""
        self.work.mkdir(parents=True, exist_ok=True)
        told = (lambda row: self.progress(row, config.steps)) if self.progress else None
        return {"progress": told, "checkpoint": self.work / f"{self.out.name}.ckpt", "workers": self.workers}

    def grid(self, cells: dict[str, Cell]) -> dict[str, Any]:
        """The results of a grid; see :func:`fsplit_lib.runner.grid.run_grid`."""

        def told(_: str, done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(LogRow(done - 1, {}, 0.0), total)

        return run_grid(cells, self.work / f"{self.out.name}-cells", self.scheduler, self.processes, told)
