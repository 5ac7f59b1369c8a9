"""One packet on every processor, for real: the int8 encoder on an emulated processor with AVX2 and without VNNI.

make proof        needs Debian's qemu-user, so it is no part of `make test`; two minutes
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnxruntime import quantization

from fsplit_lib.data import PHOTOS, center_crop, load_photo
from fsplit_lib.data.images import to_array
from fsplit_lib.device.export import export_bundle, quantise
from fsplit_lib.system import load_codec

EMULATOR = shutil.which("qemu-x86_64")
ENCODE = """
import sys
sys.path[:0] = {path!r}
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
for file in {files!r}:
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    y = [session.run(None, {{"x": x[None]}})[0] for x in np.load({photos!r})]
    np.save(file + "." + {name!r}, np.concatenate(y))
"""


@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-user")
def test_seven_bits_are_the_same_symbols_without_vnni_and_eight_bits_are_not(tmp_path, monkeypatch):
    crops = [to_array(center_crop(load_photo(name)))[None] for name in PHOTOS]
    np.save(tmp_path / "photos.npy", np.concatenate(crops))
    bundles = {name: export_bundle(tmp_path / name, load_codec(name), name, crops) for name in ("photo", "lean")}
    files = {name: str(tmp_path / name / "encoder.int8.onnx") for name in bundles} | {
        "8 bits": str(tmp_path / "8.onnx")
    }
    tool = quantization.quantize_static
    monkeypatch.setattr(quantization, "quantize_static", lambda *a, **k: tool(*a, **k | {"reduce_range": False}))
    quantise(tmp_path / "photo" / "encoder.onnx", Path(files["8 bits"]), crops, spare_last_sum=True)
    asked = {"path": sys.path, "files": list(files.values()), "photos": str(tmp_path / "photos.npy")}
    python, environment = Path(sys.executable).resolve(), os.environ | {"OMP_NUM_THREADS": "1"}
    for name, before in {"here": [], "haswell": [EMULATOR, "-cpu", "Haswell"]}.items():
        subprocess.run([*before, python, "-c", ENCODE.format(**asked, name=name)], check=True, env=environment)
    differ = {}
    for name, file in files.items():
        packer = bundles.get(name, bundles["photo"]).packer
        here, there = (np.load(f"{file}.{machine}.npy") for machine in ("here", "haswell"))
        symbols = [np.stack([packer.symbols(y, packer.code(None)) for y in found]) for found in (here, there)]
        differ[name] = int((symbols[0] != symbols[1]).sum())
        print(f"{name}: {differ[name]:,} of {symbols[0].size:,} symbols differ")
    assert (
        differ["photo"] <= 3 and differ["lean"] <= 3
    )  # float32 convolutions behind the integers may round another way
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        assert 5000 < differ["8 bits"] < 7000  # chapter 08 says "about 6,000"
