"""What a map is worth: does it need the trained weights, and does deleting what it marks hurt the answer?

Sources: Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (arXiv 1810.03292) for the randomised
network; the last follows the deletion test of Petsiuk et al. 2018 (RISE, arXiv 1806.07421), at the
features of the cut instead of the pixels.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor, nn

from fsplit_lib.backbones import Backbone, load_backbone
from fsplit_lib.errors import ParameterError
from fsplit_lib.saliency.maps import saliency_map


def edge_map(x: Tensor) -> Tensor:
    """Compute Sobel's edges of pictures (B, 3, H, W), as (B, 1, H, W) in [0, 1]: a map that never asks a network.

    >>> edge_map(torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 3, 4, 4))[0, 0, 0].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    grey = F.pad(x.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    size = F.conv2d(grey, torch.stack([kernel, kernel.T]).unsqueeze(1)).square().sum(dim=1, keepdim=True).sqrt()
    return size / size.amax(dim=(2, 3), keepdim=True).clamp_min(1e-4)


def concentration(values: np.ndarray) -> float:
    """Compute the share of the places that hold half of a map: 0.5 for a flat one, and for one that is 0 everywhere.

    Places count whole, so a flat map of 3 places has half of it on 2 of them.

    >>> concentration(np.array([8.0, 1.0, 1.0, 1.0]))
    0.25
    """
    largest = np.sort(values.ravel())[::-1].cumsum()
    if largest[-1] == 0:
        return 0.5
    return float((np.searchsorted(largest, largest[-1] / 2) + 1) / values.size)


def map_correlation(before: np.ndarray, after: np.ndarray) -> float:
    """Compute Pearson's correlation of two maps of one size; 0 where one of them is flat.

    >>> round(map_correlation(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])), 6)
    1.0
    """
    a, b = (one.ravel() - one.mean() for one in (before, after))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else 0.0


def rank_correlation(a: Tensor, b: Tensor) -> np.ndarray:
    """Compute Spearman's correlation (B,) of two maps (B, 1, h, w), picture by picture; 0 where one of them is flat.

    >>> a = torch.rand(2, 1, 4, 4)
    >>> rank_correlation(a, torch.cat([a[:1] ** 2, -a[1:]])).round(6).tolist()
    [1.0, -1.0]
    """
    ranks = (rankdata(one.flatten(1).numpy(), axis=1) for one in (a, b))
    return np.array([map_correlation(*pair) for pair in zip(*ranks, strict=True)])


def randomised(backbone: Backbone, depth: int, seed: int) -> Backbone:
    """Return a copy whose top parts are untrained: its classifier for depth 1, then its stages, last one first.

    Raises:
        ParameterError: the network has fewer parts.

    >>> x, backbone = torch.rand(1, 3, 32, 32), load_backbone("fashion_resnet")
    >>> made = randomised(backbone, 1, seed=0)
    >>> torch.equal(made.head(x), backbone.head(x)), torch.equal(made(x), backbone(x))
    (True, False)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = load_backbone(backbone.name, "random", backbone.spec.stride, backbone.input_size)
        if fresh.network.num_classes != backbone.network.num_classes:
            fresh.network.reset_classifier(backbone.network.num_classes)
    made = copy.deepcopy(backbone)
    pairs = list(zip(_parts(made), _parts(fresh), strict=True))
    if not 0 <= depth <= len(pairs):
        raise ParameterError(f"depth must be from 0 to {len(pairs)}, the parts of {backbone.name}, got {depth}")
    for mine, theirs in pairs[:depth]:
        mine.load_state_dict(theirs.state_dict())
    return made


def cascading_randomisation(
    backbone: Backbone, x: Tensor, method: str, depths: Sequence[int], seed: int, classes: list[int]
) -> np.ndarray:
    """Measure how alike maps stay as a network is ruined from the top down: rank correlations (D, B) at the cut's grid.

    Pictures are x (B, 3, H, W) in [0, 1], depths D numbers of untrained parts, see :func:`randomised`. The scores of
    the same classes, one per picture, are asked of every network, ruined or not.

    >>> x = torch.linspace(0, 1, 3072).view(1, 3, 32, 32)
    >>> cascading_randomisation(load_backbone("fashion_resnet"), x, "gradcam", (0,), 0, [9]).round(4)
    array([[1.]])
    """
    grid = [side // backbone.spec.stride for side in x.shape[-2:]]
    whole, *ruined = (
        F.interpolate(saliency_map(network, x, method, classes=classes), size=grid, mode="area")
        for network in (backbone, *(randomised(backbone, depth, seed) for depth in depths))
    )
    return np.stack([rank_correlation(whole, one) for one in ruined])


def _parts(backbone: Backbone) -> list[nn.Module]:
    return [backbone.network.get_classifier(), *reversed([*backbone.head.layers, *backbone.tail.layers])]


@dataclass(frozen=True)
class DeletionCurve:
    """What was left of the answers when features were spoiled."""

    share: np.ndarray  # (S, B) softmax share of the teacher's top-1 that is left
    agreement: np.ndarray  # (S, B) whether the decision survived


@torch.no_grad()
def deletion_test(backbone: Backbone, x: Tensor, first: Tensor, shares: Sequence[float]) -> DeletionCurve:
    """Replace features of pictures x (B, 3, H, W) in [0, 1] at the cut by channel means, at S shares of the places.

    Places with large values in ``first`` (B, 1, h, w), which is brought to the features' grid, are spoiled first.

    Raises:
        ParameterError: a share outside 0 to 1.

    >>> x = torch.rand(2, 3, 32, 32)
    >>> curve = deletion_test(load_backbone("fashion_resnet"), x, edge_map(x), (0.0, 0.5))
    >>> curve.share.shape, curve.agreement[0].tolist()
    ((2, 2), [True, True])
    """
    if not all(0 <= share <= 1 for share in shares):
        raise ParameterError(f"shares must be in 0 to 1, got {list(shares)}")
    h = backbone.head(x)
    top, fill = backbone.tail(h).argmax(1, keepdim=True), h.mean(dim=(0, 2, 3), keepdim=True)
    order = F.interpolate(first, size=h.shape[-2:], mode="area").flatten(1).argsort(dim=1, descending=True, stable=True)
    said = []
    for share in shares:
        gone = torch.zeros(order.shape).scatter(1, order[:, : round(share * order.shape[1])], 1.0)
        gone = gone.view(-1, 1, *h.shape[-2:])
        said.append(backbone.tail(h * (1 - gone) + fill * gone).softmax(1))
    said = torch.stack(said)  # (S, B, classes)
    left = said.gather(2, top.expand(len(said), -1, -1))[..., 0]
    return DeletionCurve(left.numpy(), (said.argmax(2) == top[:, 0]).numpy())
