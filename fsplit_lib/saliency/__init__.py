"""Where in a photo the answer depends on: class activation maps, and a cache of them for training."""

from fsplit_lib.saliency.cache import SaliencyMaps, build_saliency_maps
from fsplit_lib.saliency.maps import METHODS, saliency_layers, saliency_map

__all__ = ["METHODS", "SaliencyMaps", "build_saliency_maps", "saliency_layers", "saliency_map"]
