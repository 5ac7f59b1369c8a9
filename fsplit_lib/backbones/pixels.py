"""A network that is cut before its first layer: what a decoder has to produce are the pixels themselves.

    x ──► Head: patches of 8 × 8 pixels as 192 channels ──► h ──► Tail: back to pixels, then the whole network ──► logits

So a learned image codec is the same system with another cut, and both can be trained and measured alike.
"""

from torch import Tensor, nn

from fsplit_lib.backbones.cut import FeatureSpec
from fsplit_lib.backbones.loading import Backbone


class _WholeNetwork(nn.Module):
    """Turn patches (B, 192, h, w) into a picture in [0, 1] and let the whole network answer."""

    def __init__(self, backbone: Backbone, patch: int):
        super().__init__()
        self.merge, self.backbone = nn.PixelShuffle(patch), backbone

    def forward(self, h: Tensor) -> Tensor:
        return self.backbone(self.merge(h).clamp(0, 1))


class PixelBackbone(Backbone):
    """Cut the backbone that answers before its first layer; a patch's side in pixels is the latent's stride.

    >>> import torch
    >>> from fsplit_lib.backbones import load_backbone
    >>> PixelBackbone(load_backbone("resnet18", "random")).head(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 192, 4, 4])
    """

    def __init__(self, backbone: Backbone, patch: int = 8):
        nn.Module.__init__(self)
        self.name, self.network, self.input_size = backbone.name, backbone.network, backbone.input_size
        self.head, self.tail = nn.PixelUnshuffle(patch), _WholeNetwork(backbone, patch)
        self.spec = FeatureSpec(backbone.spec.family, 3 * patch * patch, patch)
