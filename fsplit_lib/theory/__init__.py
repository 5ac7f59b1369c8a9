"""The theory in numpy alone: information, its bottleneck, and coding, small enough to check by hand.

Nothing here imports torch, so a chapter's first cells are quick.
"""

from fsplit_lib.theory.arithmetic import AnsStack, Step, decode_message, encode_message, steps
from fsplit_lib.theory.bottleneck import (
    Bottleneck,
    anneal,
    at,
    hard_groupings,
    solve,
    update_encoder,
    variational_bounds,
)
from fsplit_lib.theory.information import conditional_entropy, entropy, kl_divergence, mutual_information
