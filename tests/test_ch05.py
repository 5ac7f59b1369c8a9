"""Chapter 05: its checks, its panel, its figures, and the symptoms of what breaks it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fsplit_lib.backbones import load_backbone
from fsplit_lib.chapters import ch05
from fsplit_lib.chapters.ch05 import TrainingPanel
from fsplit_lib.data import fashion_mnist, write_rows
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.evaluation import SweepRow, evaluate_images, read_table
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.ch05 import bits, copy_weights, straight_through
from fsplit_lib.objectives import warm_up
from fsplit_lib.plots import caption, look_of
from fsplit_lib.plots.curves import mean_over_seeds
from fsplit_lib.plots.latent import latent_histogram
from fsplit_lib.system import build_system
from fsplit_lib.training.lab import LAB_DECODER, distortion_in_use, train_lab, without_quantile_update
from fsplit_lib.training.sources import ArraySource, batches

STEPS = 80  # as in the chapter, whose trainings these are


@pytest.fixture(scope="module", autouse=True)
def trainings_are_repeated():
    """Not here: the chapter makes the same trainings."""


@pytest.mark.parametrize(("id", "answer"), [("05.7", 9), ("05.8", 0.00234375), ("05.9", "B")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


@pytest.mark.parametrize("answer", ["nine", None, float("nan"), True, [9]])
def test_what_is_no_number_is_told_so(answer):
    assert "number" in check("05.7", answer).message


def test_the_function_exercise_knows_six_mistakes():
    good = lambda h, h_hat, spread: (((h - h_hat) / spread) ** 2).mean()
    wrong = {
        "summed": lambda h, h_hat, spread: (((h - h_hat) / spread) ** 2).sum(),
        "absolute": lambda h, h_hat, spread: ((h - h_hat) / spread).abs().mean(),
        "cancel": lambda h, h_hat, spread: ((h - h_hat) / spread).mean(),
        "left out": lambda h, h_hat, spread: ((h - h_hat) ** 2).mean(),
        "multiplied": lambda h, h_hat, spread: (((h - h_hat) * spread) ** 2).mean(),
        "inside the square": lambda h, h_hat, spread: ((h - h_hat) ** 2 / spread).mean(),
    }
    assert check("05.4", good).status == "right"
    for word, function in wrong.items():
        assert word in check("05.4", function).message
    assert "raised ZeroDivisionError" in check("05.4", lambda *_: 1 / 0).message
    assert "without calling" in check("05.4", 1.0).message


BUILDS = ("05.1", "05.2", "05.3", "05.5", "05.6")


@pytest.fixture(scope="module")
def built():
    """What the solutions of the builds define, and their checks' verdicts by id."""
    source = (Path(__file__).parents[1] / "notebooks/solutions/05.py").read_text()
    parts = re.split(r"^# %% (\S+)\n", source, flags=re.MULTILINE)
    verdicts = {}

    def noted(id, answer):
        verdicts[id] = check(id, answer)

    known = {"nn": torch.nn, "torch": torch, "check": noted, "bits_of": bits, "quantise": straight_through}
    for id, source in zip(parts[1::2], parts[2::2], strict=True):
        if id in ("05.4", *BUILDS):
            exec(source, known)
            known |= {ours: known[theirs] for ours, theirs in NAMES.items() if theirs in known}
    return known, verdicts


NAMES = {"Block": "MyBlock", "quantise": "my_quantiser", "bits_of": "my_bits", "distortion_of": "my_distillation"}


def test_the_solutions_of_the_builds_are_right(built):
    assert {id: verdict.status for id, verdict in built[1].items()} == dict.fromkeys(("05.4", *BUILDS), "right")


@pytest.mark.parametrize("id", BUILDS)
def test_builds_are_graded_alike_under_another_seed(built, id, monkeypatch):
    mine = dict(zip(BUILDS, ("MyBlock", "MyEncoder", "my_bits", "my_quantiser", "my_step"), strict=True))[id]
    monkeypatch.setattr(core, "SEED", 12345)
    assert check(id, built[0][mine]).status == "right"
    assert [check(id, trap.value).message for trap in EXERCISES[id].traps] == [t.message for t in EXERCISES[id].traps]


def test_a_block_without_bias_is_told_its_number_of_parameters():
    class Block(torch.nn.Module):
        def __init__(self, inside, outside, stride, last):
            super().__init__()
            self.only = torch.nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)

        def forward(self, x):
            return self.only(x)

    assert "yours has 135 parameters, asked are 390" in check("05.1", Block).message
    assert "shape (2,)" in check("05.3", lambda p: p).message


def test_own_lines_train_to_the_same_curve_as_the_library(built, teacher):
    known, steps = built[0], 4
    run = train_lab(teacher, 0.1, steps, seed=3)
    mine = build_system(teacher, run.system.codec.config, LAB_DECODER, 3)
    mine.codec.encoder = copy_weights(known["MyEncoder"](mine.codec.config), mine.codec.encoder)
    groups = [
        {"params": [p for p in part.parameters() if p.requires_grad], "factor": 10.0 if name == "prior" else 1.0}
        for name, part in mine.trainable().items()
    ]
    optimiser, source = torch.optim.AdamW(groups, weight_decay=0.0), ArraySource(*fashion_mnist("train"))
    with torch.no_grad():
        mine.decoder.fit_statistics(teacher.head(next(batches(source, 128, 0, 1, 3)).x))
    for part, row in zip(batches(source, 64, 0, steps, 3), run.log, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = run.config.learning_rate_at(part.step) * group["factor"]
        price = warm_up(0.1, part.step, run.config.rate_warmup * steps)
        told = known["my_step"](mine, optimiser, part.x, part.noise((16, 8, 8)), price)
        assert told == pytest.approx((row.values["distortion"], row.values["rate"]), rel=1e-2)


def test_strict_mode_raises(monkeypatch):
    monkeypatch.setenv("FSPLIT_CHECK", "strict")
    with pytest.raises(AssertionError, match=r"05\.7 is unanswered"):
        check("05.7", ...)


@pytest.fixture(scope="module")
def teacher():
    return load_backbone("fashion_resnet")


@pytest.fixture(scope="module")
def pictures():
    images, labels = fashion_mnist("test")
    return images[:300], labels[:300]


@pytest.fixture(scope="module")
def healthy(teacher):
    return train_lab(teacher, 0.1, STEPS)


def belief(run):
    last = run.log[-20:]
    return [np.mean([row.values[name] for row in last]) for name in ("distortion", "rate")]


def payload(run, images):
    return np.mean([p.payload_bytes for p in run.system.codec.compress(images_to_tensor(images))])


def test_the_teacher_is_as_good_as_its_card_says(teacher, pictures):
    images, labels = fashion_mnist("test")
    with torch.no_grad():
        decided = torch.cat([teacher(images_to_tensor(images[i : i + 500])).argmax(1) for i in range(0, 2000, 500)])
    right = (decided.numpy() == labels[:2000]).mean()
    assert right == pytest.approx(0.9266, abs=0.015)  # n = 2,000: three standard errors


def test_a_short_training_learns_something(healthy, teacher, pictures):
    point = evaluate_images(healthy.system, *pictures, "test", "quick")
    assert point.bytes < 120
    assert point.agreement > 0.25  # chance is 0.1
    assert distortion_in_use(healthy.system, pictures[0]) < 0.8


def test_the_estimate_is_the_bill(healthy, pictures):
    x = images_to_tensor(pictures[0])
    with torch.no_grad():
        estimated = healthy.system(x).bits.numpy() / 8
    ideal = np.array(healthy.system.codec.ideal_bits(x)) / 8
    real = np.array([p.payload_bytes for p in healthy.system.codec.compress(x)])
    assert estimated.mean() == pytest.approx(ideal.mean(), rel=0.02)
    assert (real <= ideal * 1.001 + 4).all()


def test_without_noise_rounding_comes_as_a_shock(teacher, healthy, pictures):
    broken = train_lab(teacher, 0.1, STEPS, quantiser="none")
    shock = distortion_in_use(broken.system, pictures[0]) / belief(broken)[0]
    usual = distortion_in_use(healthy.system, pictures[0]) / belief(healthy)[0]
    assert shock > 1.15 * usual
    (seen, rate), (healthy_seen, healthy_rate) = belief(broken), belief(healthy)
    assert seen == pytest.approx(healthy_seen, rel=0.15) and rate < 0.2 * healthy_rate


def test_without_a_rate_term_bytes_explode(teacher, healthy, pictures):
    broken = train_lab(teacher, 0.0, STEPS)
    assert payload(broken, pictures[0]) > 10 * payload(healthy, pictures[0])
    assert distortion_in_use(broken.system, pictures[0]) > 0.75 * distortion_in_use(healthy.system, pictures[0])


def test_without_the_quantile_update_the_tables_waste_bytes(healthy):
    before = healthy.system.codec.codec_id
    broken = without_quantile_update(healthy)
    assert healthy.system.codec.codec_id == before
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            healthy.system.codec.encoder.parameters(), broken.system.codec.encoder.parameters(), strict=True
        )
    )
    tables, good = broken.system.codec.prior.tables, healthy.system.codec.prior.tables
    assert set(tables.offsets.tolist()) == {-10}  # where the quantiles were born
    assert tables.lengths.sum() != good.lengths.sum()


def test_without_enough_encoder_the_loss_stays_high_at_a_low_rate(teacher, healthy, pictures):
    broken = train_lab(teacher, 0.1, STEPS, widths=(4, 4, 2))
    assert distortion_in_use(broken.system, pictures[0]) > 1.1 * distortion_in_use(healthy.system, pictures[0])
    assert payload(broken, pictures[0]) < 0.7 * payload(healthy, pictures[0])
    free = train_lab(teacher, 0.0, STEPS, widths=(4, 4, 2))
    assert distortion_in_use(free.system, pictures[0]) > distortion_in_use(healthy.system, pictures[0])


def test_training_panel_runs_on_its_button_only(teacher):
    calls = []

    def train(lmbda, objective, watch):
        calls.append((lmbda, objective))
        return train_lab(teacher, lmbda, 3, objective=objective, progress=watch)

    class Point:
        bytes, top1, agreement = 40.0, 0.5, 0.6

    panel = TrainingPanel(train, lambda run: Point, lmbda=0.3, draw_every=1)
    panel.controls["lmbda"].carrier.value = 1.0
    assert calls == []
    panel.button.click()
    assert calls == [(1.0, "head_distillation")]
    panel.set(lmbda=0.1, objective="cross_entropy")
    assert calls[-1] == (0.1, "cross_entropy")
    assert "40.0 bytes" in panel.summary.value
    assert [len(trace.x) for trace in panel.figure.data] == [3, 3]
    assert panel.curve().layout.meta["alt"].startswith("Over 3 steps")
    with pytest.raises(ParameterError, match="from 0 to 3"):
        panel.set(lmbda=-1)
    with pytest.raises(ParameterError, match="head_distillation"):
        panel.set(objective="magic")
    assert panel.state() == {"lmbda": 0.1, "objective": "cross_entropy"}


def test_figures_speak():
    rows = [SweepRow("head_distillation", lmbda, s, 30 + 10 / lmbda, 20.0, 0.8 + 0.02 * s, 0.8, 0.4, 100)
            for lmbda in (0.1, 1) for s in (0, 1)]  # fmt: skip
    mean = mean_over_seeds("head distillation", rows, look_of("FrankenSplit"))
    assert list(mean.x) == [40, 130] and list(mean.y) == pytest.approx([81, 81])
    assert list(mean.error_y.array) == pytest.approx([1, 1]) == list(mean.error_y.arrayminus)
    ten = np.array([10.0, 20.0])
    values = np.random.default_rng(0).normal(size=100)
    drawn = {
        "estimated, rounded, 15.0; payload 16.0": ch05.bytes_parity({"payload": ten + 1}, ten),
        "bits": latent_histogram(values, np.arange(-20, 21), np.full(41, 1 / 41), np.full(41, 1 / 41)),
        "healthy, bytes: 20 estimated, 22 in use": ch05.believed_and_real(["healthy"], {"bytes": ([20.0], [22.0])}),
        "not started": ch05.training_curve([]),
    }
    for said, figure in drawn.items():
        assert said in caption(figure) and figure.layout.title.text
    low, high = drawn["bits"].layout.xaxis.range  # the axis shows the values, not the whole table
    assert values.min() - 2.5 <= low < values.min() and values.max() < high <= values.max() + 2.5


def test_the_sweep_table_is_read_as_it_was_written(tmp_path):
    rows = [SweepRow("head_distillation", 0.3, 0, 40.5, 180.25, 0.82, 0.85, 0.4, 10000)]
    write_rows(tmp_path / "fashion_sweep.csv", rows)
    assert read_table("fashion_sweep.csv", tmp_path) == rows
    (tmp_path / "label_bits.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="columns"):
        read_table("label_bits.csv", tmp_path)
    with pytest.raises(DataError, match="fashion_sweep"):
        read_table("fashion_sweep.csv", tmp_path / "none")
