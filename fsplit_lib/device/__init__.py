"""All that a phone needs: a bundle of files, onnxruntime, numpy, Pillow, constriction, and no torch.

    photo ──► center_crop ──► encoder.onnx ──► y ──► gains, tables of codec.npz ──► Packet

``pip install fsplit_lib[device]`` brings what this room needs. :mod:`~fsplit_lib.device.export`, which makes bundles
from trained codecs, is the one module here that needs torch.
"""

from fsplit_lib.device.bundle import Bundle, read_bundle
from fsplit_lib.device.card import DeviceCard, read_card, read_cards, write_card
from fsplit_lib.device.runtime import DeviceEncoder
from fsplit_lib.device.timing import Timing, interleave
