"""What runs on a device, stage by stage, against what phones do today: on the device itself, without torch."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import constriction
from PIL import Image

from fsplit_lib.baselines import encode_image, encode_lossless
from fsplit_lib.data.images import center_crop
from fsplit_lib.device.bundle import Bundle
from fsplit_lib.device.runtime import FILES, DeviceEncoder, Network
from fsplit_lib.device.timing import Timing, interleave
from fsplit_lib.entropy.coding import table_entries
from fsplit_lib.errors import ParameterError

OURS, LOCAL = "FrankenSplit", "on the device"
QUALITIES = {"JPEG": 40, "WebP": 50, "AVIF": 45}  # each keeps about as many decisions as our finest rates


@dataclass(frozen=True)
class DeviceRow:
    """One stage of one method on one device."""

    method: str  # as in the book's figures
    lmbda: float | None  # rate weight, None where it makes no difference
    quality: float | None  # of an image codec, None where it makes no difference
    stage: str  # what was timed
    precision: str  # of the network, "" where none runs
    threads: int  # that the stage could use
    median_ms: float  # milliseconds
    iqr_ms: float  # between the quartiles
    runs: int  # timed

    @property
    def timing(self) -> Timing:
        """Median and spread alone."""
        return Timing(self.median_ms, self.iqr_ms, self.runs)


def device_calls(
    bundle: Bundle,
    photo: Image.Image,
    lmbdas: Sequence[float | None] = (None,),
    qualities: Sequence[tuple[str, int]] = tuple(QUALITIES.items()),
    threads: Sequence[int] | None = None,
) -> dict[tuple[str, float | None, float | None, str, str, int], Callable[[], Any]]:
    """List what to time, by method, lmbda, quality, stage, precision and threads.

    The stages of a method add up to its time on the device, but for two of ours: "whole call" is all of them in one,
    and "libraries alone" what Pillow, onnxruntime and constriction need of it when nothing of ours is between them.

    Networks that the bundle lacks are left out; they run on each of ``threads``, one and all of this machine by
    default. The photo is RGB, as the camera hands it over; the rate weight None is the codec's own.
    """
    threads = sorted({1, os.cpu_count() or 1}) if threads is None else threads
    crop, calls = center_crop(photo), {}
    for precision, file in FILES.items():
        for count in threads if file in bundle.files else ():
            encoder = DeviceEncoder(bundle, precision, count)
            x = encoder.preprocess(photo)
            calls[OURS, None, None, "encode", precision, count] = lambda e=encoder, x=x: e.encode(x)
            calls[OURS, None, None, "whole call", precision, count] = lambda e=encoder: e.compress(photo, lmbdas[0])
            calls[OURS, None, None, "libraries alone", precision, count] = _libraries_alone(encoder, photo, lmbdas[0])
    encoder = DeviceEncoder(bundle)
    calls[OURS, None, None, "preprocess", "", 1] = lambda: encoder.preprocess(photo)
    (y,), packer = encoder.encode(encoder.preprocess(photo)), bundle.packer
    size = y.shape[1:]
    for lmbda in lmbdas:
        rate, code = float(f"{lmbda or packer.lmbda:.3g}"), packer.code(lmbda)
        calls[OURS, rate, None, "entropy code", "", 1] = lambda c=code: packer.encode(packer.symbols(y, c), c, *size)
        calls[OURS, rate, None, "packet", "", 1] = packer.pack(y, lmbda).to_bytes
    calls["PNG", None, None, "preprocess", "", 1] = lambda: center_crop(photo)
    calls["PNG", None, None, "encode", "", 1] = lambda: encode_lossless(crop)
    for codec, quality in qualities:
        calls[codec, None, None, "preprocess", "", 1] = lambda: center_crop(photo)
        count = (os.cpu_count() or 1) if codec == "AVIF" else 1  # Pillow lets libavif use all threads
        calls[codec, None, quality, "encode", "", count] = lambda c=codec, q=quality: encode_image(crop, c, q)
    for precision, file in (("float32", "network.onnx"), ("int8", "network.int8.onnx")):
        for count in threads if file in bundle.files else ():
            network, x = Network(bundle.path(file), count), encoder.preprocess(photo)
            calls[LOCAL, None, None, "preprocess", "", 1] = lambda: encoder.preprocess(photo)
            calls[LOCAL, None, None, "network", precision, count] = lambda n=network, x=x: n(x)
    return calls


def _libraries_alone(encoder: DeviceEncoder, photo: Image.Image, lmbda: float | None) -> Callable[[], Any]:
    x = encoder.preprocess(photo)
    packer, code = encoder.bundle.packer, encoder.bundle.packer.code(lmbda)
    tables = packer.tables_at(code)
    entries, _ = table_entries(packer.symbols(encoder.encode(x)[0], code), tables)
    size = tuple(256 * side // min(photo.size) for side in photo.size)
    box = ((size[0] - 224) // 2, (size[1] - 224) // 2, (size[0] + 224) // 2, (size[1] + 224) // 2)

    def call() -> None:
        photo.resize(size, Image.Resampling.BICUBIC).crop(box)
        encoder.encode(x)
        coder = constriction.stream.stack.AnsCoder()
        for row, model in zip(entries[::-1], tables.models[::-1], strict=True):
            coder.encode_reverse(row, model)
        coder.get_compressed()

    return call


def int8_symbols_that_differ(bundle: Bundle, photo: Image.Image) -> float | None:
    """Compute the percent of a photo's symbols that int8 makes different from float32; None without such an encoder."""
    if "encoder.int8.onnx" not in bundle.files:
        return None
    packer = bundle.packer
    exact, small = (
        packer.symbols(encoder.encode(encoder.preprocess(photo))[0], packer.code(None))
        for encoder in (DeviceEncoder(bundle), DeviceEncoder(bundle, "int8"))
    )
    return float(100 * (exact != small).mean())


def measure_device(
    bundle: Bundle, photo: Image.Image, runs: int, progress: Callable[[int, int], None] | None = None
) -> list[DeviceRow]:
    """Time everything that a bundle lets a device do, in turns.

    Raises:
        ParameterError: fewer than 2 runs, or an image codec that this Pillow lacks.
    """
    have = []
    for codec, quality in QUALITIES.items():
        try:
            encode_image(photo, codec, quality)
            have.append((codec, quality))
        except ParameterError:  # an old Pillow on a small board: the others are still worth knowing
            continue
    timings = interleave(device_calls(bundle, photo, qualities=have), runs, progress=progress)
    return [DeviceRow(*key, t.median_ms, t.iqr_ms, t.runs) for key, t in timings.items()]
