"""Weights and cards: what is written is what is read, and damage is noticed."""

import errno
import json
import os

import pytest
import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import DataError, WeightsError
from fsplit_lib.system import build_system, load_system, save_system


@pytest.fixture
def folder(tmp_path):
    state = {"conv.weight": torch.randn(4, 3), "prior.frequencies": torch.arange(5, dtype=torch.int32),
             "prior.q": torch.randn(3), "spread": torch.rand(2) + 1e-4, "running_var": torch.rand(2)}  # fmt: skip
    card = zoo.Card("tiny", "codec", "a test", "none", "none", {"steps": 1}, {})
    zoo.write_model(tmp_path / "tiny", card, {"codec.safetensors": state})
    return tmp_path / "tiny", state


def test_a_reader_gets_what_as_stored_promises(folder):
    path, state = folder
    read = zoo.read_weights(path, "codec.safetensors")
    promised = zoo.as_stored(state)
    assert all(torch.equal(read[k], promised[k]) and read[k].dtype == state[k].dtype for k in state)
    assert torch.equal(read["conv.weight"], state["conv.weight"].half().float())
    for exact in ("prior.frequencies", "prior.q", "spread", "running_var"):
        assert torch.equal(read[exact], state[exact])
    assert zoo.read_card(path).training == {"steps": 1}


def test_damage_is_noticed(folder):
    path, _ = folder
    file = path / "codec.safetensors"
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[:40], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(broken)
        with pytest.raises(WeightsError, match="sha256"):
            zoo.read_weights(path, "codec.safetensors")
        if len(broken) != len(whole):
            with pytest.raises(WeightsError, match="cut short or damaged"):
                zoo.read_state_dict(file)
    file.unlink()
    with pytest.raises(WeightsError, match="no weights file"):
        zoo.read_weights(path, "codec.safetensors")
    with pytest.raises(WeightsError, match=r"it has codec\.safetensors"):
        zoo.read_weights(path, "decoder-x.safetensors")


ODD_CARDS = [
    ("{", "not a card"), ("[]", "not a card: it must be an object"), ("3", "must be an object"), ("null", "must be an object"),
    ("[" * 100_000, "not a card"), ('{"name":' * 100_000, "not a card"), ("\0", "not a card"), ('{"name": "tiny"}', "lacks the field kind"),
    ("9" * 5000, "not a card"), (b"\xff\xfe", "not a card"),
    ({"name": None}, "name must be of type str, got None"), ({"training": []}, "training must be of type dict, got a list"),
    ({"architecture": "x" * 999}, r"architecture must be of type dict, got 'x{30,60}\.\.\."), ({"scores": {}}, "scores must be of type"),
    ({"scores": [1]}, "scores must be of type"), ({"limits": "none"}, "limits must be of type"), ({"limits": [1]}, "limits must be of type"),
    ({"files": []}, "files must be of type"), ({"files": {"a": 1}}, "files must be of type"), ({"files": {"a": "0" * 63}}, "64 hex digits"),
    *(({"files": {name: "0" * 64}}, "must lie in the folder of its card")
      for name in ("../x", "/etc/hostname", "a/b", "..", ".", "", "a\\b", "C:x", "x\0", "x\x1b[2J")),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "words"), ODD_CARDS, ids=[str(n) for n in range(len(ODD_CARDS))])
def test_cards_that_are_none(folder, tmp_path, odd, words):
    """Text that is no card, and cards with one odd field: one sentence, and never a file outside the card's folder."""
    path, _ = folder
    if isinstance(odd, dict):
        odd = json.dumps(json.loads((path / "card.json").read_text()) | odd)
    (path / "card.json").write_bytes(odd.encode() if isinstance(odd, str) else odd)
    (tmp_path / "x").write_text("not of the folder")
    for read in (
        zoo.read_card,
        lambda at: zoo.read_weights(at, "../x"),
        lambda at: zoo.copy_model(at, tmp_path / "copy"),
    ):
        with pytest.raises(WeightsError, match=words) as caught:
            read(path)
        assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)
    assert not (tmp_path / "copy").exists()


def test_a_name_that_nobody_has(tmp_path):
    with pytest.raises(WeightsError, match="photo-first"):
        zoo.read_card(tmp_path / "nobody")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codec": 3}, "no codec that can be built"), ({"codec": {"widths": "wide"}}, "no codec that can be built"),
        ({"codec": {"colour": 1}}, "no codec that can be built"), ({"codec": None}, "no codec that can be built"),
        ({"backbone": 3}, "names no backbone"), ({"decoders": []}, "names no backbone or no decoders"),
        ({"decoders": {"fashion_resnet": 3}}, "no decoder for fashion_resnet"),
        ({"decoders": {"fashion_resnet": {"width": "x"}}}, "no decoder for fashion_resnet"),
    ],
    ids=str,
)  # fmt: skip
def test_a_card_of_an_odd_network(tmp_path, change, words):
    config = CodecConfig((4, 4, 4), (2, 2, 1))
    system = build_system(load_backbone("fashion_resnet"), config, DecoderConfig(0, 0, 4), 0)
    system.codec.update()
    training = {"decoders": {"fashion_resnet": {"network": system.backbone.fingerprint}}}
    save_system(tmp_path, system, zoo.Card("odd", "codec", "", "", "", training, {}))
    load_system(tmp_path)
    told = json.loads((tmp_path / "card.json").read_text())
    told["architecture"] |= change
    (tmp_path / "card.json").write_text(json.dumps(told))
    with pytest.raises(WeightsError, match=words):
        load_system(tmp_path)


def test_pickles_and_other_objects_are_refused(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pth")
    torch.save({"model": torch.nn.Linear(1, 1), "epoch": 1}, tmp_path / "run.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("module.pth", "run.pth"):
        with pytest.raises(WeightsError, match=r"whole pickled model.*save its state_dict\(\)"):
            zoo.read_state_dict(tmp_path / name)
    with pytest.raises(WeightsError, match="plain state dict"):
        zoo.read_state_dict(tmp_path / "list.pth")


def test_every_name_and_shape_has_to_fit():
    module = torch.nn.Linear(2, 2)
    before = module.weight.clone()
    for state in ({"weight": torch.zeros(2, 2)}, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}):
        with pytest.raises(WeightsError, match="1 of 2 tensors"):
            zoo.load_strictly(module, state, "x")
    assert torch.equal(module.weight, before)


def test_a_full_disk_leaves_the_old_weights(folder, monkeypatch):
    path, state = folder
    before = {p.name: p.read_bytes() for p in path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left"):
        zoo.write_model(path, zoo.read_card(path), {"codec.safetensors": {"conv.weight": torch.zeros(1)}})
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before


def test_scores_replace_older_ones_of_the_same_kind(folder):
    path, _ = folder
    for kept in (0.5, 0.6):
        zoo.write_scores(path, [{"dataset": "a", "codec": "mine", "backbone": "r", "agreement": kept}])
    zoo.write_scores(path, [{"dataset": "b", "codec": "mine", "backbone": "r", "agreement": 0.7}])
    zoo.write_scores(path, [{"dataset": "b", "codec": "mine", "backbone": "s", "agreement": 0.8}])
    assert [s["agreement"] for s in zoo.read_card(path).scores] == [0.6, 0.7, 0.8]
    assert json.loads((path / "card.json").read_text())["scores"][0]["dataset"] == "a"


@pytest.mark.parametrize("name", zoo.card_names())
def test_shipped_weights_are_whole_and_their_cards_complete(name):
    card = zoo.read_card(name)
    for file in card.files:
        zoo.read_weights(name, file)
    assert card.name == name and card.command.startswith("fsplit train") and card.machine and card.limits and card.data
    wanted = (
        {"dataset", "n"}
        if card.kind == "entropy models"
        else {"dataset", "codec", "backbone", "n", "agreement", "agreement_low", "agreement_high"}
    )
    for score in card.scores:
        assert wanted <= score.keys()
    assert card.scores
