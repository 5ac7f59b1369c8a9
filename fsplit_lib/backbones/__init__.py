"""Networks that answer, cut in two: how (``cut``), our own small ones (``own``), and where weights come from (``loading``)."""

from fsplit_lib.backbones.cut import FeatureSpec, Head, Tail, cut, stages_of, strides_of
from fsplit_lib.backbones.fashion_networks import FASHION_NETWORKS
from fsplit_lib.backbones.loading import Backbone, load_backbone, photo_backbone
from fsplit_lib.backbones.pixels import PixelBackbone
from fsplit_lib.backbones.speech_network import SPEECH_NETWORKS
