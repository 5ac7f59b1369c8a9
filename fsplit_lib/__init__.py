"""The thin library behind the FrankenSplit workbook.

    photo ──► Encoder g_a ──► y ──► quantise ──► entropy coder ──► Packet        the device
                                                                     │  the link
    answer ◄── Tail ◄── h_hat ◄── Decoder g_s ◄── y_hat ◄────────────┘           the server

Start at :mod:`fsplit_lib.codec` (the encoder), :mod:`fsplit_lib.objectives` (the loss) and
:mod:`fsplit_lib.packet` (the wire). Importing this package imports neither torch nor a notebook tool.
"""

import sys

# A grammar of international addresses, which jsonschema reads at import and notebooks never use, takes a third of the time
# that a chapter's imports take; without it jsonschema passes over the format "iri", as after a plain installation.
sys.modules.setdefault("rfc3987_syntax", None)

__version__ = "0.1.0"
