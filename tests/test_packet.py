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


KINDS = ("bit", "byte", "cut", "insert", "delete", "swap", "noise", "noise behind the magic", "append", "twice")


def mutate(kind, wire, rng):
    data = bytearray(wire)
    at, other = (int(rng.integers(len(data))) for _ in range(2))
    if kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "byte":
        data[at] = int(rng.integers(256))
    elif kind == "cut":
        data = data[:at]
    elif kind == "insert":
        data.insert(int(rng.integers(len(data) + 1)), int(rng.integers(256)))
    elif kind == "delete":
        del data[at]
    elif kind == "swap":
        data[at], data[other] = data[other], data[at]
    elif kind == "noise":
        data = bytearray(rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8).tobytes())
    elif kind == "noise behind the magic":
        data[3:] = rng.integers(0, 256, int(rng.integers(0, 400)), dtype=np.uint8).tobytes()
    elif kind == "append":
        data += wire[: other + 1]
    else:
        data += wire
    return bytes(data)


@pytest.mark.parametrize("lengths", [(1200,), (200, 150)])
def test_no_mutation_is_accepted(lengths):
    rng = np.random.default_rng(7)
    parts = tuple(rng.integers(0, 256, n, dtype=np.uint8).tobytes() for n in lengths)
    wire = Packet(b"abcd", 224, 224, 153, parts).to_bytes()
    tried = dict.fromkeys(KINDS, 0)
    for n in range(13_000):
        kind = KINDS[n % len(KINDS)]
        data = mutate(kind, wire, rng)
        if data == wire:
            continue
        with pytest.raises(PacketError):
            Packet.from_bytes(data)
        tried[kind] += 1
    assert sum(tried.values()) >= 10_000
    assert min(tried.values()) >= 1000


def test_no_single_bit_and_no_cut_is_missed():
    wire = Packet(b"abcd", 224, 224, 153, (bytes(range(100)), b"xyz")).to_bytes()
    for bit in range(8 * len(wire)):
        data = bytearray(wire)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PacketError):
            Packet.from_bytes(bytes(data))
    for end in range(len(wire)):
        with pytest.raises(PacketError):
            Packet.from_bytes(wire[:end])


def signed(body):
    return body + struct.pack("<I", zlib.crc32(body))


HEAD = b"FS" + bytes([0x11, 153]) + b"abcd" + struct.pack("<HH", 224, 224)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"FS" + bytes([0x10, 153]) + HEAD[4:] + b"\x00", "contradict"),
        (b"FS" + bytes([0x21, 153]) + HEAD[4:] + b"\x01a", "version 2"),
        (b"FS" + bytes([0x01, 153]) + HEAD[4:] + b"\x01a", "version 0"),
        (b"XX" + HEAD[2:] + b"\x01a", "not a packet"),
        (b"FS" + bytes([0x12, 153]) + HEAD[4:] + b"\x01", "inside a length"),
        (b"FS" + bytes([0x12, 153]) + HEAD[4:] + b"\x01\x01a", "contradict"),
        (b"FS" + bytes([0x1F, 153]) + HEAD[4:] + b"\x00" * 14, "inside a length"),
        (HEAD + b"\xff\xff\x7fa", "contradict"),
        (HEAD + b"\x00a", "contradict"),
        (HEAD + b"\x05a", "contradict"),
        (HEAD + b"\x01ab", "contradict"),
        (HEAD + b"\xff\xff\xff\x01a", "longer than 3 bytes"),
        (HEAD + b"\xff", "inside a length"),
        (HEAD[:8] + struct.pack("<HH", 0, 224) + b"\x01a", "contradict"),
        (HEAD[:8] + struct.pack("<HH", 224, 0) + b"\x01a", "contradict"),
        (HEAD[:5], "cut short"),
        (b"", "cut short"),
    ],
)
def test_hostile_packets_with_a_valid_checksum(body, message):
    with pytest.raises(PacketError, match=message):
        Packet.from_bytes(signed(body))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 255), st.binary(max_size=40))
def test_any_signed_bytes_are_a_packet_or_one_error(first, rest):
    try:
        packet = Packet.from_bytes(signed(b"FS" + bytes([first]) + rest))
    except PacketError:
        return
    assert first >> 4 == 1 and len(packet.streams) == first & 15 > 0
    assert packet.payload_bytes <= len(rest)
    assert Packet.from_bytes(packet.to_bytes()) == packet


def test_bytes_may_come_in_any_buffer():
    wire = Packet(b"abcd", 8, 16, 0, (b"12",)).to_bytes()
    assert Packet.from_bytes(bytearray(wire)) == Packet.from_bytes(memoryview(wire)) == Packet.from_bytes(wire)


@pytest.mark.parametrize(
    ("codec_id", "height", "width", "code", "parts"),
    [
        (b"abcd", 0, 1, 0, (b"",)),
        (b"abcd", 1, 0, 0, (b"",)),
        (b"abcd", 65536, 1, 0, (b"",)),
        (b"abcd", 1, 65536, 0, (b"",)),
        (b"abcd", 1, 1, 256, (b"",)),
        (b"abcd", 1, 1, -1, (b"",)),
        (b"abcd", 1, 1, 0, ()),
        (b"abcd", 1, 1, 0, (b"",) * 16),
        (b"abcd", 1, 1, 0, (bytes(2**21),)),
        (b"abc", 1, 1, 0, (b"",)),
        (b"abcde", 1, 1, 0, (b"",)),
    ],
)
def test_fields_that_do_not_fit_are_refused(codec_id, height, width, code, parts):
    with pytest.raises(ValueError):
        Packet(codec_id, height, width, code, parts).to_bytes()


def test_lmbda_code_is_a_log_scale():
    codes = np.arange(256)
    values = np.array([code_to_lmbda(int(c)) for c in codes])
    assert [lmbda_to_code(v) for v in values] == codes.tolist()
    assert np.allclose(np.diff(np.log(values)), np.log(1e5) / 255)
    assert values[[0, -1]] == pytest.approx([1e-3, 100])


@settings(deadline=None, max_examples=200)
@given(st.floats(1e-3, 100))
def test_the_code_is_the_nearest(lmbda):
    assert abs(np.log(code_to_lmbda(lmbda_to_code(lmbda)) / lmbda)) <= np.log(1e5) / 255 / 2 + 1e-9


@pytest.mark.parametrize("wrong", [0, -1, 1e-4, 200, float("nan"), float("inf")])
def test_lmbda_outside_the_scale_is_refused(wrong):
    with pytest.raises(ValueError, match="between"):
        lmbda_to_code(wrong)
