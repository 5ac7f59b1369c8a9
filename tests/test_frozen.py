"""A codec that stays as it is, and decoders that are added to it."""

import pytest
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import Backbone, load_backbone
from fsplit_lib.backbones.our_networks import FASHION_NETWORKS
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import fashion_mnist
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import WeightsError
from fsplit_lib.system import add_decoder, attach_decoder, build_system, load_codec, load_system, save_system
from fsplit_lib.training import ArraySource, TrainConfig, train_decoder, train_system

CODEC = CodecConfig(widths=(8, 8, 6), strides=(2, 2, 1), lmbda=0.3, anchors=(0.1, 0.3, 1.0))
CONFIG = TrainConfig(steps=6, batch=8, quantiser="straight_through")


def swin():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Backbone("fashion_swin", FASHION_NETWORKS["fashion_swin"](), 4)


@pytest.fixture(scope="module")
def source():
    return ArraySource(*(part[:200] for part in fashion_mnist("train")))


@pytest.fixture(scope="module")
def native(source):
    system = build_system(load_backbone("fashion_resnet"), CODEC, DecoderConfig(1, 1, 16), 0)
    train_system(system, source, CONFIG)
    return system


@pytest.mark.equation("07.2")
def test_only_the_decoder_learns_and_packets_stay_the_same_bytes(native, source):
    x = images_to_tensor(fashion_mnist("test")[0][:5])
    before, wires = {k: v.clone() for k, v in native.codec.state_dict().items()}, native.codec.compress(x)
    system = attach_decoder(native.codec, swin(), DecoderConfig(1, 1, 16, window=4), seed=1)
    first = {k: v.clone() for k, v in system.decoder.state_dict().items()}
    log = train_decoder(system, source, CONFIG)
    assert all(torch.equal(v, before[k]) for k, v in native.codec.state_dict().items())
    assert [p.to_bytes() for p in system.codec.compress(x)] == [p.to_bytes() for p in wires]
    assert not torch.equal(first["project.weight"], system.decoder.project.weight)
    assert not torch.equal(first["mean"], system.decoder.mean)
    assert log[-1].values["distortion"] < log[0].values["distortion"]
    assert system.answer(wires).shape == native.answer(wires).shape == (5, 10)
    assert all(p.grad is None for p in swin().parameters())
    assert system.codec.encoder.blocks[0].conv1.weight.requires_grad  # as it was


def test_a_codec_that_changes_under_the_training_is_noticed(native, source):
    system = attach_decoder(native.codec, load_backbone("fashion_resnet"), DecoderConfig(0, 0, 8), seed=1)
    weight = native.codec.encoder.blocks[0].conv1.weight

    def meddle(row):
        if row.step == 2:
            with torch.no_grad():
                weight.add_(0.1)

    with pytest.raises(RuntimeError, match="while only a decoder was trained"):
        train_decoder(system, source, CONFIG, progress=meddle)
    with torch.no_grad():
        weight.sub_(0.1)
    untrained = build_system(load_backbone("fashion_resnet"), CODEC, DecoderConfig(0, 0, 8), 0)
    with pytest.raises(RuntimeError):
        train_decoder(untrained, source, CONFIG)


def test_one_folder_holds_several_decoders(native, tmp_path):
    folder, native_name = tmp_path / "codec", "fashion_resnet"
    save_system(folder, native, zoo.Card("codec", "codec", "", "", "", {"steps": 6}, {}))
    files = {p.name: p.read_bytes() for p in folder.glob("*.safetensors")}
    teacher = swin()
    system = attach_decoder(native.codec, teacher, DecoderConfig(1, 1, 16, family="resnet"), seed=1)
    torch.nn.init.normal_(system.decoder.project.weight, std=0.1)
    add_decoder(folder, system, {"steps": 3})
    card = zoo.read_card(folder)
    assert list(card.architecture["decoders"]) == [native_name, "fashion_swin"]
    assert card.architecture["backbone"] == native_name
    theirs = {"network": native.backbone.fingerprint}, {"steps": 3, "network": teacher.fingerprint}
    assert card.training == {"steps": 6, "decoders": dict(zip((native_name, "fashion_swin"), theirs, strict=True))}
    assert all((folder / name).read_bytes() == content for name, content in files.items())
    loaded = load_system(folder, teacher)
    system.decoder.load_state_dict(zoo.as_stored(system.decoder.state_dict()))
    packets = loaded.codec.compress(images_to_tensor(fashion_mnist("test")[0][:3]))
    assert loaded.decoder.config == system.decoder.config
    assert torch.equal(loaded.answer(packets), system.eval().answer(packets))
    assert load_system(folder).backbone.name == native_name


def test_a_decoder_refuses_other_weights_of_its_network(native, tmp_path):
    save_system(tmp_path, native, card := zoo.Card("codec", "codec", "", "", "", {}, {}))
    with pytest.raises(WeightsError, match="trained for other weights of that network"):
        load_system(tmp_path, load_backbone("fashion_resnet", "random"))
    del card.training["decoders"]
    zoo.write_model(tmp_path, card, {})
    with pytest.raises(WeightsError, match="does not say for which weights"):
        load_system(tmp_path)


def test_a_decoder_of_another_codec_is_refused(native, tmp_path):
    folder = tmp_path / "codec"
    save_system(folder, native, zoo.Card("codec", "codec", "", "", "", {}, {}))
    before = (folder / "card.json").read_bytes()
    other = build_system(load_backbone("fashion_resnet"), CODEC, DecoderConfig(0, 0, 8), 9)
    other.codec.update()
    with pytest.raises(WeightsError, match="cannot read those packets"):
        add_decoder(folder, other, {})
    assert (folder / "card.json").read_bytes() == before
    with pytest.raises(ValueError, match="stride 8, the backbone is cut at stride 4"):
        attach_decoder(load_codec("photo"), load_backbone("fashion_resnet"), DecoderConfig(), 0)
