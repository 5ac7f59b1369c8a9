"""Networks that answer, cut in two: how (``cut``), our own small ones (``our_networks``), and where weights come from (``loading``)."""

from fsplit_lib.backbones.cut import FeatureSpec, Head, Tail, cut, outputs_of, stages_of, strides_of
from fsplit_lib.backbones.loading import Backbone, PixelBackbone, load_backbone, photo_backbone
from fsplit_lib.backbones.our_networks import FASHION_NETWORKS, SPEECH_NETWORKS
