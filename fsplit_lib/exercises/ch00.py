"""Exercises of chapter 00."""

from fsplit_lib.exercises.core import Exercise, Trap

__all__ = ["EXERCISES"]

EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "00.1",
        0.25,
        "Eq. (1): bits on the wire, divided by pixels of the crop. A pixel is one place, whatever its colours.",
        "0.25 bit per pixel, against 24 for the raw crop. This unit lets pictures of different sizes "
        "share one axis, and the loss of Eq. (4) counts in it.",
        (
            Trap(0.03125, "Those are bytes per pixel: a byte has 8 bits."),
            Trap(0.25 / 3, "You divided by 3 as well: a pixel is one place with three colours, not three pixels."),
            Trap(16.0, "Those are bits per position of the 28 x 28 latent; the unit is pixels of the 224 x 224 crop."),
            Trap(12544 / 37632, "Those are bits per symbol of the 48 x 28 x 28 latent, not per pixel of the crop."),
            Trap(4.0, "Upside down: those are pixels per bit."),
        ),
    ),
    Exercise.number(
        "00.2",
        4.5,
        "Add up the fields of the table that are not payload. The length is a varint, 7 bits in each byte, and 382 does not fit 7 bits.",
        "18 of 400 bytes. At 4 kB the same 18 bytes are half a percent: "
        "the fewer bytes a codec needs, the more the envelope weighs.",
        (
            Trap(0.045, "Right as a fraction; the question asks for percent."),
            Trap(100 * 17 / 399, "One byte of varint carries 7 bits, up to 127. A length of 382 takes two bytes."),
            Trap(100 * 14 / 396, "The checksum at the end is not payload either: 4 bytes more."),
            Trap(100 * 16 / 398, "The length field itself travels too: 2 bytes more."),
            Trap(100 * 18 / 382, "That is overhead over payload; the question asks for the share of the whole packet."),
        ),
    ),
    Exercise.number(
        "00.3",
        0.15,
        "Eq. (2) for each file, then the difference. A network's mega is 1,000,000, and its unit is the bit.",
        "0.15 s saved a photo. The ratio is 16, but the ratio of bytes is not yet a ratio of waiting times: "
        "encoding, answering and the network's own delay come on top, and chapter 08 times them.",
        (
            Trap(0.01875, "The link carries bits: multiply the bytes by 8."),
            Trap(150000 / 2**20, "In networks, mega means 1,000,000; 1,048,576 is a habit of memory chips."),
            Trap(0.16, "That is the JPEG's own time; subtract the packet's."),
            Trap(0.01, "That is the packet's own time; the question asks for what it saves."),
            Trap(150.0, "Right in milliseconds; the question asks for seconds."),
            Trap(16.0, "That is how many times smaller the packet is; the question asks for seconds."),
        ),
    ),
    Exercise.choice(
        "00.4",
        "b",
        {
            "a": "The decoder makes the 40 x 28 x 28 map of the server's network; no part of it makes pixels.",
            "c": "Strides and rounding lose information: many photos lead to the same packet, so there is no inverse.",
            "d": "Nothing is encrypted: whoever has the checkpoint reads the packet. It is smaller, not secret.",
        },
        "What was the decoder trained to produce, and what did training charge for?",
        "Whatever did not move the map was not worth its bits. Somebody could still train another decoder that "
        "paints a guess of the photo from the packet: it would be blurred, but it would not be nothing.",
    ),
    Exercise.choice(
        "00.5",
        "c",
        {
            "a": "The decoder's weights lie in the same folder as everything else; nothing here is secret.",
            "b": "A hash is 4 bytes whatever it hashes, so size is no reason.",
            "d": "It would change the answer: another decoder of another backbone gives other features. "
            "But would it change what the bits of the packet mean?",
        },
        "Which parts must agree before both ends read the same symbols from the same bits?",
        "Encoder and tables fix what the symbols are; a decoder only uses them. So a server may swap its "
        "backbone, with a decoder of its own, and every phone keeps sending the same packets: chapter 07.",
    ),
)
