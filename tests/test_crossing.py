"""The grids of chapter 07 in miniature: native pairs, frozen codecs, mismatched blueprints, the ablation."""

from functools import partial

import numpy as np
import pytest

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.data import fashion_mnist, read_rows
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import BDRate, curve_of_images
from fsplit_lib.evaluation.cross_backbone import smallest_within
from fsplit_lib.evaluation.tables import CrossRow, DecodeTime
from fsplit_lib.recipes import RunContext, teachers
from fsplit_lib.recipes import cross_backbone as recipes
from fsplit_lib.recipes.cross_backbone import CrossPlan, measured_of
from fsplit_lib.system import load_codec, load_system

PLAN = CrossPlan(
    steps=3, seeds=(0, 1), pictures=40, settings=3, restoration=(0, 1), widths=(8,),
    decoder={"restoration": 1, "transformation": 1, "width": 8, "window": 4},
)  # fmt: skip


@pytest.fixture
def job(tmp_path, monkeypatch):
    def load(name, weights="shipped"):
        return load_backbone(name, "shipped" if name == "fashion_resnet" else "random")

    monkeypatch.setattr(recipes, "NETWORKS", ("fashion_resnet", "fashion_swin"))
    monkeypatch.setattr(recipes, "load_backbone", load)
    monkeypatch.setattr(recipes, "fashion_mnist", lambda split: tuple(part[:200] for part in fashion_mnist(split)))
    return RunContext(tmp_path / "out", None, tmp_path / "work", processes=0)


def test_the_cross_backbone_table(job, monkeypatch):
    told = []
    monkeypatch.setattr(recipes, "bd_rates", partial(recipes.bd_rates, draws=20))
    job = RunContext(job.out, None, job.work, lambda done, total, _: told.append((done, total)), processes=0)
    assert "10 cells" in recipes._cross(PLAN, job)
    assert told == [(n + 1, 4) for n in range(4)] + [(n + 1, 6) for n in range(6)]
    rows = read_rows(job.out.with_suffix(".csv"), CrossRow, "")
    assert len(rows) == 10 * PLAN.settings and {row.n for row in rows} == {40}
    kinds = {(r.trained[8:], r.decoded[8:], r.blueprint, r.frozen) for r in rows}
    both = ("resnet", "swin")
    assert kinds == {(a, a, a, 0) for a in both} | {(a, a, b, 1) for a in both for b in both} | {
        (a, b, b, 1) for a in both for b in both if a != b
    }
    assert {r.seed for r in rows if not r.frozen} == {0, 1} and {r.seed for r in rows if r.frozen} == {0}
    for row in rows:
        assert row.top1_low <= row.top1 <= row.top1_high and row.agreement_low <= row.agreement <= row.agreement_high
    sizes = {(r.trained, r.lmbda): r.bytes for r in rows if r.frozen}  # the packet does not know who decodes it
    assert all(sizes[r.trained, r.lmbda] == r.bytes for r in rows if r.frozen or r.seed == 0)
    deltas = read_rows(job.out.with_name("out_bd_rates.csv"), BDRate, "")
    assert len(deltas) == 8 and {d.against for d in deltas} == {"native-resnet-0", "native-swin-0"}
    folder = job.work / "out-weights/native-resnet-0"
    assert load_system(folder).codec.codec_id == load_codec(folder).codec_id
    before = {path: path.stat().st_mtime_ns for path in job.work.rglob("*.*")}
    recipes._cross(PLAN, job)  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in job.work.rglob("*.*")} == before


def test_the_ablation(job):
    assert "smallest within half a point: resnet" in recipes._ablation(PLAN, job)
    rows = read_rows(job.out.with_suffix(".csv"), CrossRow, "")
    assert {(r.decoded, r.restoration, r.width) for r in rows if r.seed == 0} == {
        (n, r, 8) for n in recipes.NETWORKS for r in (0, 1)
    }
    assert len({(r.decoded, r.restoration) for r in rows if r.seed == 1}) == 2  # the winners, once more
    times = read_rows(job.out.with_name("out_times.csv"), DecodeTime, "")
    assert len(times) == 4 and all(row.decode_ms > 0 and row.iqr_ms >= 0 and row.runs == 100 for row in times)


def row(decoded, parameters, restoration, size, top1):
    return CrossRow("", decoded, decoded, "", 0, restoration, 8, parameters, 0, 1.0, size, top1, 0, 1, 0, 0, 0, 9)


@pytest.mark.equation("07.4")
def test_the_smallest_decoder_within_half_a_point():
    curve = [(10.0, 0.70), (20.0, 0.80), (40.0, 0.90)]
    rows = [row("a", 100, 0, size, top1 - 0.02) for size, top1 in curve]
    rows += [row("a", 200, 1, size, top1 - 0.004) for size, top1 in curve]
    rows += [row("a", 300, 2, size, top1) for size, top1 in curve]
    rows += [row("a", 50, 3, 1.0, 0.10), row("a", 50, 3, 41.0, 0.11)]  # smallest of all, and poor at equal bytes
    rows += [row("b", 9, 4, 10.0, 0.5)]
    assert smallest_within(rows) == [("a", 1, 8), ("b", 4, 8)]
    assert smallest_within(rows, loss=0.03)[0] == ("a", 0, 8)
    assert smallest_within(rows, loss=0.001)[0] == ("a", 2, 8)


def test_a_curve_is_what_single_measurements_say():
    system = load_system("photo", load_backbone("tf_efficientnet_lite0"))
    images = fashion_mnist("test")[0][:3]
    (fine, coarse) = curve_of_images(system, images, np.zeros(3, int), "three", "photo", [0.1, 3.0])
    packets = system.codec.compress(images_to_tensor(images))
    sizes, decided = [len(packet.to_bytes()) for packet in packets], system.answer(packets).argmax(1).numpy()
    (middle,) = curve_of_images(system, images, np.zeros(3, int), "three", "photo", [system.codec.config.lmbda])
    assert (middle.sizes == sizes).all() and (middle.decided == decided).all()
    assert (fine.sizes > coarse.sizes).all() and fine.lmbda == 0.1 and fine.codec == "photo"


def test_cells_come_back_as_curves():
    labels = fashion_mnist("test")[1][:2]
    result = {
        "decoded": "r",
        "lmbdas": [0.1, 0.3],
        "sizes": [[5, 6], [3, 4]],
        "decided": [[1, 2], [1, 1]],
        "teacher": [1, 2],
    }
    fine, coarse = measured_of("cell", result)
    assert fine.codec == coarse.codec == "cell" and fine.backbone == "r" and (fine.labels == labels).all()
    assert fine.point().agreement == 1 and coarse.point().agreement == 0.5 and coarse.point().bytes == 3.5


def test_seeds_of_the_teachers_go_into_their_cards(tmp_path, monkeypatch):
    job = RunContext(tmp_path / "weights/fashion_seeds", None, tmp_path / "work", processes=0)
    with pytest.raises(DataError, match="no card of fashion_resnet, fashion_convnext, fashion_swin"):
        teachers._seeds(job)
    monkeypatch.setattr(teachers, "fashion_mnist", lambda split: tuple(part[:64] for part in fashion_mnist(split)))
    tiny = {n: (s, teachers.replace(c, steps=2, batch=8)) for n, (s, c) in teachers.TEACHERS.items()}
    monkeypatch.setattr(teachers, "TEACHERS", tiny)
    for name in tiny:
        assert "64 test pictures" in teachers._teacher(name, RunContext(tmp_path / "weights" / name, None, job.work))
    teachers._seeds(job)
    for name in tiny:
        card = zoo.read_card(tmp_path / "weights" / name)
        found = card.training["top1_by_seed"]
        assert len(found) == 3 and found[0] == card.scores[0]["top1"]
        assert card.training["top1_spread"] == pytest.approx(max(found) - min(found), abs=1e-5)
        assert not any("spread over seeds" in limit for limit in card.limits)
        assert load_backbone(name, tmp_path / "weights" / name / "network.safetensors").name == name
