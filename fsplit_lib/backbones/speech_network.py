"""The workbook's own network for spoken digits: one channel of 64 mel bands by 64 frames, cut at stride 8.

    speech-teacher    stride 4 ► 4 ► 8 (32 maps of 8×8) ► 16 ► 32          224,722 parameters

``fsplit train speech-teacher`` trains it again.
"""

from timm.models.resnet import BasicBlock, ResNet

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _speech_teacher() -> ResNet:
    """Timm's ResNet with one block a stage; channels are the only part of its input that differs from a photo's."""
    network = ResNet(
        BasicBlock, layers=(1, 1, 1, 1), channels=(16, 32, 64, 96), num_classes=10, in_chans=1, stem_type="deep",
        stem_width=8, drop_rate=0.2,
    )  # fmt: skip
    network.pretrained_cfg = {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,)}
    return network


SPEECH_NETWORKS = {"speech-teacher": _speech_teacher}
