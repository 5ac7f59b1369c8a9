"""The command line: packets there and back, and every mistake answered in one sentence."""

import csv
import subprocess
import sys

import pytest
from PIL import Image

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import load_photo
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.packet import Packet
from fsplit_lib.system import build_system, save_system

MAIN = "from fsplit_lib.cli import main; main()"


def fsplit(*arguments, cwd=None):
    command = [sys.executable, "-W", "ignore", "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def refused(done, *words):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    root = tmp_path_factory.mktemp("desk")
    system = build_system(load_backbone("tf_efficientnet_lite0"), CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 8), 0)
    system.codec.prior.freeze()
    save_system(root / "tiny", system, zoo.Card("tiny", "codec", "", "", "", {}, {}))
    load_photo("coffee").save(root / "coffee.jpg", quality=90)
    (root / "text.jpg").write_text("hello")
    return root


def test_a_photo_becomes_a_packet_becomes_an_answer(desk):
    done = fsplit("compress", desk / "coffee.jpg", "--weights", desk / "tiny")
    assert done.returncode == 0, done.stderr
    packet = Packet.from_bytes((desk / "coffee.fsp").read_bytes())
    assert (packet.height, packet.width) == (224, 224)
    assert f"{len(packet.to_bytes()):,} bytes" in done.stdout
    from_packet = fsplit("predict", desk / "coffee.fsp", "--weights", desk / "tiny", "--top", 3)
    from_photo = fsplit("predict", desk / "coffee.jpg", "--weights", desk / "tiny", "--top", 3)
    assert len(from_packet.stdout.splitlines()) == 4
    assert "espresso" in from_photo.stdout.splitlines()[1]
    assert from_photo.stdout.splitlines()[4:] == from_packet.stdout.splitlines()


def test_mistakes_with_photos_and_packets(desk):
    good = desk / "coffee.fsp"
    fsplit("compress", desk / "coffee.jpg", "--weights", desk / "tiny", "-o", good)
    damaged = desk / "damaged.fsp"
    damaged.write_bytes(good.read_bytes()[:-1])
    refused(fsplit("predict", damaged, "--weights", desk / "tiny"), "checksum")
    refused(fsplit("predict", good, "--weights", "photo-first"), "both ends must load the same checkpoint")
    refused(fsplit("predict", desk / "none.jpg"), "there is no file")
    refused(fsplit("predict", desk / "text.jpg", "--weights", desk / "tiny"), "not an image")
    refused(fsplit("compress", desk / "text.jpg", "--weights", desk / "tiny"), "not an image")
    assert not (desk / "text.fsp").exists()
    refused(fsplit("compress", desk / "coffee.jpg", "-o", desk / "no" / "x.fsp", "--weights", desk / "tiny"), "cannot write")
    refused(fsplit("compress", desk / "coffee.jpg", "--weights", desk / "nobody"), "no weights are called", "photo-first")


def test_evaluate_writes_a_tidy_table(desk):
    photos = desk / "photos"
    photos.mkdir(exist_ok=True)
    load_photo("chelsea").save(photos / "a.png")
    Image.new("L", (300, 200), 90).save(photos / "b.png")
    out = desk / "tables" / "t.csv"
    done = fsplit("evaluate", photos, "--weights", desk / "tiny", "-o", out, "--name", "mine", "--no-image-codecs")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    assert [row["method"] for row in rows] == ["teacher", "FrankenSplit"]
    assert rows[0]["dataset"] == "mine" and rows[0]["n"] == "2" and rows[1]["top1"] == ""
    refused(fsplit("evaluate", desk / "tables"), "no photo in")
    refused(fsplit("evaluate", desk / "nowhere"), "no folder")


def test_recipes_and_parameters(desk):
    listed = fsplit("train", "list")
    assert listed.returncode == 0 and "photo-first" in listed.stdout
    refused(fsplit("train", "magic", cwd=desk), "fashion_resnet")
    refused(fsplit("train", "photo-first", cwd=desk), "--data")
    refused(fsplit("book", "00", "--set", "beta=1", cwd=desk), "no parameter 'beta'")
    refused(fsplit("book", "--profile", "slow", cwd=desk), "'quick', 'full'")
    refused(fsplit("book", "--set", "lmbda", cwd=desk), "name=value")
    refused(fsplit("book", "98", cwd=desk), "no chapter 98")
    assert not (desk / "build" / "executed").exists()
