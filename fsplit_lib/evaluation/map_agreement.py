"""Where an answer comes from: does a packet keep the teacher's Grad-CAM, and does a training leave a map alone?

The first is a stand-in for detection and segmentation, which need places: it asks the classifier for its places, no
detector for boxes. For the second one short training is stopped at eight points and asked, and its costs are measured:

    the photo ──► teacher's head ──► map, made once ──► cropped
    the crop ──► teacher's head ──► map of the very crop
    the crop ──► encoder, decoder ──► map of the decoded features, another one at every point

All three are Grad-CAM of the first answer by the same layers, so that nothing but the features differs: at the cut
itself, as a dynamic weight has it, and in the last layers of stride 16 and 32 behind it, as chapter 09 compares maps.
The control compares each map with that of another crop: objects stand in the middle, so any two maps agree a little.
"""

import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import encode_to_budget
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.evaluation.evaluate import Progress, lmbdas_of, shown_lmbda, silent
from fsplit_lib.evaluation.tables import MapAgeRow, MapCostRow, MapRow
from fsplit_lib.evaluation.tasks import SETTINGS, ends
from fsplit_lib.saliency import map_correlation, saliency_layers, saliency_map
from fsplit_lib.saliency.cache import at_map_scale
from fsplit_lib.system import FrankenSplit, build_system
from fsplit_lib.training import FolderSource, LogRow, batches, train_system
from fsplit_lib.training.dynamic import DynamicWeight
from fsplit_lib.training.machine import machine

TOP = 0.2  # of the places: where a peak counts as found
COARSE = 4  # step through JPEG's qualities
POINTS = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)  # of the training
CROPS = 25_008


def tail_map(backbone: Backbone, layers: list[nn.Module], h: Tensor, target: int) -> np.ndarray:
    """Compute Grad-CAM of one class from features h (1, C, h, w) at the cut: where in them its score comes from.

    The map (h, w) in [0, 1] is the average over ``layers`` of the tail.

    >>> from fsplit_lib.backbones import load_backbone
    >>> backbone = load_backbone("tf_efficientnet_lite0")
    >>> h = backbone.head(torch.zeros(1, 3, 64, 64))
    >>> layers = [layer for stride, layer in saliency_layers(backbone).items() if stride > 8]
    >>> tail_map(backbone, layers, h, target=0).shape
    (8, 8)
    """
    turn = (lambda one: one.permute(0, 3, 1, 2)) if backbone.tail.nhwc else None
    with torch.enable_grad(), GradCAM(backbone.tail, layers, reshape_transform=turn) as cam:
        return cam(h.detach().clone().requires_grad_(), [ClassifierOutputTarget(target)])[0]


def peak_is_inside(before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether the largest place of ``after`` is among the top fifth of places of ``before``: the pointing game.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop" (arXiv 1608.00507), with the map
    before in place of a drawn object. A flat map has no peak.

    >>> before = np.arange(10.0)
    >>> peak_is_inside(before, before), peak_is_inside(before, -before)
    (True, False)
    """
    inside = np.argsort(-before.ravel(), kind="stable")[: round(TOP * before.size)]
    return bool(np.ptp(after) > 0 and after.argmax() in inside)


@torch.no_grad()
def measure_maps(
    systems: dict[str, FrankenSplit], backbone: Backbone, folder: ImageFolder, progress: Progress = silent
) -> list[MapRow]:
    """Compare maps of the teacher's own answer before and after packets, after JPEG, and with another photo's map.

    The maps are those of the last layers of stride 16 and 32, at the size of the features. A JPEG has at most as many
    bytes as the packet of the first system, and may shrink the photo first; a photo for which none is so small keeps
    nothing. All systems have the given backbone. Of two photos at least, one is the other's control.
    """
    layers = [layer for stride, layer in saliency_layers(backbone).items() if stride > backbone.spec.stride]
    found: dict[tuple[str, float | None], list[tuple[int, np.ndarray, bool | None]]] = defaultdict(list)
    before = []
    for index in range(len(folder)):
        crop = center_crop(folder[index], backbone.input_size)
        x = photo_tensor(crop)
        h = backbone.head(x)
        answer, coded = int(backbone.tail(h).argmax()), {}
        before.append(tail_map(backbone, layers, h, answer))
        for name, system in systems.items():
            y = system.codec.encoder(x)
            for lmbda in lmbdas_of(system, SETTINGS):
                packets = system.codec.pack(y, lmbda)
                coded[name, lmbda] = len(packets[0].to_bytes()), system.decoder(system.codec.decompress(packets))
        limits = sorted((size, lmbda) for (name, lmbda), (size, _) in coded.items() if name == next(iter(systems)))
        files = encode_to_budget(crop, "JPEG", [size for size, _ in limits], COARSE)
        for (size, lmbda), file in zip(limits, files, strict=True):
            if file is None:
                found["JPEG", shown_lmbda(lmbda)].append((size, np.zeros_like(before[-1]), False))
            else:
                coded["JPEG", lmbda] = file.size, backbone.head(photo_tensor(file.image))
        for (name, lmbda), (size, decoded) in coded.items():
            kept = int(backbone.tail(decoded).argmax()) == answer
            after = tail_map(backbone, layers, decoded, answer)
            found[name, shown_lmbda(lmbda)].append((size, after, kept))
        progress(index + 1, len(folder))
    found["another photo", None] = [(0, other, None) for other in [*before[1:], before[0]]]
    return [_row(folder.name, backbone, before, key, one) for key, one in found.items()]


def _row(dataset: str, backbone: Backbone, before: list[np.ndarray], key: tuple, found: list[tuple]) -> MapRow:
    (codec, lmbda), (sizes, after, kept) = key, zip(*found, strict=True)
    alike = np.array([map_correlation(*pair) for pair in zip(before, after, strict=True)])
    inside = np.array([float(peak_is_inside(*pair)) for pair in zip(before, after, strict=True)])
    changed = [one for one, stayed in zip(alike, kept, strict=True) if stayed is False]
    return MapRow(
        dataset, codec, lmbda, backbone.name, float(np.mean(sizes)), float(alike.mean()), *ends(alike),
        float(inside.mean()), *ends(inside), None if kept[0] is None else float(np.mean(kept)),
        float(np.mean(changed)) if changed else None, len(alike),
    )  # fmt: skip


def measure_map_ages(
    backbone: Backbone, folder: ImageFolder, plan: Any, steps: int, count: int, progress: Progress = silent
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
    cam = DynamicWeight(backbone.tail, 1).map
    parts = {
        "crop": lambda: cam(backbone.head(batch.x).detach()),
        "decoded": lambda: cam(h_hat),
        "photo": lambda: saliency_map(backbone, photo, "xgradcam"),
    }
    seen: list[float] = []  # whole steps, loading included
    config = replace(plan.train, steps=runs + 3)
    train_system(system, source, config, progress=lambda _: seen.append(1000 * time.process_time()))
    took = {"step": np.diff(seen)[2:].tolist()}
    for turn in range(runs + 2):
        for name, part in parts.items():
            fast = plan.train.precision == "bf16-mixed" and name != "photo"  # photos' maps are made before, in float32
            begun = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                part()
            if turn > 1:
                took.setdefault(name, []).append(1000 * (time.process_time() - begun))
    steps = CROPS // plan.train.batch
    times, rows = {"step": steps, "crop": steps, "decoded": steps, "photo": len(folder)}, []
    for part, values in took.items():
        low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
        rows.append(MapCostRow(part, middle, high - low, len(values), times[part], machine()))
    return rows


def _maps(backbone: Backbone, h: Tensor) -> Tensor:
    """Both kinds of maps of features (B, C, h, w), of the answer that the tail gives to them: (B, 2, h, w)."""
    layers = [layer for stride, layer in saliency_layers(backbone).items() if stride > backbone.spec.stride]
    with torch.no_grad():
        tops = backbone.tail(h).argmax(1).tolist()
    deep = [torch.from_numpy(tail_map(backbone, layers, h[n : n + 1], top)) for n, top in enumerate(tops)]
    return torch.cat([DynamicWeight(backbone.tail, 1).map(h), torch.stack(deep)[:, None]], dim=1)


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
