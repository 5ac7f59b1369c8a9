"""Does a packet keep *where* the answer comes from? The teacher's Grad-CAM before and after it.

A stand-in for detection and segmentation, which need places: it asks the classifier for its places, no detector for boxes.
"""

from collections.abc import Callable

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import encode_to_budget
from fsplit_lib.data import ImageFolder, center_crop
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.evaluation.evaluate import lmbdas_of, shown_lmbda
from fsplit_lib.evaluation.tables import MapRow
from fsplit_lib.evaluation.tasks import SETTINGS, ends
from fsplit_lib.saliency import map_correlation, saliency_layers
from fsplit_lib.system import FrankenSplit

TOP = 0.2  # of the places: where a peak counts as found
COARSE = 4  # step through JPEG's qualities


def tail_map(backbone: Backbone, layers: list[nn.Module], h: Tensor, target: int) -> np.ndarray:
    """Compute Grad-CAM of one class from features at the cut: where in them its score comes from.

    Args:
        backbone: whose tail answers.
        layers: of the tail, whose maps are averaged.
        h: (1, C, h, w), the teacher's or decoded ones.
        target: the class.

    Returns:
        (h, w) in [0, 1].

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
    systems: dict[str, FrankenSplit],
    backbone: Backbone,
    folder: ImageFolder,
    progress: Callable[..., None] = lambda *_: None,
) -> list[MapRow]:
    """Compare maps of the teacher's own answer before and after packets, after JPEG, and with another photo's map.

    The maps are those of the last layers of stride 16 and 32, at the size of the features. A JPEG has at most as many
    bytes as the packet of the first system, and may shrink the photo first; a photo for which none is so small keeps
    nothing. All systems have the given backbone. Of two photos at least, one is the other's control.
    """
    layers = [layer for stride, layer in saliency_layers(backbone).items() if stride > backbone.spec.stride]
    found: dict[tuple[str, float | None], list[tuple[int, np.ndarray, bool | None]]] = {}
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
                h_hat = system.decoder(system.codec.decompress(packets))
                coded[name, lmbda] = len(packets[0].to_bytes()), h_hat
        limits = sorted((size, lmbda) for (name, lmbda), (size, _) in coded.items() if name == next(iter(systems)))
        files = encode_to_budget(crop, "JPEG", [size for size, _ in limits], COARSE)
        for (size, lmbda), file in zip(limits, files, strict=True):
            if file is None:
                found.setdefault(("JPEG", shown_lmbda(lmbda)), []).append((size, np.zeros_like(before[-1]), False))
            else:
                coded["JPEG", lmbda] = file.size, backbone.head(photo_tensor(file.image))
        for (name, lmbda), (size, decoded) in coded.items():
            kept = int(backbone.tail(decoded).argmax()) == answer
            after = tail_map(backbone, layers, decoded, answer)
            found.setdefault((name, shown_lmbda(lmbda)), []).append((size, after, kept))
        progress(index + 1, len(folder))
    control = [(0, other, None) for other in [*before[1:], before[0]]]
    rows = {**found, ("another photo", None): control}.items()
    return [_row(folder.name, backbone, before, key, one) for key, one in rows]


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
