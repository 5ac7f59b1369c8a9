"""The bare install, for real: a fresh environment with `.[device]` and nothing else makes the packet that torch makes.

make proof        needs a package registry, so it is no part of `make test`
"""

import json
import subprocess
import sys
from pathlib import Path

from fsplit_lib.data import center_crop, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.device.export import export_bundle
from fsplit_lib.packet import Packet
from fsplit_lib.system import load_codec

ROOT = Path(__file__).parents[1]
HAVE = "import importlib.util as u, json; print(json.dumps([n for n in {names} if u.find_spec(n)]))"
FOREIGN = ("torch", "timm", "compressai", "typer", "scipy", "plotly", "onnx")


def test_a_bare_install_makes_the_same_packet(tmp_path):
    codec = load_codec("photo")
    export_bundle(tmp_path / "bundle", codec, "photo")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{ROOT}[device]"]
    subprocess.run(install, check=True, cwd=tmp_path)
    have = subprocess.run([python, "-c", HAVE.format(names=FOREIGN)], check=True, capture_output=True, text=True)
    assert json.loads(have.stdout) == []
    photo = tmp_path / "bundle" / "photo.png"
    command = [python, "-m", "fsplit_lib.device", photo, "--bundle", tmp_path / "bundle"]
    subprocess.run([*command, "-o", tmp_path / "x.fsp"], check=True, cwd=tmp_path)
    (theirs,) = codec.compress(photo_tensor(center_crop(load_photo("astronaut"))))
    packets = (Packet.from_bytes((tmp_path / "x.fsp").read_bytes()), theirs)
    ours, same = (codec.decompress([packet]) for packet in packets)
    assert (ours != same).sum() <= 1  # of 37,632: two libraries add up in another order
    subprocess.run([*command, "--card", tmp_path / "card.json", "--runs", "2"], check=True, cwd=tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["codec"] == "photo"
