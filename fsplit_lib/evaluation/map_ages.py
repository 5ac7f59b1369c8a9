"""How fast does a saliency map go stale, and what does it cost? One short training is stopped at eight points and asked.

    the photo ──► teacher's head ──► map, made once ──► cropped
    the crop ──► teacher's head ──► map of the very crop
    the crop ──► encoder, decoder ──► map of the decoded features, another one at every point

All three are Grad-CAM of the first answer by the same layers, so that nothing but the features differs: at the cut
itself, as a dynamic weight has it, and in the last layers of stride 16 and 32 behind it, as chapter 09 compares maps.
The control compares each map with that of another crop: objects stand in the middle, so any two maps agree a little.
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
from fsplit_lib.evaluation.map_agreement import tail_map
from fsplit_lib.evaluation.tables import MapAgeRow, MapCostRow
from fsplit_lib.evaluation.tasks import ends
from fsplit_lib.saliency import map_correlation, saliency_layers, saliency_map
from fsplit_lib.saliency.cache import at_map_scale
from fsplit_lib.system import FrankenSplit, build_system
from fsplit_lib.training import FolderSource, LogRow, batches, train_system
from fsplit_lib.training.dynamic import feature_map
from fsplit_lib.training.machine import machine

POINTS = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)  # of the training
CROPS = 25_008


def measure_map_ages(
    backbone: Backbone,
    folder: ImageFolder,
    plan: Any,
    steps: int,
    count: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[list[MapAgeRow], FrankenSplit]:
    """Train without guidance, and compare the maps of a few crops at :data:`POINTS` of the training.

    The plan is a :class:`fsplit_lib.recipes.caltech.CaltechRun`; its seed also draws the photos of the ``count`` crops.
    Returns the rows, and the trained system.
    """
    config, few = replace(plan.train, steps=steps), folder.drawn(count, plan.train.seed)
    system = build_system(backbone, plan.codec, plan.decoder, config.seed)
    with torch.no_grad():
        whole = [_maps(backbone, backbone.head(at_map_scale(few[i], few.paths[i].name)))[0] for i in range(count)]
    fixed = next(batches(FolderSource(few, plan.crop, maps=whole), count, 0, 1, config.seed))
    with torch.no_grad():
        crop = _maps(backbone, backbone.head(fixed.x))
    rows = _rows(0, "crop", "photo", 0, crop, fixed.saliency)
    wanted, past = {max(1, round(share * steps)) for share in POINTS}, {}

    def ask(log: LogRow) -> None:
        step = log.step + 1
        if step in wanted:
            with torch.no_grad():
                h_hat = system(fixed.x).h_hat  # rounded, as in use
            decoded = _maps(backbone, h_hat)
            rows.extend(_rows(step, "decoded", "crop", 0, decoded, crop))
            rows.extend(_rows(step, "decoded", "photo", 0, decoded, fixed.saliency))
            for before, old in past.items():
                rows.extend(_rows(step, "decoded", "decoded", step - before, decoded, old))
            past.clear()
            past[step] = decoded
        progress(step, steps)

    train_system(system, FolderSource(folder, plan.crop), config, progress=ask)
    return rows, system


def measure_map_costs(system: FrankenSplit, folder: ImageFolder, plan: Any, runs: int = 20) -> list[MapCostRow]:
    """Time one step of training without maps, and the maps of each kind, in turns: processor time of one thread.

    A trained ``system`` is trained on, by the plan of :func:`measure_map_ages`; two more turns than ``runs`` warm up.
    """
    backbone, source = system.backbone, FolderSource(folder, plan.crop)
    batch = next(batches(source, plan.train.batch, 0, 1, plan.train.seed))
    photo = at_map_scale(folder[0], folder.paths[0].name)
    with torch.no_grad():
        h_hat = system(batch.x).h_hat
    parts = {
        "crop": lambda: feature_map(backbone.tail, backbone.head(batch.x).detach()),
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


def _maps(backbone: Backbone, h: Tensor) -> Tensor:
    """Both kinds of maps of features (B, C, h, w), of the answer that the tail gives to them: (B, 2, h, w)."""
    layers = [layer for stride, layer in saliency_layers(backbone).items() if stride > backbone.spec.stride]
    with torch.no_grad():
        tops = backbone.tail(h).argmax(1).tolist()
    deep = [torch.from_numpy(tail_map(backbone, layers, h[n : n + 1], top)) for n, top in enumerate(tops)]
    return torch.cat([feature_map(backbone.tail, h), torch.stack(deep)[:, None]], dim=1)


def _rows(step: int, first: str, second: str, age: int, one: Tensor, other: Tensor) -> list[MapAgeRow]:
    found = []
    for kind, layers in enumerate(("cut", "behind")):
        alike, others = (
            np.array([map_correlation(*pair) for pair in zip(one[:, kind].numpy(), maps[:, kind].numpy(), strict=True)])
            for maps in (other, other.roll(1, 0))
        )
        shown = (float(alike.mean()), *ends(alike), float(others.mean()))
        found.append(MapAgeRow(step, layers, first, second, age, *shown, len(alike)))
    return found
