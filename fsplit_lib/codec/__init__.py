"""The variational bottleneck: an encoder of 141,696 parameters, its rate control, its entropy model, and the wire."""

from fsplit_lib.codec.encoder import CodecConfig, Encoder
from fsplit_lib.codec.feature_codec import FeatureCodec, Quantiser
from fsplit_lib.codec.gains import Gains
from fsplit_lib.codec.side_information import build_codec
