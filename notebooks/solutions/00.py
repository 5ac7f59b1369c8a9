"""Solutions of chapter 00, filled in and graded strictly by the tests."""

import struct
import zlib

from fsplit_lib.exercises import check


# %% 00.1
def my_header(wire):
    _, first, code, codec_id, height, width = struct.unpack_from("<2sBB4sHH", wire)
    at, length = 12, 0
    for k in range(3):
        length |= (wire[at] & 127) << 7 * k
        at += 1
        if wire[at - 1] < 128:
            break
    return first >> 4, 10 ** (-3 + 5 * code / 255), codec_id, height, width, wire[at : at + length]


check("00.1", my_header)


# %% 00.2
def my_flipped_bit(wire):
    for position in range(8 * len(wire)):
        tried = bytearray(wire)
        tried[position // 8] ^= 1 << position % 8
        if zlib.crc32(tried[:-4]) == struct.unpack("<I", tried[-4:])[0]:
            return divmod(position, 8)
    return None


check("00.2", my_flipped_bit)
# %% 00.3
answer_3 = 8 * 1568 / (224 * 224)
check("00.3", answer_3)
# %% 00.4
envelope = 12 + 2 + 4  # fixed fields, a two-byte length, the checksum
answer_4 = 100 * envelope / (envelope + 382)
check("00.4", answer_4)
# %% 00.5
answer_5 = 8 * (20_000 - 1_250) / 1_000_000
check("00.5", answer_5)
# %% 00.6
answer_6 = "b"
check("00.6", answer_6)
# %% 00.7
answer_7 = "c"
check("00.7", answer_7)
