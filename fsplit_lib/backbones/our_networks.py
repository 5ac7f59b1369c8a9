"""The workbook's own networks: three families for clothes at 32×32, cut at stride 4, and one for spoken digits.

    fashion_resnet    stride 2 ► 4 (64 maps of 8×8) ► 8 ► 16          759,930 parameters
    fashion_convnext  stem of stride 4 ► 4 (64 maps) ► 8 ► 8 ► 8      932,170
    fashion_swin      stride 2 ► 4 (96 maps) ► 8, windows of 4×4      822,414
    speech-teacher    stride 4 ► 4 ► 8 (32 maps of 8×8) ► 16 ► 32     224,722, of one channel of 64 mel bands by 64 frames

All are timm's own classes with small widths. ``fsplit train NAME`` trains one again.
"""

from timm.models.convnext import ConvNeXt
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import SwinTransformer
from torch import nn

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FASHION = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}


def _fashion_resnet() -> ResNet:
    """A stem of stride 2 and no pooling, so layer2 has stride 4."""
    network = ResNet(
        BasicBlock, layers=(2, 2, 2, 1), channels=(32, 64, 96, 128), num_classes=10, stem_type="deep", stem_width=16
    )
    network.maxpool = nn.Identity()
    network.pretrained_cfg = FASHION
    return network


def _fashion_convnext() -> ConvNeXt:
    """Two 3×3 convolutions as stem; no map below 4×4, where the kernels are 3×3."""
    network = ConvNeXt(
        num_classes=10, stem_type="overlap_act", dims=(64, 96, 128, 160), depths=(3, 2, 2, 1),
        kernel_sizes=(7, 3, 3, 3), output_stride=8, ls_init_value=0.1,
    )  # fmt: skip
    network.pretrained_cfg = FASHION
    return network


def _fashion_swin() -> SwinTransformer:
    """Patches of 2×2; windows of 4×4 divide every map."""
    network = SwinTransformer(
        img_size=32, patch_size=2, num_classes=10, embed_dim=48, depths=(2, 2, 1), num_heads=(2, 4, 8), window_size=4,
        drop_path_rate=0.0,
    )  # fmt: skip
    network.pretrained_cfg = FASHION
    return network


def _speech_teacher() -> ResNet:
    """Timm's ResNet with one block a stage; channels are the only part of its input that differs from a photo's."""
    network = ResNet(
        BasicBlock, layers=(1, 1, 1, 1), channels=(16, 32, 64, 96), num_classes=10, in_chans=1, stem_type="deep",
        stem_width=8, drop_rate=0.2,
    )  # fmt: skip
    network.pretrained_cfg = {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)}
    return network


FASHION_NETWORKS = {
    "fashion_resnet": _fashion_resnet,
    "fashion_convnext": _fashion_convnext,
    "fashion_swin": _fashion_swin,
}
SPEECH_NETWORKS = {"speech-teacher": _speech_teacher}
