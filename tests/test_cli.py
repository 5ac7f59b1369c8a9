"""The command line: packets there and back, and every mistake answered in one sentence."""

import contextlib
import csv
import io
import os
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.cli import main
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import center_crop, load_photo, to_array
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.packet import Packet
from fsplit_lib.panels import predict
from fsplit_lib.system import build_system, load_system, save_system

MAIN = "from fsplit_lib.cli import main; main()"


@dataclass
class Done:
    """What a call left, as subprocess.run tells it."""

    returncode: int
    stdout: str
    stderr: str


def fsplit(*arguments):
    """The command in this process: the imports of torch would take 4 s a call."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["fsplit", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return Done(code, out.getvalue(), err.getvalue())


def fsplit_apart(*arguments, cwd):
    command = [sys.executable, "-W", "ignore", "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def refused(done, *words):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("fsplit: ")
    for word in words:
        assert word in done.stderr


def tree(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    root = tmp_path_factory.mktemp("desk")
    system = build_system(load_backbone("tf_efficientnet_lite0"), CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 16), 0)
    system.codec.update()
    save_system(root / "tiny", system, zoo.Card("tiny", "codec", "", "", "", {}, {}))
    load_photo("coffee").save(root / "coffee.jpg", quality=90)
    (root / "text.jpg").write_text("hello")
    return root


@pytest.fixture(autouse=True)
def at_the_desk(desk, monkeypatch):
    monkeypatch.chdir(desk)


@pytest.fixture
def packet(desk):
    path = desk / "good.fsp"
    assert fsplit("compress", desk / "coffee.jpg", "--weights", desk / "tiny", "-o", path).returncode == 0
    return path


def test_a_photo_becomes_a_packet_becomes_an_answer(desk):
    done = fsplit("compress", desk / "coffee.jpg", "--weights", desk / "tiny")
    assert done.returncode == 0 and done.stderr == ""
    wire = (desk / "coffee.fsp").read_bytes()
    packet = Packet.from_bytes(wire)
    assert (packet.height, packet.width) == (224, 224)
    assert f"{len(wire):,} bytes ({8 * len(wire) / 224**2:.3f} bits per pixel" in done.stdout
    from_packet = fsplit("predict", desk / "coffee.fsp", "--weights", desk / "tiny", "--top", 3).stdout.splitlines()
    from_photo = fsplit("predict", desk / "coffee.jpg", "--weights", desk / "tiny", "--top", 3).stdout.splitlines()
    assert len(from_packet) == 4 and from_packet[0] == f"packet of {len(wire):,} bytes"
    assert from_photo[0] == "no compression" and "espresso" in from_photo[1]
    assert from_photo[4:] == from_packet
    system = load_system(desk / "tiny")
    x = torch.from_numpy(to_array(center_crop(Image.open(desk / "coffee.jpg"))))[None]
    assert system.codec.compress(x)[0].to_bytes() == wire
    best = system.answer([packet]).softmax(1)[0].max()
    assert from_packet[1].startswith(f"  {best:6.1%}  ")


def test_a_codec_of_continuous_rate_takes_a_lmbda(desk):
    config = CodecConfig((8, 8, 6), lmbda=0.5, anchors=(0.1, 3.0))
    system = build_system(load_backbone("tf_efficientnet_lite0"), config, DecoderConfig(0, 1, 16), 0)
    system.codec.update()
    save_system(desk / "steered", system, zoo.Card("steered", "codec", "", "", "", {}, {}))
    sizes = []
    for lmbda in (0.1, 0.5, 3.0):
        run = ("compress", desk / "coffee.jpg", "-o", desk / "s.fsp", "--weights", desk / "steered", "--lmbda", lmbda)
        assert fsplit(*run).returncode == 0
        assert fsplit("predict", desk / "s.fsp", "--weights", desk / "steered").returncode == 0
        sizes.append((desk / "s.fsp").stat().st_size)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[2]
    before = tree(desk)
    for wrong, word in ((9.0, "0.1"), (1000.0, "100"), (-1.0, "0.001")):
        refused(fsplit("compress", desk / "coffee.jpg", "--weights", desk / "steered", "--lmbda", wrong), word)
    refused(fsplit("compress", desk / "coffee.jpg", "--weights", desk / "tiny", "--lmbda", 0.2), "packs with lmbda 1")
    assert tree(desk) == before


def test_a_packet_takes_no_photos_place_and_is_known_by_any_suffix(desk, packet):
    tiny, before = ("--weights", desk / "tiny"), tree(desk)
    (desk / "link.jpg").symlink_to(desk / "coffee.jpg")
    for out in (desk / "coffee.jpg", desk / "link.jpg", "coffee.jpg"):
        refused(fsplit("compress", desk / "coffee.jpg", "-o", out, *tiny), "take the place of the photo", "--out")
    refused(
        fsplit("send", packet, "--as", "jpeg"), "good.fsp is a packet, of which no jpeg can be made: leave out --as"
    )
    assert tree(desk).items() >= before.items()
    upper = desk / "UPPER.FSP"
    upper.write_bytes(packet.read_bytes())
    nobody = ("--url", "http://127.0.0.1:9", "--weights", desk / "nobody")  # an encoder would be looked for
    for given in (packet, upper):
        refused(fsplit("send", given, *nobody), "127.0.0.1:9")
        assert fsplit("predict", given, *tiny).returncode == 0
    refused(fsplit("send", upper, "--lmbda", 1), "--lmbda steers a packet that is made here")
    refused(fsplit("send", upper, "--as", "png"), "no png can be made")
    for made in (upper, desk / "link.jpg"):
        made.unlink()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names there are Unicode")
def test_a_name_that_the_terminal_cannot_show_ends_in_no_traceback(desk, tmp_path):
    photo = os.fsencode(tmp_path) + b"/caf\xc3\xa9 \xe2\x98\xba \xff.jpg"
    with open(photo, "wb") as file:
        file.write((desk / "coffee.jpg").read_bytes())
    command = [sys.executable, "-W", "ignore", "-c", MAIN, "compress", photo, "--weights", desk / "tiny"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8"}, timeout=300)
    assert done.returncode == 0 and b" bytes (" in done.stdout and b"Traceback" not in done.stderr
    assert os.path.getsize(photo[:-4] + b".fsp") > 20


def test_one_broken_photo_does_not_stop_the_table(desk, photos, tmp_path):
    folder = tmp_path / os.fsdecode(b"mine \xff") if sys.platform == "linux" else tmp_path / "mine"
    for name in ("ants/0.png", "cats/1.png", "cats/2.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((photos / name[-5:]).read_bytes())
    whole = (desk / "coffee.jpg").read_bytes()
    (folder / "ants" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "ants" / "x.nef").write_bytes(b"raw")
    out = tmp_path / "t.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = fsplit("evaluate", "photos", folder, "--weights", desk / "tiny", "-o", out, "--against", "none")
    assert done.returncode == 0, done.stderr
    assert {row["n"] for row in csv.DictReader(out.open())} == {"3"}
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert any("1 of 5 files" in note and "x.nef" in note for note in notes)
    assert any("1 of 4 photos" in note and "cut.jpg is broken or cut short" in note for note in notes)


def test_the_command_in_a_process_of_its_own(desk):
    refused(fsplit_apart("predict", desk / "none.jpg", cwd=desk), "there is no file")


def test_packets_that_do_not_decode(desk, packet):
    wire = packet.read_bytes()
    damaged = desk / "damaged.fsp"
    for broken, words in (
        (wire[:-1], ["checksum"]),
        (wire[:40] + bytes([wire[40] ^ 8]) + wire[41:], ["checksum"]),
        (wire[:5], ["cut short"]),
        (b"", ["cut short"]),
        (b"hello, I am a text of some length", ["not a packet"]),
    ):
        damaged.write_bytes(broken)
        refused(fsplit("predict", damaged, "--weights", desk / "tiny"), *words)
    other = build_system(load_backbone("tf_efficientnet_lite0"), CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 16), 1)
    other.codec.update()
    save_system(desk / "other", other, zoo.Card("other", "codec", "", "", "", {}, {}))
    refused(fsplit("predict", packet, "--weights", desk / "other"), "both ends must load the same checkpoint")


def test_photos_and_weights_that_are_none(desk):
    before = tree(desk)
    tiny = ("--weights", desk / "tiny")
    refused(fsplit("predict", desk / "none.jpg", *tiny), "there is no file")
    refused(fsplit("predict", desk, *tiny), "there is no file")
    refused(fsplit("predict", desk / "text.jpg", *tiny), "not an image")
    refused(fsplit("compress", desk / "text.jpg", *tiny), "not an image")
    refused(fsplit("compress", desk / "none.jpg", *tiny), "no photo at")
    refused(fsplit("compress", desk, *tiny), "folder")
    refused(fsplit("compress", desk / "coffee.jpg", "-o", desk / "no" / "x.fsp", *tiny), "cannot write")
    refused(fsplit("compress", desk / "coffee.jpg", "--weights", desk / "nobody"), "no weights are called")
    refused(fsplit("compress", desk / "coffee.jpg", "--weights", "fashion_resnet"), "fashion_resnet has no codec")
    refused(
        fsplit("predict", desk / "coffee.jpg", "--weights", "nobody"),
        "'nobody'",
        "shipped: fashion_convnext, fashion_resnet",
    )
    assert tree(desk) == before


def test_damaged_weights_are_refused(desk, tmp_path):
    for file in (desk / "tiny").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    codec = tmp_path / "codec.safetensors"
    codec.write_bytes(codec.read_bytes()[:-1])
    refused(fsplit("compress", desk / "coffee.jpg", "--weights", tmp_path), "wrong sha256")
    (tmp_path / "card.json").write_text("{}")
    refused(fsplit("compress", desk / "coffee.jpg", "--weights", tmp_path), "lacks the field name")


@pytest.fixture(scope="module")
def photos(desk):
    folder = desk / "photos"
    rng = np.random.default_rng(0)
    for n, size in enumerate(((40, 30), (64, 64), (300, 200))):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)  # smooth when enlarged: noise takes codecs seconds
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize(size).save(folder / f"{n}.png")
    return folder


def test_evaluate_writes_a_tidy_table(desk, photos):
    out = desk / "tables" / "t.csv"
    done = fsplit("evaluate", "photos", photos, "--weights", desk / "tiny", "-o", out, "--name", "mine")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    codecs = ("JPEG", "JPEG, no tables", "WebP", "AVIF", "JPEG 2000", "JPEG XL", "HEIC")
    assert Counter(row["codec"] for row in rows) == {"teacher": 1, "tiny": 1} | dict.fromkeys(codecs, 6)
    assert {(row["dataset"], row["n"], row["top1"]) for row in rows} == {("mine", "3", "")}
    assert float(rows[0]["agreement"]) == 1 and float(rows[0]["bytes"]) == 3 * 224 * 224
    assert float(rows[1]["lmbda"]) == 1
    assert len(done.stdout.splitlines()) == len(rows) + 1 and done.stdout.splitlines()[-1] == str(out)
    deltas = list(csv.DictReader(out.with_name("t_bd_rates.csv").open()))
    assert {row["codec"] for row in deltas} == {row["against"] for row in deltas} == set(codecs)
    short = fsplit("evaluate", "photos", photos, "--weights", desk / "tiny", "-o", desk / "s.csv", "--against", "none")
    assert short.returncode == 0 and len((desk / "s.csv").read_text().splitlines()) == 3


def test_scores_go_into_the_card_only_on_request(desk, photos):
    run = ("evaluate", "photos", photos, "--weights", desk / "tiny", "--against", "none", "-o", desk / "c.csv")
    assert fsplit(*run).returncode == 0 and zoo.read_card(desk / "tiny").scores == []
    for _ in range(2):
        assert fsplit(*run, "--card").returncode == 0
    scores = zoo.read_card(desk / "tiny").scores
    assert [(s["codec"], s["dataset"], s["n"]) for s in scores] == [
        ("teacher", "photos", 3),
        ("tiny", "photos", 3),
    ]


def test_evaluate_says_what_is_wrong_before_it_measures(desk, photos):
    before = tree(desk)
    (desk / "empty").mkdir(exist_ok=True)
    tiny = ("--weights", desk / "tiny")
    refused(fsplit("evaluate", "photos", desk / "empty", *tiny), "no photo in")
    refused(fsplit("evaluate", "photos", desk / "nowhere", *tiny), "no folder")
    refused(fsplit("evaluate", "photos", photos, "--weights", desk / "nobody"), "no weights are called")
    refused(
        fsplit("evaluate", "photos", photos, *tiny, "--weights", "elsewhere/tiny"), "some of these share one", "tiny"
    )
    refused(fsplit("evaluate", "photos", photos, *tiny, "--against", "BPG"), "BPG", "JPEG, WebP, AVIF")
    refused(fsplit("evaluate", "photos", photos, *tiny, "-o", desk / "coffee.jpg" / "t.csv"), "coffee.jpg", "exists")
    assert tree(desk) == before and not (desk / "build").exists()


def test_entropy_models_are_compared_on_any_folder(desk, photos):
    out = desk / "tables" / "entropy.csv"
    done = fsplit("evaluate", "entropy", photos, "-o", out, "--name", "mine")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    assert [row["model"] for row in rows] == ["factorised", "scale hyperprior", "mean-scale hyperprior"]
    assert {(row["dataset"], row["n"]) for row in rows} == {("mine", "3")}
    assert [float(row["z_bytes"]) > 0 for row in rows] == [False, True, True]
    refused(fsplit("evaluate", "entropy", desk / "nowhere"), "no folder")


def test_recipes(desk):
    listed = fsplit("train", "list")
    assert listed.returncode == 0 and "photo-first" in listed.stdout
    refused(fsplit("train", "magic"), "'magic'", "fashion_resnet")
    refused(fsplit("train", "photo-first"), "--data")
    with mock.patch("fsplit_lib.recipes.run_recipe", lambda *_: "out: done"):
        assert "had already finished: its checkpoint in build/runs" in fsplit("train", "photo-first").stdout
    with mock.patch("fsplit_lib.recipes.run_recipe", lambda _, job: job.progress(1, 1, {}) or "out: done"):
        assert fsplit("train", "photo-first").stdout == "out: done\n"
    refused(fsplit("train", "photo-first", "--data", desk / "nowhere"), "no Caltech-101")
    refused(fsplit("train", "fashion_resnet", "--work", desk / "coffee.jpg"), "coffee.jpg", "exists")
    assert not (desk / "build").exists()


def test_a_book_with_wrong_parameters_runs_nothing(desk):
    refused(fsplit("book", "--set", "unknown=1"), "no parameter 'unknown'", "profile")
    refused(fsplit("book", "00", "--set", "beta=1"), "no parameter 'beta'")
    refused(fsplit("book", "--profile", "slow"), "'quick', 'full'")
    refused(fsplit("book", "05", "--set", "lmbda=large"), "lmbda must be of type float")
    refused(fsplit("book", "05", "--set", "seed=1.5"), "seed must be of type int")
    refused(fsplit("book", "--set", "lmbda"), "name=value")
    refused(fsplit("book", "98"), "no chapter 98")
    refused(fsplit("book", "00", "--out", desk / "coffee.jpg"), "coffee.jpg")
    assert not (desk / "build").exists()


def test_predictions_leave_as_one_file(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("FSPLIT_HOME", str(tmp_path))
    guess = predict("88.q", "How many?", 0, 9, 1, "bytes").set(4)
    guess.keep()
    guess.reveal(7)
    done = fsplit("predictions", "-o", tmp_path / "mine.csv")
    assert done.returncode == 0 and done.stdout == f"{tmp_path / 'mine.csv'}: 1 guesses\n"
    (row,) = csv.DictReader((tmp_path / "mine.csv").open())
    assert (row["guess"], row["truth"], row["agreement"]) == ("4", "7.0", "before the truth")
    refused(fsplit("predictions", "-o", tmp_path / "nowhere" / "x.csv"), "x.csv")


def test_usage_is_told(desk):
    for wrong in (("predict",), ("magic",), ("predict", "x.jpg", "--top", "0"), ("book", "--timeout", "0")):
        done = fsplit(*wrong)
        assert done.returncode == 2 and "Traceback" not in done.stderr
    done = fsplit("--help")
    assert done.returncode == 0
    for command in ("book", "test", "lab", "predictions", "train", "compress", "predict", "evaluate"):
        assert command in done.stdout


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(desk, tmp_path):
    tmp_path.chmod(0o500)
    refused(
        fsplit("compress", desk / "coffee.jpg", "--weights", desk / "tiny", "-o", tmp_path / "x.fsp"), "cannot write"
    )
    tmp_path.chmod(0o700)
