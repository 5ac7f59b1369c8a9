"""Chapter 09: other tasks and places behind packets, a contrast, maps that follow a training, and claims that README repeats."""

import csv
import math
import re
from dataclasses import astuple
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from solved import solved_builds
from typer.testing import CliRunner
from words import words_of

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.chapters import ch09, ch09_speech
from fsplit_lib.cli.evaluate import app
from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.data import ImageFolder, data_root, fashion_mnist, image_folder
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import read_table, read_variants
from fsplit_lib.evaluation.cross_backbone import read_crossing
from fsplit_lib.evaluation.map_agreement import map_correlation, measure_maps, peak_is_inside, tail_map
from fsplit_lib.evaluation.probes import probed_classes
from fsplit_lib.evaluation.tasks import accuracy_gain, measure_tasks, task_of_images
from fsplit_lib.evaluation.variants import Contrast
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.latency import Scenario, end_to_end, widest_ratio
from fsplit_lib.plots import caption
from fsplit_lib.saliency import saliency_layers
from fsplit_lib.system import build_system, save_system
from fsplit_lib.training.dynamic import DynamicWeight

ROOT = data_root().parent
BUILDS = ("09.1", "09.2", "09.3")


@pytest.fixture(scope="module")
def lab():
    """The lab's teacher and an untrained codec of continuous rate in front of it."""
    teacher = load_backbone("fashion_resnet")
    codec = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1), lmbda=0.3, anchors=(0.1, 0.3, 1.0, 3.0))
    system = build_system(teacher, codec, DecoderConfig(1, 1, 16, window=4), 0)
    system.decoder.fit_statistics(teacher.head(images_to_tensor(fashion_mnist("test")[0][:50])))
    torch.nn.init.normal_(system.decoder.project.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    system.codec.update()
    return teacher, system.eval()


def ridge(x, t, alpha):
    """Weights and offset of ridge regression with a free offset, by the normal equations."""
    middle, level = x.mean(0), t.mean(0)
    w = np.linalg.solve((x - middle).T @ (x - middle) + alpha * np.eye(x.shape[1]), (x - middle).T @ (t - level))
    return w, level - middle @ w


@pytest.mark.equation("09.1")
def test_the_probe_is_ridge_regression_whose_strength_leaves_one_out():
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(0)
    labels = np.arange(36) % 3
    x = rng.normal(size=(36, 4)) + 0.8 * np.eye(4)[labels]
    other = x + 0.3 * rng.normal(size=x.shape)
    wanted = [np.empty_like(labels), np.empty_like(labels)]
    for fit, judge in StratifiedKFold(3, shuffle=True, random_state=5).split(x, labels):
        scale = lambda one, fit=fit: (one - x[fit].mean(0)) / x[fit].std(0)
        inside, t, errors = scale(x[fit]), 2.0 * np.eye(3)[labels[fit]] - 1, {}
        for alpha in 10.0 ** np.arange(0, 6):
            left = [np.delete(np.arange(len(fit)), n) for n in range(len(fit))]
            fits = [ridge(inside[rest], t[rest], alpha) for rest in left]
            errors[alpha] = np.mean([(t[n] - inside[n] @ w - b) ** 2 for n, (w, b) in enumerate(fits)])
        w, b = ridge(inside, t, min(errors, key=errors.get))
        for one, read in zip(wanted, (x, other), strict=True):
            one[judge] = (scale(read[judge]) @ w + b).argmax(1)
    found = probed_classes(x, [other], labels, 5)
    assert [one.tolist() for one in found] == [one.tolist() for one in wanted]
    assert np.mean(found[0] == labels) > 0.5 and found[0].tolist() != found[1].tolist()


@pytest.mark.equation("09.3")
def test_correlation_and_pointing_by_hand():
    a, b = np.random.default_rng(0).random((2, 5, 6))
    assert map_correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert map_correlation(a, 3 * a + 1) == pytest.approx(1) and map_correlation(a, np.ones_like(a)) == 0
    inside = np.zeros_like(a)
    inside.ravel()[a.argmax()] = 1
    assert peak_is_inside(a, inside) and not peak_is_inside(a, -a) and not peak_is_inside(a, np.ones_like(a))
    order = np.argsort(-a.ravel())
    found = [peak_is_inside(a, np.eye(30)[place].reshape(5, 6)) for place in order]
    assert found == [True] * 6 + [False] * 24  # a fifth of thirty places


@pytest.mark.equation("09.4")
def test_a_dynamic_weight_is_grad_cam_of_the_features_and_keeps_for_k_steps():
    torch.manual_seed(0)
    weight, frames = torch.randn(4, 3), [torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(5)]
    tail = lambda h: h.square().mean(dim=(2, 3)) @ weight.T
    made = DynamicWeight(tail, 2)
    found = [made(step, h) for step, h in enumerate(frames)]
    for step in range(5):
        for n, h in enumerate(frames[step - step % 2].detach().numpy()):
            top = (np.square(h).mean(axis=(1, 2)) @ weight.numpy().T).argmax()
            slope = weight.numpy()[top][:, None, None] * 2 * h / 20  # of the mean of squares over 20 places
            cam = np.maximum((slope.mean(axis=(1, 2))[:, None, None] * h).sum(0), 0)
            wanted = (1 + (cam - cam.min()) / (np.ptp(cam) + 1e-12)) / 2
            assert found[step][n, 0].numpy() == pytest.approx(wanted, abs=1e-5)
    assert found[0] is found[1] and not torch.equal(found[1], found[2]) and not found[0].requires_grad
    assert all(h.grad is None for h in frames)
    with torch.no_grad():
        assert torch.equal(DynamicWeight(tail, 1)(0, frames[0]), found[0])


def test_a_task_is_measured_from_packets_and_from_photos(lab):
    teacher, system = lab
    images, labels = (part[:120] for part in fashion_mnist("test"))
    rows, gains = measure_tasks({"tiny": system, "again": system}, teacher, [task_of_images("clothes", images, labels)])
    ((told, tiny, points, *_),) = (astuple(gain)[1:] for gain in gains)
    assert (told, tiny, points) == ("again", "tiny", 0.0) and gains[0].low == gains[0].high == 0.0
    rows = [row for row in rows if row.codec != "again"]
    whole, *others = rows
    assert (whole.codec, whole.probe, whole.lost, whole.bytes) == ("teacher", "photos", 0.0, 3 * 32 * 32)
    assert {(r.lmbda, r.probe) for r in others} == {
        (rate, probe) for rate in (0.1, 0.311, 0.965, 3.0) for probe in ("photos", "packets")
    }
    assert whole.accuracy > 0.6 and (whole.n, whole.classes, whole.splits) == (120, 10, 2)
    for row in rows:
        assert row.lost == pytest.approx(whole.accuracy - row.accuracy) and 0 <= row.spread < 0.2
        assert row.accuracy_low <= row.accuracy <= row.accuracy_high and row.lost_low <= row.lost <= row.lost_high
    size = len(system.codec.pack(system.codec.encoder(images_to_tensor(images[:1])), 0.1)[0].to_bytes())
    assert abs(next(r.bytes for r in others if r.lmbda == 0.1) - size) < size


def test_a_gain_at_equal_bytes_is_the_area_between_two_curves():
    rng = np.random.default_rng(0)
    size = np.geomspace(100, 800, 4)[:, None] * rng.uniform(0.8, 1.25, 400)
    right = (rng.random((4, 400)) < np.array([0.2, 0.4, 0.6, 0.8])[:, None]).astype(float)
    points, low, high, least, most = accuracy_gain(
        0.5 * size, right, size, right
    )  # half the bytes: 20 points a doubling
    assert points == pytest.approx(20, abs=3) and low < points < high and low > 10
    assert (least, most) == pytest.approx((size[0].mean(), size[3].mean() / 2))
    back = accuracy_gain(size, right, 0.5 * size, right)
    assert back[:3] == pytest.approx((-points, -high, -low))
    assert accuracy_gain(size, right, 100 * size, right) is None


def test_maps_are_compared_with_their_controls(lab, tmp_path):
    teacher, system = lab
    for n, image in enumerate(fashion_mnist("test")[0][:3]):
        Image.fromarray(image).convert("RGB").resize((64, 64)).save(tmp_path / f"{n}.png")
    rows = measure_maps({"tiny": system}, teacher, image_folder(tmp_path, "three"))
    assert [(r.codec, r.lmbda) for r in rows if r.codec == "tiny"] == [("tiny", v) for v in (0.1, 0.311, 0.965, 3.0)]
    assert {r.codec: r.agreement is None for r in rows} == {"tiny": False, "JPEG": False, "another photo": True}
    assert all(-1 <= r.correlation <= 1 and 0 <= r.pointing <= 1 and r.n == 3 for r in rows)
    assert all(r.correlation_low is None for r in rows)  # three photos make no interval
    layers = [layer for stride, layer in saliency_layers(teacher).items() if stride > 4]
    h = teacher.head(images_to_tensor(fashion_mnist("test")[0][:1]))
    one, two = (tail_map(teacher, layers, h, target) for target in (0, 9))
    assert one.shape == (8, 8) and one.max() == pytest.approx(1, abs=1e-3) and not np.allclose(one, two)


def test_photos_are_drawn_by_class_and_from_all():
    folder = ImageFolder(
        "x", tuple(Path(f"{n}.png") for n in range(20)), tuple(n % 4 for n in range(20)), tuple("abcd")
    )
    each = folder.drawn(2, 0, each=True)
    assert sorted(each.labels) == [0, 0, 1, 1, 2, 2, 3, 3] and each == folder.drawn(2, 0, each=True)
    assert len(folder.drawn(7, 0)) == 7 and folder.drawn(99, 0) == folder
    assert folder.drawn(7, 0).paths != folder.drawn(7, 1).paths
    with pytest.raises(DataError, match="tells no classes"):
        ImageFolder("x", folder.paths).drawn(2, 0, each=True)


def test_both_commands_write_their_tables(tmp_path):
    system = build_system(load_backbone("tf_efficientnet_lite0"), CodecConfig((8, 8, 6)), DecoderConfig(0, 1, 16), 0)
    system.codec.update()
    save_system(tmp_path / "tiny", system, zoo.Card("tiny", "codec", "", "", "", {}, {}))
    rng = np.random.default_rng(0)
    for name in ("a/0", "a/1", "a/2", "b/0", "b/1", "b/2"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    given = [str(tmp_path / "photos"), "--weights", str(tmp_path / "tiny"), "-o"]
    for command, more, codecs in (
        ("tasks", ["--each", "3", "--fashion", "3"], {"teacher", "tiny"}),
        ("maps", ["--photos", "2"], {"tiny", "JPEG", "another photo"}),
    ):
        out = tmp_path / f"{command}.csv"
        done = CliRunner().invoke(app, [command, *given, str(out), *more])
        assert done.exit_code == 0, done.output
        rows = read_table(f"{command}.csv", tmp_path)
        assert {row.codec for row in rows} == codecs and len(list(csv.reader(out.open()))) == len(rows) + 1


@pytest.fixture(scope="module")
def solved():
    """The book's solutions, by exercise."""
    return solved_builds("09", F=F, torch=torch, math=math, np=np)


@pytest.mark.parametrize("seed", (0, 11))
def test_builds_are_right_and_their_mistakes_known_at_any_seed(solved, seed, monkeypatch):
    monkeypatch.setattr(core, "SEED", seed)
    assert {id: check(id, solved[id]).status for id in BUILDS} == dict.fromkeys(BUILDS, "right")
    assert all(check(id, trap.value).message == trap.message for id in BUILDS for trap in EXERCISES[id].traps)


def test_builds_that_return_the_wrong_thing_are_told(solved):
    right = solved["09.1"]
    assert "has no gradient" in check("09.1", lambda *a: right(*a).item()).message
    assert "shape (5,)" in check("09.1", lambda z, *_: z.sum(1).detach()).message
    assert "(2, 6, 5, 7); yours is (2, 5, 7)" in check("09.2", lambda *_: lambda step, h: torch.ones(2, 5, 7)).message
    assert "itself" in check("09.2", 3).message
    needs_one = core.altered(DynamicWeight, "h_hat.detach().requires_grad_()", "h_hat")
    assert "may come without a gradient" in check("09.2", needs_one).message


def test_orthogonal_vectors_have_a_closed_form(solved):
    for count, temperature in ((3, 1.0), (6, 0.5)):
        found = solved["09.1"](2 * torch.eye(count), 5 * torch.eye(count), temperature).item()
        assert found == pytest.approx(math.log(1 + (count - 1) * math.exp(-1 / temperature)), rel=1e-5)


@pytest.mark.parametrize(("id", "answer"), [("09.4", 4.159), ("09.5", 4), ("09.6", "B")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def reduction_against_the_base():
    """Both pairs of seeds of channel reduction, which stand in two tables."""
    pairs = {"prior_work": ("prior-reduction", "ablation-base"), "recipe": ("prior-reduction-1", "ablation-base-1")}
    (first,), (second,) = (
        [delta for delta in read_table(f"{name}_bd_rates.csv") if (delta.codec, delta.against) == pair]
        for name, pair in pairs.items()
    )
    return Contrast((first, second))


def numbers_of_the_claims():
    """What the shipped tables say of each of the paper's claims, in the form in which the texts have it."""
    results, said = data_root() / "results", "{:+.1f} % ({:+.1f} to {:+.1f}"
    prior = read_variants(results, "prior_work")
    rivals = [(one.percent, *one.reach) for one in (prior.contrast(name, "base") for name in ("student", "patch-4"))]
    cut = reduction_against_the_base()
    rivals.append((cut.percent, *cut.reach))
    turned = [
        [100 * (100 / (100 + v) - 1) for v in (rate, high, low)] for rate, low, high in rivals
    ]  # seen from the base
    variants = read_variants(results)
    guided = [variants.contrast("guided", other) for other in ("unguided", "constant")]
    rows = read_table("latency.csv")
    largest = list(dict.fromkeys(row.network for row in rows if row.network))[-1]
    ways = end_to_end(rows, largest, 0.8)
    ours = ways.pop("FrankenSplit")
    slow = {name: widest_ratio(ours, way, Scenario())[0] for name, way in ways.items() if way.bytes}
    lossless, lossy = slow.pop("PNG"), slow.values()
    photos = [
        row for row in read_table("photos_backbones.csv") if row.codec == "photo" and round(row.lmbda or 0, 1) == 1
    ]
    crossing = read_crossing(results)
    pairs = [crossing.delta(a, b) for a in crossing.networks for b in crossing.networks if a != b]
    least, most = (end(pairs, key=lambda pair: pair.percent) for end in (min, max))
    probes = [row for row in read_table("tasks.csv") if (row.codec, row.probe) == ("photo", "packets")]
    lmbdas = sorted({row.lmbda for row in probes})
    return {
        "60 % fewer bits": [said.format(*one) for one in turned],
        "25 % fewer bits": [said.format(c.percent, *c.reach) for c in guided],
        "up to 16 times": [f"{lossless:.0f} times", f"{min(lossy):.1f} to {max(lossy):.1f} times", ", ".join(sorted(slow))],
        "one encoder": [
            f"{photos[0].bytes:,.0f} bytes", *(f"{r.backbone[-5:].capitalize()} {100 * r.agreement:.0f} %" for r in photos),
            f"{least.percent:+.1f} to {most.percent:+.1f} % bytes (largest: {most.low:+.1f} to {most.high:+.1f})",
        ],
        "the packets serve": [
            f"{100 * r.lost:.1f} points ({100 * r.lost_low:.1f} to {100 * r.lost_high:.1f}) on {ch09.TASKS[r.task]} at {r.bytes:,.0f} bytes"
            for r in probes if r.lmbda in (lmbdas[1], lmbdas[-1])
        ],
        "an encoder of": [f"{sum(p.numel() for p in FeatureCodec(CodecConfig()).encoder.parameters()):,}"],
    }  # fmt: skip


def test_readme_and_chapter_answer_every_claim_alike_with_the_numbers_of_the_tables():
    cells = nbformat.read(ROOT / "notebooks/09_beyond.ipynb", as_version=4).cells
    (verdict,) = (cell.source for cell in cells if cell.source.startswith("## The verdict"))
    rows = re.findall(r"^\| (.*) \| \*\*(.*)\*\* \| (.*)\. \| .* \|$", verdict, re.M)
    readme, numbers = (ROOT / "README.md").read_text("utf-8"), numbers_of_the_claims()
    assert len(rows) == len(numbers) == 6
    for (claim, answer, ours), (begins, wanted) in zip(rows, numbers.items(), strict=True):
        assert f"- **{claim}**: {answer}. {ours}." in readme
        assert claim.startswith(begins) and answer in ("confirmed", "confirmed in part", "not confirmed")
        plain = ours.replace(" % bytes against no guidance (", " % (")
        assert [number for number in wanted if number not in plain] == []


def test_the_words_of_the_chapter_are_those_of_its_tables():
    """What the text rounds, and the tables hold."""
    tasks = {(r.task, r.lmbda, r.probe): r for r in read_table("tasks.csv") if r.codec == "photo"}
    lmbdas = sorted({rate for _, rate, _ in tasks})
    clothes = "fashion-mnist, enlarged"
    assert all(tasks[t, rate, "packets"].lost_low < 0 for t in ("caltech101", clothes, "elpv") for rate in lmbdas[:2])
    assert all(tasks[t, rate, "packets"].lost_low < 0 for t in (clothes, "elpv") for rate in lmbdas)
    cells = [tasks["elpv", rate, "photos"] for rate in lmbdas]
    assert [round(100 * row.lost) for row in (cells[0], cells[-1])] == [4, 22] and cells[0].lost_low > 0
    assert (round(cells[-1].bytes), cells[-1].n) == (526, 1000) and 100 * cells[-1].accuracy == pytest.approx(
        57, abs=0.5
    )
    assert 100 * (cells[0].accuracy + cells[0].lost) == pytest.approx(79, abs=0.5)
    coarse = tasks["caltech101", lmbdas[-1], "packets"]
    assert 100 * coarse.lost == pytest.approx(4, abs=0.5) and coarse.bytes == pytest.approx(830, abs=5)
    assert all(
        abs(tasks["caltech101", r, "photos"].lost - tasks["caltech101", r, "packets"].lost) < 0.01 for r in lmbdas
    )
    assert 100 * tasks[clothes, lmbdas[-1], "photos"].lost == pytest.approx(6, abs=0.5)
    assert tasks[clothes, lmbdas[-1], "packets"].lost_low < 0
    finest = max(r.agreement for r in read_table("speech.csv") if r.codec == "speech")
    assert 100 * (1 - finest) == pytest.approx(4, abs=0.5)  # "about 4 % of the recordings"
    maps = {(r.codec, r.lmbda): r for r in read_table("maps.csv")}
    ours, fine, other = maps["photo", 3.0], maps["JPEG", 0.1], maps["another photo", None]
    assert 100 * (1 - ours.agreement) == pytest.approx(22, abs=0.6) and 100 * (1 - ours.pointing) == pytest.approx(
        12, abs=0.6
    )
    assert ours.bytes == pytest.approx(860, abs=8) and fine.bytes == pytest.approx(3300, abs=50)
    assert abs(fine.correlation - ours.correlation) < 0.01 and abs(fine.pointing - ours.pointing) < 0.02
    assert other.correlation == pytest.approx(0.25, abs=0.01) and other.pointing == pytest.approx(1 / 3, abs=0.01)
    assert ours.correlation - ours.correlation_changed < 0.05
    assert (
        other.correlation_high
        < maps["JPEG", 3.0].correlation_low
        < maps["JPEG", 3.0].correlation_high
        < ours.correlation_low
    )


def test_the_words_on_other_objectives_are_those_of_their_tables():
    variants, gains = read_variants(data_root() / "results", "objectives"), read_table("objectives_tasks_gains.csv")
    found = {name: variants.contrast(name, "base") for name in ch09.OBJECTIVES}
    assert {name: one.verdict for name, one in found.items()} == {"contrast": "more", "augment": "open", "both": "open"}
    assert found["both"].percent == pytest.approx(found["contrast"].percent, abs=3)
    assert found["contrast"].percent == pytest.approx(10, abs=0.5)  # of the summary
    (photos, clothes), ways = list(ch09.TASKS)[:2], ("contrast", "augment")
    points = {(way, task): ch09.mean_gains(gains, way)[task] for way in ways for task in (photos, clothes)}
    assert all(low < 0 < high for _, low, high in points.values())
    said = {
        "needs {} % more bytes ({} to {})": (found["contrast"].percent, *found["contrast"].reach),
        "could be shown ({} %, {} to {})": (found["augment"].percent, *found["augment"].reach),
        "changes by {} points on Caltech-101 ({} to {})": points["contrast", photos],
        "by {} points on enlarged Fashion-MNIST ({} to {})": points["contrast", clothes],
        "gains {} points on Caltech-101 ({} to {})": points["augment", photos],
        "and {} on enlarged Fashion-MNIST ({} to {})": points["augment", clothes],
    }
    text = re.sub(r"[−+](?=\d)", lambda sign: {"−": "-", "+": ""}[sign[0]], words_of("09"))
    assert [
        one for one in (form.format(*(f"{v:.1f}" for v in told)) for form, told in said.items()) if one not in text
    ] == []
    table = ch09.objectives_table(variants, gains).data
    assert "+10.1 (+2.0 to +18.9)" in table and table.count("<tr>") == 4


def test_figures_say_what_they_show():
    tasks, maps = read_table("tasks.csv"), read_table("maps.csv")
    figure = ch09.tasks_over_bytes([row for row in tasks if row.codec in ("teacher", "photo")])
    assert [t.name for t in figure.data] == ["probe fitted to photos", "probe fitted to packets"] * 3
    assert "Caltech-101, from photos: 86.7 (n = 1,010, 101 classes)" in caption(figure)
    assert "(%) on 1,000 recordings." in caption(ch09_speech.speech_curves(read_table("speech.csv")))
    figure = ch09.maps_over_bytes(maps)
    assert [t.name for t in figure.data] == ["FrankenSplit"] * 2 + ["JPEG"] * 2
    assert list(figure.data[1].y) == sorted(figure.data[1].y) and "300 photos" in caption(figure)
    ages = {0: [0.0] * 18, 1: [None, *[0.5] * 17], 4: [*[None] * 4, *[0.2] * 14]}
    figure = ch09.staleness(range(18), ages)
    assert "the map 1 turn ago: 0.50 in the first third" in caption(figure) and len(figure.data) == 3


def test_the_panel_says_what_became_of_map_and_answer():
    top = np.zeros((4, 4))
    top[1, 2] = 1
    crops = {"a": Image.new("RGB", (64, 64), "red"), "b": Image.new("RGB", (64, 64), "blue")}
    compare = lambda name, rate: ch09.Survived(
        top, top if rate < 1 else top.T, round(900 / rate), "cat", "cat" if rate < 1 else "dog"
    )
    panel = ch09.survival_panel(crops, compare, (0.1, 3.0), 0.5, "a")
    assert (
        "a at lambda 0.5, 1,800 bytes" in panel._said
        and "correlation of 1.00, the peak stays in the top fifth" in panel._said
    )
    panel.set(lmbda=2.0, photo="b")
    assert (
        "450 bytes" in panel._said and "the answer becomes dog" in panel._said and "leaves the top fifth" in panel._said
    )


def test_the_chapter_keeps_a_place_for_what_is_no_picture():
    cells = nbformat.read(ROOT / "notebooks/09_beyond.ipynb", as_version=4).cells
    titles = [
        line
        for cell in cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    order = [
        "## Other tasks behind the same packets",
        "## Do the packets keep the place?",
        "## An input that is not a picture",
        "## The verdict",
    ]
    assert [title for title in titles if title in order] == order
