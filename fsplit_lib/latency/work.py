"""What encoders and decoders cost: parameters, multiply-adds, and milliseconds beside image codecs, in one run.

Weights make no difference to any of these, so the networks are untrained. In int8 every layer has 8 bits, where a device
bundle leaves the encoder's last sum in float32 (:func:`fsplit_lib.device.export.quantise`).
"""

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from fsplit_lib.backbones import Backbone
from fsplit_lib.baselines import encode_image
from fsplit_lib.codec import CodecConfig, Encoder
from fsplit_lib.codec.side_information import SideInformationCodec
from fsplit_lib.data.images import center_crop, to_array
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.device import interleave
from fsplit_lib.device.export import quantise, to_onnx
from fsplit_lib.device.runtime import Network
from fsplit_lib.device.timing import cpu_name
from fsplit_lib.evaluation.tables import WorkRow
from fsplit_lib.latency.profiling import multiply_adds, one_thread

FILES = {"libjpeg": ("JPEG", 20), "libwebp": ("WebP", 25)}  # near the bytes of a packet's rivals, at the best settings


def measure_work(
    encoders: Mapping[str, CodecConfig],
    side_information: Mapping[str, CodecConfig],
    decoders: Mapping[str, DecoderConfig],
    backbone: Backbone,
    photo: Image.Image,
    runs: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[WorkRow]:
    """Time encoders in float32 and int8, networks of side information, and decoders with the tail behind, in turns on one thread.

    The backbone answers; its whole and its head are timed as well. Decoders read a latent of 48 channels at stride 8.
    The photo is encoded, and 8-bit ranges are taken from it. ``progress`` is called with rounds done and rounds in all.
    """
    crop = center_crop(photo)
    x = to_array(crop)[None]
    latent = torch.zeros(1, 48, x.shape[2] // 8, x.shape[3] // 8)
    parts = [("encoder", name, Encoder(config), torch.from_numpy(x)) for name, config in encoders.items()]
    for name, config in side_information.items():
        prior = SideInformationCodec(config).prior
        y = torch.zeros(1, config.widths[-1], *(side // config.stride for side in x.shape[2:]))
        parts.append(("side information", name, nn.Sequential(prior.h_a, prior.h_s), y))
    parts.append(("network", backbone.name, backbone, torch.from_numpy(x)))
    parts.append(("head", backbone.name, backbone.head, torch.from_numpy(x)))
    for name, config in decoders.items():
        decoder = build_decoder(latent.shape[1], backbone.spec, config)
        both = nn.Sequential(decoder, backbone.tail)
        parts += [("decoder", name, decoder, latent), ("decoder + tail", name, both, latent)]
    calls = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for part, name, module, value in parts:
            for precision in ("float32", "int8") if part in ("encoder", "network") else ("float32",):
                calls[part, name, precision] = _call(module, value, precision, Path(folder))
        for name, (codec, quality) in FILES.items():
            calls["image codec", name, ""] = partial(encode_image, crop, codec, quality)
        with one_thread():
            timings = interleave(calls, runs, progress=progress)
    costs = {
        (part, name): (sum(p.numel() for p in module.parameters()), multiply_adds(module, *value.shape))
        for part, name, module, value in parts
    }
    return [
        WorkRow(part, name, *costs.get((part, name), (0, 0)), precision, one.median_ms, one.iqr_ms, runs, cpu_name())
        for (part, name, precision), one in timings.items()
    ]


def _call(module: nn.Module, value: torch.Tensor, precision: str, folder: Path) -> Callable[[], Any]:
    to_onnx(module, tuple(value.shape), folder / "float32.onnx")
    if precision == "int8":
        quantise(folder / "float32.onnx", folder / "int8.onnx", [value.numpy()])
    return partial(Network(folder / f"{precision}.onnx"), value.numpy())
