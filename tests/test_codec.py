"""The encoder and the codec: counts, shapes, round trips, identity, hostile packets."""

import copy
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig, Encoder, FeatureCodec
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.packet import Packet, check_size, code_to_lmbda, lmbda_to_code
from fsplit_lib.system import build_system, load_codec, load_system, save_system

SMALL = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1), lmbda=0.5)


@pytest.fixture(scope="module")
def system():
    system = build_system(load_backbone("fashion_resnet"), SMALL, DecoderConfig(1, 1, 16), seed=0)
    with torch.no_grad():
        for parameter in system.codec.encoder.parameters():
            parameter.mul_(2)  # livelier latents than fresh weights give
    system.codec.update()
    return system.eval()


@pytest.fixture(scope="module")
def x():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", ["standard", "official"])
def test_encoder_has_141696_parameters_and_a_stride_8_latent(activation):
    encoder = Encoder(CodecConfig(activation=activation))
    assert sum(p.numel() for p in encoder.parameters()) == 141_696
    for side in (64, 224, 256):
        assert encoder(torch.zeros(1, 3, side, side)).shape == (1, 48, side // 8, side // 8)


def test_a_gate_adds_1096_parameters_and_computes_the_papers_encoder_where_it_is_1():
    torch.manual_seed(0)
    plain, gated = Encoder(CodecConfig()), Encoder(CodecConfig(kind="attention"))
    assert sum(p.numel() for p in gated.parameters()) == 141_696 + 1_096
    for mine, theirs in zip((0, 1, 3), plain.blocks, strict=True):
        gated.blocks[mine].load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 48)
    assert torch.equal(gated(x), plain(x))
    with torch.no_grad():
        gated.blocks[2].attention.fc2.weight.normal_()
        gate = gated.blocks[2](torch.ones(1, 64, 1, 1))
    assert not torch.allclose(gated(x), plain(x)) and 0 < gate.min() < gate.max() < 2
    codec = FeatureCodec(CodecConfig((8, 8, 6), kind="attention"))
    codec.update()
    assert codec.decompress(codec.compress(x)).shape == (2, 6, 8, 6)


def test_official_activation_computes_something_else_and_both_latents_are_signed():
    torch.manual_seed(0)
    ours, theirs = Encoder(CodecConfig()), Encoder(CodecConfig(activation="official"))
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(1, 3, 64, 64)
    assert not torch.allclose(ours(x), theirs(x))
    assert ours(x).min() < 0 < ours(x).max()
    assert theirs(x).min() < 0 < theirs(x).max()


def test_packets_bring_back_the_quantised_latent(system, x):
    packets = [Packet.from_bytes(p.to_bytes()) for p in system.codec.compress(x)]
    with torch.no_grad():
        wanted = system.codec.prior.quantise(system.codec.encoder(x))
    assert torch.equal(system.codec.decompress(packets), wanted)
    assert torch.unique(wanted).numel() > 2
    for packet, ideal in zip(packets, system.codec.ideal_bits(x), strict=True):
        assert packet.payload_bytes <= ideal / 8 * 1.001 + 4


@pytest.mark.equation("05.1")
def test_an_answer_is_the_tail_of_the_decoded_latent(system, x):
    with torch.no_grad():
        y_hat = torch.round(system.codec.encoder(x) - system.codec.prior.medians) + system.codec.prior.medians
        by_hand = system.backbone.tail(system.decoder(y_hat))
    assert torch.allclose(system.answer(system.codec.compress(x)), by_hand, atol=1e-5)


def test_pictures_may_be_oblong(system):
    x = torch.rand(1, 3, 16, 40)
    assert system.codec.decompress(system.codec.compress(x)).shape == (1, 6, 4, 10)


@pytest.mark.parametrize("shape", [(30, 32), (32, 2), (33, 33)])
def test_sizes_off_the_grid_are_refused(system, shape):
    with pytest.raises(ValueError, match="multiples of 4"):
        system.codec.compress(torch.zeros(1, 3, *shape))


def test_what_is_too_large_to_be_decoded_is_not_encoded(system):
    check_size(4096, 4096, system.codec.config.stride)
    with pytest.raises(ValueError, match="at most 16777216 pixels"):
        system.codec.compress(torch.zeros(1).expand(1, 3, 4100, 4096))


def test_codec_id_is_of_encoder_and_tables_only(system):
    before = system.codec.codec_id
    twin = build_system(system.backbone, SMALL, DecoderConfig(2, 0, 8), seed=9)
    twin.codec.load_state_dict(system.codec.state_dict())
    assert twin.codec.codec_id == before  # whatever decoder stands behind it
    with torch.no_grad():
        twin.codec.encoder.blocks[0].conv1.bias[0] += 1
    assert twin.codec.codec_id != before
    twin.codec.load_state_dict(system.codec.state_dict())
    twin.codec.prior.frequencies[0, twin.codec.prior.frequencies[0].argmax()] -= 1
    twin.codec.prior.frequencies[0, 0] += 1
    assert twin.codec.codec_id != before


def test_foreign_and_impossible_packets_are_refused(system, x):
    good = system.codec.compress(x[:1])[0]
    wrong = [
        replace(good, codec_id=b"\0\0\0\0"),
        replace(good, streams=good.streams * 2),
        replace(good, height=30),
        replace(good, height=65532, width=65532),
        replace(good, height=16),
        replace(good, streams=(good.streams[0][:-3],)),
        replace(good, streams=(np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8).tobytes(),)),
    ]
    for packet in wrong:
        with pytest.raises(PacketError):
            system.codec.decompress([Packet.from_bytes(packet.to_bytes())])


def test_one_call_decodes_one_size(system, x):
    whole, half = system.codec.compress(x[:1]) + system.codec.compress(x[:1, :, :16])
    for packets, told in (([whole, half], "16 x 32, 32 x 32"), ([], "no packet")):
        for read in (system.codec.decompress, system.answer):
            with pytest.raises(PacketError, match=f"one picture size, got {told}"):
                read(packets)


@pytest.mark.equation("05.5")
def test_quantisers(system):
    codec, y = system.codec, torch.randn(2, 6, 8, 8, requires_grad=True)
    noise = torch.rand(2, 6, 8, 8) - 0.5
    shown, p = codec.quantise(y, "noise", noise)
    assert torch.equal(shown, y + noise)
    assert torch.equal(p, codec.prior.likelihood(y + noise))
    shown, _ = codec.quantise(y, "straight_through", noise)
    assert torch.allclose(shown, codec.prior.quantise(y), atol=1e-6)
    assert torch.equal(torch.autograd.grad(shown.sum(), y)[0], torch.ones_like(y))
    assert torch.equal(codec.quantise(y, "none", noise)[0], y)
    assert torch.equal(codec.quantise(y, "noise", None)[0], codec.prior.quantise(y))


def test_another_process_decodes_from_the_checkpoint_alone(system, x, tmp_path):
    card = zoo.Card("tiny", "codec", "", "", "", {}, {})
    save_system(tmp_path / "tiny", system, card)
    loaded = load_system(tmp_path / "tiny")
    assert load_codec(tmp_path / "tiny").codec_id == system.codec.codec_id
    (tmp_path / "photo.fsp").write_bytes(loaded.codec.compress(x[:1])[0].to_bytes())
    code = (
        "import sys, torch; from pathlib import Path; from fsplit_lib.packet import Packet;"
        "from fsplit_lib.system import load_system; root = Path(sys.argv[1]);"
        "packet = Packet.from_bytes((root / 'photo.fsp').read_bytes());"
        "torch.save(load_system(root / 'tiny').answer([packet]), root / 'logits.pt')"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path)], check=True)
    answer = loaded.answer([Packet.from_bytes((tmp_path / "photo.fsp").read_bytes())])
    assert torch.allclose(torch.load(tmp_path / "logits.pt"), answer, atol=1e-5)


def test_pixels_outside_0_to_1_are_refused_in_one_sentence(system, x):
    for wrong, told in ((255 * x, "from 0"), ((x - 0.45) / 0.22, "from -2"), ((255 * x).to(torch.uint8), "uint8"),
                        (x + 0.01, "to 1.01")):  # fmt: skip
        for use in (system.codec.compress, system.codec.ideal_bits):
            with pytest.raises(ParameterError, match=r"floats in \[0, 1\].*divide bytes by 255") as refused:
                use(wrong)
            assert told in str(refused.value) and "\n" not in str(refused.value)
    assert len(system.codec.compress(x.round())) == len(x)


def test_a_codec_in_use_is_copied_saved_and_loaded_into_a_new_one(system, steered, x, tmp_path):
    for codec in (system.codec, steered.codec):
        wires = [packet.to_bytes() for packet in codec.compress(x)]
        torch.save(codec, tmp_path / "whole.pt")
        fresh = FeatureCodec(codec.config)
        fresh.load_state_dict(codec.state_dict())
        for other in (copy.deepcopy(codec), torch.load(tmp_path / "whole.pt", weights_only=False), fresh):
            assert [packet.to_bytes() for packet in other.eval().compress(x)] == wires
            assert torch.equal(other.decompress(codec.compress(x)), codec.decompress(codec.compress(x)))
        assert [packet.to_bytes() for packet in codec.compress(x)] == wires


def test_a_codec_needs_tables_before_it_compresses():
    with pytest.raises(RuntimeError, match="update"):
        FeatureCodec(SMALL).compress(torch.zeros(1, 3, 32, 32))


STEERED = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1), lmbda=0.3, anchors=(0.05, 0.3, 2.0))


@pytest.fixture(scope="module")
def steered():
    system = build_system(load_backbone("fashion_resnet"), STEERED, DecoderConfig(1, 1, 16), seed=0)
    with torch.no_grad():
        for parameter in system.codec.encoder.parameters():
            parameter.mul_(2)
    system.codec.update()
    return system.eval()


def test_gains_meet_their_anchors_and_interpolate_geometrically():
    gains = FeatureCodec(STEERED).gains
    with torch.no_grad():
        gains.log_gain.copy_(torch.randn(3, 6))
    at, _ = gains(torch.tensor(STEERED.anchors))
    assert torch.allclose(at[:, :, 0, 0], gains.log_gain.exp())
    middle, _ = gains(torch.tensor([(0.05 * 0.3) ** 0.5]))
    assert torch.allclose(middle[0], (at[0] * at[1]).sqrt())
    outside, _ = gains(torch.tensor([0.001, 50.0]))
    assert torch.allclose(outside[0], at[0]) and torch.allclose(outside[1], at[2])


def test_one_encoder_packs_coarse_to_fine(steered, x):
    codec = steered.codec
    assert sum(p.numel() for p in codec.encoder.parameters()) == sum(p.numel() for p in Encoder(SMALL).parameters())
    y = codec.encoder(x)
    sizes, errors = [], []
    for lmbda in (0.05, 0.1, 0.3, 0.7, 2.0):
        packets = [Packet.from_bytes(p.to_bytes()) for p in codec.compress(x, lmbda)]
        assert packets == codec.pack(y, lmbda)
        assert packets[0].lmbda_code == lmbda_to_code(lmbda)
        y_hat = codec.decompress(packets)
        snapped = torch.full((3,), code_to_lmbda(packets[0].lmbda_code))
        assert torch.equal(y_hat, codec.quantise(y, "noise", None, snapped)[0])
        sizes.append(sum(p.payload_bytes for p in packets))
        errors.append((y_hat - y).square().mean().item())
        for packet, ideal in zip(packets, codec.ideal_bits(x, lmbda), strict=True):
            assert packet.payload_bytes <= ideal / 8 * 1.001 + 4
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)
    assert sizes[0] > 1.5 * sizes[-1]
    assert codec.compress(x) == codec.compress(x, 0.3)


def test_a_rate_beyond_the_anchors_is_refused(steered, x):
    for lmbda in (0.01, 5.0):
        with pytest.raises(ValueError, match=r"lmbda 0\.05\d* to"):
            steered.codec.compress(x, lmbda)
    good = steered.codec.compress(x[:1])[0]
    with pytest.raises(PacketError, match="lmbda"):
        steered.codec.decompress([replace(good, lmbda_code=255)])
    with pytest.raises(PacketError):  # the tables of another rate weight do not fit
        steered.codec.decompress([replace(good, lmbda_code=lmbda_to_code(0.06))])


def test_gains_travel(steered, x, tmp_path):
    save_system(tmp_path / "steered", steered, zoo.Card("steered", "codec", "", "", "", {}, {}))
    loaded = load_codec(tmp_path / "steered")
    assert loaded.codec_id == steered.codec.codec_id
    assert loaded.config == STEERED and len(loaded.codes) == len(steered.codec.codes) > 80
    with torch.no_grad():
        loaded.gains.log_inverse[0, 0] += 1
    assert loaded.codec_id != steered.codec.codec_id


@pytest.mark.parametrize("anchors", [(0.3,), (1.0, 0.1), (0.1, 0.1), (0.5, 1.0)])
def test_anchors_that_are_none(anchors):
    with pytest.raises(ValueError, match="anchors"):
        CodecConfig(anchors=anchors, lmbda=0.3)


@pytest.mark.parametrize(
    "rates", [{"lmbda": 200.0}, {"lmbda": 0.0}, {"anchors": (1e-4, 1.0)}, {"anchors": (0.1, 300.0)}]
)
def test_a_rate_that_no_packet_can_name_is_refused_before_training(rates):
    with pytest.raises(ParameterError, match="lmbda must lie between 0.001 and 100"):
        CodecConfig(**({"lmbda": 0.3} | rates))


def test_a_copy_that_changes_has_an_id_of_its_own(system, x):
    system.codec.compress(x)
    twin, before = copy.deepcopy(system.codec), system.codec.codec_id
    with torch.no_grad():
        next(twin.encoder.parameters()).mul_(1.5)
    assert twin.codec_id != system.codec.codec_id == before


def test_a_packer_is_made_once_until_something_changes(system, x, monkeypatch):
    codec, made = copy.deepcopy(system.codec), []
    make = codec._make_packer
    monkeypatch.setattr(codec, "_make_packer", lambda: made.append(1) or make())
    for _ in range(3):
        codec.decompress(codec.compress(x))
    assert len(made) == 1
    codec.update()
    codec.compress(x)
    assert len(made) == 2


@pytest.mark.parametrize(
    ("config", "parameters", "million"),
    [
        (CodecConfig(), 141_696, 530.5),
        (CodecConfig((32, 64, 48), (4, 2, 1), kind="lean"), 137_168, 118.3),
        (CodecConfig((64, 128, 48), (8, 1, 1), kind="tiny"), 33_712, 26.1),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_the_encoders_do_the_work_that_the_book_says(config, parameters, million):
    codec, work = FeatureCodec(config).eval(), []
    for layer in codec.encoder.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda m, _, out: work.append(m.weight.numel() * out.shape[-1] * out.shape[-2]))
    x = torch.rand(1, 3, 224, 224)
    assert codec.encoder(x).shape == (1, 48, 28, 28)
    assert sum(work) / 1e6 == pytest.approx(million, abs=0.05)
    assert sum(p.numel() for p in codec.encoder.parameters()) == parameters
    codec.update()
    (packet,) = codec.compress(x)
    assert torch.equal(
        codec.decompress([packet]), codec.encoder(x).sub(codec.prior.medians).round() + codec.prior.medians
    )


@pytest.mark.parametrize("wrong", [{"kind": "huge"}, {"kind": "lean"}])
def test_encoders_that_nobody_built_are_refused(wrong):
    with pytest.raises(ValueError, match="kind must be|third stride"):
        CodecConfig(**wrong)
