"""The wire: round trips, overhead, and ten thousand ways to damage a packet."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsplit_lib.errors import PacketError
from fsplit_lib.packet import Packet, code_to_lmbda, lmbda_to_code

sides = st.integers(1, 65535)
streams = st.lists(st.binary(max_size=300), min_size=1, max_size=15)


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=4, max_size=4), sides, sides, st.integers(0, 255), streams)
def test_round_trip(codec_id, height, width, code, parts):
    packet = Packet(codec_id, height, width, code, tuple(parts))
    wire = packet.to_bytes()
    assert Packet.from_bytes(wire) == packet
    assert packet.payload_bytes == sum(map(len, parts))


@pytest.mark.parametrize("lengths", [(0,), (100,), (16383,), (2**21 - 1,), (100, 100), (16383, 16383)])
def test_at_most_20_bytes_around_the_payload(lengths):
    packet = Packet(b"abcd", 224, 224, 153, tuple(bytes(n) for n in lengths))
    assert len(packet.to_bytes()) - packet.payload_bytes <= 20


def mutations(wire, count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(wire)
        kind = rng.integers(8)
        at = int(rng.integers(len(data)))
        other = int(rng.integers(len(data)))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at] = int(rng.integers(256))
        elif kind == 2:
            data = data[:at]
        elif kind == 3:
            data.insert(at, int(rng.integers(256)))
        elif kind == 4:
            del data[at]
        elif kind == 5:
            data[at], data[other] = data[other], data[at]
        elif kind == 6:
            data = bytearray(rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8).tobytes())
        else:
            data += wire[: other + 1]
        if bytes(data) != wire:
            yield bytes(data)


def test_no_mutation_is_accepted():
    rng = np.random.default_rng(7)
    wire = Packet(b"abcd", 224, 224, 153, (rng.integers(0, 256, 1200, dtype=np.uint8).tobytes(),)).to_bytes()
    tried = 0
    for data in mutations(wire, 13_000, seed=0):
        with pytest.raises(PacketError):
            Packet.from_bytes(data)
        tried += 1
    assert tried >= 10_000


def signed(body):
    return body + struct.pack("<I", zlib.crc32(body))


HEAD = b"FS" + bytes([0x11, 153]) + b"abcd" + struct.pack("<HH", 224, 224)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"FS" + bytes([0x10, 153]) + HEAD[4:] + b"\x00", "contradict"),
        (b"FS" + bytes([0x21, 153]) + HEAD[4:] + b"\x01a", "version 2"),
        (b"XX" + HEAD[2:] + b"\x01a", "not a packet"),
        (HEAD + b"\x05a", "contradict"),
        (HEAD + b"\x01ab", "contradict"),
        (HEAD + b"\xff\xff\xff\x01a", "longer than 3 bytes"),
        (HEAD + b"\xff", "inside a length"),
        (HEAD[:8] + struct.pack("<HH", 0, 224) + b"\x01a", "contradict"),
        (HEAD[:5], "cut short"),
        (b"", "cut short"),
    ],
)
def test_hostile_packets_with_a_valid_checksum(body, message):
    with pytest.raises(PacketError, match=message):
        Packet.from_bytes(signed(body))


@pytest.mark.parametrize(
    "fields", [(0, 1, 0, (b"",)), (1, 65536, 0, (b"",)), (1, 1, 256, (b"",)), (1, 1, 0, ()), (1, 1, 0, (bytes(2**21),))]
)
def test_fields_that_do_not_fit_are_refused(fields):
    with pytest.raises(ValueError):
        Packet(b"abcd", *fields).to_bytes()


def test_lmbda_code_is_a_log_scale():
    codes = np.arange(256)
    values = np.array([code_to_lmbda(int(c)) for c in codes])
    assert [lmbda_to_code(v) for v in values] == codes.tolist()
    assert np.allclose(np.diff(np.log(values)), np.log(1e5) / 255)
    for wrong in (0, -1, 1e-4, 200, float("nan")):
        with pytest.raises(ValueError, match="between"):
            lmbda_to_code(wrong)
