"""Evaluation and its rivals: intervals by the formula, points by hand, codecs at their honest best."""

import csv
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fsplit_lib.backbones import load_backbone
from fsplit_lib.baselines import IMAGE_CODECS, decode_image, encode_image, squeeze
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import center_crop, fashion_mnist, image_folder, load_photo, write_rows
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import (
    evaluate_images,
    evaluate_photos,
    measure,
    rate_point,
    top1_of_images,
    wilson,
)
from fsplit_lib.system import build_system


@pytest.mark.parametrize(("k", "n"), [(0, 10), (5, 10), (10, 10), (300, 500)])
def test_wilson_by_its_formula(k, n):
    z, p = 1.959963985, k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(k, n) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_rate_point_by_hand():
    point = rate_point("d", "m", "s", np.array([10, 20]), np.array([1, 2]), np.array([1, 3]), np.array([5, 2]))
    assert (point.bytes, point.kept, point.top1, point.n) == (15.0, 0.5, 0.5, 2)
    assert point.kept_low < 0.5 < point.kept_high
    assert rate_point("d", "m", "s", np.array([1]), np.array([1]), np.array([1]), None).top1 is None


@pytest.fixture(scope="module")
def system():
    system = build_system(load_backbone("fashion_resnet"), CodecConfig((8, 8, 6), (2, 2, 1)), DecoderConfig(1, 1, 8), 0)
    system.codec.freeze()
    return system.eval()


def test_images_are_measured_through_real_packets(system):
    images, labels = (part[:60] for part in fashion_mnist("test"))
    point = evaluate_images(system, images, labels, "test", "x", batch=25)
    x = torch.tensor(images).float().div(255).unsqueeze(1).repeat(1, 3, 1, 1)
    sizes = [len(p.to_bytes()) for p in system.codec.compress(x)]
    decided = system.answer(system.codec.compress(x)).argmax(1).numpy()
    assert point.bytes == pytest.approx(np.mean(sizes))
    assert point.top1 == pytest.approx((decided == labels).mean())
    assert point.kept == pytest.approx((decided == top1_of_images(system.backbone, images)).mean())
    assert measure(system, x[:1])[0][0] == sizes[0]


def test_photos_of_other_classes_are_judged_without_labels(tmp_path):
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 8), 0)
    system.codec.freeze()
    for name in ("cats/chelsea", "cups/coffee"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        load_photo(name.split("/")[1]).save(tmp_path / f"{name}.png")
    seen = []
    points = evaluate_photos(
        {"tiny": system.eval()}, backbone, image_folder(tmp_path, "mine"), {"JPEG": (95, 1)}, lambda *a: seen.append(a)
    )
    by = {(p.method, p.setting): p for p in points}
    assert set(by) == {("teacher", "raw"), ("FrankenSplit", "tiny"), ("JPEG", "q95"), ("JPEG", "q1")}
    assert (by["teacher", "raw"].kept, by["teacher", "raw"].bytes) == (1.0, 3 * 224 * 224)
    assert by["JPEG", "q1"].bytes < by["JPEG", "q95"].bytes
    assert all(p.top1 is None and p.dataset == "mine" and p.n == 2 for p in points)
    assert seen == [(1, 2), (2, 2)]
    write_rows(tmp_path / "t.csv", points)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert list(rows[0])[:4] == ["dataset", "method", "setting", "bytes"] and {"kept", "top1", "n"} <= set(rows[0])
    assert len(rows) == 4


@pytest.fixture(scope="module")
def crop():
    return center_crop(load_photo("chelsea"), 96)


@pytest.mark.parametrize("codec", IMAGE_CODECS)
def test_files_decode_and_more_quality_costs_more(codec, crop):
    sizes = [len(encode_image(crop, codec, q)) for q in (5, 50, 95)]
    assert sizes == sorted(sizes)
    assert decode_image(encode_image(crop, codec, 95)).size == crop.size
    for wrong in (-1, 101):
        with pytest.raises(ParameterError, match="quality runs"):
            encode_image(crop, codec, wrong)
    loud = crop.copy()
    loud.info["icc_profile"] = bytes(3000)
    assert len(encode_image(loud, codec, 50)) == sizes[1]


def test_unknown_image_codec(crop):
    with pytest.raises(ParameterError, match="JPEG, WebP, AVIF"):
        encode_image(crop, "BPG", 10)


@pytest.mark.parametrize("codec", ["JPEG", "WebP"])
def test_squeeze_finds_the_best_file_that_fits(codec, crop):
    limit = 1500
    found = squeeze(crop, codec, limit)
    assert len(found.data) <= limit
    small = crop.resize([round(96 * found.scale)] * 2, Image.Resampling.LANCZOS)
    fitting = [q for q in IMAGE_CODECS[codec].qualities if len(encode_image(small, codec, q)) <= limit]
    assert found.quality == max(fitting)
    assert found.image.size == crop.size
    assert Image.open(io.BytesIO(found.data)).size == small.size
    assert squeeze(crop, codec, 20) is None
