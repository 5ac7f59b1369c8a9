"""One run that fills the table of chapter 08: every stage of every method, timed in turns, and what each keeps.

photos.csv ──► settings that keep the same share ──► bytes and agreement on photos ──┐
                                                └──► stages on one photo, A B C A B C ... ──┴──► rows
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from fsplit_lib.backbones import Backbone, FeatureSpec, Head, Tail, outputs_of
from fsplit_lib.baselines import decode_image, encode_image, encode_lossless, pack_features, unpack_features
from fsplit_lib.data import ImageFolder
from fsplit_lib.data.images import center_crop, to_array
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.device import Bundle, DeviceEncoder, Timing, interleave
from fsplit_lib.device.benchmark import LOCAL, OURS, QUALITIES, device_calls
from fsplit_lib.device.card import versions
from fsplit_lib.device.export import to_onnx
from fsplit_lib.device.runtime import FILES, Network
from fsplit_lib.device.timing import cpu_name
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation.curves import monotone
from fsplit_lib.evaluation.tables import LatencyRow, RatePoint
from fsplit_lib.latency.profiling import one_thread, units_of
from fsplit_lib.packet import Packet
from fsplit_lib.system import FrankenSplit

ENGINES = {
    "preprocess": "Pillow", "encode": "Pillow", "decode": "Pillow", "entropy code": "constriction",
    "entropy decode": "constriction", "packet": "python", "pack": "zlib", "unpack": "zlib",
}  # fmt: skip
LEVELS = (0.8, 0.84)  # of agreement, which both shipped codecs reach
FEW = 100  # photos below which agreement are left out: their interval would be wider than any difference
LARGE = ("resnet50", "resnet", 512, DecoderConfig(2, 2, 128))  # a network ten times as large: timed, never trained
Setting = tuple[float | None, float | None]  # lmbda of ours, quality of an image codec
NONE: Setting = (None, None)
# place, network, method, setting, stage, precision, threads
Key = tuple[str, str, str, float | None, float | None, str, str, int]
Score = tuple[str, float | None, float | None, str]  # method, setting, precision
Split = tuple[str, nn.Module, nn.Module]  # method, head and tail, with 8-bit features in between


@torch.no_grad()
def splits_of(backbone: Backbone) -> list[Split]:
    """Return the two splits without a bottleneck of our own: at our cut, and where the network itself is narrowest."""
    layers = [unit for _, unit in units_of(backbone.network)[:-1]]
    photo = torch.zeros(1, 3, backbone.input_size, backbone.input_size)
    at = int(np.argmin([h.numel() for h in outputs_of(layers, photo)])) + 1
    config, nhwc = backbone.network.pretrained_cfg, backbone.head.nhwc
    narrow = Head(layers[:at], config["mean"], config["std"], nhwc), Tail(layers[at:], backbone.network, nhwc)
    return [("8-bit features, our cut", backbone.head, backbone.tail), ("8-bit features, narrowest", *narrow)]


def measure_latency(
    system: FrankenSplit,
    bundle: Bundle,
    points: Sequence[RatePoint],
    photo: Image.Image,
    photos: Sequence[Image.Image] | ImageFolder,
    levels: Sequence[float] = LEVELS,
    runs: int = 100,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[LatencyRow]:
    """Measure the whole table, at the settings that rows of ``photos.csv`` choose for each level of agreement.

    One photo is timed; bytes and agreement are measured on the others. System and bundle share codec and backbone;
    without an int8 encoder in the bundle there are no int8 rows. ``progress`` is called with photos and then rounds
    done, and how many of both there are.

    Raises:
        ParameterError: our codec does not keep one of the shares at any rate.
        WeightsError: the bundle has no backbone.
    """
    total = len(photos) + runs
    chosen = {level: settings_at(points, level, bundle.name) for level in levels}
    if missed := [f"{level:g}" for level, found in chosen.items() if OURS not in found]:
        raise ParameterError(f"agreement must be one that {bundle.name} reaches in its table, got {', '.join(missed)}")
    lmbdas = [found[OURS] for found in chosen.values()]
    qualities = [(m, int(q)) for found in chosen.values() for m, q in found.items() if m in QUALITIES]
    qualities = list(dict.fromkeys(qualities))
    splits = splits_of(system.backbone)
    scores = _scores(system, bundle, photos, lmbdas, qualities, splits, lambda done: progress(done, total))
    with tempfile.TemporaryDirectory() as folder, one_thread():
        calls = _calls(system, bundle, photo, lmbdas, qualities, splits, Path(folder))
        timings = interleave(calls, runs, progress=lambda done, _: progress(len(photos) + done, total))
    return _rows(timings, scores, chosen, len(photos))


def settings_at(points: Sequence[RatePoint], level: float, codec: str) -> dict[str, float]:
    """Find for each method that reaches an agreement the quality or rate weight there, between two measured points.

    Qualities are interpolated linearly and rate weights on a log scale, both on the monotone curve through rows of
    ``photos.csv``. Ours is the given codec; it is called FrankenSplit in the result.
    """
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for point in points:
        if point.quality is not None:
            curves.setdefault(point.codec, []).append((point.bytes, point.agreement, point.quality))
        elif point.codec == codec:
            curves.setdefault(OURS, []).append((point.bytes, point.agreement, point.lmbda))
    found = {}
    for method, rows in curves.items():
        size, agreement, knob = np.array(sorted(rows)).T
        agreement = monotone(size, agreement)[1]
        if agreement[0] <= level <= agreement[-1]:
            at = np.interp(level, agreement, np.log(knob) if method == OURS else knob)
            found[method] = float(np.exp(at)) if method == OURS else float(round(at))
    return found


def _setting(method: str, value: float) -> Setting:
    return (float(f"{value:.3g}"), None) if method == OURS else (None, value)


def _calls(
    system: FrankenSplit, bundle: Bundle, photo: Image.Image, lmbdas: Sequence[float],
    qualities: Sequence[tuple[str, int]], splits: list[Split], folder: Path,
) -> dict[Key, Callable[[], Any]]:  # fmt: skip
    name, calls = system.backbone.name, {}
    for (method, *setting, stage, precision, count), call in device_calls(bundle, photo, lmbdas, qualities).items():
        place = "check" if stage in ("whole call", "libraries alone") else "device"
        calls[place, name if method == LOCAL else "", method, *setting, stage, precision, count] = call
    threads, encoder, crop = sorted({key[-1] for key in calls}), DeviceEncoder(bundle), center_crop(photo)
    x = encoder.preprocess(photo)
    pixels, y = torch.from_numpy(x), encoder.encode(x)

    def in_torch(module: nn.Module, value: Tensor) -> Callable[[], Tensor]:
        return torch.no_grad()(lambda: module(value))

    def exported(module: nn.Module, value: np.ndarray) -> list[Network]:
        path = folder / "network.onnx"  # onnxruntime has read it when the next one is written
        to_onnx(module, value.shape, path)
        return [Network(path, count) for count in threads]  # the first with one thread

    for lmbda in lmbdas:
        wire = encoder.bundle.packer.pack(y[0], lmbda).to_bytes()
        key = ("server", "", OURS, *_setting(OURS, lmbda), "entropy decode", "", 1)
        calls[key] = lambda wire=wire: system.codec.decompress([Packet.from_bytes(wire)])
    y_hat = system.codec.decompress([encoder.bundle.packer.pack(y[0])])
    files = _files(crop, qualities)
    for codec, setting, data in files:
        calls["server", "", codec, *setting, "decode", "", 1] = lambda data=data: to_array(decode_image(data))[None]
    for network, whole, behind in _networks(system):
        (served, *_), (answered, *others) = exported(behind, y_hat.numpy()), exported(whole, x)
        calls["server", network, OURS, *NONE, "decoder + tail", "float32", 1] = lambda f=served: f(y_hat.numpy())
        calls["check", network, OURS, *NONE, "decoder + tail in torch", "float32", 1] = in_torch(behind, y_hat)
        calls["check", network, LOCAL, *NONE, "network in torch", "float32", 1] = in_torch(whole, pixels)
        for codec in dict.fromkeys(codec for codec, _, _ in files):
            calls["server", network, codec, *NONE, "network", "float32", 1] = lambda f=answered: f(x)
        if network != name:
            calls["device", network, LOCAL, *NONE, "preprocess", "", 1] = lambda: encoder.preprocess(photo)
            for local in (answered, *others):
                calls["device", network, LOCAL, *NONE, "network", "float32", local.threads] = lambda f=local: f(x)
    for method, first, last in splits:
        calls["device", name, method, *NONE, "preprocess", "", 1] = lambda: encoder.preprocess(photo)
        for head in exported(first, x):
            calls["device", name, method, *NONE, "head", "float32", head.threads] = lambda f=head: f(x)
        h = head(x)
        (rest, *_), packed = exported(last, h), pack_features(h)
        calls["device", name, method, *NONE, "pack", "", 1] = lambda h=h: pack_features(h)
        calls["server", name, method, *NONE, "unpack", "", 1] = lambda p=packed, s=h.shape: unpack_features(p, s)
        calls["server", name, method, *NONE, "rest", "float32", 1] = lambda f=rest, h=h: f(h)
    return calls


def _files(crop: Image.Image, qualities: Sequence[tuple[str, int]]) -> list[tuple[str, Setting, bytes]]:
    """Encode a crop with every image codec, at every quality."""
    files = [(codec, _setting(codec, quality), encode_image(crop, codec, quality)) for codec, quality in qualities]
    return [("PNG", NONE, encode_lossless(crop)), *files]


def _networks(system: FrankenSplit) -> list[tuple[str, nn.Module, nn.Module]]:
    """Return name, whole network, and what the server runs behind our packets: our own backbone, and a large untrained one."""
    name, family, channels, config = LARGE
    large = Backbone(name, timm.create_model(name, pretrained=False))
    decoder = build_decoder(system.codec.config.widths[-1], FeatureSpec(family, channels, 8), config)
    return [
        (system.backbone.name, system.backbone, nn.Sequential(system.decoder, system.backbone.tail)),
        (name, large, nn.Sequential(decoder, large.tail)),
    ]


@torch.no_grad()
def _scores(
    system: FrankenSplit, bundle: Bundle, photos: Sequence[Image.Image] | ImageFolder, lmbdas: Sequence[float],
    qualities: Sequence[tuple[str, int]], splits: list[Split], done: Callable[[int], None],
) -> dict[Score, tuple[float, float]]:  # fmt: skip
    """Measure mean bytes and agreement, by method, setting and precision."""
    network = Network(bundle.path("network.onnx"))
    found: dict[Score, list[tuple[int, bool]]] = {}
    encoders = {precision: DeviceEncoder(bundle, precision) for precision, f in FILES.items() if f in bundle.files}
    quantised = Network(bundle.path("network.int8.onnx")) if "network.int8.onnx" in bundle.files else None
    for index in range(len(photos)):
        crop = center_crop(photos[index])
        x = to_array(crop)[None]
        teacher = int(network(x).argmax())

        def note(key: Score, size: int, logits: Any, teacher: int = teacher) -> None:
            found.setdefault(key, []).append((size, int(logits.argmax()) == teacher))

        for precision, encoder in encoders.items():
            y = encoder.encode(x)
            for lmbda in lmbdas:
                packet = encoder.bundle.packer.pack(y[0], lmbda)
                note((OURS, *_setting(OURS, lmbda), precision), len(packet.to_bytes()), system.answer([packet]))
        for codec, setting, data in _files(crop, qualities):
            note((codec, *setting, ""), len(data), network(to_array(decode_image(data))[None]))
        for method, head, tail in splits:
            h = head(torch.from_numpy(x)).numpy()
            packed = pack_features(h)
            note((method, *NONE, ""), len(packed), tail(torch.from_numpy(unpack_features(packed, h.shape))))
        note((LOCAL, *NONE, "float32"), 0, network(x))
        if quantised is not None:
            note((LOCAL, *NONE, "int8"), 0, quantised(x))
        done(index + 1)
    return {key: tuple(np.mean(rows, axis=0).tolist()) for key, rows in found.items()}


def _rows(
    timings: dict[Key, Timing], scores: dict[Score, tuple[float, float]], chosen: dict[float, dict[str, float]], n: int
) -> list[LatencyRow]:
    """Timings and scores, once for every level that a method has a setting for."""
    cpu, released = cpu_name(), ", ".join(f"{k} {v}" for k, v in (versions() | {"torch": torch.__version__}).items())
    timed = dict.fromkeys(key[2] for key in timings)
    groups = [(level, m, value) for level, found in chosen.items() for m, value in found.items() if m in timed]
    steered = {method for _, method, _ in groups}
    groups += [(None, method, None) for method in timed if method not in steered]
    found = []
    for level, method, value in groups:
        setting = NONE if value is None else _setting(method, value)
        mine = {
            precision: (size, share if n >= FEW else None)
            for (*what, precision), (size, share) in scores.items()
            if what == [method, *setting]
        }
        keys = [key for key in timings if key[2] == method and key[3:5] in (NONE, setting)]
        whose = dict.fromkeys(key[1] for key in keys if method == LOCAL or method.startswith("8-bit")) or {"": None}
        for network in whose:
            for precision, (size, share) in mine.items():
                sent = (network, method, *setting, "send", "wire", "", precision, 1, None, None, 0, level)
                found.append(LatencyRow(*sent, size, share if network != LARGE[0] else None, n, cpu, released))
        for key in keys:
            place, network, *_, stage, precision, threads = key
            engine = "torch" if "torch" in stage else "onnxruntime" if precision else ENGINES.get(stage, "")
            size, share = mine.get(precision) or next(iter(mine.values()))
            timing, share = timings[key], share if network != LARGE[0] else None
            what = (network, method, *setting, stage, place, engine, precision, threads)
            took = (timing.median_ms, timing.iqr_ms, timing.runs)
            found.append(LatencyRow(*what, *took, level, size, share, n, cpu, released))
    return found
