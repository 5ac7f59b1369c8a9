"""Four families, one interface: every cut is exact, every blueprint fits every target at every size."""

import itertools
from dataclasses import asdict
from functools import cache

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import _registry

from fsplit_lib import zoo
from fsplit_lib.backbones import FASHION_NETWORKS, FeatureSpec, load_backbone
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.decoders.blocks import TRANSFORMATION, SwinBlock
from fsplit_lib.errors import ParameterError

FAMILIES = ("resnet", "convnext", "swin", "efficientnet")
SMALL = ("resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "swin_s3_tiny_224", "tf_efficientnet_lite0")
BIG = ("resnet50", "resnet101", "convnext_tiny", "convnext_base", "swin_base_patch4_window7_224", "efficientnet_b0")
CHANNELS = {
    "resnet18": 128, "resnet50": 512, "resnet101": 512, "convnext_atto": 80, "convnext_tiny": 192,
    "convnext_base": 256, "swin_tiny_patch4_window7_224": 192, "swin_base_patch4_window7_224": 256,
    "swin_s3_tiny_224": 192, "tf_efficientnet_lite0": 40, "efficientnet_b0": 40,
}  # fmt: skip


@cache
def pixels(side):
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(side))


@pytest.mark.parametrize(
    ("name", "side"), [*((n, 224) for n in SMALL + BIG), *((n, 256) for n in (*SMALL, "efficientnet_b0"))]
)
@torch.no_grad()
def test_the_cut_is_exact_and_a_decoder_fits_it(name, side):
    backbone = load_backbone(name, "random", input_size=side)
    x = pixels(side)
    h = backbone.head(x)
    assert torch.equal(backbone.tail(h), backbone.network((x - backbone.head.mean) / backbone.head.std))
    assert backbone.spec == FeatureSpec(next(f for f in FAMILIES if f in name), CHANNELS[name], 8)
    assert h.shape == (1, CHANNELS[name], side // 8, side // 8) and h.is_contiguous()
    assert backbone.input_size == side
    h_hat = build_decoder(48, backbone.spec, DecoderConfig(1, 2, 32))(torch.randn(1, 48, side // 8, side // 8))
    assert h_hat.shape == h.shape and h_hat.is_contiguous()


@torch.no_grad()
def test_sizes_off_the_round_ones():
    for name, side in itertools.product(("resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"), (40, 104)):
        backbone = load_backbone(name, "random", input_size=side)
        assert backbone.head(pixels(side)).shape[-1] == side // 8 and backbone(pixels(side)).shape == (1, 1000)


def test_sizes_that_cannot_be():
    for side in (0, 8, 100, -8):
        with pytest.raises(ParameterError, match="multiple of the stride 8"):
            load_backbone("resnet18", "random", input_size=side)
    with pytest.raises(ParameterError, match="convnext cannot take 16 x 16 pictures"):
        load_backbone("convnext_atto", "random", input_size=16)
    with pytest.raises(ParameterError, match="32 x 32"):
        load_backbone("fashion_swin", "random", input_size=224)


def test_an_architecture_that_timm_has_no_weights_of(monkeypatch, tmp_path):
    for known in (_registry._model_pretrained_cfgs, _registry._model_default_cfgs):
        for name in [name for name in known if name.split(".")[0] == "resnet18"]:
            monkeypatch.delitem(known, name)
    backbone = load_backbone("resnet18", "random", input_size=64)
    assert backbone(pixels(64)).shape == (1, 1000)
    safetensors.torch.save_file(backbone.network.state_dict(), tmp_path / "mine.safetensors")
    assert load_backbone("resnet18", tmp_path / "mine.safetensors").fingerprint == backbone.fingerprint


@pytest.mark.parametrize(("name", "channels"), [("fashion_resnet", 64), ("fashion_convnext", 64), ("fashion_swin", 96)])
@torch.no_grad()
def test_our_own_networks(name, channels):
    backbone = load_backbone(name, "random")
    assert sum(p.numel() for p in backbone.network.parameters()) <= 1_000_000
    assert backbone.spec == FeatureSpec(name.removeprefix("fashion_"), channels, 4)
    h = backbone.head(pixels(32))
    assert h.shape == (1, channels, 8, 8)
    assert torch.equal(backbone.tail(h), backbone.network(2 * pixels(32) - 1))
    assert backbone.class_names[0] == "T-shirt"


def test_windows_divide_every_map_of_our_swin():
    for stage in FASHION_NETWORKS["fashion_swin"]().layers:
        for block in stage.blocks:
            assert all(
                side % window == 0 for side, window in zip(block.input_resolution, block.window_size, strict=True)
            )


@given(
    st.sampled_from(FAMILIES),
    st.sampled_from([None, *FAMILIES]),
    st.integers(0, 2),
    st.integers(0, 3),
    st.sampled_from([8, 24, 50]),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.integers(1, 7),
)
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_any_blueprint_gives_any_target_its_shape(target, blueprint, restoration, transformation, width, sides, window):
    config = DecoderConfig(restoration, transformation, width, "dense", blueprint, window)
    decoder = build_decoder(5, FeatureSpec(target, 7, 8), config)
    torch.nn.init.normal_(decoder.project.weight)
    assert len(decoder.restore) == restoration and len(decoder.transform) == transformation
    y_hat = torch.randn(2, 5, *sides)
    out = decoder(y_hat)
    assert out.shape == (2, 7, *sides) and out.is_contiguous() and torch.isfinite(out).all()
    assert torch.allclose(decoder(y_hat[1:]), out[1:], atol=1e-4)  # whoever else is in the batch


def test_the_family_of_a_decoder_is_its_own_or_the_one_asked_for():
    spec = FeatureSpec("swin", 96, 4)
    own, other = (build_decoder(16, spec, DecoderConfig(1, 2, 32, family=f)) for f in (None, "resnet"))
    assert all(isinstance(block, SwinBlock) for block in own.transform)
    assert {type(block).__name__ for block in other.transform} == {"BasicBlock"}
    with pytest.raises(ParameterError, match="'vit'"):
        build_decoder(16, spec, DecoderConfig(family="vit"))
    with pytest.raises(ParameterError, match="window >= 1"):
        build_decoder(16, spec, DecoderConfig(window=0))


@torch.no_grad()
def test_only_shifted_windows_talk_to_their_neighbours():
    torch.manual_seed(0)
    plain, shifted = SwinBlock(16, 4, shifted=False).eval(), SwinBlock(16, 4, shifted=True).eval()
    x = torch.randn(1, 16, 8, 8)
    poked = x.clone()
    poked[:, :, 3, 3] = torch.randn(1, 16)  # the corner of the upper left window
    changed = [((block(x) - block(poked)).abs().amax(dim=1)[0] > 1e-6) for block in (plain, shifted)]
    assert changed[0][:4, :4].all() and changed[0].sum() == 16
    assert changed[1][2:6, 2:6].all() and changed[1].sum() == 16


def test_gradients_reach_every_weight_of_every_family():
    for block in TRANSFORMATION.values():
        stack = torch.nn.Sequential(*(block(24, number, 4) for number in range(2)))
        stack(torch.randn(2, 24, 8, 8)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in stack.parameters())


def test_configurations_of_older_checkpoints_still_build():
    for name in ("photo", "photo-first", "label-head"):
        for fields in zoo.read_card(name).architecture["decoders"].values():
            config = DecoderConfig(
                **{k: v for k, v in fields.items() if k in ("restoration", "transformation", "width")}
            )
            assert (config.family, config.window) == (None, 7) and set(fields) <= set(asdict(config))
