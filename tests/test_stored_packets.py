"""Packets that an older version of this library wrote: they still decode, to the same symbols, and are written alike."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from fsplit_lib.packet import Packet
from fsplit_lib.system import load_codec

STORED = Path(__file__).parent / "stored"
KNOWN = json.loads((STORED / "packets.json").read_text())


@pytest.mark.parametrize("name", KNOWN)
def test_a_stored_packet_decodes_as_on_the_day_it_was_made(name):
    wire, known = (STORED / name).read_bytes(), KNOWN[name]
    codec, packet = load_codec(known["codec"]), Packet.from_bytes(wire)
    assert codec.codec_id.hex() == packet.codec_id.hex() == known["codec_id"]
    y_hat, packer = codec.decompress([packet]), codec.packer
    symbols = packer.read_symbols(packet)
    assert hashlib.sha256(symbols.astype("<i4").tobytes()).hexdigest() == known["symbols_sha256"]
    assert packer.pack_symbols(symbols, packet.lmbda_code, *y_hat.shape[-2:]).to_bytes() == wire
    # the inverse gain is an exponential in float32, which processors round differently in its last bits
    assert np.isclose(float((y_hat.double() ** 2).sum()), known["y_hat_sum_of_squares"], rtol=1e-5)
