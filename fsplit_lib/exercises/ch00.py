"""Exercises of chapter 00: the header of a packet, the flipped bit, and what a packet costs and means."""

import struct
import zlib
from numbers import Integral
from typing import Any

from fsplit_lib.exercises.core import Exercise, choice, function, inputs, number
from fsplit_lib.packet import Packet

Header = tuple[int, float, bytes, int, int, bytes]
NOT_FOUND = (
    "Your search does not find the bit. The checksum covers all bytes before its own four, which are little endian (<I), "
    "and one bit at a time is flipped, on a fresh copy."
)


def read_header(wire: bytes) -> Header:
    """Read a packet of one stream: version, lmbda, codec id, height, width and payload.

    >>> read_header(Packet(b"abcd", 224, 160, 153, (b"1234",)).to_bytes())
    (1, 1.0, b'abcd', 224, 160, b'1234')
    """
    _, first, code, codec_id, height, width = struct.unpack_from("<2sBB4sHH", wire)
    at, length = 12, wire[12] & 127
    while wire[at] > 127:  # another byte of the varint follows
        at += 1
        length |= (wire[at] & 127) << 7 * (at - 12)
    payload = wire[at + 1 : at + 1 + length]
    return first >> 4, 10 ** (-3 + 5 * code / 255), codec_id, height, width, payload


def flipped_bit(wire: bytes) -> tuple[int, int] | None:
    """Find the bit whose flip makes the checksum match, as (byte, bit from the lowest); None if there is no such bit.

    >>> wire = Packet(b"abcd", 224, 160, 153, (b"1234",)).to_bytes()
    >>> flipped_bit(wire[:6] + bytes([wire[6] ^ 4]) + wire[7:])
    (6, 2)
    """
    for place in range(8 * len(wire)):
        tried = bytearray(wire)
        tried[place // 8] ^= 1 << place % 8
        if struct.pack("<I", zlib.crc32(tried[:-4])) == tried[-4:]:
            return divmod(place, 8)
    return None


def _flip(wire: bytes, byte: int, bit: int) -> bytes:
    return wire[:byte] + bytes([wire[byte] ^ 1 << bit]) + wire[byte + 1 :]


def _packets() -> list[tuple[bytes]]:
    """Draw packets of a later version whose length fields take one, two and three bytes.

    In each length the bits are 0 in which the high bits of the field's bytes would land, were they not taken off.
    """
    rng, packets = inputs(0), []
    for length in (rng.integers(1, 128), 256 * rng.integers(1, 8) + 1, rng.integers(33_000, 36_000) & ~128):
        sides, code = rng.integers(1, 2**16, 2), int(rng.integers(256))
        payload = rng.bytes(int(length))
        wire = Packet(rng.bytes(4), *map(int, sides), code, (payload,)).to_bytes()
        packets.append((wire[:2] + bytes([int(rng.integers(2, 16)) << 4 | 1]) + wire[3:],))
    return packets


def _same_header(got: Any, expected: Header) -> bool:
    """Tell whether all fields are equal, lmbda to six digits."""
    return [*got[:1], *got[2:]] == [*expected[:1], *expected[2:]] and abs(got[1] / expected[1] - 1) < 1e-6


def _header_form(result: Any, *_: Any) -> str | None:
    if not isinstance(result, tuple | list) or len(result) != 6:
        return f"Return six values, (version, lmbda, codec_id, height, width, payload), not {str(result)[:60]}."
    for name, value in (("codec_id", result[2]), ("payload", result[5])):
        if not isinstance(value, bytes | bytearray):
            return f"{name} is a piece of the packet: return bytes, not {type(value).__name__}."
    float(result[1])
    return None


def _damaged() -> list[tuple[bytes]]:
    """Draw a packet with one bit flipped in its header, its payload and its checksum; an intact one; one with two flips."""
    rng = inputs(7)
    wire = Packet(rng.bytes(4), 224, 224, 150, (rng.bytes(60),)).to_bytes()
    places = [int(rng.integers(*span)) for span in ((0, 12), (14, len(wire) - 4), (len(wire) - 4, len(wire)))]
    bits = rng.permutation([0, 1, 2, 5, 6, 7])[:3].tolist()
    once = [_flip(wire, byte, bit) for byte, bit in zip(places, bits, strict=True)]
    return [(one,) for one in (*once, wire, _flip(once[0], places[1], bits[1]))]


def _place_form(result: Any, wire: bytes) -> str | None:
    if result is None:
        place = flipped_bit(wire)
        return None if place is None or place[0] >= len(wire) - 4 else NOT_FOUND
    whole = isinstance(result, tuple | list) and all(isinstance(value, Integral) for value in result)
    if whole and len(result) == 2:
        return None
    return f"Return (byte, bit), or None where no single flip helps, not {str(result)[:60]}."


EXERCISES: tuple[Exercise, ...] = (
    function("00.1", read_header, _packets, same=_same_header, form=_header_form)(
        "struct.unpack_from with the format <2sBB4sHH reads the first 12 bytes; then a loop reads the varint.",
        "Twelve fixed bytes and a varint are all that a server needs in order to know what it was sent. "
        "The class Packet reads the same fields and refuses what contradicts itself.",
        ("<2sBB4sHH", ">2sBB4sHH"),
        "Height and width have their bytes in the other order: the packet is little endian, so the format begins with <.",
        ("first >> 4", "first"),
        "Byte 2 holds two numbers: the version is in its high four bits, the number of streams in its low four.",
        ("first >> 4", "first & 15"),
        "Those low four bits count the streams; the version is in the high four.",
        ("10 ** (-3 + 5 * code / 255)", "code"),
        "Byte 3 is only the code of lmbda: lmbda = 10 ** (-3 + 5 * code / 255).",
        ("(-3 + 5 * code / 255)", "((-3 + 5 * code) / 255)"),
        "Your lambda is wrong: the whole of -3 + 5c/255 is the exponent of 10, and only 5c is divided by 255.",
        ("(-3 + 5 * code / 255)", "-3 + 5 * code / 255"),
        "Your lambda is wrong: the whole of -3 + 5c/255 is the exponent of 10.",
        ("height, width = ", "width, height = "),
        "Height and width are exchanged: the height comes first.",
        ("wire[12] & 127", "wire[12]", "> 127", "> 255"),
        "You read one byte of the length. Its highest bit says that another byte of the varint follows.",
        ("length |= (wire[at] & 127) << 7 * (at - 12)", "length = length << 7 | wire[at] & 127"),
        "The bytes of a varint come lowest first: shift byte k by 7 * k, not what came before it.",
        ("wire[12] & 127", "wire[12]", "(wire[at] & 127) <<", "wire[at] <<"),
        "Take only the low seven bits of each byte of the varint, byte & 127, before you shift them.",
        lambda wire: (*read_header(wire)[:5], wire[14 : 14 + (wire[12] & 127 | (wire[13] & 127) << 7)]),
        "Your varint always has two bytes. A short payload needs one, a long one three.",
        ("at + 1 : at + 1 + length", "at : at + length"),
        "Your payload starts at the wrong byte.",
        ("at + 1 : at + 1 + length", "at + 1 :"),
        "Your payload reaches to the end of the packet; the last four bytes are the checksum.",
    ),
    function("00.2", flipped_bit, _damaged, same=lambda a, b: list(a or ()) == list(b or ()), form=_place_form)(
        "Flip each bit in turn (a bytearray, ^= 1 << bit) and compare zlib.crc32 of all but the last four bytes with those four.",
        "Every single flip of a short packet changes the checksum in its own way, so one flipped bit can be put back. "
        "Two flipped bits look like no single one: the search finds none, and the packet has to be sent again.",
        ("divmod(place, 8)", "place // 8, 7 - place % 8"),
        "The byte is right. Count its bits from the lowest: bit 0 has the value 1, bit 7 the value 128.",
        ("divmod(place, 8)", "place // 8 - len(wire), place % 8"),
        "Count the bytes from the beginning of the packet, as its offsets do.",
        ("divmod(place, 8)", "place // 8, 1 << place % 8"),
        "That is the value of the bit; asked is its number, 0 to 7.",
        ("8 * len(wire)", "8 * len(wire) - 32"),
        "A bit of the checksum itself may be flipped: try the last four bytes as well.",
        ("== tried[-4:]", "== wire[-4:]"),
        "A flip may also hit the checksum: take the last four bytes from the changed copy.",
        ("return None", "return len(wire) - 1, 7"),
        "Where no single flip makes the checksum match, return None and no place.",
    ),
    number("00.3", 0.25)(
        "Eq. (1): bits on the wire, divided by pixels of the crop. A pixel is one place, whatever its colours.",
        "0.25 bit per pixel, against 24 for the raw crop. This unit lets pictures of different sizes "
        "share one axis, and the loss of Eq. (4) counts in it.",
        (0.03125, "Those are bytes per pixel: a byte has 8 bits."),
        (0.25 / 3, "You divided by 3 as well: a pixel is one place with three colours, not three pixels."),
        (16.0, "Those are bits per position of the 28 x 28 latent; the unit is pixels of the 224 x 224 crop."),
        (12544 / 37632, "Those are bits per symbol of the 48 x 28 x 28 latent, not per pixel of the crop."),
        (4.0, "Upside down: those are pixels per bit."),
    ),
    number("00.4", 4.5)(
        "Add up the fields of the table that are not payload. The length is a varint, 7 bits in each byte, and 382 does not fit 7 bits.",
        "18 of 400 bytes. At 4 kB the same 18 bytes are half a percent: "
        "the fewer bytes a codec needs, the more the envelope weighs.",
        (0.045, "Right as a fraction; the question asks for percent."),
        (100 * 17 / 399, "One byte of varint carries 7 bits, up to 127. A length of 382 takes two bytes."),
        (100 * 14 / 396, "The checksum at the end is not payload either: 4 bytes more."),
        (100 * 16 / 398, "The length field itself travels too: 2 bytes more."),
        (100 * 18 / 382, "That is overhead over payload; the question asks for the share of the whole packet."),
    ),
    number("00.5", 0.15)(
        "Eq. (2) for each file, then the difference. A network's mega is 1,000,000, and its unit is the bit.",
        "0.15 s saved a photo. The ratio is 16, but the ratio of bytes is not yet a ratio of waiting times: "
        "encoding, answering and the network's own delay come on top, and chapter 08 times them.",
        (0.01875, "The link carries bits: multiply the bytes by 8."),
        (150000 / 2**20, "In networks, mega means 1,000,000; 1,048,576 is a habit of memory chips."),
        (0.16, "That is the JPEG's own time; subtract the packet's."),
        (0.01, "That is the packet's own time; the question asks for what it saves."),
        (150.0, "Right in milliseconds; the question asks for seconds."),
        (16.0, "That is how many times smaller the packet is; the question asks for seconds."),
    ),
    choice("00.6", "b")(
        "What was the decoder trained to produce, and what did training charge for?",
        "Whatever did not move the map was not worth its bits. Somebody could still train another decoder that "
        "paints a guess of the photo from the packet: it would be blurred, but it would not be nothing.",
        a="The decoder makes the 40 x 28 x 28 map of the server's network; no part of it makes pixels.",
        c="Strides and rounding lose information: many photos lead to the same packet, so there is no inverse.",
        d="Nothing is encrypted: whoever has the checkpoint reads the packet. It is smaller, not secret.",
    ),
    choice("00.7", "c")(
        "Which parts must agree before both ends read the same symbols from the same bits?",
        "Encoder and tables fix what the symbols are; a decoder only uses them. So a server may swap its "
        "backbone, with a decoder of its own, and every phone keeps sending the same packets: chapter 07.",
        a="The decoder's weights lie in the same folder as everything else; nothing here is secret.",
        b="A hash is 4 bytes whatever it hashes, so size is no reason.",
        d="It would change the answer: another decoder of another backbone gives other features. "
        "But would it change what the bits of the packet mean?",
    ),
)
