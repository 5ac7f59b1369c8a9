"""Spoken digits: our packets against audio codecs and against plain mel patches, all judged by one teacher.

    recording ──► patch ──► codec ──► packet ──► decoder ──► tail of the teacher ──► digit       ours
    recording ──► FLAC, Opus ──► recording ──► patch ──► the whole teacher ──► digit             audio codecs
    recording ──► patch ──► fewer bits and zlib, or WebP ──► patch ──► the whole teacher ──► digit

FLAC and Opus are the programs ``flac``, ``opusenc`` and ``opusdec`` where they are installed (Debian: flac, opus-tools), and
are left out elsewhere. Nothing else in this workbook needs them.
"""

import shutil
import subprocess
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import decode_image, encode_image
from fsplit_lib.data.speech import RATE, log_mel, read_wav
from fsplit_lib.evaluation.evaluate import Progress, curve_of_images, lmbdas_of, silent, top1_of_images
from fsplit_lib.evaluation.tables import PerImageResult
from fsplit_lib.system import FrankenSplit

BITS = (8, 4, 3, 2, 1)  # of a mel value
WEBP = (0, 10, 30, 60, 90)
KILOBITS = (6, 8, 12)  # a second, of Opus
SETTINGS = 7  # of a codec of continuous rate, from the one end of its range to the other
PCM = ("--sign=signed", "--endian=little", "--channels=1", "--bps=16", f"--sample-rate={RATE}")
OPUS = ("--quiet", "--raw", "--raw-chan", "1", "--raw-rate", str(RATE), "--framesize", "60", "--discard-comments",
        "--padding", "0")  # fmt: skip
Rival = tuple[str, float | None]  # name of the curve, quality


def evaluate_speech(
    systems: dict[str, FrankenSplit],
    backbone: Backbone,
    paths: list[Path],
    digits: np.ndarray,
    dataset: str,
    progress: Progress = silent,
) -> list[PerImageResult]:
    """Measure systems, all with the given backbone, and their rivals on N recordings, in which digits (N,) are said.

    The teacher itself is one of the rivals (bytes: raw 16-bit PCM).
    """
    plain, found = [], {}
    for done, path in enumerate(paths, start=1):
        samples = read_wav(path)
        plain.append(log_mel(samples))
        for rival, one in (_audio_rivals(samples, plain[-1]) | _mel_rivals(plain[-1])).items():
            found.setdefault(rival, []).append(one)
        progress(done, len(paths))
    images = np.stack(plain)
    teacher, measured = top1_of_images(backbone, images), []
    for name, system in systems.items():
        measured += curve_of_images(system, images, digits, dataset, name, lmbdas_of(system, SETTINGS))
    for (name, quality), rows in found.items():
        sizes, left = map(np.array, zip(*rows, strict=True))
        decided = top1_of_images(backbone, left)
        measured.append(PerImageResult(dataset, name, None, quality, backbone.name, sizes, decided, teacher, digits))
    return measured


def _mel_rivals(patch: np.ndarray) -> dict[Rival, tuple[int, np.ndarray]]:
    found: dict[Rival, tuple[int, np.ndarray]] = {}
    for bits in BITS:
        data = pack_mel(patch, bits)
        found["mel, zlib", bits] = len(data), unpack_mel(data, bits, patch.shape)
    for quality in WEBP:
        file = encode_image(Image.fromarray(patch[0]).convert("RGB"), "WebP", quality)
        found["mel, WebP", quality] = len(file), np.asarray(decode_image(file).convert("L"))[None]
    return found


def pack_mel(patch: np.ndarray, bits: int) -> bytes:
    """Quantise a uint8 patch (C, H, W) to values of so many bits, and pack them frame by frame through zlib.

    >>> patch = np.full((1, 64, 64), 255, np.uint8)
    >>> bool((unpack_mel(pack_mel(patch, 3), 3, patch.shape) == patch).all())
    True
    """
    values = np.rint(patch / 255 * (2**bits - 1)).astype(np.uint8)
    return zlib.compress(values.transpose(0, 2, 1).tobytes(), 9)


def unpack_mel(data: bytes, bits: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Invert :func:`pack_mel` up to its rounding."""
    channels, height, width = shape
    values = np.frombuffer(zlib.decompress(data), np.uint8).reshape(channels, width, height)
    return np.rint(values.transpose(0, 2, 1) / (2**bits - 1) * 255).astype(np.uint8)


def _audio_rivals(samples: np.ndarray, patch: np.ndarray) -> dict[Rival, tuple[int, np.ndarray]]:
    pcm = np.rint(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes()
    found: dict[Rival, tuple[int, np.ndarray]] = {("teacher", None): (len(pcm), patch)}
    if shutil.which("flac"):
        file = _run(["flac", "--silent", "--best", "--no-padding", "--no-seektable", *PCM, "-c", "-"], pcm)
        found[f"FLAC ({_version('flac')})", 8] = (len(file), patch)  # lossless at every level: the same patch
    if shutil.which("opusenc") and shutil.which("opusdec"):
        version = _version("opusenc")
        for kilobits in KILOBITS:
            file = _run(["opusenc", *OPUS, "--bitrate", str(kilobits), "-", "-"], pcm)
            back = np.frombuffer(_run(["opusdec", "--quiet", "--rate", str(RATE), "-", "-"], file), "<i2")
            left = log_mel(back / 32768)
            found[f"Opus, file ({version})", kilobits] = (len(file), left)
            found[f"Opus, bare frames ({version})", kilobits] = (ogg_payload(file), left)
    return found


def ogg_payload(file: bytes) -> int:
    """Count the bytes of an Ogg file's sound: its pages without their headers, after the two that describe the stream."""
    at, sizes = 0, []
    while file[at : at + 4] == b"OggS":
        segments = file[at + 26]
        sizes.append(sum(file[at + 27 : at + 27 + segments]))
        at += 27 + segments + sizes[-1]
    return sum(sizes[2:])


def _run(command: list[str], data: bytes) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@cache
def _version(program: str) -> str:
    return _run([program, "--version"], b"").decode().splitlines()[0].removeprefix(f"{program} ")
