"""The device's half: the same packets as torch makes, without torch; bundles and cards that say what is wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import quantization

from fsplit_lib.cli.device import export, latency
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import PHOTOS, center_crop, load_photo, to_array
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.device import DeviceEncoder, Timing, interleave, read_bundle, read_card, read_cards, timing, write_card
from fsplit_lib.device.__main__ import main as device_main
from fsplit_lib.device.benchmark import device_calls
from fsplit_lib.device.bundle import write_manifest
from fsplit_lib.device.card import make_card
from fsplit_lib.device.export import export_bundle, quantise, to_onnx
from fsplit_lib.device.runtime import Network
from fsplit_lib.errors import DataError, ParameterError, WeightsError
from fsplit_lib.packet import Packet
from fsplit_lib.system import build_system, load_system

ROOT = Path(__file__).parents[1]
CODEC = "photo"
BLOCK = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm", "compressai", "typer", "scipy", "plotly", "skimage",
                                  "sklearn", "safetensors", "onnx", "ipywidgets", "IPython", "pandas"}:
            raise ImportError(f"{name} is not on a device")
sys.meta_path.insert(0, Wall())
from fsplit_lib.device.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def system():
    return load_system(CODEC)


@pytest.fixture(scope="module")
def crops():
    return [center_crop(load_photo(name)) for name in PHOTOS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, system, crops):
    where = tmp_path_factory.mktemp("bundle")
    export_bundle(where, system.codec, CODEC, [to_array(crop)[None] for crop in crops])
    return where


@pytest.fixture(scope="module")
def bundle(folder):
    return read_bundle(folder)


def copied(folder, target):
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_float32_makes_the_packets_that_torch_makes(system, bundle, crops):
    """At most one symbol in 100,000 differs, at the finest, the default and the coarsest rate; answers are the same."""
    device, differ, count = DeviceEncoder(bundle), 0, 0
    for crop in crops:
        x = photo_tensor(crop)
        assert np.array_equal(
            device.preprocess(crop.resize((300, 256))), to_array(center_crop(crop.resize((300, 256))))[None]
        )
        y, theirs = device.encode(x.numpy()), system.codec.encoder(x)
        for lmbda in (0.1, None, 3.0):
            packet, (other,) = device.bundle.packer.pack(y[0], lmbda), system.codec.pack(theirs, lmbda)
            symbols = device.bundle.packer.symbols(y[0], packet.lmbda_code)
            differ += int((symbols != system.codec.symbols(theirs, lmbda)[0]).sum())
            count += symbols.size
            assert (packet.codec_id, packet.height, packet.lmbda_code) == (other.codec_id, 224, other.lmbda_code)
        assert system.answer([packet]).argmax() == system.answer([other]).argmax()
    assert differ <= count / 1e5


def test_any_size_on_the_grid_and_none_off_it(system, bundle):
    device, rng = DeviceEncoder(bundle), np.random.default_rng(0)
    for shape in ((64, 320), (8, 8), (256, 256)):
        x = rng.random((1, 3, *shape), dtype=np.float32)
        assert device.encode(x) == pytest.approx(system.codec.encoder(torch.from_numpy(x)).detach().numpy(), abs=1e-4)
    for shape in ((2, 3, 8, 8), (1, 1, 8, 8), (1, 3, 12, 8), (1, 3, 0, 8), (3, 8, 8)):
        with pytest.raises(ValueError, match="multiples of 8"):
            device.encode(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="at most 16777216 pixels"):
        device.encode(np.broadcast_to(np.float32(0), (1, 3, 4104, 4096)))


def test_int8_stays_close(system, bundle, crops):
    """What eight bits cost is measured elsewhere; here only that they are no other codec."""
    exact, small = DeviceEncoder(bundle), DeviceEncoder(bundle, "int8")
    x = exact.preprocess(crops[0])
    packer = bundle.packer
    a, b = (packer.symbols(one.encode(x)[0], packer.code(None)) for one in (exact, small))
    assert 0 < (a != b).mean() < 0.1 and abs(a - b).max() <= 3 and len(a) == 48
    assert system.answer([packer.pack(small.encode(x)[0])]).shape == (1, 1000)
    assert (bundle.folder / "encoder.int8.onnx").stat().st_size < 0.5 * (bundle.folder / "encoder.onnx").stat().st_size


@pytest.fixture(scope="module")
def eight_bits(folder, tmp_path_factory):
    """The encoder quantised with all 8 bits of its weights, by the same tool from the same photos."""
    target, photo = tmp_path_factory.mktemp("old") / "old.onnx", to_array(center_crop(load_photo("astronaut")))[None]
    with pytest.MonkeyPatch.context() as patch:
        tool = quantization.quantize_static
        patch.setattr(quantization, "quantize_static", lambda *a, **k: tool(*a, **k | {"reduce_range": False}))
        quantise(folder / "encoder.onnx", target, [photo], spare_last_sum=True)
    return target


def evaluated(file, x):
    """Every value of a network of whole numbers, computed without onnxruntime.

    The convolutions' sums of products of whole numbers are exact, in float64. What is one operation on one float32 in
    onnxruntime is one here: a pixel minus one half lies in the middle of two of the 256 levels, so its last bit decides.
    """
    graph = onnx.load(file).graph
    found = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer} | {"x": x}
    for node in graph.node:
        inside, to = [found[name] for name in node.input], node.output[0]
        told = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant":
            found[to] = onnx.numpy_helper.to_array(told["value"])
        elif node.op_type == "QuantizeLinear":
            span = np.iinfo(inside[2].dtype)
            whole = np.rint(inside[0] / inside[1]) + inside[2].astype(int)
            found[to] = np.clip(whole, span.min, span.max).astype(span.dtype)
        elif node.op_type == "DequantizeLinear":
            shape = [-1, *[1] * (inside[0].ndim - 1)] if inside[1].ndim else []
            scale, zero = (np.reshape(part, shape).astype(np.float32) for part in inside[1:])
            found[to] = (inside[0].astype(np.float32) - zero) * scale
        elif node.op_type == "Conv":
            parts = (torch.from_numpy(np.asarray(part, np.float64)) for part in inside)
            sums = torch.nn.functional.conv2d(*parts, stride=told["strides"], padding=told["pads"][0])
            found[to] = sums.numpy().astype(np.float32)
        elif node.op_type == "Relu":
            found[to] = np.maximum(inside[0], 0)
        else:
            found[to] = {"Mul": np.multiply, "Sub": np.subtract, "Add": np.add}[node.op_type](*inside)
    return found


def convolutions(file, x):
    """Of each convolution in whole numbers: weights (out, K) and activations (places, K), channels innermost."""
    graph, found = onnx.load(file).graph, evaluated(file, x)
    made = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        sources = [made.get(name) for name in node.input[:2]]
        if node.op_type == "Conv" and all(one is not None and one.op_type == "DequantizeLinear" for one in sources):
            activations, weights = (found[one.input[0]] for one in sources)
            told = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            (pad, *_), (stride, _), (side, _) = told["pads"], told["strides"], told["kernel_shape"]
            zero = int(found[sources[0].input[2]])
            padded = np.pad(activations[0], [(0, 0), (pad, pad), (pad, pad)], constant_values=zero)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))[:, ::stride, ::stride]
            rows = windows.transpose(1, 2, 3, 4, 0).reshape(-1, weights[0].size)
            assert activations.dtype == np.uint8 and weights.dtype == np.int8
            yield weights.transpose(0, 2, 3, 1).reshape(len(weights), -1).astype(int), rows.astype(int)


def saturated(file, x):
    """How many sums of two neighbouring products do not fit into 16 bits, as AVX2's vpmaddubsw would add them."""
    count = 0
    for weights, rows in convolutions(file, x):
        for first in range(0, weights.shape[1] - 1, 2):
            pair = rows[:, first : first + 2] @ weights[:, first : first + 2].T
            count += int((np.abs(pair) > 32767).sum())
    return count


def test_no_sum_of_two_products_can_saturate(folder, eight_bits):
    """On x86 without VNNI onnxruntime adds two products of a byte and a signed byte in 16 bits.

    With 7-bit weights the two largest of a channel cannot exceed them at any activation, whichever products a kernel
    pairs; with all 8 bits they can, and do on a photo: this is what made 2.8 % of the symbols differ on such a machine.
    """
    x = to_array(center_crop(load_photo("astronaut"), 96))[None]
    worst = {}
    for file in (folder / "encoder.int8.onnx", eight_bits):
        found = [np.sort(np.abs(weights), axis=1)[:, -2:].sum(axis=1) for weights, _ in convolutions(file, x)]
        assert len(found) == 7  # all but those that make the latent
        worst[file] = 255 * max(one.max() for one in found)
    assert worst[folder / "encoder.int8.onnx"] <= 32767 < worst[eight_bits]
    assert saturated(folder / "encoder.int8.onnx", x) == 0 < saturated(eight_bits, x)


def test_int8_computes_what_whole_numbers_give(folder, bundle, crops):
    """onnxruntime's symbols against an evaluation of the same graph without it, on any processor.

    Its kernels multiply a sum of up to 24 bits by a float32 scale, in an order of their own, so a value of up to 255
    steps may be off by 255 · 2^-23, and one in some 30,000 lies so near the middle of two steps that it falls on the other
    side. A step moves a latent by far less than the width of a symbol: one symbol in a thousand is a generous bound, and
    saturation makes more than ten times as many differ.
    """
    small = DeviceEncoder(bundle, "int8")
    differ = count = 0
    for crop in crops[:4]:
        x = to_array(center_crop(crop, 96))[None]
        exact = evaluated(folder / "encoder.int8.onnx", x)["y"]
        packer = small.bundle.packer
        theirs, ours = (packer.symbols(y[0], packer.code(None)) for y in (exact, small.encode(x)))
        differ, count = differ + (theirs != ours).sum(), count + ours.size
        assert abs(theirs - ours).max() <= 1
    assert differ <= count / 1000


def test_a_codec_of_one_rate(tmp_path, system):
    """Without gains the bundle holds ones; other rate weights are refused as the codec itself does."""
    one = build_system(system.backbone, CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 16), 0)
    one.codec.update()
    device = DeviceEncoder(export_bundle(tmp_path, one.codec, "tiny"))
    photo = load_photo("coffee")
    wire = device.compress(photo)
    assert wire == one.codec.compress(photo_tensor(center_crop(photo)))[0].to_bytes()
    with pytest.raises(ParameterError, match="packs with lmbda 1, got 0.197"):
        device.compress(photo, 0.2)
    with pytest.raises(WeightsError, match="--int8 --calibrate"):
        DeviceEncoder(tmp_path, "int8")
    with pytest.raises(ParameterError, match="photos to calibrate with"):
        quantise(tmp_path / "encoder.onnx", tmp_path / "x.onnx", [])


def test_what_is_no_bundle(folder, tmp_path):
    with pytest.raises(WeightsError, match="no device bundle"):
        read_bundle(tmp_path)
    mine = copied(folder, tmp_path)
    manifest = json.loads((mine / "bundle.json").read_text())
    for wrong, words in (
        ("{", "is not a manifest"),
        ("[]", "must be an object"),
        ("[" * 100_000, "is not a manifest"),
        ("{}", "lacks the field format"),
        (json.dumps(manifest | {"codec": 3}), "codec must be of type str"),
        (json.dumps(manifest | {"version": True}), "version must be of type int"),
        (json.dumps(manifest | {"files": ["codec.npz"]}), "files must be of type"),
        (json.dumps(manifest | {"files": {"codec.npz": None}}), "files must be of type"),
        (json.dumps(manifest | {"files": {"codec.npz": "abc"}}), "64 hex digits"),
        (json.dumps(manifest | {"files": manifest["files"] | {"../photo.png": "0" * 64}}), "must lie in the folder"),
        (json.dumps(manifest | {"files": manifest["files"] | {"/etc/hostname": "0" * 64}}), "must lie in the folder"),
        (json.dumps(manifest | {"version": 9}), "version 9"),
    ):
        (mine / "bundle.json").write_text(wrong)
        with pytest.raises(WeightsError, match=words):
            read_bundle(mine)
    (mine / "bundle.json").write_text(json.dumps(manifest))
    for file in ("encoder.onnx", "codec.npz"):
        whole = (mine / file).read_bytes()
        for broken in (whole[:-1], whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]):
            (mine / file).write_bytes(broken)
            with pytest.raises(WeightsError, match="wrong sha256"):
                DeviceEncoder(mine)
        (mine / file).unlink()
        with pytest.raises(WeightsError, match=f"lacks its file {file}"):
            DeviceEncoder(mine)
        (mine / file).write_bytes(whole)
    (mine / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="not a network"):
        Network(mine / "junk.onnx")


def test_wrong_arguments(bundle):
    with pytest.raises(ParameterError, match="float32, int8, got 'int4'"):
        DeviceEncoder(bundle, "int4")
    with pytest.raises(ParameterError, match="threads must be at least 1, got 0"):
        DeviceEncoder(bundle, threads=0)
    with pytest.raises(ParameterError, match="lmbda 0.1 to 2.96"):
        bundle.packer.pack(np.zeros((48, 2, 2), np.float32), 9.0)


def test_the_command_works_where_there_is_no_torch(system, folder, tmp_path):
    """A process that may import nothing beyond onnxruntime, numpy, Pillow and constriction makes the runtime's packet."""
    photo = tmp_path / "coffee.png"
    load_photo("coffee").save(photo)
    command = [sys.executable, "-c", BLOCK, photo, "--bundle", folder, "--lmbda", "0.3", "-o", tmp_path / "x.fsp"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    wire = (tmp_path / "x.fsp").read_bytes()
    assert done.stdout == f"{tmp_path / 'x.fsp'}: {len(wire):,} bytes\n"
    assert wire == DeviceEncoder(read_bundle(folder)).compress(load_photo("coffee"), 0.3)
    (theirs,) = system.codec.compress(photo_tensor(center_crop(load_photo("coffee"))), 0.3)
    ours, same = (system.codec.decompress([packet]) for packet in (Packet.from_bytes(wire), theirs))
    assert (ours != same).sum() <= 1  # of 37,632: two libraries add up in another order


def test_the_command_tells_mistakes_in_one_sentence(folder, tmp_path, capsys):
    for arguments, words in (
        (["none.jpg", "--bundle", str(folder)], "no photo at"),
        (["--bundle", str(folder)], "name a photo"),
        ([str(folder / "photo.png"), "--bundle", str(tmp_path)], "no device bundle"),
        (
            [str(folder / "photo.png"), "--bundle", str(folder), "--lmbda", "9", "-o", str(tmp_path / "x")],
            "0.1 to 2.96",
        ),
        ([str(folder / "photo.png"), "--bundle", str(folder), "-o", str(tmp_path / "no" / "x")], "cannot write"),
    ):
        assert device_main(arguments) == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.startswith("fsplit: ") and words in told.err and told.err.count("\n") == 1


def test_the_workbooks_own_commands(folder, tmp_path, capsys):
    with pytest.raises(ParameterError, match="both --int8 and --calibrate"):
        export(tmp_path, int8=True)
    with pytest.raises(DataError, match="no folder"):
        export(tmp_path, int8=True, calibrate=tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="no weights are called"):
        export(tmp_path, weights="nobody")
    latency(bundle=folder, card=tmp_path / "card.json", name="mine", runs=2)
    assert read_card(tmp_path / "card.json").name == "mine"
    assert "a glance" in capsys.readouterr().out
    other = copied(folder, tmp_path)
    told = dict(np.load(other / "codec.npz")) | {"codec_id": np.zeros(4, np.uint8)}
    np.savez(other / "codec.npz", **told)
    write_manifest(other, CODEC, [name for name in read_bundle(folder).files])
    for given in ({}, {"card": tmp_path / "other.json"}):
        with pytest.raises(ParameterError, match="made of other weights than photo: delete it, or name its own"):
            latency(bundle=other, weights=CODEC, runs=2, **given)
    assert not (tmp_path / "other.json").exists()


def test_a_bundle_without_the_8_bit_encoder_that_was_asked_for_is_refused(system, tmp_path):
    export_bundle(tmp_path / "plain", system.codec, CODEC)
    with pytest.raises(
        ParameterError, match=r"plain was made without --calibrate.*delete it, or name another --bundle"
    ):
        latency(bundle=tmp_path / "plain", calibrate=tmp_path, card=tmp_path / "card.json", runs=2)
    assert not (tmp_path / "card.json").exists()


def test_timing_by_hand():
    calls, clock = [], iter(range(10**6))

    def call(name):
        return lambda: calls.append((name, next(clock)))

    found = interleave({"a": call("a"), "b": call("b")}, runs=4, warmup=1)
    assert [name for name, _ in calls] == ["a", "b"] * 5  # in turns, the warm-up too
    assert found["a"].runs == 4 and 0 < found["a"].median_ms < 50 and found["a"].iqr_ms >= 0
    with pytest.raises(ParameterError, match="at least 2"):
        interleave({"a": lambda: None}, runs=1)
    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0})


@pytest.mark.equation("08.1")
@pytest.mark.parametrize(
    ("timing", "words"),
    [(Timing(10, 1.9, 100), ""), (Timing(10, 2.1, 100), "too noisy to conclude"), (Timing(10, 0.1, 99), "a glance")],
)
def test_a_spread_too_wide_supports_no_conclusion(timing, words):
    assert timing.spread == pytest.approx(timing.iqr_ms / 10)
    assert timing.doubt.startswith(words) and bool(timing.doubt) == bool(words)


@pytest.fixture(scope="module")
def card(bundle):
    return make_card(bundle, "this machine", runs=2)


def test_a_card_there_and_back(card, tmp_path):
    assert card.doubts and {r.stage for r in card.rows} >= {
        "preprocess",
        "encode",
        "entropy code",
        "packet",
        "whole call",
    }
    assert {r.method for r in card.rows} == {"FrankenSplit", "PNG", "JPEG", "WebP", "AVIF"}
    assert card.row("FrankenSplit", "encode", "int8").median_ms > 0 and card.row("JPEG", "dance") is None
    write_card(tmp_path / "b.json", card)
    write_card(tmp_path / "a.json", replace(card, name="another"))
    assert read_card(tmp_path / "b.json") == card
    assert [one.name for one in read_cards(tmp_path)] == ["another", "this machine"]
    with pytest.raises(DataError, match="no folder of device cards"):
        read_cards(tmp_path / "nowhere")


def test_cards_that_are_none(card, tmp_path):
    path = tmp_path / "card.json"
    write_card(path, card)
    told = json.loads(path.read_text())
    row = told["rows"][0]
    for wrong, words in (
        ([], "must be an object"), ({"format": "x"}, "format must be"), (told | {"version": 1}, "version 1"), (told | {"rows": []}, "at least one row"),
        ({k: v for k, v in told.items() if k != "cpu"}, "lacks the field cpu"), (told | {"cores": "4"}, "cores must be of type int"),
        (told | {"name": 3}, "name must be of type str"), (told | {"rows": [3]}, "row 1 must be an object"),
        (told | {"rows": [row, row | {"median_ms": "1"}]}, "row 2: the field median_ms must be of type float"),
        (told | {"rows": [row | {"median_ms": -1.0}]}, "row 1: times must be positive"), (told | {"rows": [row | {"runs": True}]}, "runs must be"),
        (told | {"rows": [row | {"median_ms": float("nan")}]}, "row 1: times must be positive"),
        (told | {"versions": {"python": 3}}, "versions must be of type"), (told | {"instructions": 3}, "instructions must be of type str"),
        (told | {"int8_symbols_that_differ_percent": "1"}, "differ_percent must be of type float . None"),
        (told | {"int8_symbols_that_differ_percent": float("nan")}, "differ_percent must be 0 to 100"),
    ):  # fmt: skip
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=words):
            read_card(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="is not a device card"):
        read_card(path)
    path.write_text("no json")
    with pytest.raises(DataError, match="is not a device card"):
        read_card(path)
    with pytest.raises(DataError, match="is not a device card"):
        read_card(tmp_path / "none.json")


def test_a_card_says_on_what_instructions_how_many_symbols_differ(card, bundle, tmp_path, monkeypatch):
    """The percentage is that of the bundle's photo; a card from before there was such a field is still read."""
    exact, small, photo = DeviceEncoder(bundle), DeviceEncoder(bundle, "int8"), load_photo("astronaut")
    packer = exact.bundle.packer
    theirs, ours = (packer.symbols(one.encode(one.preprocess(photo))[0], packer.code(None)) for one in (exact, small))
    assert card.int8_symbols_that_differ_percent == 100 * (theirs != ours).mean() > 0
    write_card(tmp_path / "card.json", card)
    told = json.loads((tmp_path / "card.json").read_text())
    del told["instructions"], told["int8_symbols_that_differ_percent"]
    (tmp_path / "card.json").write_text(json.dumps(told))
    old = read_card(tmp_path / "card.json")
    assert old == replace(card, instructions="", int8_symbols_that_differ_percent=None)
    for said, found in (
        ("flags\t: fpu avx2 avx_vnni", ("avx2", "avx_vnni")),
        ("Features : fp asimd bf16", ("asimd", "bf16")),
        ("", ()),
    ):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nmodel name\t: a: b\n{said}\n")
        with monkeypatch.context() as patch:
            patch.setattr(timing, "Path", lambda _: tmp_path / "cpuinfo")
            assert timing.instructions() == found and timing.cpu_name() == "a: b"


def test_stages_add_up_to_the_whole_call(bundle, crops):
    """What is timed apart is what compress does: the same bytes come out of the stages in a row."""
    calls = device_calls(bundle, crops[0], [0.5], threads=[1])
    stage = {key[3:5]: call for key, call in calls.items() if key[0] == "FrankenSplit"}
    device = DeviceEncoder(bundle)
    x = stage["preprocess", ""]()
    assert np.array_equal(x, device.preprocess(crops[0]))
    assert np.array_equal(stage["encode", "float32"](), device.encode(x))
    assert stage["entropy code", ""]() == Packet.from_bytes(stage["whole call", "float32"]()).streams[0]
    assert stage["packet", ""]() == stage["whole call", "float32"]() and stage["libraries alone", "float32"]() is None


def test_a_network_that_is_exported_is_the_network(tmp_path, system):
    to_onnx(system.backbone, (1, 3, 224, 224), tmp_path / "n.onnx")
    x = to_array(center_crop(load_photo("chelsea")))[None]
    with torch.no_grad():
        theirs = system.backbone(torch.from_numpy(x))
    assert Network(tmp_path / "n.onnx", 2)(x) == pytest.approx(theirs.numpy(), abs=1e-3)
