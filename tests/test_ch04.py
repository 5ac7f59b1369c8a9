"""Chapter 04: its checks, its panels, its figures, what a weight does to a loss, and what the variants' tables say."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from words import words_of

from fsplit_lib.backbones import load_backbone, photo_backbone
from fsplit_lib.chapters import ch04
from fsplit_lib.chapters.ch04 import MIXED, Explained, factor_panel, map_panel
from fsplit_lib.data import PHOTOS, center_crop, data_root, image_folder, load_photo, write_rows
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.evaluation import BDRate, RatePoint, read_table, read_variants
from fsplit_lib.evaluation.map_agreement import measure_map_ages, measure_map_costs
from fsplit_lib.evaluation.variants import EXPERIMENTS
from fsplit_lib.exercises import check, core
from fsplit_lib.objectives import head_distillation, lmbda_factor, loss_of, saliency_weight
from fsplit_lib.plots import caption
from fsplit_lib.plots.forest import forest
from fsplit_lib.plots.variants import two_at_once
from fsplit_lib.recipes.caltech import ABLATION
from fsplit_lib.saliency import (
    DeletionCurve,
    cascading_randomisation,
    concentration,
    deletion_test,
    edge_map,
    randomised,
    rank_correlation,
    saliency_layers,
    saliency_map,
)
from fsplit_lib.training.sources import ArraySource


@pytest.mark.parametrize(("id", "answer"), [("04.4", "B"), ("04.5", 1.6), ("04.6", "c"), ("04.7", 14)])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def stretched(values):
    return (values - values.min()) / np.ptp(values)


def my_map(a, g):
    return stretched(np.maximum((g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0), 0))


def test_the_function_exercise_knows_its_mistakes():
    weigh = lambda alpha, a: np.maximum((alpha[:, None, None] * a).sum(axis=0), 0)
    wrong = {
        "max(0, ·) is missing": lambda a, g: stretched((g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0)),
        "Not stretched": lambda a, g: weigh(g.mean(axis=(1, 2)), a),
        "HiResCAM": lambda a, g: stretched(np.maximum((g * a).sum(axis=0), 0)),
        "Absolute gradients": lambda a, g: stretched(weigh(np.abs(g).mean(axis=(1, 2)), a)),
        "means of the activations": lambda a, g: stretched(weigh(a.mean(axis=(1, 2)), g)),
        "maximum alone": lambda a, g: weigh(g.mean(axis=(1, 2)), a) / weigh(g.mean(axis=(1, 2)), a).max(),
        "weights of XGradCAM": lambda a, g: stretched(weigh((a * g).sum(axis=(1, 2)) / a.sum(axis=(1, 2)), a)),
        "before the sum": lambda a, g: stretched(np.maximum(g.mean(axis=(1, 2))[:, None, None] * a, 0).sum(axis=0)),
        "one number a place": lambda a, g: g.mean(axis=(1, 2)),
        "raised ZeroDivisionError": lambda a, g: 1 / 0,
    }
    assert check("04.1", my_map).status == "right"
    for word, function in wrong.items():
        verdict = check("04.1", function)
        assert verdict.status == "wrong" and word in verdict.message
    assert "without calling" in check("04.1", 3).message


def grad_cam(network, layer, x, target, score=None, keep_hook=False, cut=0.0):
    """Grad-CAM by autograd: no second hook, so another way than that of the solution."""
    features = []
    handle = layer.register_forward_hook(lambda module, inputs, h: features.append(h))
    z = network(x.clone().requires_grad_())
    if not keep_hook:
        handle.remove()
    (g,) = torch.autograd.grad(z[0, target] if score is None else score(z), features[0])
    cam = (g.mean(dim=(2, 3), keepdim=True) * features[0]).sum(dim=1)[0].clamp(min=cut)
    return stretched(cam.detach().numpy())


@pytest.mark.parametrize("seed", [0, 1, 4711])
def test_the_grad_cam_build_knows_its_mistakes(monkeypatch, seed):
    monkeypatch.setattr(core, "SEED", seed)
    assert check("04.2", grad_cam).status == "right"
    assert check("04.2", lambda *case: torch.from_numpy(grad_cam(*case)).requires_grad_()).status == "right"
    wrong = {
        "own first answer": lambda *case: grad_cam(*case, score=torch.max),
        "all scores": lambda *case: grad_cam(*case, score=torch.sum),
        "probability": lambda *case: grad_cam(*case, score=lambda z: z.softmax(1)[0, case[-1]]),
        "max(0, ·)": lambda *case: grad_cam(*case, cut=-1e9),
        "hook is still on": lambda *case: grad_cam(*case, keep_hook=True),
        "one number a place": lambda *case: grad_cam(*case)[None],
        "RuntimeError": lambda network, layer, x, target: network(x)[0, target].backward(),
    }
    for word, function in wrong.items():
        verdict = check("04.2", function)
        assert verdict.status == "wrong" and word in verdict.message, (word, verdict)


def test_a_map_by_hand_is_pytorch_grad_cams_at_every_layer_of_a_real_network():
    network, x = load_backbone("fashion_resnet"), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    target = int(network(x).argmax())
    for stride, layer in saliency_layers(network).items():
        mine = torch.from_numpy(grad_cam(network, layer, x, target))[None, None]
        large = torch.nn.functional.interpolate(mine, size=(32, 32), mode="bilinear")[0, 0].numpy()
        assert stretched(large) == pytest.approx(
            saliency_map(network, x, "gradcam", (stride,), [target])[0, 0].numpy(), abs=1e-3
        )


def test_the_weight_build_knows_its_mistakes():
    def weight(s, guidance, of=lambda s: (1 + s) / 2, over=(2, 3), control=None):
        w = of(s)
        even = w.mean(dim=over, keepdim=True) if control is None else torch.tensor(control)
        return w if guidance == "guided" else even.expand_as(w)

    assert check("04.3", weight).status == check("04.3", saliency_weight).status == "right"
    wrong = {
        "over all photos": lambda s, g: weight(s, g, over=(0, 1, 2, 3)),
        "mean of s": lambda s, g: weight(s, g) if g == "guided" else weight(s, g, of=lambda s: s),
        "unguided run": lambda s, g: weight(s, g, control=1.0),
        "ignored": lambda s, g: weight(s, g, of=lambda s: s),
        "½ of Eq. (4)": lambda s, g: weight(s, g, of=lambda s: 1 + s),
        "for 'constant' yours is (2, 1, 1, 1)": lambda s, g: (
            weight(s, g)[..., :1, :1] if g == "constant" else weight(s, g)
        ),
    }
    for word, function in wrong.items():
        assert word in check("04.3", function).message, word


@pytest.mark.equation("04.5")
def test_a_weighted_distortion_is_the_mean_weight_times_the_plain_one_plus_a_covariance():
    generator = torch.Generator().manual_seed(3)
    h, h_hat = torch.randn(2, 4, 3, 6, 5, generator=generator, dtype=torch.float64)
    s = torch.rand(4, 1, 6, 5, generator=generator, dtype=torch.float64)
    spread = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).view(1, 3, 1, 1)
    w = saliency_weight(s, "guided")
    cov = np.cov(w.expand_as(h).numpy().ravel(), (((h - h_hat) / spread) ** 2).numpy().ravel(), bias=True)[0, 1]
    plain, weighted = head_distillation(h, h_hat, spread), head_distillation(h, h_hat, spread, w)
    assert abs(cov) > 1e-3 and weighted.item() == pytest.approx((w.mean() * plain).item() + cov, rel=1e-9)


@pytest.mark.equation("04.6")
@pytest.mark.parametrize("mean", [0.0, 0.25, 0.7])
def test_a_constant_map_pulls_every_weight_where_another_lmbda_would(mean):
    """Gradients, not algebra: those of the weighted loss are those of the plain one at lmbda's factor, times (1 + s) / 2."""
    from fsplit_lib.codec import CodecConfig
    from fsplit_lib.system import build_system
    from fsplit_lib.training.lab import LAB_DECODER

    system = build_system(load_backbone("fashion_resnet"), CodecConfig((4, 4, 4), strides=(2, 2, 1)), LAB_DECODER, 0)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    learned = [p for p in (*system.codec.encoder.parameters(), *system.decoder.parameters()) if p.requires_grad]

    noise = torch.rand(4, 4, 8, 8, generator=torch.Generator().manual_seed(6)) - 0.5

    def pull(lmbda, weight):
        loss = loss_of("head_distillation", system, system(x, noise=noise), None, lmbda, weight).total
        grads = torch.autograd.grad(loss, learned, allow_unused=True)
        return torch.cat([g.flatten() for g in grads if g is not None])

    weight = saliency_weight(torch.full((4, 1, 8, 8), mean), "constant")
    weighted, plain = pull(0.4, weight), pull(0.4 * lmbda_factor(mean), None)
    assert plain.abs().max() > 0
    assert weighted.numpy() == pytest.approx((1 + mean) / 2 * plain.numpy(), rel=1e-3, abs=1e-6)
    if mean < 0.5:
        assert not np.allclose(weighted.numpy(), (1 + mean) / 2 * pull(0.4, None).numpy(), rtol=1e-3, atol=1e-6)


def test_edges_are_where_the_picture_changes():
    x = torch.zeros(1, 3, 8, 8)
    x[..., 5:] = 1
    edges = edge_map(x)
    assert edges.shape == (1, 1, 8, 8) and edges.max() == 1
    assert edges[0, 0].sum(dim=0).nonzero().flatten().tolist() == [4, 5]
    assert edge_map(torch.full((1, 3, 4, 4), 0.7)).max() < 0.01  # nothing but rounding is left
    assert torch.equal(edge_map(x.transpose(2, 3)), edges.transpose(2, 3))


def test_rank_correlation_against_scipy_and_for_flat_maps():
    from scipy.stats import spearmanr

    a, b = torch.rand(2, 3, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    by_hand = [spearmanr(p.flatten(), q.flatten()).statistic for p, q in zip(a, b, strict=True)]
    assert rank_correlation(a, b) == pytest.approx(by_hand)
    assert rank_correlation(a, torch.ones_like(a)).tolist() == [0, 0, 0]


def test_concentration_by_hand():
    assert concentration(np.full((4, 5), 0.3)) == 0.5
    assert concentration(np.eye(10)[3]) == 0.1
    assert concentration(np.zeros((4, 5))) == 0.5
    assert concentration(np.ones(3)) == pytest.approx(2 / 3)


@pytest.fixture(scope="module")
def small():
    return load_backbone("fashion_resnet")


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_ruining_goes_from_the_top_down_and_spares_the_teacher(small, pictures):
    before = {k: v.clone() for k, v in small.network.state_dict().items()}
    parts = len([*small.head.layers, *small.tail.layers]) + 1
    changed = []
    for depth in range(parts + 1):
        ruin = randomised(small, depth, seed=7)
        changed.append({k for k, v in ruin.network.state_dict().items() if not torch.equal(v, before[k])})
    assert changed[0] == set() and all(a < b for a, b in itertools.pairwise(changed))
    assert all(name.startswith("fc.") for name in changed[1])
    assert torch.equal(randomised(small, 0, 7)(pictures), small(pictures))
    assert torch.equal(randomised(small, 2, 7)(pictures), randomised(small, 2, 7)(pictures))  # seeded
    assert all(torch.equal(v, before[k]) for k, v in small.network.state_dict().items())
    with pytest.raises(ParameterError, match=f"from 0 to {parts}"):
        randomised(small, parts + 1, 7)


def test_networks_of_other_classes_or_sizes_are_ruined_as_well(tmp_path):
    torch.save(timm.create_model("resnet18", num_classes=3).state_dict(), tmp_path / "three.pth")
    three = photo_backbone(f"resnet18={tmp_path / 'three.pth'}")
    swin = load_backbone("swin_tiny_patch4_window7_224", "random", input_size=160)  # its last window has 5 x 5 places
    for network in (three, swin):
        x = torch.rand(1, 3, network.input_size, network.input_size)
        ruin = randomised(network, 2, seed=7)
        assert ruin(x).shape == network(x).shape and not torch.equal(ruin(x), network(x))


def test_a_cascade_compares_with_the_trained_map(small, pictures):
    found = cascading_randomisation(small, pictures, "eigencam", (0, 1), 0, [0, 1, 2])
    assert found == pytest.approx(np.ones((2, 3)))  # EigenCAM never asks the classifier
    found = cascading_randomisation(small, pictures, "gradcam", (0, 1), 0, [0, 1, 2])
    assert found[0] == pytest.approx(np.ones(3)) and np.abs(found[1]).max() < 0.999


def test_spoiling_by_brute_force(small, pictures):
    order = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    found = deletion_test(small, pictures, order, [0, 0.25, 1])
    assert found.agreement[0].all()
    with torch.no_grad():
        h = small.head(pictures)
        fill = h.mean(dim=(0, 2, 3), keepdim=True)
        mine = h.clone()
        for n, one in enumerate(torch.nn.functional.interpolate(order, size=(8, 8), mode="area")[:, 0]):
            for place in one.flatten().argsort(descending=True)[:16]:
                mine[n, :, place // 8, place % 8] = fill[0, :, 0, 0]
        whole, said = small.tail(h).softmax(1), small.tail(mine).softmax(1)
        top = whole.argmax(1, keepdim=True)
        flat = small.tail(fill.expand_as(h)).softmax(1)
    for row, logits in ((0, whole), (1, said), (2, flat)):
        assert found.share[row] == pytest.approx(logits.gather(1, top)[:, 0].numpy(), rel=1e-4)
    assert found.agreement[1].tolist() == (said.argmax(1) == top[:, 0]).tolist()
    with pytest.raises(ParameterError, match="0 to 1"):
        deletion_test(small, pictures, order, [1.5])


def test_swin_needs_its_axes_turned():
    """Without the turn pytorch-grad-cam weighs rows for channels, silently; ours is Eq. (1) and (2) on (B, C, H, W)."""
    from pytorch_grad_cam import GradCAM

    from fsplit_lib.saliency import saliency_layers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        swin = load_backbone("swin_tiny_patch4_window7_224", weights="random")
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    layer = saliency_layers(swin)[8]
    with GradCAM(swin, [layer]) as cam:
        cam(x.clone().requires_grad_(), None)
        a, g = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
    assert a.shape == (1, 28, 28, 192) and g.mean(dim=(2, 3)).shape == (1, 28)
    right = np.maximum((g.mean(dim=(1, 2))[0] * a[0]).sum(dim=-1).detach().numpy(), 0)
    ours = saliency_map(swin, x, "gradcam", (8,))[0, 0]
    small = torch.nn.functional.interpolate(ours[None, None], size=(28, 28), mode="area")[0, 0]
    assert np.corrcoef(small.numpy().ravel(), right.ravel())[0, 1] > 0.95


def test_maps_travel_with_the_pictures_of_an_array():
    images, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4)
    maps = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, -1, 8, 8) / 4
    x, found, weights = ArraySource(images, labels, maps=maps).__getitems__([(2, 0), (0, 1)])
    assert found.tolist() == [2, 0] and weights[:, 0, 0, 0].tolist() == [0.5, 0.0]
    assert len(ArraySource(images, labels).__getitems__([(0, 0)])) == 2
    for wrong in ({"maps": maps[:3]}, {"maps": maps, "augment": True}):
        with pytest.raises(DataError, match="saliency maps"):
            ArraySource(images, labels, **wrong)


@pytest.fixture(scope="module")
def maps_panel():
    asked = []

    def explain(photo, method, strides, rank):
        asked.append((photo, method, strides, rank))
        values = np.zeros((224, 224)) if rank == 2 else np.eye(224)
        return Explained(values, f"class {rank}", 0.5, 0.25)

    crops = {name: center_crop(load_photo(name)) for name in list(PHOTOS)[:2]}
    return map_panel(crops, explain, (8, 16, 32), "astronaut"), asked


def test_the_map_panel_asks_on_its_button_only(maps_panel):
    panel, asked = maps_panel
    assert asked == [("astronaut", "xgradcam", (), 0)]
    panel.controls["layers"].carrier.value = "stride 8"
    assert len(asked) == 1
    panel.button.click()
    assert asked[-1] == ("astronaut", "xgradcam", (8,), 0)
    panel.set(photo="chelsea", method="EigenCAM", layers=MIXED, answer="second")
    assert asked[-1] == ("chelsea", "eigencam", (), 1)
    assert "class 1 (probability 50%)" in panel.summary.value and "edges is 0.25" in panel.summary.value
    assert panel.figure.data[0].source != panel.figure.data[1].source
    assert panel.static().layout.meta["alt"] in panel.summary.value
    panel.set(answer="third")
    assert "0 everywhere" in panel.summary.value
    for wrong in ({"photo": "nobody"}, {"method": "magic"}, {"layers": "stride 2"}, {"answer": "fourth"}):
        with pytest.raises(ParameterError):
            panel.set(**wrong)


@pytest.mark.parametrize(("mean", "lmbda"), [(0.0, 0.1), (0.25, 0.6), (1.0, 0.6), (0.5, 1.5)])
def test_the_factor_panel_by_hand(mean, lmbda):
    lmbdas = np.geomspace(0.1, 3, 9)
    panel = factor_panel(np.array([0.2, 0.4]), lmbdas, 1000 * lmbdas**-0.5, 0.3, 0.6)
    panel.set(mean=mean, lmbda=lmbda)
    factor = 2 / (1 + mean)
    (moved,) = panel.figure.select_traces({"name": "unguided, and as weighted"})
    assert list(moved.x) == pytest.approx([lmbda, lmbda * factor])
    # sizes fall as a power of lambda, of which the interpolation between nine points knows a little less
    assert list(moved.y) == pytest.approx([1000 * lmbda**-0.5, 1000 * (lmbda * factor) ** -0.5], rel=0.03)
    assert f"{factor:.2f} times" in panel.summary.value


def test_the_factor_panel_never_saves_a_negative_number_of_bytes():
    panel = factor_panel(
        np.array([0.2]), np.array([0.1, 1.0, 2.0, 3.0]), np.array([900.0, 500.0, 400.0, 500.0]), 0.3, 0.6
    )
    panel.set(mean=0.9, lmbda=2.5)
    assert " 3% more, without" in panel.summary.value


def test_the_factor_panel_says_where_the_codec_ends():
    lmbdas = np.geomspace(0.1, 3, 9)
    panel = factor_panel(np.array([0.2]), lmbdas, 1000 * lmbdas**-0.5, 0.0, 3.0)
    assert "where this codec ends" in panel.summary.value
    for wrong in ({"mean": 1.1}, {"mean": -0.1}, {"lmbda": 30}, {"lmbda": "1"}, {"map": 1}):
        with pytest.raises(ParameterError):
            panel.set(**wrong)


LMBDAS = (0.1, 0.3, 1.0, 3.0)
CURVES = [f"saliency-{variant}-{seed}" for variant in ("unguided", "guided", "constant", "shuffled") for seed in (0, 1)]


def tables(folder, percent, half_width=2.0, save=1.0):
    """Tables in which ``percent(variant, against)`` is the BD-rate of every pair, and weighted variants write ``save`` times the bytes."""
    points = [RatePoint("d", "teacher", None, None, "r", 150528.0, 1.0, 0.99, 1.0, 0.9, 0.8, 0.95, 100)]
    for name in CURVES:
        for lmbda in LMBDAS:
            size, kept = 1000 * lmbda**-0.4 * (1 if "unguided" in name else save), 0.8 - 0.1 * np.log10(lmbda)
            points.append(
                RatePoint("d", name, lmbda, None, "r", size, kept, kept - 0.05, kept + 0.05,
                          kept, kept - 0.05, kept + 0.05, 100)
            )  # fmt: skip
    deltas = [
        BDRate("d", "r", a, b, v, None if v is None else v - half_width, None if v is None else v + half_width, 0.7, 0.9, 100)
        for a in CURVES for b in CURVES if a != b for v in [percent(a, b)]
    ]  # fmt: skip
    write_rows(folder / "saliency_variants.csv", points)
    write_rows(folder / "saliency_variants_bd_rates.csv", deltas)
    return points, deltas


def levels(**bytes_of):
    """Percent between variants whose curves lie at given multiples of bytes; later seeds lie 1 % higher."""

    def percent(a, b):
        size = [bytes_of.get(name.split("-")[1], 1.0) * 1.01 ** int(name[-1]) for name in (a, b)]
        return 100 * (size[0] / size[1] - 1)

    return percent


def test_contrasts_by_hand(tmp_path):
    tables(tmp_path, levels(guided=0.8), save=0.7)
    variants = read_variants(tmp_path)
    assert set(variants.curves) == {(name.split("-")[1], int(name[-1])) for name in CURVES}
    assert [p.bytes for p in variants.curves["guided", 0]] == sorted(
        (p.bytes for p in variants.curves["guided", 0]), reverse=True
    )
    found = variants.contrast("guided", "unguided")
    assert len(found.deltas) == 4 and found.percent == pytest.approx(-20, abs=1e-3) and found.verdict == "fewer"
    assert found.reach == pytest.approx((100 * (0.8 / 1.01 - 1) - 2, 100 * (0.8 * 1.01 - 1) + 2), abs=1e-3)
    assert variants.contrast("unguided", "guided").verdict == "more"
    assert variants.contrast("constant", "shuffled").verdict == "open"
    assert [(d.codec, d.against) for d in variants.contrast("guided", "guided").deltas] == [
        ("saliency-guided-1", "saliency-guided-0")
    ]
    assert variants.at_equal_lmbda("constant") == pytest.approx((-30, 0), abs=1e-3)


def test_a_codec_of_another_experiment_is_no_variant(tmp_path):
    points, _ = tables(tmp_path, levels())
    others = [replace(points[-1], codec=name, bytes=1.0) for name in ("ablation-base", "regulariser-unguided-0")]
    write_rows(tmp_path / "saliency_variants.csv", [*points, *others])
    variants = read_variants(tmp_path)
    assert len(variants.curves) == len(CURVES) and min(p.bytes for p in variants.curves["unguided", 0]) > 1


def test_curves_without_shared_quality_and_intervals(tmp_path):
    tables(tmp_path, lambda a, b: None if "guided-0" in a or "guided-0" in b else -20.0)
    assert len(read_variants(tmp_path).contrast("guided", "constant").deltas) == 2  # "unguided-0" is left out as well
    _, deltas = tables(tmp_path, lambda a, b: -20.0)
    write_rows(tmp_path / "saliency_variants_bd_rates.csv", [replace(d, low=None, high=None) for d in deltas])
    assert read_variants(tmp_path).contrast("guided", "constant").verdict == "open"
    tables(tmp_path, lambda a, b: None)
    with pytest.raises(DataError, match="share any quality"):
        read_variants(tmp_path).contrast("guided", "constant")


def test_tables_that_are_not_those_of_the_arms_are_refused(tmp_path):
    with pytest.raises(DataError, match="fsplit evaluate photos"):
        read_variants(tmp_path)
    points, _ = tables(tmp_path, levels())
    for wrong in (
        [p for p in points if "shuffled" not in p.codec],  # a variant is missing
        [p for p in points if (p.codec, p.lmbda) != ("saliency-guided-1", 0.3)],  # a lambda is missing
        points[:1],
    ):
        write_rows(tmp_path / "saliency_variants.csv", wrong)
        with pytest.raises(DataError, match="all 4 variants at the same lambdas"):
            read_variants(tmp_path)


def test_variants_are_drawn_as_differences_to_the_unguided_run_of_their_seed(tmp_path):
    tables(tmp_path, levels(guided=0.8), save=0.9)
    figure = ch04.against_unguided(read_variants(tmp_path))
    lines = {t.name: t for t in figure.data}
    assert len(lines) == 8 and set(lines["unguided, seed 1"].y) == {0.0}  # both seeds of these tables are alike
    guided = lines["guided, seed 0"]
    expected = [
        80 - 10 * np.log10(lmbda) - 100 * at for lmbda, at in zip((1.0, 0.3, 0.1), unguided_at(guided.x), strict=True)
    ]
    assert list(guided.y) == pytest.approx(expected, abs=1e-3) and min(guided.y) > 0
    assert len({(t.line.dash, t.marker.symbol) for t in lines.values() if "seed" in t.name}) == 7  # never colour alone
    assert max(lines["interval of one point"].y) == pytest.approx(5)


def unguided_at(sizes):
    """Agreement of the unguided tables between their points, by hand: 0.8 - 0.1 log10(lambda) is linear in log bytes."""
    return [0.8 + 0.1 * np.log10(size / 1000) / 0.4 for size in sizes]


def test_a_forest_has_a_marker_per_pair_and_fills_what_is_sure(tmp_path):
    tables(tmp_path, levels(guided=0.8), save=0.7)
    variants, look = read_variants(tmp_path), ch04.VARIANTS["guided"]
    pairs = {"sure": variants.contrast("guided", "unguided"), "open": variants.contrast("constant", "shuffled")}
    figure = forest({name: (c.deltas, look) for name, c in pairs.items()}, "t", "BD-rates")
    assert [len(t.x) for t in figure.data] == [4, 4] and "sure −20.0 % (−22.0 to −18.0)" in caption(figure)
    assert set(figure.data[0].marker.symbol) == {"circle"} and set(figure.data[1].marker.symbol) == {"circle-open"}


def test_other_figures_say_what_they_show():
    crop, one = center_crop(load_photo("coffee")), np.random.default_rng(0).random((2, 5))
    maps = {m: {"stride 8": np.eye(224), "all, mixed": np.ones((224, 224))} for m in ("gradcam", "eigencam")}
    runs = {"map": (DeletionCurve(one, one > 0.5), DeletionCurve(one / 2, one > 0.9))}
    grid = ch04.map_grid(crop, maps)
    assert "Grad-CAM 50%, EigenCAM 50%" in caption(grid) and any(
        t.marker.showscale for t in grid.data if t.type == "scatter"
    )
    spoiled = ch04.spoiling((0.25, 0.5), runs, DeletionCurve(one, one > 0.5))
    assert "50% of the places" in caption(spoiled) and "probability" in spoiled.layout.yaxis.title.text
    (most,) = spoiled.select_traces({"name": "most salient first"})
    assert list(most.y) == pytest.approx(100 * one.mean(axis=1))
    assert list(most.error_y.array) == pytest.approx([0, 100 * (one[1].max() - one[1].mean())])  # at one half alone


def test_bars_of_negative_values_hang_from_zero_below_the_title():
    figure = two_at_once(["a", "b"], {"%": ((-20.0, -10.0), "{:+.1f} %"), "n": ((3.0, -1.0), "{:+.1f}"), "0": ((0.0, 0.0), "{}")},
                         "three", ["rate", "FrankenSplit", "teacher"])  # fmt: skip
    ranges = [figure.layout[f"yaxis{n}"].range for n in ("", "2", "3")]
    assert ranges == [pytest.approx((-24, 1.44)), pytest.approx((-1.2, 3.6)), (0, 1)]


def test_what_the_text_says_of_the_tables():
    variants, text = read_variants(data_root() / "results"), words_of("04")

    def told(variant, against):
        found = variants.contrast(variant, against)
        low, high = (f"{v:+.1f}".replace("-", "−") for v in found.reach)
        assert found.verdict == "open"
        return f"{abs(found.percent):.1f} % {'fewer' if found.percent < 0 else 'more'}", f"{low} to {high} %"

    unguided, constant, shuffled, even = (
        told(*pair.split()) for pair in ("guided unguided", "guided constant", "guided shuffled", "constant unguided")
    )
    named = ("unguided", "guided", "constant", "shuffled")
    for said in (
        f"*Guided against unguided* needs {unguided[0]} bytes. The intervals reach from {unguided[1]}",
        f"*Guided against constant* needs {constant[0]} bytes ({constant[1]}), and *guided against shuffled* "
        f"{shuffled[0]} ({shuffled[1]})",
        f"*Constant against unguided* needs {even[0]} bytes ({even[1]})",
        f"differ by up to {max(abs(variants.contrast(v, v).percent) for v in named):.1f} %",
        f"at equal lambda our guided variant writes {-variants.at_equal_lmbda('guided')[0]:.0f} % fewer bytes",
    ):
        assert said in text, said
    for other in ("constant", "shuffled"):
        assert all(d.percent < 0 for d in variants.contrast("guided", other).deltas)
    assert sum(d.low > 0 for d in variants.contrast("constant", "unguided").deltas) == 1  # "in one of the four pairs"
    assert all(-29 < variants.at_equal_lmbda(v)[0] < -23 for v in named[1:])  # "about a quarter"
    assert variants.contrast("guided", "unguided").reach[0] > -25  # the paper's number "lies outside these intervals"


def test_the_words_on_spoiled_features_are_the_golden_numbers():
    text = words_of("04")
    golden = json.loads((data_root().parent / "notebooks" / "golden" / "04.json").read_text())
    map_left, edges_left = (golden[f"share_without_least_{of}_half"]["value"] for of in ("salient", "edges"))
    assert f"{edges_left:.0f} % are left, where XGradCAM's order leaves {map_left:.0f} %" in text
    with torch.no_grad():
        x = torch.cat([photo_tensor(center_crop(load_photo(name))) for name in PHOTOS])
        whole = 100 * float(load_backbone("tf_efficientnet_lite0")(x).softmax(1).amax(1).mean())
    assert f"a probability of {whole:.0f} % on average" in text


def test_the_words_on_ages_of_maps_are_those_of_their_tables():
    text = words_of("04")
    ages, costs = read_table("map_ages.csv"), read_table("map_ages_costs.csv")
    told = {
        (
            r.layers,
            r.first,
            r.second,
            r.step,
        ): f"{r.correlation:.2f} ({r.correlation_low:.2f} to {r.correlation_high:.2f})"
        for r in ages
    }
    spent = {row.part: row.median_ms * row.times for row in costs}
    control = {(r.layers, r.first, r.second, r.step): r.control for r in ages}
    shares = {part: f"{spent[part] / (spent[part] + spent['step']):.0%}".replace("%", " %") for part in spent}
    for said in (
        f"{told['behind', 'crop', 'photo', 0]} with the cropped map of its photo, and of {control['behind', 'crop', 'photo', 0]:.2f} with that of another",
        f"{told['behind', 'decoded', 'crop', 391]} at the last step. The value at the first step, {told['behind', 'decoded', 'crop', 1]}",
        f"{told['cut', 'crop', 'photo', 0]} between crop and photo, and {told['cut', 'decoded', 'crop', 391]} between",
        f"falls to {told['behind', 'decoded', 'decoded', 98]} over 49 steps, where another crop's map still has "
        f"{control['behind', 'decoded', 'decoded', 98]:.2f}",
        f"back at {told['behind', 'decoded', 'decoded', 391]} over the last 98",
        f"the control is {control['behind', 'decoded', 'decoded', 391]:.2f}".replace("-", "−"),
        f"maps of all photos take {shares['photo']}, maps of the crops {shares['crop']}, and maps of decoded features {shares['decoded']}",
    ):
        assert said in text, said
    assert {(r.step, r.age) for r in ages if r.second == "decoded"} >= {(98, 49), (391, 98)} and ages[0].n == 128
    assert 4 < spent["photo"] / spent["crop"] < 5  # "from the fifth training on"
    assert next(r for r in ages if r.step == 12 and r.layers == "behind" and r.second == "decoded").correlation > 0.99
    figure = ch04.map_ages(ages)
    assert "0.27 at step 1 (with another crop's map 0.04)" in caption(figure) and len(figure.data) == 17
    early = [r for r in ages if r.step <= 12 and r.layers == "behind" and r.first == "decoded"]
    assert early and all(abs(r.control - r.correlation) < 0.01 for r in early)  # "the control is as high"


def test_the_words_on_regularisers_are_those_of_their_tables():
    text = words_of("04")
    tried, signed = read_variants(data_root() / "results", "regularisers"), lambda v: f"{v:+.1f}".replace("-", "−")

    def told(variant, against="unguided"):
        found = tried.contrast(variant, against)
        low, high = (f"{v:.1f}" if found.verdict == "more" else signed(v) for v in found.reach)
        return f"{abs(found.percent):.1f} % {'fewer' if found.percent < 0 else 'more'}", f"({low} to {high} %)"

    decay, attention, dropout = (told(variant) for variant in ("decay", "attention", "dropout"))
    crops, decoded, both = told("guided", "constant"), told("decoded", "constant"), told("decoded", "guided")
    spent = {row.part: row.median_ms * row.times for row in read_table("map_ages_costs.csv")}
    shares = [100 * spent[part] / (spent[part] + spent["step"]) for part in ("crop", "decoded")]
    lost = sorted(tried.contrast(variant, "unguided").percent for variant in ("guided", "decoded", "constant"))
    for said in (
        f"*Weight decay* needs {decay[0]} bytes {decay[1]} and *attention* {attention[0]} {attention[1]}",
        f"*Dropout* needs {dropout[0]} bytes {dropout[1]}",
        f"*The three map weights* need {lost[0]:.1f} to {lost[-1]:.1f} % more bytes",
        f"differs from the other by {-tried.contrast('unguided', 'unguided').percent:.1f} %",
        f"maps of the crops need {crops[0]} bytes {crops[1]}, and maps of the decoded features {decoded[0]} {decoded[1]}",
        f"against maps of the crops need {both[0]} {both[1]}",
        f"only {read_variants(data_root() / 'results').contrast('constant', 'unguided').percent:.1f} % more bytes",
        f"They take {min(shares):.0f} to {max(shares):.0f} % of the time of a training",
    ):
        assert said in text, said
    assert EXPERIMENTS["regularisers"][1] - {"unguided"} == ch04.REGULARISERS.keys()
    pairs = [d for variant in ("decay", "attention") for d in tried.contrast(variant, "unguided").deltas]
    assert len(pairs) == 8 and all(d.percent < 0 for d in pairs)
    verdicts = {variant: tried.contrast(variant, "unguided").verdict for variant in ch04.REGULARISERS}
    assert verdicts == dict.fromkeys(("guided", "decoded", "constant", "dropout"), "more") | dict.fromkeys(
        ("decay", "attention"), "open"
    )
    assert {
        tried.contrast(*pair).verdict
        for pair in (("guided", "constant"), ("decoded", "constant"), ("decoded", "guided"))
    } == {"open"}
    assert sum(d.high < 0 for d in tried.contrast("decoded", "guided").deltas) == 1  # "in one of the four pairs"


def test_ages_and_costs_of_maps_are_measured_in_a_training(tmp_path):
    for name in list(PHOTOS)[:3]:
        (tmp_path / "a").mkdir(exist_ok=True)
        load_photo(name).save(tmp_path / "a" / f"{name}.png")
    plan = ABLATION["base"]
    plan = replace(plan, train=replace(plan.train, batch=2), crop=64, decoder=DecoderConfig(0, 0, 8))
    teacher, folder, seen = load_backbone("tf_efficientnet_lite0"), image_folder(tmp_path), []
    ages, system = measure_map_ages(teacher, folder, plan, 32, 3, lambda *done: seen.append(done))
    assert seen[-1] == (32, 32) and {row.n for row in ages} == {3} and ages[0].correlation_low is None
    points = (1, 2, 4, 8, 16, 24, 32)
    assert [r.step for r in ages if (r.layers, r.second) == ("cut", "crop")] == list(points)
    assert [r.age for r in ages if (r.layers, r.second) == ("behind", "decoded")] == list(np.diff(points))
    assert all(-1 <= row.correlation <= 1 for row in ages)
    costs = measure_map_costs(system, folder, plan, runs=2)
    assert {row.part: row.times for row in costs} == {"step": 12_504, "crop": 12_504, "decoded": 12_504, "photo": 3}
    assert all(row.median_ms > 0 and row.runs == 2 for row in costs)
