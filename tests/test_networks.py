"""Backbones, decoders, objectives and the system: cuts that are exact, losses that are by the book."""

import hashlib
import math
import warnings

import pytest
import timm
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import FASHION_NETWORKS, Backbone, FeatureSpec, load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import center_crop, fashion_mnist, load_photo
from fsplit_lib.data.tensors import images_to_tensor, photo_tensor
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.errors import ParameterError, WeightsError
from fsplit_lib.objectives import cross_entropy, head_distillation, info_nce, loss_of, tail_distillation
from fsplit_lib.system import ForwardPass, build_system, load_codec, load_system, save_system
from fsplit_lib.theory import kl_divergence
from fsplit_lib.training import ArraySource, TrainConfig, train_system

SMALL = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1))


@pytest.fixture(scope="module")
def teacher():
    return load_backbone("fashion_resnet")


@pytest.fixture(scope="module")
def lite0():
    return load_backbone("tf_efficientnet_lite0")


def test_tail_of_head_is_the_network_bit_for_bit(lite0):
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        h = lite0.head(x)
        whole = lite0.network((x - lite0.head.mean) / lite0.head.std)
        assert torch.equal(lite0.tail(h), whole)
    assert lite0.spec == FeatureSpec("efficientnet", 40, 8)
    assert h.shape == (2, 40, 28, 28) and h.is_contiguous()


def test_the_fashion_teacher_is_cut_at_stride_4(teacher):
    assert teacher.spec == FeatureSpec("resnet", 64, 4)
    assert sum(p.numel() for p in teacher.network.parameters()) == 759_930 < 1_000_000
    assert zoo.read_card("fashion_resnet").scores[0]["top1"] >= 0.925


def test_lite0_knows_a_cat(lite0):
    x = photo_tensor(center_crop(load_photo("chelsea")))
    with torch.no_grad():
        top = lite0(x).argmax().item()
    assert 281 <= top <= 287
    assert "cat" in lite0.class_names[top] or "tabby" in lite0.class_names[top]


def test_a_teacher_never_trains(teacher):
    teacher.train()
    assert not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_names_and_weights_that_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="resnet50"):
        load_backbone("resnet5O")
    for weights in ("random", "download"):
        with pytest.raises(ParameterError, match=r"no weights 'a1_in2k' of resnet50.*resnet50\.a1_in1k"):
            load_backbone("resnet50.a1_in2k", weights)
    with pytest.raises(ParameterError, match="ResNet, ConvNeXt"):
        load_backbone("vgg11", "random")
    with pytest.raises(ParameterError, match="download"):
        load_backbone("resnet18")
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit ResNet"):
        load_backbone("resnet18", tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:1000])
    with pytest.raises(WeightsError, match="cut short"):
        load_backbone("resnet18", tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match="no weights file"):
        load_backbone("resnet18", tmp_path / "none.pth")
    state = timm.create_model("resnet10t").state_dict()
    for name, content, sentence in (
        ("numbers", dict(enumerate(state.values())), r"names tensors by 0 and the like.*state_dict\(\)"),
        ("mixed", state | {7: torch.zeros(1)}, "names tensors by 7 and the like"),
        ("wrapped", {f"module.{k}": v for k, v in state.items()}, r"begin with 'module\.'.*network inside, its module"),
        ("compiled", {f"_orig_mod.{k}": v for k, v in state.items()}, "network inside, its _orig_mod"),
        ("nested", {"epoch": 3, "state_dict": state}, "keeps parts under 'state_dict'; save the state dict alone"),
        ("diverged", state | {"fc.bias": torch.full((1000,), torch.nan)}, r"NaN or infinity, as in fc\.bias"),
    ):
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(WeightsError, match=f"{name}.*{sentence}"):
            load_backbone("resnet10t", tmp_path / f"{name}.pth")
    torch.save(state, tmp_path / "good.pth")
    assert torch.equal(load_backbone("resnet10t", tmp_path / "good.pth").network.fc.bias, state["fc.bias"])
    with pytest.raises(ParameterError, match="no stage of this resnet has stride 64"):
        load_backbone("resnet18", "random", stride=64)

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match="could not download"):
        load_backbone("resnet18", "download")


@pytest.mark.parametrize(("family", "channels"), [("efficientnet", 40), ("resnet", 128), ("resnet", 512)])
@pytest.mark.parametrize("config", [DecoderConfig(0, 0, 16), DecoderConfig(1, 2, 24), DecoderConfig(3, 0, 16)])
def test_decoders_have_the_shape_of_their_target(family, channels, config):
    decoder = build_decoder(48, FeatureSpec(family, channels, 8), config)
    for side in (8, 28, 32):
        out = decoder(torch.randn(2, 48, side, side))
        assert out.shape == (2, channels, side, side) and out.is_contiguous()
    assert all(torch.isfinite(p).all() for p in decoder.parameters())


def test_a_fresh_decoder_answers_with_the_teachers_mean(teacher):
    h = teacher.head(images_to_tensor(fashion_mnist("test")[0][:64]))
    decoder = build_decoder(6, teacher.spec, DecoderConfig(1, 1, 16))
    decoder.fit_statistics(h)
    h_hat = decoder(torch.randn(64, 6, 8, 8))
    assert torch.allclose(h_hat[0, :, 0, 0], h.mean(dim=(0, 2, 3)), atol=1e-5)
    assert head_distillation(h, h_hat, decoder.spread).item() == pytest.approx(1, abs=0.01)


def test_decoders_that_cannot_be():
    with pytest.raises(ParameterError, match="'vit'"):
        build_decoder(48, FeatureSpec("vit", 40, 8))
    with pytest.raises(ParameterError, match=">= 0"):
        build_decoder(48, FeatureSpec("resnet", 40, 8), DecoderConfig(-1, 0, 8))


@pytest.mark.equation("05.3")
def test_head_distillation_by_hand():
    generator = torch.Generator().manual_seed(0)
    h, h_hat = (torch.randn(2, 3, 2, 2, generator=generator) for _ in range(2))
    spread, s = torch.tensor([1.0, 2.0, 0.5]).view(1, 3, 1, 1), torch.rand(2, 1, 2, 2, generator=generator)
    total = 0.0
    for b in range(2):
        for c in range(3):
            for i in range(2):
                for j in range(2):
                    total += s[b, 0, i, j] * ((h[b, c, i, j] - h_hat[b, c, i, j]) / spread[0, c, 0, 0]) ** 2
    assert head_distillation(h, h_hat, spread, s).item() == pytest.approx(total.item() / 24, rel=1e-5)
    assert head_distillation(h, h_hat, spread, torch.ones(2, 1, 2, 2)) == head_distillation(h, h_hat, spread)


@pytest.mark.equation("05.2")
def test_bits_by_hand():
    likelihoods = torch.full((2, 3, 2, 2), 0.25)
    likelihoods[1] = 0.5
    out = ForwardPass(torch.zeros(2, 3, 8, 4), likelihoods, likelihoods, likelihoods)
    assert out.bits.tolist() == [24.0, 12.0]
    assert out.bits_per_pixel.tolist() == [24 / 32, 12 / 32]


@pytest.mark.equation("00.4", "05.4")
@pytest.mark.parametrize("objective", ["head_distillation", "head_and_contrast", "cross_entropy"])
def test_loss_is_distortion_plus_lmbda_times_rate_and_spares_the_teacher(teacher, objective):
    system = build_system(teacher, SMALL, DecoderConfig(1, 1, 8), 0)
    images, labels = fashion_mnist("train")
    x, y = images_to_tensor(images[:4]), torch.tensor(labels[:4])
    torch.nn.init.normal_(system.decoder.project.weight, std=0.1)
    loss = loss_of(objective, system, system(x, "noise", torch.zeros(4, 6, 8, 8)), y, lmbda=2.0)
    assert loss.total.item() == pytest.approx(loss.distortion.item() + 2 * loss.rate.item(), rel=1e-6)
    loss.total.backward()
    assert system.codec.encoder.blocks[0].conv1.weight.grad.abs().sum() > 0
    assert system.codec.prior.density.matrices[0].grad.abs().sum() > 0
    assert system.decoder.widen.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())


def test_contrast_adds_how_pictures_of_a_batch_are_told_apart(teacher):
    system = build_system(teacher, SMALL, DecoderConfig(1, 1, 8), 0)
    x = images_to_tensor(fashion_mnist("train")[0][:6])
    system.decoder.fit_statistics(teacher.head(x))
    torch.nn.init.normal_(system.decoder.project.weight, std=0.1)
    out = system(x, "noise", torch.zeros(6, 6, 8, 8))
    plain, more = (loss_of(kind, system, out, None, 1.0) for kind in ("head_distillation", "head_and_contrast"))
    pooled = [((f - system.decoder.mean) / system.decoder.spread).mean((2, 3)) for f in (teacher.head(x), out.h_hat)]
    assert more.distortion.item() == pytest.approx(plain.distortion.item() + 0.1 * info_nce(*pooled).item(), rel=1e-5)
    assert more.distortion > plain.distortion + 0.01 and more.rate == plain.rate


@pytest.mark.equation("09.2")
def test_info_nce_by_hand():
    generator = torch.Generator().manual_seed(0)
    z, z_hat = (torch.randn(5, 7, generator=generator) for _ in range(2))
    one, two = ([v / v.norm() for v in rows] for rows in (z, z_hat))
    likeness = [[math.exp((a @ b).item() / 0.3) for b in two] for a in one]
    there = [-math.log(row[i] / sum(row)) for i, row in enumerate(likeness)]
    back = [-math.log(likeness[i][i] / sum(row[i] for row in likeness)) for i in range(5)]
    assert info_nce(z, z_hat, 0.3).item() == pytest.approx((sum(there) + sum(back)) / 10, rel=1e-5)
    assert info_nce(3 * z, z_hat, 0.3).item() == pytest.approx(info_nce(z_hat, z, 0.3).item(), rel=1e-5)
    assert info_nce(z, torch.zeros(5, 7)).item() == pytest.approx(math.log(5))  # nothing to tell them apart by


def test_cross_entropy_needs_labels(teacher):
    system = build_system(teacher, SMALL, DecoderConfig(0, 0, 8), 0)
    with pytest.raises(ValueError, match="labels"):
        loss_of("cross_entropy", system, system(torch.zeros(1, 3, 32, 32)), None, 1.0)


def test_training_leaves_the_teacher_alone(teacher):
    def fingerprint():
        return hashlib.sha256(b"".join(v.numpy().tobytes() for v in teacher.network.state_dict().values())).hexdigest()

    before = fingerprint()
    system = build_system(teacher, SMALL, DecoderConfig(1, 1, 8), 0)
    train_system(system, ArraySource(*(p[:64] for p in fashion_mnist("train"))), TrainConfig(steps=5, batch=8))
    assert fingerprint() == before


def test_first_weights_are_seeded_and_the_global_generator_is_left_alone(teacher):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two = (build_system(teacher, SMALL, DecoderConfig(1, 1, 8), seed=7) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.codec.encoder.blocks[0].conv1.weight, two.codec.encoder.blocks[0].conv1.weight)
    assert torch.equal(one.decoder.widen.weight, two.decoder.widen.weight)


def test_systems_are_stored_and_found_again(teacher, tmp_path):
    system = build_system(teacher, SMALL, DecoderConfig(1, 1, 8), 0)
    torch.nn.init.normal_(system.decoder.project.weight, std=0.1)
    system.codec.update()
    save_system(tmp_path / "tiny", system, zoo.Card("tiny", "codec", "", "", "", {}, {}))
    loaded = load_system(tmp_path / "tiny", teacher)
    for piece in (system.codec, system.decoder):
        piece.load_state_dict(zoo.as_stored(piece.state_dict()))
    x = images_to_tensor(fashion_mnist("test")[0][:3])
    assert torch.equal(loaded.answer(loaded.codec.compress(x)), system.eval().answer(system.codec.compress(x)))
    other = Backbone("another", FASHION_NETWORKS["fashion_resnet"](), 4)
    with pytest.raises(WeightsError, match="not for another"):
        load_system(tmp_path / "tiny", other)
    with pytest.raises(WeightsError, match="not a codec|has no codec"):
        load_codec("fashion_resnet")
    with pytest.raises(ValueError, match="strides|stride"):
        build_system(teacher, CodecConfig(), DecoderConfig(), 0)


def test_imports_warn_of_nothing_and_bring_nothing_slow():
    import subprocess
    import sys

    warnings.simplefilter("default")
    code = "import sys, fsplit_lib.evaluation, fsplit_lib.panels; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "Warning" not in done.stderr
    assert "nbformat" in done.stdout.split()  # by way of plotly; it reads a grammar with lark unless it is kept from it
    assert not {"lark", "sklearn", "matplotlib.pyplot"} & set(done.stdout.split())


@pytest.mark.equation("05.6")
def test_cross_entropy_by_hand(teacher):
    x, labels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 0, 9])
    h = teacher.head(x)
    probs = teacher(x).softmax(1)
    by_hand = -sum(math.log(probs[i, label]) for i, label in enumerate(labels.tolist())) / 3
    assert cross_entropy(teacher.tail(h), labels).item() == pytest.approx(by_hand, rel=1e-4)


def test_tail_distillation_is_a_divergence_of_answers():
    logits, other = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]]), torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 2.0]])
    p, q = logits.softmax(1).double(), other.softmax(1).double()
    by_hand = sum(kl_divergence(a.numpy(), b.numpy()) for a, b in zip(p, q, strict=True)) / 2 * math.log(2)
    assert tail_distillation(logits, other).item() == pytest.approx(by_hand, rel=1e-4)
    assert tail_distillation(logits, logits).item() == pytest.approx(0, abs=1e-7)
