"""Evaluation and its rivals: intervals by the formula, points by hand, codecs at their honest best."""

import csv
import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binom

from fsplit_lib.backbones import load_backbone
from fsplit_lib.baselines import IMAGE_CODECS, decode_image, encode_image, encode_to_budget, scan_bytes
from fsplit_lib.cli.evaluate import photos as evaluate_command
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import center_crop, data_root, fashion_mnist, image_folder, load_photo, write_rows
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError, ParameterError, WeightsError
from fsplit_lib.evaluation import (
    TABLES,
    BDRate,
    PerImageResult,
    RatePoint,
    bd_rate,
    bd_rates,
    evaluate_images,
    evaluate_in_processes,
    evaluate_photos,
    read_table,
    top1_of_images,
    wilson,
)
from fsplit_lib.evaluation.intervals import LEAST_PHOTOS, middle, resampled
from fsplit_lib.system import build_system, load_system

Z = 1.959963985


@pytest.mark.parametrize(("k", "n"), [(1, 10), (5, 10), (9, 10), (300, 500)])
def test_wilson_by_its_formula(k, n):
    """Newcombe 1998, method 4."""
    p, q = k / n, 1 - k / n
    low = 2 * n * p + Z * Z - 1 - Z * math.sqrt(Z * Z - 2 - 1 / n + 4 * p * (n * q + 1))
    high = 2 * n * p + Z * Z + 1 + Z * math.sqrt(Z * Z + 2 - 1 / n + 4 * p * (n * q - 1))
    assert wilson(k, n) == pytest.approx((low / (2 * (n + Z * Z)), high / (2 * (n + Z * Z))), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 4, 7, 20, 100, 500])
def test_wilson_holds_every_share_often_enough(n):
    """Exactly, over all outcomes: at shares from 0 to 1, and as close to both as one success in a thousand sets."""
    k, small = np.arange(n + 1), np.geomspace(1e-3 / n, 0.5, 800)
    p = np.concatenate([[0.0], small, 1 - small, np.linspace(0, 1, 201)])[:, None]
    low, high = np.array([wilson(int(one), n) for one in k]).T
    coverage = (binom.pmf(k, n, p) * ((low <= p) & (p <= high))).sum(axis=1)
    assert coverage.min() >= 0.945
    assert low[0] == 0 and high[-1] == 1 and (np.diff(low) > 0).all() and low == pytest.approx(1 - high[::-1])


def test_rate_point_by_hand():
    what = ("d", "mine", 0.3, None, "resnet18")
    two = PerImageResult(*what, np.array([10, 20]), np.array([1, 2]), np.array([1, 3]), np.array([5, 2]))
    point = two.point()
    assert (point.dataset, point.codec, point.lmbda, point.quality, point.backbone) == what
    assert (point.bytes, point.agreement, point.top1, point.n) == (15.0, 0.5, 0.5, 2)
    assert point.agreement_low < 0.5 < point.agreement_high
    assert replace(two, labels=None).point().top1 is None


@pytest.fixture(scope="module")
def system():
    system = build_system(load_backbone("fashion_resnet"), CodecConfig((8, 8, 6), (2, 2, 1)), DecoderConfig(1, 1, 8), 0)
    system.codec.update()
    return system.eval()


def test_images_are_measured_through_real_packets(system, monkeypatch):
    images, labels = (part[:60] for part in fashion_mnist("test"))
    monkeypatch.setattr("fsplit_lib.evaluation.evaluate.BATCH", 25)
    point = evaluate_images(system, images, labels, "test", "x")
    x = torch.tensor(images).float().div(255).unsqueeze(1).repeat(1, 3, 1, 1)
    sizes = [len(p.to_bytes()) for p in system.codec.compress(x)]
    decided = system.answer(system.codec.compress(x)).argmax(1).numpy()
    assert point.bytes == pytest.approx(np.mean(sizes))
    assert point.top1 == pytest.approx((decided == labels).mean())
    assert point.agreement == pytest.approx((decided == top1_of_images(system.backbone, images)).mean())


def test_photos_of_other_classes_are_judged_without_labels(tmp_path):
    backbone = load_backbone("tf_efficientnet_lite0")
    system = build_system(backbone, CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 8), 0)
    system.codec.update()
    for name in ("cats/chelsea", "cups/coffee"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        load_photo(name.split("/")[1]).save(tmp_path / f"{name}.png")
    seen = []
    measured = evaluate_photos(
        {"tiny": system.eval()}, backbone, image_folder(tmp_path, "mine"), {"JPEG": (95, 1)}, lambda *a: seen.append(a)
    )
    points = [one.point() for one in measured]
    assert {one.codec for one in measured} == {"teacher", "tiny", "JPEG", "JPEG, no tables"}
    by = {(p.codec, p.quality or p.lmbda): p for p in points}
    assert set(by) == {("teacher", None), ("tiny", 1.0), *(
        (jpeg, q) for jpeg in ("JPEG", "JPEG, no tables") for q in (95, 1)
    )}  # fmt: skip
    assert by["JPEG, no tables", 1].bytes < by["JPEG", 1].bytes - 150
    assert by["JPEG, no tables", 1].agreement == by["JPEG", 1].agreement
    assert (by["teacher", None].agreement, by["teacher", None].bytes) == (1.0, 3 * 224 * 224)
    assert by["JPEG", 1].bytes < by["JPEG", 95].bytes
    assert all(p.top1 is None and p.dataset == "mine" and p.backbone == backbone.name and p.n == 2 for p in points)
    assert seen == [(1, 2), (2, 2)]
    write_rows(tmp_path / "t.csv", points)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert list(rows[0])[:6] == ["dataset", "codec", "lmbda", "quality", "backbone", "bytes"] and {
        "agreement",
        "top1",
        "n",
    } <= set(rows[0])
    assert len(rows) == 6


def test_processes_measure_what_one_process_measures(tmp_path, monkeypatch):
    """Two processes, shards of one photo: the same rows in the same order, each photo once."""
    for index, name in enumerate(("chelsea", "coffee", "rocket")):
        folder = tmp_path / "photos" / f"n0144076{4 if index else 5}"
        folder.mkdir(parents=True, exist_ok=True)
        load_photo(name).save(folder / f"{name}.png")
    folder, backbone, codecs = (
        image_folder(tmp_path / "photos"),
        load_backbone("tf_efficientnet_lite0"),
        {"JPEG": (20,)},
    )
    monkeypatch.setattr("fsplit_lib.evaluation.evaluate.SHARD", 1)
    seen = []
    shared = evaluate_in_processes(
        {"mine": "photo"}, backbone.name, folder, codecs, 2, lambda *a: seen.append(a), lmbdas=2
    )
    alone = evaluate_photos({"mine": load_system("photo", backbone)}, backbone, folder, codecs, lmbdas=2)
    assert [(m.codec, m.lmbda, m.quality) for m in shared] == [(m.codec, m.lmbda, m.quality) for m in alone] and len(
        shared
    ) == 5
    for one, other in zip(shared, alone, strict=True):
        assert one.point() == other.point() and list(one.sizes) == list(other.sizes)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(WeightsError, match="no weights"):
        evaluate_in_processes({"mine": "nobody"}, backbone.name, folder, codecs, 2)


@pytest.fixture(scope="module")
def crop():
    return center_crop(load_photo("chelsea"), 96)


@pytest.mark.parametrize("codec", IMAGE_CODECS)
def test_files_decode_and_more_quality_costs_more(codec, crop):
    low, middle, high = (IMAGE_CODECS[codec].qualities[i] for i in (5, len(IMAGE_CODECS[codec].qualities) // 2, -5))
    sizes = [len(encode_image(crop, codec, q)) for q in (low, middle, high)]
    assert sizes == sorted(sizes)
    errors = [
        np.square(np.asarray(decode_image(encode_image(crop, codec, q)), float) - np.asarray(crop, float)).mean()
        for q in (low, middle, high)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 30
    assert decode_image(encode_image(crop, codec, high)).size == crop.size
    for wrong in (-1, 101):
        with pytest.raises(ParameterError, match="quality runs"):
            encode_image(crop, codec, wrong)
    loud = crop.copy()
    loud.info["icc_profile"] = bytes(3000)
    assert len(encode_image(loud, codec, middle)) == sizes[1]


def test_a_missing_plugin_is_named(crop, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif.HeifImagePlugin", None)
    with pytest.raises(ParameterError, match=r"pip install fsplit_lib\[codecs\]"):
        encode_image(crop, "HEIC", 30)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}], ids=str
)
def test_scans_are_all_of_a_jpeg_but_its_tables(crop, options):
    """The same scan data behind tables of another file's quality would not decode alike, so tables are what was cut."""
    buffer = io.BytesIO()
    crop.save(buffer, "JPEG", quality=30, **options)
    data = buffer.getvalue()
    position, tables = 2, 0
    while data[position + 1] != 0xDA:  # before the first scan everything is a header
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        tables, position = tables + length, position + length
    later = 0
    for marker in (b"\xff\xc4", b"\xff\xdb"):  # progressive files define tables between scans
        start = position
        while (start := data.find(marker, start)) >= 0:
            later += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
            start += 2
    assert scan_bytes(data) == len(data) - 4 - tables - later  # SOI and EOI


def curve(name, sizes, kept, n=400, seed=0, judge="r"):
    """Settings of one codec with given mean bytes and kept shares, the same photos hard for all."""
    hard = np.random.default_rng(seed).permutation(n)
    teacher = np.zeros(n, int)
    return [
        PerImageResult("d", name, None, i, judge, np.full(n, float(s)), (hard >= k * n).astype(int), teacher, None)
        for i, (s, k) in enumerate(zip(sizes, kept, strict=True))
    ]


def test_bd_rate_of_a_curve_that_needs_a_quarter_less():
    sizes, kept = [1000, 2000, 4000, 8000], [0.5, 0.65, 0.8, 0.9]
    measured = curve("A", sizes, kept) + curve("B", [0.75 * s for s in sizes], kept)
    forth, back = bd_rates(measured, draws=200)
    assert (forth.codec, forth.against, back.codec) == ("A", "B", "B")
    assert back.percent == pytest.approx(-25, abs=0.1) and forth.percent == pytest.approx(100 / 3, abs=0.2)
    assert back.low == pytest.approx(-25, abs=0.5) and back.high == pytest.approx(
        -25, abs=0.5
    )  # the same photos decide
    assert (back.agreement_from, back.agreement_to, back.n) == pytest.approx((0.5, 0.9, 400))


def test_bd_rate_by_brute_force():
    """Linear curves in log bytes: the mean gap over the shared quality, by hand."""
    q = np.linspace(0.5, 0.9, 30)
    anchor, test = np.exp(6 + 4 * q), np.exp(5.5 + 4.5 * q)
    gap = (5.5 + 4.5 * q - 6 - 4 * q).mean()
    assert bd_rate(anchor, q, test, q) == pytest.approx(100 * (math.exp(gap) - 1), rel=1e-3)


def test_bd_rate_of_curves_that_share_nothing_is_none_and_wobbles_are_straightened():
    measured = curve("A", [100, 200], [0.1, 0.2]) + curve("B", [100, 200], [0.7, 0.8])
    assert {(d.percent, d.low) for d in bd_rates(measured, draws=20)} == {(None, None)}
    r = np.array([100.0, 200, 300, 400])
    wobbly, smooth = np.array([0.5, 0.62, 0.58, 0.7]), np.array([0.5, 0.6, 0.6, 0.7])
    assert bd_rate(r, smooth, r, wobbly) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(
    ("anchor", "test"), [([1.0] * 3, [1.0] * 3), ([0.8, 0.9, 0.9], [0.9, 0.9, 0.95]), ([0.9, 0.95, 1.0], [0.7, 0.9, 0.9])]
)  # fmt: skip
def test_curves_that_share_a_single_quality_have_no_delta(anchor, test):
    sizes, others = [1000, 2000, 4000], [500, 700, 3000]
    assert bd_rate(*map(np.array, (sizes, anchor, others, test))) is None
    (found,) = bd_rates(curve("A", sizes, anchor) + curve("B", others, test), [("B", "A")], draws=20)
    assert (found.percent, found.low, found.agreement_from, found.agreement_to) == (None,) * 4


def test_a_narrow_range_of_shared_quality_still_counts():
    sizes, anchor, test = np.array([1000, 2000, 4000]), np.array([0.8, 0.9, 0.9]), np.array([0.898, 0.9, 0.9])
    assert bd_rate(sizes, anchor, 0.5 * sizes, test) < -50


def photos(n, rng):
    """Bytes and agreement (2 curves, 2 settings, n): some photos are larger, some harder, for every codec."""
    sizes = np.log([[1000, 3000], [600, 1800]])[..., None] + rng.normal(0, 0.5, n) + rng.normal(0, 0.2, (2, 2, n))
    limits = np.array([[0.55, 0.8], [0.6, 0.85]])[..., None]
    return np.exp(sizes), rng.random(n) + rng.normal(0, 0.1, (2, 2, n)) < limits


def delta_by_hand(sizes, kept):
    """The delta of curves of two settings (2, 2, D), which are straight in log bytes; NaN where they share no quality."""
    ramp = np.array([0, 1e-6])[:, None]
    quality = np.where(kept[:, :1] > kept[:, 1:], kept.mean(axis=1, keepdims=True), kept) + ramp
    bits = np.log(sizes + ramp)
    low, high = quality[:, 0].max(axis=0), quality[:, 1].min(axis=0)
    slope = (bits[:, 1] - bits[:, 0]) / (quality[:, 1] - quality[:, 0])
    middling = bits[:, 0] + slope * ((low + high) / 2 - quality[:, 0])
    with np.errstate(over="ignore"):  # two shares that hardly differ make a steep line
        return np.where(high - low < 1e-4 + 1e-6, np.nan, 100 * np.expm1(middling[1] - middling[0]))


TRUTH = delta_by_hand(*(part.mean(axis=-1, keepdims=True) for part in photos(500_000, np.random.default_rng(0)))).item()


def covered(n, samples):
    """How many intervals there are, and how many hold the delta of very many photos."""
    rng, found = np.random.default_rng(n), []
    for seed in range(samples):
        sets, (sizes, kept) = resampled(n, 300, seed), photos(n, rng)
        found.append(middle(delta_by_hand(sizes @ sets, kept @ sets), n))
    found = [ends for ends in found if ends is not None]
    return len(found), sum(low <= TRUTH <= high for low, high in found)


def test_intervals_hold_the_truth_as_often_as_they_say_from_the_least_number_of_photos_on(monkeypatch):
    there, hits = covered(LEAST_PHOTOS, 600)
    assert there == 600 and hits >= binom.ppf(0.001, 600, 0.93)
    assert covered(LEAST_PHOTOS - 1, 5) == (0, 0)
    monkeypatch.setattr("fsplit_lib.evaluation.intervals.LEAST_PHOTOS", 2)
    there, hits = covered(8, 600)
    assert hits < binom.ppf(0.001, there, 0.93)  # which is why they are not given


def test_deltas_and_intervals_are_those_computed_by_hand():
    for n, given in ((LEAST_PHOTOS, True), (LEAST_PHOTOS - 1, False)):
        sizes, kept = photos(n, np.random.default_rng(3))
        measured = [
            PerImageResult("d", "AB"[i], None, j, "r", sizes[i, j], (~kept[i, j]).astype(int), np.zeros(n, int), None)
            for i in (0, 1)
            for j in (0, 1)
        ]
        (found,) = bd_rates(measured, [("B", "A")], draws=50, seed=1)
        (value,) = delta_by_hand(*(part.mean(axis=-1, keepdims=True) for part in (sizes, kept)))
        assert found.percent == pytest.approx(value)
        if given:
            drawn = delta_by_hand(*(part @ resampled(n, 50, 1) for part in (sizes, kept)))
            assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
            assert found.doubt == "" and found.verdict == "fewer"
        else:
            assert (found.low, found.high, found.verdict) == (None, None, "open")
            assert found.doubt == "too few photos for an interval: 99, and it takes 100"


def test_the_command_says_where_photos_are_too_few_for_an_interval(tmp_path, monkeypatch, capsys):
    load_photo("chelsea").save(tmp_path / "chelsea.png")
    for n, said in ((8, "(too few photos for an interval: 8, and it takes 100)"), (100, "(95 % interval ")):
        sizes, kept = photos(n, np.random.default_rng(0))
        measured = [
            PerImageResult(
                "d",
                codec,
                *setting,
                "tf_efficientnet_lite0",
                sizes[i, j],
                (~kept[i, j]).astype(int),
                np.zeros(n, int),
                None,
            )
            for j in (0, 1)
            for i, (codec, setting) in enumerate((("JPEG", (None, j)), ("photo", (0.1 + j, None))))
        ]
        monkeypatch.setattr("fsplit_lib.evaluation.evaluate_in_processes", lambda *a, m=measured: a[5](1, 1) or m)
        evaluate_command(tmp_path, tmp_path / "t.csv")
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("photo against JPEG: ")]
        assert "% bytes at equal agreement (" in line and said in line


def test_an_interval_takes_more_than_half_of_the_draws():
    values = np.arange(100.0)
    values[:49] = np.nan
    assert middle(values, 500) == (pytest.approx(50.25), pytest.approx(97.75))
    values[49] = np.nan
    assert middle(values, 500) is None
    assert "share no quality" in BDRate("d", "r", "a", "b", 1.0, None, None, 0.5, 0.8, 500).doubt


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.0, 3.0, "more"), (-3.0, -1.0, "fewer"), (-1.0, 1.0, "open"), (0.0, 2.0, "open"), (None, None, "open")]
)  # fmt: skip
def test_a_delta_is_judged_by_its_whole_interval(low, high, verdict):
    assert BDRate("d", "r", "a", "b", 1.0, low, high, 0.5, 0.8, 100).verdict == verdict


def test_only_curves_that_one_backbone_judged_are_compared():
    sizes, kept = [1000, 2000], [0.5, 0.8]
    measured = [one for judge in "rs" for name in "AB" for one in curve(name, sizes, kept, judge=judge)]
    for pairs, wanted in ((None, "AB BA"), ([("B", "A")], "BA")):
        found = bd_rates(measured, pairs, draws=3)
        assert [(d.backbone, d.codec + d.against) for d in found] == [(j, two) for j in "rs" for two in wanted.split()]


def test_every_shipped_table_is_read_by_its_row_and_named_by_its_command(tmp_path):
    shipped = {path.name for path in (data_root() / "results").glob("*.csv")} - {"development_photos.csv"}
    assert shipped == set(TABLES)
    for name, table in TABLES.items():
        rows = read_table(name)
        assert rows and all(type(row) is table.row for row in rows)
        with pytest.raises(DataError, match="make it with") as told:
            read_table(name, tmp_path)
        assert table.command in str(told.value)
    with pytest.raises(DataError, match="no table is called 'photo.csv'; there are photos.csv"):
        read_table("photo.csv")


def test_a_rate_point_has_one_setting_and_the_teacher_none():
    for name, table in TABLES.items():
        for point in read_table(name) if table.row is RatePoint else ():
            assert (point.lmbda is None) + (point.quality is None) == (2 if point.codec == "teacher" else 1)
            assert point.backbone and " for " not in point.codec


def test_bd_rates_of_unknown_curves_are_refused():
    with pytest.raises(ParameterError, match="no curve C"):
        bd_rates(curve("A", [1, 2], [0.1, 0.2]), [("A", "C")])


def test_unknown_image_codec(crop):
    with pytest.raises(ParameterError, match="JPEG, WebP, AVIF"):
        encode_image(crop, "BPG", 10)


@pytest.mark.parametrize("codec", ["JPEG", "WebP"])
def test_squeeze_finds_the_best_file_that_fits(codec, crop):
    limit = 1500
    none, small_one, found = encode_to_budget(crop, codec, [20, limit // 2, limit])
    assert none is None and small_one.size <= limit // 2
    assert len(found.data) <= limit
    small = crop.resize([round(96 * found.scale)] * 2, Image.Resampling.LANCZOS)
    fitting = [q for q in IMAGE_CODECS[codec].qualities if len(encode_image(small, codec, q)) <= limit]
    assert found.quality == max(fitting)
    assert found.image.size == crop.size
    assert Image.open(io.BytesIO(found.data)).size == small.size
    (alone,) = encode_to_budget(crop, codec, [limit])
    assert (alone.data, alone.quality, alone.scale) == (found.data, found.quality, found.scale)
