"""The workbook's own networks: three families for clothes at 32×32, cut at stride 4, and one for spoken digits.

    fashion_resnet    stride 2 ► 4 (64 maps of 8×8) ► 8 ► 16          759,930 parameters
    fashion_convnext  stem of stride 4 ► 4 (64 maps) ► 8 ► 8 ► 8      932,170
    fashion_swin      stride 2 ► 4 (96 maps) ► 8, windows of 4×4      822,414
    speech-teacher    stride 4 ► 4 ► 8 (32 maps of 8×8) ► 16 ► 32     224,722, of one channel of 64 mel bands by 64 frames

All are timm's own classes with small widths. ``fsplit train NAME`` trains one again.
"""

from functools import partial
from typing import Any

from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from torch import nn

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FASHION = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
SPEECH = {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)}


def _network(kind: type[nn.Module], config: dict[str, Any], pooled: bool = True, **options: Any) -> nn.Module:
    network = kind(num_classes=10, **options)
    if not pooled:
        network.maxpool = nn.Identity()
    network.pretrained_cfg = config
    return network


FASHION_NETWORKS = {
    # a stem of stride 2 and no pooling, so layer2 has stride 4
    "fashion_resnet": partial(
        _network, ResNet, FASHION, pooled=False, block=BasicBlock, layers=(2, 2, 2, 1), channels=(32, 64, 96, 128),
        stem_type="deep", stem_width=16,
    ),
    # two 3×3 convolutions as stem; no map below 4×4, where the kernels are 3×3
    "fashion_convnext": partial(
        _network, ConvNeXt, FASHION, stem_type="overlap_act", dims=(64, 96, 128, 160), depths=(3, 2, 2, 1),
        kernel_sizes=(7, 3, 3, 3), output_stride=8, ls_init_value=0.1,
    ),
    # patches of 2×2; windows of 4×4 divide every map
    "fashion_swin": partial(
        _network, SwinTransformer, FASHION, img_size=32, patch_size=2, embed_dim=48, depths=(2, 2, 1),
        num_heads=(2, 4, 8), window_size=4, drop_path_rate=0.0,
    ),
}  # fmt: skip
SPEECH_NETWORKS = {  # one block a stage; channels are the only part of its input that differs from a photo's
    "speech-teacher": partial(
        _network, ResNet, SPEECH, block=BasicBlock, layers=(1, 1, 1, 1), channels=(16, 32, 64, 96), in_chans=1,
        stem_type="deep", stem_width=8, drop_rate=0.2,
    ),
}  # fmt: skip
