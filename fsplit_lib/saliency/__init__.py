"""Where in a photo the answer depends on: class activation maps, checks of them, and a cache of them for training."""

from fsplit_lib.saliency.cache import SaliencyMaps, build_saliency_maps
from fsplit_lib.saliency.checks import Spoiled, cascade, concentration, edge_map, randomised, rank_correlation, spoil
from fsplit_lib.saliency.maps import METHODS, saliency_layers, saliency_map

__all__ = [
    "METHODS",
    "SaliencyMaps",
    "Spoiled",
    "build_saliency_maps",
    "cascade",
    "concentration",
    "edge_map",
    "randomised",
    "rank_correlation",
    "saliency_layers",
    "saliency_map",
    "spoil",
]
