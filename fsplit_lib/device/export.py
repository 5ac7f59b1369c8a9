"""From a trained codec to a device bundle: the one module of this room that needs torch.

FeatureCodec ──► encoder.onnx ──► encoder.int8.onnx (static quantisation, calibrated on photos)
             └──► codec.npz
"""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fsplit_lib.codec import FeatureCodec
from fsplit_lib.data import load_photo
from fsplit_lib.device.bundle import Bundle, read_bundle, write_manifest
from fsplit_lib.errors import ParameterError


def export_bundle(
    folder: Path,
    codec: FeatureCodec,
    name: str,
    calibration: Iterable[np.ndarray] | None = None,
    network: nn.Module | None = None,
) -> Bundle:
    """Write all that a device needs to make the packets of a codec, which has frozen tables.

    With photos (1, 3, H, W) float32 in [0, 1] for calibration there is an int8 encoder too; with a network, which is a
    whole backbone to be timed against, that in the same precisions.

    Raises:
        ParameterError: no photo to calibrate with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.json").unlink(missing_ok=True)
    files = ["codec.npz", "photo.png", "encoder.onnx"]
    stride = codec.config.stride
    np.savez_compressed(folder / "codec.npz", **codec.packer.to_arrays())
    load_photo("astronaut").save(folder / "photo.png")
    to_onnx(codec.encoder, (1, 3, 28 * stride, 28 * stride), folder / "encoder.onnx", any_size=True)
    if network is not None:
        to_onnx(network, (1, 3, 224, 224), folder / "network.onnx")
        files.append("network.onnx")
    if calibration is not None:
        photos = list(calibration)
        for file in [file for file in files if file.endswith(".onnx")]:
            files.append(file.replace(".onnx", ".int8.onnx"))
            quantise(folder / file, folder / files[-1], photos, spare_last_sum=file == "encoder.onnx")
    write_manifest(folder, name, files)
    return read_bundle(folder)


def to_onnx(module: nn.Module, shape: tuple[int, ...], path: Path, any_size: bool = False) -> None:
    """Write a module of one input, of a shape, and one output as ONNX; ``any_size`` leaves the picture's sides open."""
    free = {"x": {2: "height", 3: "width"}, "y": {2: "rows", 3: "columns"}} if any_size else None
    with warnings.catch_warnings(), _only_errors():
        warnings.simplefilter("ignore")
        # the older of torch's two exporters: the same graphs for plain convolutions, in a tenth of the time
        torch.onnx.export(
            module.eval(), (torch.zeros(shape),), str(path), dynamo=False, dynamic_axes=free,
            input_names=["x"], output_names=["y"],
        )  # fmt: skip


def quantise(source: Path, target: Path, photos: list[np.ndarray], spare_last_sum: bool = False) -> None:
    """Quantise an ONNX file to 8 bits with onnxruntime, with ranges from photos (1, 3, H, W) float32 in [0, 1].

    The weights, with a scale per channel, use 7 of their 8 bits. x86 processors without VNNI add the products of two
    unsigned activations and two signed weights in 16 bits, which saturate at 32,767: 2 · 255 · 127 is above it, and
    2 · 255 · 64 is not. Signed activations would not help, since onnxruntime makes them unsigned before it runs.

    ``spare_last_sum`` leaves an encoder's last sum and the convolutions before it in float32. They are 3 % of its work,
    and make the latent: 256 levels over its whole range are steps that tip many of its integers.

    Raises:
        ParameterError: no photos.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    if not photos:
        raise ParameterError("an int8 encoder needs photos to calibrate with, got none")
    inputs = iter([{"x": x} for x in photos])

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(inputs, None)

    nodes = onnx.load(source).graph.node
    last = nodes[-1]
    spared = [last.name, *(n.name for n in nodes if set(n.output) & set(last.input))] if spare_last_sum else []
    with _only_errors():
        quantize_static(
            source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=True, nodes_to_exclude=spared,
        )  # fmt: skip


@contextmanager
def _only_errors() -> Iterator[None]:
    """Exporters and quantisers log what they would rather have; here they keep it to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
