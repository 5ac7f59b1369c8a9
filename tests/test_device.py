"""The device's half: the same packets as torch makes, without torch; bundles and cards that say what is wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fsplit_lib.cli.device import export, latency
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import PHOTOS, center_crop, load_photo, to_array
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.device import DeviceEncoder, Timing, interleave, read_bundle, read_card, read_cards, write_card
from fsplit_lib.device.__main__ import main as device_main
from fsplit_lib.device.bundle import write_manifest
from fsplit_lib.device.card import make_card
from fsplit_lib.device.export import export_bundle, quantise, to_onnx
from fsplit_lib.device.measuring import device_calls
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
        ("{", "does not describe"),
        ("[]", "does not describe"),
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
        ([], "format must be"), ({"format": "x"}, "format must be"), (told | {"version": 2}, "version 2"), (told | {"rows": []}, "at least one row"),
        ({k: v for k, v in told.items() if k != "cpu"}, "lacks the field cpu"), (told | {"cores": "4"}, "cores must be of type int"),
        (told | {"name": 3}, "name must be of type str"), (told | {"rows": [3]}, "row 1 must be an object"),
        (told | {"rows": [row, row | {"median_ms": "1"}]}, "row 2: the field median_ms must be of type float"),
        (told | {"rows": [row | {"median_ms": -1.0}]}, "row 1: times must be positive"), (told | {"rows": [row | {"runs": True}]}, "runs must be"),
        (told | {"rows": [row | {"median_ms": float("nan")}]}, "row 1: times must be positive"),
    ):  # fmt: skip
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match=words):
            read_card(path)
    path.write_text("no json")
    with pytest.raises(DataError, match="is not a device card"):
        read_card(path)
    with pytest.raises(DataError, match="is not a device card"):
        read_card(tmp_path / "none.json")


def test_stages_add_up_to_the_whole_call(bundle, crops):
    """What is timed apart is what compress does: the same bytes come out of the stages in a row."""
    calls = device_calls(bundle, crops[0], [0.5], threads=[1])
    stage = {key[2:4]: call for key, call in calls.items() if key[0] == "FrankenSplit"}
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
