"""A timm network cut in two: the Head that the codec replaces, and the Tail that the server keeps.

    pixels (B, 3, H, W) in [0, 1] ──► Head ──► h (B, C, H/stride, W/stride) ──► Tail ──► logits

The cut is the last map that has the latent's own stride (8 for photos), so that no decoder has to
upsample and one encoder serves ResNet, ConvNeXt, Swin and EfficientNet alike. Features are always
(B, C, H, W) outside: for Swin, Head and Tail permute from and to timm's (B, H, W, C).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.resnet import ResNet
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from fsplit_lib.errors import ParameterError

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

    def forward(self, h: Tensor, pooled: bool = False) -> Tensor:
        """Compute logits (B, classes), or with ``pooled`` the (B, D) vectors that the last layer classifies."""
        return self.classify[0].forward_head(self.layers(self._as_timm(h)), pre_logits=pooled)

    def stages(self, h: Tensor) -> list[Tensor]:
        """Compute what each stage makes of features h (B, C, h, w), in timm's own layout."""
        return outputs_of(self.layers, self._as_timm(h))

    def _as_timm(self, h: Tensor) -> Tensor:
        return h.permute(0, 2, 3, 1).contiguous() if self.nhwc else h

    def learnable(self) -> nn.ModuleList:
        """Return the modules that fine-tuning trains: the stages and the classifier."""
        return nn.ModuleList([self.layers, self.classify[0].get_classifier()])


def stages_of(network: nn.Module) -> tuple[Family, list[nn.Module], bool]:
    """Return family, the network as a list of modules that map features to features, and whether they are NHWC."""
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
    """Cut a timm network behind its last stage of the given stride, in pixels per feature, for square inputs.

    The strides are measured by :func:`strides_of`, since some timm options (a stem without pooling,
    say) change them without changing ``feature_info``.

    Raises:
        ParameterError: another family, no stage of that stride, or pictures that are too small for it.
    """
    family, stages, nhwc = stages_of(network.eval())
    config = network.pretrained_cfg
    inputs = config["input_size"][0]
    try:
        strides = strides_of(stages, nhwc, input_size, inputs)
    except (RuntimeError, AssertionError) as error:  # what torch and timm say of maps that become too small
        raise ParameterError(f"this {family} cannot take {input_size} x {input_size} pictures: {error}") from error
    if stride not in strides:
        raise ParameterError(f"no stage of this {family} has stride {stride}; its strides are {strides}")
    behind = len(strides) - strides[::-1].index(stride)
    head = Head(stages[:behind], config["mean"], config["std"], nhwc)
    channels = head(torch.zeros(1, inputs, input_size, input_size)).shape[1]
    return head, Tail(stages[behind:], network, nhwc), FeatureSpec(family, channels, stride)


def outputs_of(layers: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Compute what each layer of a chain makes of x."""
    return list(accumulate(layers, lambda h, layer: layer(h), initial=x))[1:]


@torch.no_grad()
def strides_of(stages: Sequence[nn.Module], nhwc: bool, input_size: int, inputs: int = 3) -> list[int]:
    """Measure input pixels per feature, per side, behind each stage, on one black image of ``inputs`` channels.

    Stages map features to features, the first one pixels; with ``nhwc``, features are (B, H, W, C).
    """
    outputs = outputs_of(stages, torch.zeros(1, inputs, input_size, input_size))
    return [input_size // h.shape[1 if nhwc else 2] for h in outputs]
