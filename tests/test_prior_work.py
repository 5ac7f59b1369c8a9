"""Prior split computing: encoders as published, 8 bits per value, a fine-tuned tail, and pixels as the target."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import PixelBackbone
from fsplit_lib.cli.evaluate import _curves_of
from fsplit_lib.codec import CodecConfig, Encoder
from fsplit_lib.data import data_root
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import read_table, read_variants
from fsplit_lib.evaluation.evaluate import LATENT_ALONE
from fsplit_lib.latency.profiling import multiply_adds
from fsplit_lib.objectives import stage_distillation
from fsplit_lib.recipes.caltech import PHOTO as CALTECH
from fsplit_lib.recipes.prior_work import IMAGES, PATCHES, PRIOR, STUDENT, fit_eight_bits
from fsplit_lib.system import build_system, load_system, save_system
from fsplit_lib.training import TrainConfig
from fsplit_lib.training.loop import fine_tune, train_system

ROOT = Path(__file__).parent.parent

SMALL = DecoderConfig(1, 0, 8, "dense")
SHORT = TrainConfig(steps=2, batch=2, quantiser="straight_through", optimiser="muon", learning_rate=1e-3)


@pytest.mark.parametrize(
    "config, parameters, millions, shape",
    [
        (STUDENT, 138_672, (585, 610), (24, 56, 56)),
        (PATCHES[0], 24_704 + 128 * 64 + 64, (19, 30), (64, 28, 28)),
        (PATCHES[4], 24_704 + 4 * (2 * 9 * 128 * 64 + 64 + 128) + 128 * 64 + 64, (480, 495), (64, 28, 28)),
        (PRIOR["reduction-3"].codec, 9_408 + 64 + 4 * 64 * 3 + 3, (115, 125), (3, 28, 28)),
    ],
    ids=("student", "patch-0", "patch-4", "reduction-3"),
)
def test_encoders_have_the_published_size_and_work(config, parameters, millions, shape):
    encoder = Encoder(config)
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert millions[0] <= multiply_adds(encoder, 1, 3, 224, 224) / 1e6 <= millions[1]
    assert encoder(torch.zeros(1, 3, 224, 224)).shape == (1, *shape)


def test_every_plan_has_the_budget_of_the_base():
    for name, plan in PRIOR.items():
        assert plan.train.steps * plan.train.batch == (12_512 if plan.behind else 25_008), name
        assert plan.crop == 96, name


def test_a_latent_finer_than_the_features_is_reduced_and_a_coarser_one_refused(teacher):
    system = build_system(teacher, replace(STUDENT, anchors=()), SMALL, 0).eval()
    out = system(torch.rand(1, 3, 64, 64))
    assert out.y_hat.shape == (1, 24, 16, 16) and out.h_hat.shape == (1, 40, 8, 8)
    with pytest.raises(ParameterError, match="must divide"):
        build_system(teacher, CodecConfig(strides=(4, 2, 2)), SMALL, 0)


def test_eight_bits_are_the_affine_quantiser_and_make_packets(teacher):
    torch.manual_seed(0)
    system = build_system(teacher, CodecConfig(widths=(8, 8, 2), kind="reduction"), SMALL, 0).eval()
    x = torch.rand(6, 3, 64, 64)
    with torch.no_grad():
        y = system.codec.encoder(x)
        before = system.decoder(y)
        system.codec.update()
        fit_eight_bits(system, y)
        step = (y.max() - y.min()) / 255
        packets = system.codec.compress(x)
        y_hat = system.codec.decompress(packets)
        torch.testing.assert_close(y_hat, (y / step).round(), rtol=0, atol=1.01)  # ties may fall on either side
        assert (y_hat - (y / step).round()).abs().mean() < 0.01
        assert y_hat.max() - y_hat.min() <= 256
        torch.testing.assert_close(system.decoder(y / step), before, rtol=1e-3, atol=1e-4)
    raw = y[0].numel()  # a byte per value
    assert all(len(p.to_bytes()) < raw + 40 for p in packets)


def test_a_fine_tuned_tail_learns_and_leaves_packets_teacher_and_statistics_alone(teacher, source, tmp_path):
    system = build_system(teacher, CodecConfig(widths=(4, 4, 3), lmbda=0.3), SMALL, 0)
    train_system(system, source, SHORT)
    fingerprint, statistics = teacher.fingerprint, teacher.network.bn2.running_mean.clone()
    x = torch.rand(2, 3, 64, 64)
    packets = system.codec.compress(x)
    answer = system.answer(packets)
    mean = system.decoder.mean.clone()
    fine_tune(system, source, replace(SHORT, objective="tail_distillation"))
    assert teacher.fingerprint == fingerprint and not any(p.requires_grad for p in teacher.parameters())
    assert torch.equal(system.tuned.network.bn2.running_mean, statistics)
    assert torch.equal(system.decoder.mean, mean)
    assert [p.to_bytes() for p in system.codec.compress(x)] == [p.to_bytes() for p in packets]
    tuned = system.eval().answer(packets)
    assert not torch.allclose(tuned, answer)
    card = zoo.Card("t", "codec", "", "", "", {}, {})
    save_system(tmp_path / "t", system, card)
    torch.testing.assert_close(load_system(tmp_path / "t", teacher).answer(packets), tuned, rtol=0.05, atol=0.05)


def test_errors_behind_every_stage_by_hand(teacher):
    h, h_hat = torch.rand(2, 40, 8, 8), torch.rand(2, 40, 8, 8)
    wanted, ours = teacher.tail.stages(h), teacher.tail.stages(h_hat)
    by_hand = np.mean([float(((a - b) ** 2).mean() / b.var()) for a, b in zip(ours, wanted, strict=True)])
    assert float(stage_distillation(teacher.tail, h, h_hat)) == pytest.approx(by_hand, rel=1e-4)
    assert float(stage_distillation(teacher.tail, h, h)) == 0


def test_pixels_as_target_lose_nothing_and_survive_a_file(teacher, source, tmp_path):
    pixels = PixelBackbone(teacher)
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(pixels(x), teacher(x))
    assert pixels.fingerprint == teacher.fingerprint
    system = build_system(pixels, CodecConfig(widths=(4, 4, 3), lmbda=0.3), SMALL, 0)
    train_system(system, source, SHORT)
    packets = system.eval().codec.compress(x)
    save_system(tmp_path / "p", system, zoo.Card("p", "codec", "", "", "", {}, {}))
    again = load_system(tmp_path / "p", teacher)
    assert again.decoder(again.codec.decompress(packets)).shape == (1, 192, 8, 8)
    torch.testing.assert_close(again.answer(packets), system.answer(packets), rtol=0.05, atol=0.05)


def test_the_words_of_chapter_06_are_those_of_its_tables():
    deltas = {d.codec: d for d in read_table("prior_work_bd_rates.csv") if d.against == "ablation-base"}

    def told(codec):
        return [round(value) for value in (deltas[codec].percent, deltas[codec].low, deltas[codec].high)]

    assert told("prior-student") == [137, 113, 168]
    assert [round(100 * (1 - 1 / (1 + value / 100))) for value in told("prior-student")] == [58, 53, 63]
    assert told("prior-patch-4")[::2] == [8, 16] and deltas["prior-patch-4"].low == pytest.approx(-0.2, abs=0.05)
    variants = read_variants(data_root() / "results", "prior_work")
    student, patches, base = (variants.contrast(name, "base") for name in ("student", "patch-4", "base"))
    turned = [round(100 * (1 - 1 / (1 + value / 100))) for value in (student.percent, *student.reach)]
    assert len(student.deltas) == len(patches.deltas) == 3 and turned == [57, 51, 63] and student.verdict == "more"
    assert (round(patches.percent), round(patches.reach[1])) == (10, 19) and patches.reach[0] == pytest.approx(
        -0.2, abs=0.05
    )
    assert (
        sum(delta.low > 0 for delta in patches.deltas) == 2 and round(100 * (1 - 1 / (1 + patches.percent / 100))) == 9
    )
    assert base.percent == pytest.approx(-2.5, abs=0.05)
    assert told("prior-pixels") == [66, 42, 94] and told("ablation-tiny") == [61, 42, 87]
    assert told("ablation-lean") == [-9, -14, -3]
    again = {(d.codec, d.against): d for d in read_table("recipe_bd_rates.csv")}
    second = again["ablation-lean-1", "ablation-base-1"]
    assert [round(value) for value in (second.percent, second.low, second.high)] == [1, -4, 8]
    answer, control, mean, ends, seed = (
        again[pair] for pair in (("photo", "photo-control"), ("photo-control", "photo-head"),
                                 *((f"ablation-{name}", "ablation-base") for name in ("averaging", "ends", "base-1")))
    )  # fmt: skip
    assert [round(value) for value in (answer.percent, answer.low, answer.high)] == [-29, -38, -16]
    assert [round(value, 1) for value in (control.percent, control.low, control.high)] == [-3.0, -7.0, 0.4]
    assert [round(value, 1) for value in (mean.percent, mean.low, mean.high)] == [0.6, -1.5, 3.0]
    assert [round(value) for value in (ends.percent, ends.low, ends.high)] == [11, 5, 18]
    assert round(seed.percent) == 3 and seed.verdict == "open"
    second = (again[f"prior-reduction-1{kind}", "ablation-base-1"].percent for kind in ("", ", 8 bits per value"))
    assert [1 + percent / 100 for percent in second] == pytest.approx([3.5, 4.8], abs=0.05)
    times = [1 + deltas[f"prior-reduction{kind}"].percent / 100 for kind in ("", ", 8 bits per value")]
    assert times == pytest.approx([3.4, 4.8], abs=0.05)
    curves = {}
    for point in read_table("prior_work.csv"):
        curves.setdefault(point.codec, []).append((point.lmbda or point.quality or 0, round(100 * point.agreement)))
    finest = {codec: min(points)[1] for codec, points in curves.items()}
    assert [finest[c] for c in ("ablation-base", "prior-base-tail", "prior-student", "prior-student-tail")] == [
        71,
        48,
        49,
        28,
    ]
    assert dict(curves["prior-reduction"])[3] == 30 and curves["prior-bottlefit"] == [(3, 14)]
    assert {kept for _, kept in curves["prior-direct"]} == {0}
    work = {row.name: row for row in read_table("work.csv") if (row.part, row.precision) == ("encoder", "float32")}
    paper, lean, tiny = (work[name] for name in ("FrankenSplit", "lean", "tiny"))
    assert lean.multiply_adds / paper.multiply_adds == pytest.approx(0.22, abs=0.005)
    assert lean.median_ms / paper.median_ms == pytest.approx(1 / 4, abs=0.02)
    assert tiny.multiply_adds / paper.multiply_adds == pytest.approx(1 / 20, abs=0.002)
    assert max(row.iqr_ms / row.median_ms for row in read_table("work.csv")) == pytest.approx(1 / 3, abs=0.02)


def test_the_words_on_learned_codecs_are_those_of_their_tables():
    points = {(p.codec, p.lmbda): p for p in read_table("learned_codecs.csv")}
    deltas = {(d.codec, d.against): d for d in read_table("learned_codecs_bd_rates.csv")}

    def told(codec, against):
        delta = deltas[codec, against]
        return [round(value) for value in (delta.percent, delta.low, delta.high)]

    side, pixels, base = "prior-hyperprior", "prior-pixels-hyperprior", "ablation-base"
    assert told(side, base) == [-3, -9, 3] and told(f"{side}, {LATENT_ALONE}", base) == [-5, -11, 2]
    assert told(pixels, "prior-pixels") == [14, 7, 23]
    assert told("prior-compressai", "prior-pixels") == [-26, -31, -20]
    assert told("prior-compressai", base) == [38, 12, 79]
    assert told("prior-pixels-1", "ablation-base-1") == [50, 38, 70]
    assert told(f"{pixels}-1", "prior-pixels-1") == [6, -3, 15]
    assert told("prior-compressai", "prior-pixels-1") == [-26, -32, -21]
    shared = deltas["prior-compressai", base]
    assert [round(100 * end) for end in (shared.agreement_from, shared.agreement_to)] == [36, 45]
    for codec, size in ((side, 15), (pixels, 3)):
        spent = [
            p.bytes - points[f"{codec}, {LATENT_ALONE}", p.lmbda].bytes for p in points.values() if p.codec == codec
        ]
        assert len(spent) == 7 and all(round(one) == size for one in spent), spent
    assert round(multiply_adds(Encoder(IMAGES), 1, 3, 224, 224) / 1e6) == 2116
    frozen = {row.model: row.y_bytes + row.z_bytes for row in read_table("side_information.csv")}
    assert round(100 * (1 - frozen["mean-scale hyperprior"] / frozen["factorised"])) == 4
    took = {(row.part, row.name, row.precision): row.median_ms for row in read_table("work.csv")}
    ours, side_ms = took["encoder", "FrankenSplit", "float32"], took["side information", "FrankenSplit", "float32"]
    assert [round(took["encoder", "CompressAI", "float32"]), round(ours)] == [49, 10]
    assert round(side_ms, 1) == 1.5 and round(100 * side_ms / ours) == 15
    share = {name: took["encoder", name, "int8"] / time for (part, name, kind), time in took.items()
             if part == "encoder" and kind == "float32"}  # fmt: skip
    assert [round(100 * share[name]) for name in ("FrankenSplit", "patch, 4 blocks")] == [60, 48]
    assert all(share[name] > 0.95 for name in ("tiny", "patch, 0 blocks", "channel reduction"))
    own = [p for p in points.values() if p.codec == "prior-student-own"]
    assert round(100 * max(p.agreement for p in own)) == 26 and deltas["prior-student-own", base].percent is None
    ours = [p for p in read_table("prior_work.csv") if p.codec == "prior-student"]
    near = [min(rows, key=lambda p: abs(p.bytes - 810)) for rows in (own, ours)]
    assert [round(100 * p.agreement) for p in near] == [23, 21] and all(abs(p.bytes - 810) < 10 for p in near)


def test_the_words_on_the_lean_codec_are_those_of_its_tables():
    deltas = {(d.codec, d.against): d for d in read_table("lean_bd_rates.csv")}

    def told(*pair):
        delta = deltas[pair]
        return [round(value) for value in (delta.percent, delta.low, delta.high)]

    same = deltas["lean", "photo"]
    assert told("lean", "photo") == [-3, -13, 10]
    assert [round(100 * v) for v in (same.agreement_from, same.agreement_to)] == [76, 85]
    assert told("lean", "WebP") == [-80, -82, -76] and told("lean", "AVIF") == [-73, -78, -68]
    assert {round(100 * deltas["lean", rival].agreement_to) for rival in ("WebP", "AVIF")} == {85}
    kept = {(p.codec, round(p.bytes)): round(100 * p.agreement) for p in read_table("lean.csv")}
    assert (kept["lean", 2365], kept["photo", 2382]) == (84, 90)
    assert max(v for (codec, _), v in kept.items() if codec == "lean-head") == 78
    crops = [CALTECH[name].train.steps * CALTECH[name].train.batch for name in ("lean-head", "lean")]
    assert sum(crops) == 131_200
    rows = [row for row in read_table("work.csv") if row.precision == "float32"]
    work = {(row.part, row.name): row.multiply_adds for row in rows}
    decoders = work["decoder", "photo"] / work["decoder", "lean"]
    assert decoders == pytest.approx(5, abs=0.2)
    encoders = work["encoder", "lean"] / work["encoder", "FrankenSplit"]
    best = {codec: max(v for (name, _), v in kept.items() if name == codec) for codec in ("lean", "photo")}
    said = f"{100 * encoders:.0f} % of the encoder's multiply-adds and {100 / decoders:.0f} % of the decoder's, needs "
    said += f"{-same.percent:.1f} % fewer bytes than `photo`\n({-same.low:.1f} fewer to {same.high:.1f} more) between 76 and 85 % of "
    said += f"agreement, and keeps no more than {best['lean']} %, where `photo` keeps {best['photo']} %."
    assert said in (ROOT / "README.md").read_text("utf-8")


def test_the_words_on_the_context_are_those_of_its_table():
    rows = read_table("context.csv")
    saved = {name: [round(r.saved_percent) for r in rows if r.codec == name] for name in ("lean", "photo")}
    assert (min(saved["lean"]), max(saved["lean"])) == (5, 7) and (min(saved["photo"]), max(saved["photo"])) == (3, 5)
    assert {round(row.context_ms - row.plain_ms) for row in rows} == {1}
    assert len(rows) == 8 and all(row.saved_low > 2 for row in rows)


def test_weights_of_one_setting_make_a_curve_and_others_are_refused(teacher, tmp_path):
    for channels in (2, 3):
        config = CodecConfig(widths=(8, 8, channels), kind="reduction")
        system = build_system(teacher, config, SMALL, 0)
        system.codec.update()
        save_system(tmp_path / f"r-{channels}", system, zoo.Card(f"r-{channels}", "codec", "", "", "", {}, {}))
    two, three = (str(tmp_path / f"r-{channels}") for channels in (2, 3))
    assert _curves_of([f"r={two},{three}", "photo"]) == {
        "r-2": (two, "r", 2), "r-3": (three, "r", 3), "photo": ("photo", "photo", None),
    }  # fmt: skip
    odd = tmp_path / "a=b,c"
    odd.mkdir()
    assert _curves_of([str(odd)]) == {"a=b,c": (str(odd), "a=b,c", None)}
    for wrong, told in (([two, two], "share one"), ([f"r={two},photo"], "of continuous rate")):
        with pytest.raises(ParameterError, match=told):
            _curves_of(wrong)
