"""The wire format: one photo's latent as bytes that say what they are and notice any damage.

    offset  bytes  field
    0       2      magic "FS"
    2       1      version (high 4 bits), number of streams (low 4 bits)
    3       1      lmbda code: lmbda = 10 ** (-3 + 5 · code / 255)
    4       4      codec id: hash of encoder and integer tables
    8       4      image height, image width: two 16-bit numbers
    12      1-3    length of each stream, as a varint
    ..      n      the streams, the payload
    end     4      CRC-32 of everything before it

Numbers are little endian. One stream below 2 MiB costs 17-19 bytes around the payload.
No torch: this runs on the phone.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from fsplit_lib.errors import PacketError, ParameterError

MAGIC = b"FS"
VERSION = 1
FIXED = struct.Struct("<2sBB4sHH")
CRC = struct.Struct("<I")
MAX_STREAM = 2**21 - 1  # 3 varint bytes
MAX_PIXELS = 2**24  # a packet that claims a larger picture is refused before memory is reserved for it
LMBDA_EXPONENTS = (-3.0, 2.0)


def lmbda_to_code(lmbda: float) -> int:
    """Nearest 8-bit code of a rate weight, on a log scale from 0.001 to 100.

    Raises:
        ParameterError: lmbda outside that range.

    >>> lmbda_to_code(1.0), lmbda_to_code(0.001), lmbda_to_code(100)
    (153, 0, 255)
    """
    low, high = LMBDA_EXPONENTS
    if not (10**low * 0.97 <= lmbda <= 10**high * 1.03):
        raise ParameterError(f"lmbda must lie between {10**low:g} and {10**high:g}, got {lmbda}")
    return min(255, max(0, round((math.log10(lmbda) - low) / (high - low) * 255)))


def code_to_lmbda(code: int) -> float:
    """Compute the rate weight that an 8-bit code stands for.

    >>> round(code_to_lmbda(153), 6)
    1.0
    """
    low, high = LMBDA_EXPONENTS
    return 10 ** (low + (high - low) * code / 255)


def check_size(height: int, width: int, stride: int) -> None:
    """Raise ValueError unless both sides are positive multiples of the stride, and a packet may be as large."""
    if height < stride or width < stride or height % stride or width % stride:
        raise ValueError(f"picture sides must be multiples of {stride}, got {height} x {width}; crop or pad it first")
    if height * width > MAX_PIXELS:
        raise ValueError(f"a picture has at most {MAX_PIXELS} pixels, got {height} x {width}; scale it down first")


@dataclass(frozen=True)
class Packet:
    """One compressed photo.

    >>> packet = Packet(b"abcd", 224, 224, 100, (b"stream",))
    >>> Packet.from_bytes(packet.to_bytes()) == packet
    True
    """

    codec_id: bytes  # 4 bytes, hash of encoder and tables (never of a decoder: any backbone's server may answer)
    height: int  # of the picture that the encoder saw, in pixels
    width: int  # of the picture in pixels
    lmbda_code: int  # 0-255, see code_to_lmbda
    streams: tuple[bytes, ...]  # the entropy coder's output

    @property
    def lmbda(self) -> float:
        """The rate weight that the code stands for."""
        return code_to_lmbda(self.lmbda_code)

    @property
    def payload_bytes(self) -> int:
        """Bytes of the streams alone."""
        return sum(map(len, self.streams))

    def to_bytes(self) -> bytes:
        """Write the packet as it travels.

        >>> wire = Packet(b"abcd", 224, 224, 153, (b"1234",)).to_bytes()
        >>> len(wire), Packet.from_bytes(wire).width
        (21, 224)

        Raises:
            ValueError: a field does not fit its width.
        """
        if not 1 <= len(self.streams) <= 15 or any(len(s) > MAX_STREAM for s in self.streams):
            raise ValueError(f"a packet holds 1-15 streams of at most {MAX_STREAM} bytes each")
        if not (1 <= self.height < 65536 and 1 <= self.width < 65536) or not 0 <= self.lmbda_code < 256:
            raise ValueError("image sides must fit 16 bits and the lmbda code 8")
        if len(self.codec_id) != 4:
            raise ValueError(f"a codec id has 4 bytes, got {len(self.codec_id)}")
        first = VERSION << 4 | len(self.streams)
        head = FIXED.pack(MAGIC, first, self.lmbda_code, self.codec_id, self.height, self.width)
        body = head + b"".join(varint(len(s)) for s in self.streams) + b"".join(self.streams)
        return body + CRC.pack(zlib.crc32(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Packet":
        """Read a packet.

        Raises:
            PacketError: the bytes are altered, truncated, too long, or no packet of this version.
        """
        data = bytes(data)
        if len(data) < FIXED.size + 1 + CRC.size:
            raise PacketError(
                f"a packet has at least {FIXED.size + 1 + CRC.size} bytes, got {len(data)}: it was cut short"
            )
        magic, first, lmbda_code, codec_id, height, width = FIXED.unpack_from(data)
        if magic != MAGIC:
            raise PacketError(f"a packet begins with {MAGIC!r}, these bytes with {magic!r}: not a packet")
        if first >> 4 != VERSION:
            raise PacketError(f"this is packet version {first >> 4}; only version {VERSION} is known")
        body, (crc,) = data[: -CRC.size], CRC.unpack(data[-CRC.size :])
        if zlib.crc32(body) != crc:
            raise PacketError("the checksum does not match: the packet was altered or cut short on its way")
        rest = io.BytesIO(body[FIXED.size :])
        try:
            lengths = [read_varint(lambda: rest.read(1)[0], most=3) for _ in range(first & 15)]
        except IndexError as error:
            raise PacketError("the packet ends inside a length") from error
        streams = tuple(map(rest.read, lengths))
        if not (streams and height and width) or [*map(len, streams)] != lengths or rest.read(1):
            raise PacketError("the packet's fields contradict each other")
        return cls(codec_id, height, width, lmbda_code, streams)


def varint(number: int) -> bytes:
    """Write a number >= 0 in as few bytes as it takes: 7 bits in each, the lowest first, and whether more follow.

    >>> varint(300).hex(), read_varint(iter(varint(300)).__next__, most=2)
    ('ac02', 300)
    """
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def read_varint(take: Callable[[], int], most: int) -> int:
    """Read what :func:`varint` wrote, of ``most`` bytes at the most, from a call that gives the next byte.

    Raises:
        PacketError: it has more.
    """
    number = 0
    for shift in range(0, 7 * most, 7):
        byte = int(take())
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise PacketError(f"a number is longer than {most} bytes")
