"""Chapter 06: its checks, the lambda slider, its figures, and a control with two ends that disagree."""

import html
import io
import math
import time
from datetime import UTC, datetime
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from calibration import slowness
from PIL import Image
from scipy.interpolate import PchipInterpolator
from words import words_of

from fsplit_lib.baselines import IMAGE_CODECS, SCALES, decode_image, encode_image, encode_to_budget
from fsplit_lib.chapters import ch06
from fsplit_lib.chapters.ch06 import LambdaPanel
from fsplit_lib.data import PHOTOS, center_crop, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import PerImageResult, RatePoint, read_table, wilson
from fsplit_lib.evaluation.explorer import EVERY, WRONG_GAINS, RateExplorer, encode_with_wrong_gain
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.packet import code_to_lmbda, lmbda_to_code
from fsplit_lib.panels.photo_picker import MY_OWN
from fsplit_lib.plots import caption
from fsplit_lib.plots.pictures import shortened
from fsplit_lib.system import load_system

CODEC = "photo-head"


@pytest.fixture(scope="module")
def system():
    return load_system(CODEC)


@pytest.fixture(scope="module")
def explorer(system):
    return RateExplorer(system, load_photo("coffee"))


@pytest.fixture(scope="module")
def panel(system):
    lmbdas = system.codec.lmbdas
    return LambdaPanel(
        lambda image: RateExplorer(system, image, ("JPEG",)), system.backbone.class_names, (lmbdas[0], lmbdas[-1])
    )


@pytest.fixture(scope="module")
def alone(system):
    """A panel without rivals: quick to load."""
    ends = system.codec.lmbdas[:: len(system.codec.lmbdas) - 1]
    return LambdaPanel(lambda image: RateExplorer(system, image, ()), system.backbone.class_names, tuple(ends))


@pytest.mark.parametrize(("id", "answer"), [("06.4", 0.7746), ("06.5", -40), ("06.6", 7203), ("06.7", "C")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def interpolate(lmbda, anchors, gains, log_axis=True, log_value=True):
    axis, value = (math.log if log_axis else float), (math.log if log_value else float)
    found = np.interp(axis(lmbda), [axis(a) for a in anchors], [value(g) for g in gains])
    return math.exp(found) if log_value else found


@pytest.mark.equation("06.1", "06.2")
def test_the_function_exercise_agrees_with_the_gains_and_knows_five_mistakes(system):
    gains = system.codec.gains
    anchors = system.codec.config.anchors
    for lmbda in (0.1, 0.17, 0.6, 2.2, 3.0):
        mine = [interpolate(lmbda, anchors, table.exp().tolist()) for table in gains.log_gain.T]
        assert gains(torch.tensor([lmbda]))[0].flatten().tolist() == pytest.approx(mine, rel=1e-4)
    assert check("06.1", interpolate).status == "right"
    wrong = {
        "arithmetic": lambda *a: interpolate(*a, log_value=False),
        "axis": lambda *a: interpolate(*a, log_axis=False),
        "both": lambda *a: interpolate(*a, log_axis=False, log_value=False),
        "log": lambda *a: math.log(interpolate(*a)),
        "inverse": lambda *a: 1 / interpolate(*a),
    }
    said = {name: check("06.1", f) for name, f in wrong.items()}
    assert all(v.status == "wrong" for v in said.values()) and len({v.message for v in said.values()}) == 5
    assert "raised ZeroDivisionError" in check("06.1", lambda *a: 1 / 0).message
    assert "itself" in check("06.1", 3).message


def test_the_solutions_of_the_builds_are_right_under_any_seed(monkeypatch):
    source = (Path(__file__).parents[1] / "notebooks/solutions/06.py").read_text()
    known = {"np": np, "math": math, "PchipInterpolator": PchipInterpolator, "check": lambda *_: None}
    exec(source, known)
    for seed in (0, 12345):
        monkeypatch.setattr(core, "SEED", seed)
        for id, name in (("06.1", "my_gain"), ("06.2", "my_bd_rate"), ("06.3", "my_interval")):
            assert check(id, known[name]).status == "right"
            assert all(check(id, trap.value).message == trap.message for trap in EXERCISES[id].traps)


@pytest.mark.equation("06.3")
def test_kept_is_a_share_with_wilsons_interval():
    decided, teacher = np.array([1, 2, 3, 4]), np.array([1, 2, 9, 4])
    point = PerImageResult("four", "m", 1.0, None, "r", np.array([10, 20, 30, 40]), decided, teacher, None).point()
    assert point.agreement == 0.75 and (point.agreement_low, point.agreement_high) == wilson(3, 4) and point.bytes == 25


@pytest.mark.equation("06.4")
def test_the_delta_is_the_integral_of_the_log_ratio():
    from fsplit_lib.evaluation import bd_rate

    q = np.linspace(0.4, 0.9, 40)
    anchor, test = 500 * np.exp(3 * q**2), 400 * np.exp(3.2 * q**2)
    mean = (
        np.trapezoid(np.log(test / anchor), q) / 0.5
        if hasattr(np, "trapezoid")
        else np.trapz(np.log(test / anchor), q) / 0.5
    )
    assert bd_rate(anchor, q, test, q) == pytest.approx(100 * (math.exp(mean) - 1), rel=2e-3)


def test_the_explorer_goes_through_real_packets(system, explorer):
    for lmbda in (0.1, 0.55, 3.0):
        at = explorer.at(lmbda)
        (packet,) = system.codec.pack(explorer.y, lmbda)
        assert at.size == len(packet.to_bytes()) and at.lmbda == code_to_lmbda(lmbda_to_code(lmbda))
        assert at.probs == pytest.approx(system.answer([packet]).softmax(1)[0].numpy())
        assert at.bits.shape == (28, 28) and 0 <= packet.payload_bytes - at.bits.sum() / 8 < 5
        for rival in at.rivals.values():
            assert rival.file.size <= at.size
    assert explorer.lmbdas.tolist() == system.codec.lmbdas and explorer.sizes[0] > 1.8 * explorer.sizes[-1]
    for place in (0, 40, -1):
        assert explorer.sizes[place] == explorer.at(explorer.lmbdas[place]).size
    with pytest.raises(ParameterError, match="packs with lmbda"):
        explorer.at(30.0)


def squared_error(crop, image):
    return np.square(np.asarray(image, np.float32) - np.asarray(crop, np.float32)).mean()


def every_file(crop, codec):
    """All that the search may choose from, by brute force: (error, bytes)."""
    for scale in SCALES:
        small = crop.resize([round(224 * scale)] * 2, Image.Resampling.LANCZOS)
        for quality in IMAGE_CODECS[codec].qualities[:: EVERY[codec]]:
            data = encode_image(small, codec, quality, quick=True)
            back = decode_image(data).resize(crop.size, Image.Resampling.BICUBIC)
            yield squared_error(crop, back), len(data)


def test_every_packet_meets_the_best_file_of_its_size(system, explorer):
    rivals, files = explorer.files["JPEG"], list(every_file(explorer.crop, "JPEG"))
    rungs = [rival.file for rival in rivals]
    sizes = [r.size for r in rungs]
    errors = [squared_error(explorer.crop, r.image) for r in rungs]
    assert len(rungs) > 8 and sizes == sorted(set(sizes)) and errors == sorted(errors, reverse=True)
    met = set()
    for size in explorer.sizes:
        rung = (found := explorer.rivals(size)["JPEG"]) and found.file
        best = min(((error, n) for error, n in files if n <= size), default=None)
        assert (rung is None) == (best is None)
        if rung is not None:
            met.add(rung.size)
            assert (squared_error(explorer.crop, rung.image), rung.size) == pytest.approx(best)
    assert met == set(sizes)  # no file was shown to the teacher in vain
    small = explorer.crop.resize([round(224 * rungs[3].scale)] * 2, Image.Resampling.LANCZOS)
    assert len(encode_image(small, "JPEG", rungs[3].quality)) == rungs[3].size
    seen = system.backbone(photo_tensor(rungs[5].image)).softmax(1)[0].detach().numpy()
    assert rivals[5].probs == pytest.approx(seen, abs=1e-4)
    assert encode_to_budget(explorer.crop, "JPEG", [100]) == [None]
    assert explorer.rivals(100) == {"JPEG": None, "AVIF": None}


def trace(panel, name):
    (found,) = panel.figure.select_traces({"name": name})
    return found


def sound(panel):
    for trace in panel.figure.data:
        for values in (getattr(trace, "y", None), getattr(trace, "z", None)):
            if values is not None and len(values) and not isinstance(values[0], str):
                assert np.isfinite(np.asarray(values, float)).all()


@pytest.mark.parametrize("lmbda", [0.1, 0.1234, 0.6, 1.7, 2.9])
def test_the_slider_at_any_place(panel, lmbda):
    panel.set(lmbda=lmbda)
    at = panel.explorer.at(lmbda)
    names, after = panel._names, int(at.probs.argmax())
    before = int(panel.explorer.teacher.argmax())
    said = caption(panel.static())
    assert (
        f"{at.size:,} bytes, {8 * at.size / 224**2:.3f} bits per pixel" in said
        and html.escape(said) in panel.summary.value
    )
    assert names[after] in said and f"the answers {'agree' if before == after else 'differ'}" in said
    assert list(trace(panel, "this packet").y) == [at.size]
    assert np.asarray(trace(panel, "bits").z) == pytest.approx(at.bits)
    titles = [label.text for label in panel.figure.layout.annotations]
    assert f"{at.size:,} bytes" in titles[1] and f"<b>{shortened(names[after])}</b>" in titles[1]
    rung = at.rivals["JPEG"]
    assert titles[2] == (
        f"JPEG, {rung.file.size:,} bytes<br><b>{shortened(names[rung.probs.argmax()])}</b>"
        if rung is not None
        else "JPEG: no file that small<br><b>no answer</b>"
    )
    teacher, packet = (
        dict(zip(bars.x, bars.y, strict=True)) for bars in (trace(panel, "no compression"), trace(panel, "packet"))
    )
    for bars, shares in ((teacher, panel.explorer.teacher), (packet, at.probs)):
        assert len(bars) >= 5 and sorted(bars.values())[-5:] == pytest.approx(100 * np.sort(shares)[-5:], abs=1e-4)
    sound(panel)


def test_the_slider_draws_once_a_move_and_computes_nothing_that_does_not_depend_on_lambda(panel, system, monkeypatch):
    panel.set(photo="chelsea")
    loaded, messages, took = panel.explorer, [], []
    kinds = [f"_py2js_{kind}" for kind in ("update", "restyle", "relayout")]
    panel.figure.observe(lambda change: messages.append(change["name"]) if change["new"] else None, names=kinds)
    with monkeypatch.context() as patch:
        patch.setattr("fsplit_lib.evaluation.explorer.encode_to_budget", None)
        patch.setattr(system.codec.encoder, "forward", None)
        for lmbda in np.geomspace(0.11, 2.8, 12):
            begun = time.process_time()
            panel.controls["lmbda"].carrier.value = float(lmbda)
            took.append(time.process_time() - begun)
    assert panel.explorer is loaded and messages == ["_py2js_update"] * 12
    assert np.median(took) < 0.4 * max(1, slowness())  # seconds of processor; `make bench` measures the 100 ms
    panel.controls["photo"].carrier.value = "coffee"  # not loaded before the button
    panel.controls["lmbda"].carrier.value = 0.5
    assert panel.explorer is loaded
    panel.button.click()
    assert panel.explorer is not loaded
    panel.set(photo="chelsea", lmbda=0.6)


@pytest.mark.parametrize(
    "wrong", [{"lmbda": 0.01}, {"lmbda": 30}, {"lmbda": "1"}, {"photo": "nobody"}, {"file": 3}, {"gain": 1}], ids=str
)
def test_illegal_values_move_nothing(panel, wrong):
    before = panel.state(), panel.summary.value
    with pytest.raises(ParameterError):
        panel.set(**wrong)
    assert (panel.state(), panel.summary.value) == before


def test_own_photos_and_bad_files(panel, tmp_path):
    load_photo("rocket").save(tmp_path / "mine.png")
    panel.set(photo=MY_OWN, file=str(tmp_path / "mine.png"))
    mine = panel.explorer
    assert "bits per pixel" in panel.summary.value
    (tmp_path / "no.png").write_text("no picture")
    panel.set(file=str(tmp_path / "no.png"))
    assert panel.explorer is mine and "not an image" in panel.summary.value and "photo before" in panel.summary.value
    panel.set(photo="chelsea", file="")


def upload(panel, name, content):
    (control,) = (w for w in panel.box.children[0].children if isinstance(w, widgets.FileUpload))
    file = {"name": name, "type": "image/*", "size": len(content), "content": memoryview(content)}
    control.value = ({**file, "last_modified": datetime.now(UTC)},)


def as_file(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["grey", "palette", "transparent", "16 bits", "CMYK", "sideways", "tiny"])
def test_odd_uploads_are_shown_upright_in_colour(alone, kind):
    photo = load_photo("rocket")
    turned = Image.Exif()
    turned[0x0112] = 6  # taken with the phone upright
    content = {
        "grey": lambda: as_file(photo.convert("L"), "PNG"),
        "palette": lambda: as_file(photo.convert("P"), "GIF"),
        "transparent": lambda: as_file(photo.convert("RGBA"), "WEBP"),
        "16 bits": lambda: as_file(Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257), "PNG"),
        "CMYK": lambda: as_file(photo.convert("CMYK"), "JPEG"),
        "sideways": lambda: as_file(photo.rotate(90, expand=True), "JPEG", exif=turned),
        "tiny": lambda: as_file(photo.resize((5, 9)), "PNG"),
    }[kind]()
    before = alone.explorer
    upload(alone, f"{kind}.file", content)
    assert alone.explorer is not before and alone.state()["photo"] == MY_OWN
    assert "bits per pixel" in alone.summary.value and alone.explorer.crop.size == (224, 224)
    if kind in ("transparent", "sideways", "CMYK"):
        near = center_crop(photo).resize((8, 8)), alone.explorer.crop.resize((8, 8))
        assert np.abs(np.subtract(*(np.asarray(one, float) for one in near))).mean() < 12
    sound(alone)


def test_another_upload_of_the_same_name_is_another_photo(alone):
    crops = []
    for name in ("rocket", "coffee"):
        upload(alone, "image.jpg", as_file(load_photo(name), "PNG"))
        crops.append(alone.explorer.crop)
        assert np.array_equal(crops[-1], center_crop(load_photo(name)))
    mine = alone.explorer
    upload(alone, "image.jpg", b"no picture")
    assert alone.explorer is mine and "photo before" in alone.summary.value
    alone.controls["lmbda"].carrier.value = 0.9  # a slide asks for no photo again
    assert alone.explorer is mine and "photo before" not in alone.summary.value
    alone.set(photo="chelsea", file="", lmbda=0.6)


@pytest.mark.parametrize(
    ("name", "content"), [("words.jpg", b"no picture"), ("empty.png", b""), ("half.jpg", None), ("<b>bold</b>.png", b"?"), ("line.png", 1)]
)  # fmt: skip
def test_a_bad_upload_is_one_sentence_and_changes_nothing(alone, name, content):
    alone.set(photo="chelsea")
    before = alone.explorer, alone.figure.data[0].source
    if content is None:
        content = as_file(load_photo("rocket"), "JPEG")[:3000]
    elif content == 1:
        content = as_file(Image.new("RGB", (3000, 2)), "PNG")
    upload(alone, name, content)
    assert (alone.explorer, alone.figure.data[0].source) == before
    problem = alone._said.split(" The figure still shows the photo before. ")[0]
    assert alone._said != problem and problem.count(". ") == 0 and len(problem) < 250
    assert "<b>bold" not in alone.summary.value
    alone.set(photo="chelsea", file="")


def test_broken_ends_change_what_they_should(system):
    """Only the phone's fault shows in the bytes; the server's faults show in the answers alone."""
    explorers = [RateExplorer(system, load_photo(name), rivals=()) for name in list(PHOTOS)[:4]]
    size, left = {}, {}
    for kind in WRONG_GAINS:
        found = [encode_with_wrong_gain(system, one.y, 0.6, kind) for one in explorers]
        size[kind] = np.mean([s for s, _ in found])
        left[kind] = np.mean([shares[one.teacher.argmax()] for one, (_, shares) in zip(explorers, found, strict=True)])
    assert size["nothing"] == size["the inverse gain"] == size["the server's lambda"] > 1.3 * size["the control"]
    assert left["the server's lambda"] < left["nothing"] and left["the inverse gain"] < left["nothing"]
    with pytest.raises(ParameterError, match="breaks must be one of"):
        encode_with_wrong_gain(system, explorers[0].y, 0.6, "magic")


POINTS = [
    RatePoint("d", c, v, q, "r", b, k, k - 0.03, k + 0.03, k, k - 0.03, k + 0.03, 100)
    for c, v, q, b, k in (
        ("teacher", None, None, 150000.0, 0.97), ("photo-head", 1.0, None, 900.0, 0.7), ("JPEG", None, 10, 2500.0, 0.66),
        ("photo-head", 0.1, None, 2900.0, 0.84), ("JPEG", None, 40, 6000.0, 0.86), ("HEIC", None, 5, 900.0, 0.3),
    )
]  # fmt: skip


@pytest.mark.parametrize("quality", ["agreement", "top1"])
def test_curves_say_what_they_show(quality):
    figure = ch06.curves_of_photos(POINTS, "photo-head", quality)
    assert [t.name for t in figure.data] == ["FrankenSplit (photo-head)", "JPEG", "HEIC"]
    assert list(figure.data[0].x) == [900.0, 2900.0] and list(figure.data[0].y) == pytest.approx([70, 84])
    assert "70.0 at 900 bytes to 84.0 at 2,900" in caption(figure) and "bytes" in figure.layout.xaxis.title.text
    assert len({(t.line.dash, t.marker.symbol) for t in figure.data}) == 3  # never colour alone


def test_what_the_text_says_of_the_tables():
    """Numbers in words, each beside the value of the table that it stands for."""
    text = words_of("06")
    photos, table = read_table("photos.csv"), read_table("ablation.csv")
    best, least = ({n: f([100 * p.agreement for p in table if p.codec == f"ablation-{n}"])
                    for n in ("base", "noise", "tail", "adamw", "quarter")} for f in (max, min))  # fmt: skip
    delta = {(d.codec.removeprefix("ablation-"), d.against.removeprefix("ablation-")): d.percent
             for d in read_table("ablation_bd_rates.csv")}  # fmt: skip
    smallest = {name: min(p.bytes for p in photos if p.codec == name) for name in ("JPEG", "JPEG, no tables")}
    head = [p for p in photos if p.codec == "photo-head" and 1950 < p.bytes < 2950]
    assert len(head) >= 2 and {f"{100 * p.agreement:.0f}" for p in head} == {"86"}
    for said in (
        f"`photo-head` stays at {100 * head[0].agreement:.0f} % from 2,000 to 2,900 bytes",
        f"({smallest['JPEG'] - smallest['JPEG, no tables']:,.0f} of {smallest['JPEG']:,.0f} bytes)",
        f"with noise the curve ends at an agreement of {best['noise']:.0f} %, and the base goes on to {best['base']:.0f} %",
        f"at its coarsest rate the base reaches {least['base']:.0f} %",
        f"reaches an agreement of at most {best['tail']:.0f} %",
        f"at its usual rate of 0.001 reaches {best['adamw']:.0f} %",
        f"*A quarter of the crops* reaches {best['quarter']:.0f} %",
        f"costs about a tenth against this seed of the base, and {delta['half', 'base-1']:.0f} % against the other seed",
    ):
        assert said in text, said
    tenths = [delta[name, "base"] for name in ("half", "double", "depthwise", "large-crops")]
    assert [round(abs(value), -1) for value in tenths] == [10] * 4 and tenths[0] > 0 < tenths[1]
    assert delta["double", "base"] == pytest.approx(12.5, abs=1)  # "about an eighth"
    gained = load_system("photo").codec
    gain = gained.gains(torch.tensor(gained.lmbdas))[0][:, :, 0, 0].detach().log()
    *rest, last = (gain.amax(0) - gain.amin(0)).exp().sort().values.tolist()
    assert rest[0] > 2 and rest[3] < 3.6 and 30 < rest[-1] < 32 and last == pytest.approx(1000, rel=0.05)
    assert (gain.diff(dim=0) > 1e-6).any(0).float().mean().item() == pytest.approx(1 / 3, abs=0.03)
    assert delta["official", "base"] == pytest.approx(20, abs=2)  # "a fifth more bytes"
    yardstick = abs(delta["base-1", "base"])
    assert max(abs(delta[name, "base"]) for name in ("channels", "noise")) < yardstick < min(map(abs, tenths))
