"""Where in a photo the answer depends on: class activation maps, checks of them, and a cache of them for training."""

from fsplit_lib.saliency.cache import SaliencyMaps, build_saliency_maps
from fsplit_lib.saliency.checks import (
    DeletionCurve,
    cascading_randomisation,
    concentration,
    deletion_test,
    edge_map,
    map_correlation,
    randomised,
    rank_correlation,
)
from fsplit_lib.saliency.maps import METHODS, saliency_layers, saliency_map
