"""How fast does a saliency map go stale, and what does it cost? One short training is stopped at eight points and asked.

    the photo ──► teacher's head ──► map, made once ──► cropped
    the crop ──► teacher's head ──► map of the very crop
    the crop ──► encoder, decoder ──► map of the decoded features, another one at every point

All three are Grad-CAM of the first answer at the cut, so that nothing but the features differs.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsplit_lib.backbones import Backbone
from fsplit_lib.data import ImageFolder
from fsplit_lib.evaluation.map_agreement import map_correlation
from fsplit_lib.evaluation.tables import MapAgeRow, MapCostRow
from fsplit_lib.evaluation.tasks import ends
from fsplit_lib.saliency import saliency_map
from fsplit_lib.saliency.cache import at_map_scale
from fsplit_lib.system import FrankenSplit, build_system
from fsplit_lib.training.dynamic import feature_map
from fsplit_lib.training.loop import LogRow, train_system
from fsplit_lib.training.machine import machine
from fsplit_lib.training.sources import FolderSource, batches

POINTS = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)  # of the training
CROPS = 25_008


def measure_map_ages(
    backbone: Backbone,
    folder: ImageFolder,
    plan: Any,
    steps: int,
    count: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[MapAgeRow], FrankenSplit]:
    """Train without guidance, and compare the maps of a few crops at :data:`POINTS` of the training.

    Args:
        backbone: the teacher.
        folder: of the training's photos; the crops are of some of them, drawn with the plan's seed.
        plan: a :class:`fsplit_lib.recipes.caltech.CaltechRun`.
        steps: of the training.
        count: crops whose maps are compared.
        progress: called with steps done and steps in all.
    """
    config, few = replace(plan.train, steps=steps), folder.drawn(count, plan.train.seed)
    system = build_system(backbone, plan.codec, plan.decoder, config.seed)
    whole = [_teachers(backbone, at_map_scale(few[i], few.paths[i].name))[0] for i in range(count)]
    fixed = next(batches(FolderSource(few, plan.crop, maps=whole), count, 0, 1, config.seed))
    crop, rows = _teachers(backbone, fixed.x), []
    rows.append(_row(0, "crop", "photo", 0, crop, fixed.saliency))
    wanted, past = {max(1, round(share * steps)) for share in POINTS}, {}

    def ask(log: LogRow) -> None:
        step = log.step + 1
        if step in wanted:
            with torch.no_grad():
                h_hat = system(fixed.x).h_hat  # rounded, as in use
            decoded = feature_map(backbone.tail, h_hat)
            rows.append(_row(step, "decoded", "crop", 0, decoded, crop))
            rows.append(_row(step, "decoded", "photo", 0, decoded, fixed.saliency))
            for before, old in past.items():
                rows.append(_row(step, "decoded", "decoded", step - before, decoded, old))
            past.clear()
            past[step] = decoded
        if progress is not None:
            progress(step, steps)

    train_system(system, FolderSource(folder, plan.crop), config, progress=ask)
    return rows, system


def measure_map_costs(system: FrankenSplit, folder: ImageFolder, plan: Any, runs: int = 20) -> list[MapCostRow]:
    """Time one step of training without maps, and the maps of each kind, in turns: processor time of one thread.

    Args:
        system: a trained one; it is trained on.
        folder: of photos.
        plan: as in :func:`measure_map_ages`.
        runs: timed turns; two more warm up.
    """
    backbone, source = system.backbone, FolderSource(folder, plan.crop)
    batch = next(batches(source, plan.train.batch, 0, 1, plan.train.seed))
    photo = at_map_scale(folder[0], folder.paths[0].name)
    with torch.no_grad():
        h_hat = system(batch.x).h_hat
    parts = {
        "crop": lambda: _teachers(backbone, batch.x),
        "decoded": lambda: feature_map(backbone.tail, h_hat),
        "photo": lambda: saliency_map(backbone, photo, "xgradcam"),
    }
    took: dict[str, list[float]] = {"step": _steps(system, source, plan, runs)}
    for turn in range(runs + 2):
        for name, part in parts.items():
            fast = plan.train.precision == "bf16-mixed" and name != "photo"  # photos' maps are made before, in float32
            begun = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                part()
            if turn > 1:
                took.setdefault(name, []).append(1000 * (time.process_time() - begun))
    steps, cpu = CROPS // plan.train.batch, machine()
    times = {"step": steps, "crop": steps, "decoded": steps, "photo": len(folder)}
    spread = {name: np.percentile(values, (25, 50, 75)) for name, values in took.items()}
    return [MapCostRow(n, float(q[1]), float(q[2] - q[0]), len(took[n]), times[n], cpu) for n, q in spread.items()]


def _steps(system: FrankenSplit, source: FolderSource, plan: Any, runs: int) -> list[float]:
    """Processor time of whole steps, loading included, in milliseconds."""
    seen: list[float] = []
    config = replace(plan.train, steps=runs + 3)
    train_system(system, source, config, progress=lambda _: seen.append(1000 * time.process_time()))
    return np.diff(seen)[2:].tolist()


def _teachers(backbone: Backbone, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = backbone.head(x)
    return feature_map(backbone.tail, h)


def _row(step: int, first: str, second: str, age: int, one: Tensor, other: Tensor) -> MapAgeRow:
    alike = np.array([map_correlation(a.numpy(), b.numpy()) for a, b in zip(one, other, strict=True)])
    low, high = ends(alike)
    return MapAgeRow(step, first, second, age, float(alike.mean()), low, high, len(alike))
