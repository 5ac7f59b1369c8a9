"""Class activation maps of a frozen backbone, by pytorch-grad-cam.

    x (B, 3, H, W) ──► backbone ──► score of one class
                          │               │ backward
                     features A_k  ×  weight of channel k   ──► sum over k, max(0, ·) ──► map in [0, 1]

Source: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization" (arXiv 1610.02391), Eq. (1) and (2); its relatives are named at :data:`METHODS`.
"""

import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from fsplit_lib.backbones import Backbone, strides_of
from fsplit_lib.errors import ParameterError

METHODS = {
    "gradcam": GradCAM,  # a channel weighs as much as the mean of its gradient
    "xgradcam": XGradCAM,  # the mean is weighted by the activation; what the paper's code runs
    "gradcam++": GradCAMPlusPlus,  # positive gradients alone
    "hirescam": HiResCAM,  # gradient times activation, place by place
    "layercam": LayerCAM,  # the same with negative gradients dropped
    "eigencam": EigenCAM,  # first principal component; never asks which class
}


def saliency_layers(backbone: Backbone) -> dict[int, nn.Module]:
    """Find the last module of each stride from the cut's on, by stride: for Lite0 those of 8, 16 and 32.

    >>> from fsplit_lib.backbones import load_backbone
    >>> list(saliency_layers(load_backbone("fashion_resnet")))
    [4, 8, 16]
    """
    modules = [*backbone.head.layers, *backbone.tail.layers]
    strides = strides_of(modules, backbone.head.nhwc, backbone.input_size)
    return {s: m for s, m in zip(strides, modules, strict=True) if s >= backbone.spec.stride}


def saliency_map(
    backbone: Backbone,
    x: Tensor,
    method: str = "xgradcam",
    strides: tuple[int, ...] = (),
    classes: list[int] | None = None,
) -> Tensor:
    """Compute where each score of pictures x (B, 3, H, W) in [0, 1] comes from, as (B, 1, H, W) in [0, 1].

    The map of every layer is cut off at 0 and stretched to [0, 1]; their mean is stretched again. By default layers of
    all strides of :func:`saliency_layers` are mixed, and the backbone's own top-1 is explained; classes are one per
    picture. Where no channel spoke for the class, a map is 0 everywhere.

    Raises:
        ParameterError: an unknown method, a stride without layer, or not one class a picture.

    >>> from fsplit_lib.backbones import load_backbone
    >>> s = saliency_map(load_backbone("fashion_resnet"), torch.rand(2, 3, 32, 32), "gradcam", classes=[3, 4])
    >>> s.shape, bool(s.min() >= 0 and s.max() <= 1)
    (torch.Size([2, 1, 32, 32]), True)
    """
    layers = saliency_layers(backbone)
    if method not in METHODS:
        raise ParameterError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if unknown := set(strides) - set(layers):
        raise ParameterError(f"{backbone.name} has layers of stride {', '.join(map(str, layers))}, not of {unknown}")
    if classes is not None and len(classes) != len(x):
        raise ParameterError(f"{len(x)} pictures need as many classes, got {len(classes)}")
    targets = None if classes is None else [ClassifierOutputTarget(c) for c in classes]
    turn = (lambda h: h.permute(0, 3, 1, 2)) if backbone.head.nhwc else None  # Swin's, for pytorch-grad-cam
    with (
        torch.enable_grad(),
        METHODS[method](backbone, [layers[s] for s in strides or layers], reshape_transform=turn) as cam,
    ):
        grey = cam(x.detach().clone().requires_grad_(), targets)
    return torch.from_numpy(grey).unsqueeze(1)
