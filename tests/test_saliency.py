"""Saliency: Grad-CAM by hand, maps found again by the photo's content, and crops that stay with their photos."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fsplit_lib.backbones import load_backbone
from fsplit_lib.data import image_folder, load_photo, to_array
from fsplit_lib.errors import DataError, ParameterError, WeightsError
from fsplit_lib.objectives import head_distillation, saliency_weight
from fsplit_lib.saliency import METHODS, SaliencyMaps, build_saliency_maps, saliency_layers, saliency_map
from fsplit_lib.training import FolderSource, TrainConfig, train_system
from fsplit_lib.training.muon import Muon, is_matrix, orthogonalise
from fsplit_lib.training.sources import batches


@pytest.fixture(scope="module")
def teacher():
    return load_backbone("fashion_resnet")


@pytest.fixture(scope="module")
def x():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def stretched(cam):
    """Cut off at 0 and stretched to [0, 1], by hand."""
    cam = np.maximum(cam, 0)
    return (cam - cam.min()) / (cam.max() - cam.min() + 1e-7)


def by_hand(teacher, x, weigh):
    """The map of every layer at the size of x: from activations and gradients, in numpy."""
    h, kept = x.clone().sub(0.5).div(0.5).requires_grad_(), []
    for module in (*teacher.head.layers, *teacher.tail.layers):
        h = module(h)
        kept.append(h)
    logits = teacher.tail.classify[0].forward_head(h)
    top = logits.argmax(1)
    last = {x.shape[-1] // k.shape[-1]: k for k in kept}
    chosen = [last[s] for s in (4, 8, 16)]
    grads = torch.autograd.grad(logits.gather(1, top[:, None]).sum(), chosen)
    maps = []
    for a, g in zip(chosen, grads, strict=True):
        cams = [
            stretched((weigh(ai, gi)[:, None, None] * ai).sum(0))
            for ai, gi in zip(a.detach().numpy(), g.numpy(), strict=True)
        ]
        # cv2 and torch agree on bilinear with half-pixel centres
        up = torch.nn.functional.interpolate(
            torch.from_numpy(np.stack(cams))[:, None], size=x.shape[-2:], mode="bilinear"
        )
        maps.append(up[:, 0].numpy())
    return maps


@pytest.mark.equation("04.1", "04.2", "04.3")
@pytest.mark.parametrize(("method", "weigh"), [
    ("gradcam", lambda a, g: g.mean((1, 2))),
    ("xgradcam", lambda a, g: (g * a).sum((1, 2)) / (a.sum((1, 2)) + 1e-7)),
])  # fmt: skip
def test_maps_by_hand_from_activations_and_gradients(teacher, x, method, weigh):
    assert list(saliency_layers(teacher)) == [4, 8, 16]
    maps = by_hand(teacher, x, weigh)
    for stride, mine in zip((4, 8, 16), maps, strict=True):
        found = saliency_map(teacher, x, method, strides=(stride,))[:, 0].numpy()
        assert found == pytest.approx(np.stack([stretched(one) for one in mine]), abs=1e-3)
    mixed = saliency_map(teacher, x, method)[:, 0].numpy()
    assert mixed == pytest.approx(np.stack([stretched(one) for one in np.mean(maps, axis=0)]), abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_in_0_to_1(teacher, x, method):
    before = teacher.fingerprint
    found = saliency_map(teacher, x, method)
    assert found.shape == (3, 1, 32, 32) and found.min() >= 0 and found.max() <= 1
    assert found.amax(dim=(1, 2, 3)).min() > 0.99
    assert teacher.fingerprint == before
    assert all(not m._forward_hooks for m in teacher.modules())  # nothing is left behind


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224", "resnet18"])
def test_every_family_has_maps_with_the_picture_upright(name):
    network = load_backbone(name, weights="random")
    x = torch.zeros(1, 3, 224, 224)
    x[..., :64, 128:] = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = saliency_map(network, x, "hirescam", strides=(8,))[0, 0]
    assert found.shape == (224, 224) and torch.isfinite(found).all()
    turned = saliency_map(network, x.transpose(2, 3).contiguous(), "hirescam", strides=(8,))[0, 0]
    assert not torch.equal(found, turned)


def test_the_class_asked_for_matters(teacher, x):
    assert not torch.equal(saliency_map(teacher, x, classes=[1, 1, 1]), saliency_map(teacher, x, classes=[5, 5, 5]))
    top = teacher(x).argmax(1).tolist()
    assert torch.equal(saliency_map(teacher, x, classes=top), saliency_map(teacher, x))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"method": "magic"}, "one of gradcam"), ({"strides": (2,)}, "stride 4, 8, 16"), ({"classes": [1]}, "3 pictures")],
    ids=lambda v: str(v)[:20],
)
def test_wrong_input_is_refused(teacher, x, wrong, said):
    with pytest.raises(ParameterError, match=said):
        saliency_map(teacher, x, **wrong)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Three photos and a grey one of odd sizes, as files."""
    folder = tmp_path_factory.mktemp("album")
    for i, name in enumerate(("chelsea", "coffee", "rocket")):
        load_photo(name).resize((90 + 31 * i, 120)).save(folder / f"{i}.png")
    return image_folder(folder)


@pytest.fixture(scope="module")
def lite():
    return load_backbone("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def file(album, lite, tmp_path_factory):
    out = tmp_path_factory.mktemp("maps") / "album.safetensors"
    build_saliency_maps(lite, album, out)
    return out


def test_maps_are_found_by_content_not_by_name(album, lite, file, tmp_path):
    maps = SaliencyMaps.load(file)
    maps.check(lite)
    before = maps.of_folder(album)
    assert [tuple(one.shape) for one in before] == [(1, 44, 32), (1, 32, 32), (1, 32, 40)]
    for path, name in zip(album.paths, ("c.png", "b.png", "a.png"), strict=True):
        shutil.copy(path, tmp_path / name)
    renamed = maps.of_folder(image_folder(tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(before, reversed(renamed), strict=True))
    image = Image.open(tmp_path / "b.png").convert("RGB")
    image.putpixel((3, 3), (255, 0, 255))
    image.save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"1 of 3 photos have no saliency map, such as b\.png"):
        maps.of_folder(image_folder(tmp_path))


def test_another_teacher_or_method_is_refused(album, lite, file):
    maps = SaliencyMaps.load(file)
    with pytest.raises(WeightsError, match="this teacher"):
        maps.check(load_backbone("tf_efficientnet_lite0", weights="random"))
    with pytest.raises(WeightsError, match="choose another file"):
        build_saliency_maps(lite, album, file, "gradcam")


def test_a_killed_run_goes_on(album, lite, file, tmp_path, monkeypatch):
    out = tmp_path / "maps.safetensors"

    def stop(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_saliency_maps(lite, album, out, progress=stop)
    assert len(SaliencyMaps.load(out).maps) == 2
    stamp = out.stat().st_mtime_ns
    again = build_saliency_maps(lite, album, out)
    whole = SaliencyMaps.load(file).maps
    assert again.maps.keys() == whole.keys() and all(torch.equal(again.maps[k], whole[k]) for k in whole)
    assert out.stat().st_mtime_ns != stamp
    monkeypatch.setattr("fsplit_lib.saliency.cache._map_of", None)
    build_saliency_maps(lite, album, out)  # nothing left to do


def test_an_unreadable_photo_costs_no_map_of_the_others(album, lite, file, tmp_path):
    for path in album.paths[:2]:
        shutil.copy(path, tmp_path)
    (tmp_path / "z.png").write_bytes(album.paths[2].read_bytes()[:200])
    out = tmp_path / "maps.safetensors"
    with pytest.raises(DataError, match=r"z\.png is broken"):
        build_saliency_maps(lite, image_folder(tmp_path), out)
    assert SaliencyMaps.load(out).maps.keys() < SaliencyMaps.load(file).maps.keys()


def test_damaged_files_and_maps_are_refused(album, file, tmp_path):
    whole = file.read_bytes()
    for broken in (b"", b"no maps", whole[:200], whole[:-10]):
        (tmp_path / "broken").write_bytes(broken)
        with pytest.raises(DataError, match="damaged"):
            SaliencyMaps.load(tmp_path / "broken")
    with pytest.raises(DataError, match="fsplit saliency"):
        SaliencyMaps.load(tmp_path / "none")
    maps = SaliencyMaps.load(file)
    key = next(iter(maps.maps))
    for bad in (float("nan"), -0.5, 1.5, float("inf")):
        maps.maps[key] = torch.full((4, 4), bad).half()
        with pytest.raises(DataError, match="leaves 0 to 1"):
            maps.of_folder(album)


def test_a_photo_that_says_nothing_gets_a_flat_map_and_a_warning(album, lite, tmp_path, monkeypatch):
    empty = lambda backbone, x, method: torch.zeros(1, 1, *x.shape[-2:])
    nan = lambda backbone, x, method: torch.full((1, 1, *x.shape[-2:]), float("nan"))
    for i, fake in enumerate((empty, nan)):
        monkeypatch.setattr("fsplit_lib.saliency.cache.saliency_map", fake)
        with pytest.warns(UserWarning, match=r"0\.png: the network sees nothing"):
            made = build_saliency_maps(lite, replace(album, paths=album.paths[:1]), tmp_path / str(i))
        assert all(torch.equal(one, torch.full_like(one, 0.5)) for one in made.maps.values())


def test_crops_of_photo_and_map_agree(tmp_path):
    """The map is the photo's own red channel: after any crop and flip it still has to be."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (12, 9, 3), dtype=np.uint8)
    for i in range(2):
        Image.fromarray(small).resize((72, 96), Image.Resampling.BILINEAR).save(tmp_path / f"{i}.png")
    folder = image_folder(tmp_path)
    maps = [torch.from_numpy(to_array(folder[i])[:1]) for i in range(2)]
    source = FolderSource(folder, crop=64, maps=maps)
    plain = FolderSource(folder, crop=64)
    for guided, unguided in zip(batches(source, 4, 0, 6, 3), batches(plain, 4, 0, 6, 3), strict=True):
        assert torch.equal(guided.x, unguided.x) and unguided.saliency is None  # maps change no photo
        assert guided.saliency.shape == (4, 1, 8, 8)
        red = torch.nn.functional.interpolate(guided.x[:, :1], size=(8, 8), mode="area")
        assert (guided.saliency - red).abs().max() < 0.03
        flipped = (guided.saliency - red.flip(3)).abs().amax(dim=(1, 2, 3))
        assert flipped.min() > 0.1  # so a map that was not flipped along would be seen


def test_maps_and_photos_are_counted(album):
    with pytest.raises(DataError, match="3 photos need as many"):
        FolderSource(album, 32, maps=[torch.zeros(1, 4, 4)])


@pytest.mark.equation("04.4")
def test_weights_by_hand():
    s = torch.rand(5, 1, 6, 6)
    guided, constant = saliency_weight(s, "guided"), saliency_weight(s, "constant")
    assert torch.equal(guided, (1 + s) / 2) and saliency_weight(s, "unguided") is None
    assert torch.equal(saliency_weight(s, "shuffled"), guided)
    assert constant.mean(dim=(1, 2, 3)) == pytest.approx(guided.mean(dim=(1, 2, 3)))
    assert constant.flatten(1).std(dim=1).max() < 1e-6
    h, h_hat, spread = torch.randn(5, 3, 6, 6), torch.randn(5, 3, 6, 6), torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    by_hand = np.mean([
        ((1 + s[b, 0, i, j]) / 2 * ((h[b, c, i, j] - h_hat[b, c, i, j]) / (c + 1)) ** 2).item()
        for b in range(5) for c in range(3) for i in range(6) for j in range(6)
    ])  # fmt: skip
    assert head_distillation(h, h_hat, spread, guided).item() == pytest.approx(by_hand, rel=1e-5)


def test_guidance_needs_maps_and_a_known_name(album, lite):
    from fsplit_lib.codec import CodecConfig
    from fsplit_lib.decoders import DecoderConfig
    from fsplit_lib.system import build_system

    system = build_system(lite, CodecConfig((4, 4, 4)), DecoderConfig(0, 0, 8), 0)
    with pytest.raises(ParameterError, match="unguided"):
        TrainConfig(steps=1, guidance="magic")
    with pytest.raises(ParameterError, match="source with saliency maps"):
        train_system(system, FolderSource(album, 32), TrainConfig(steps=1, batch=2, guidance="guided"))


def test_guided_training_weighs_the_distortion(album, lite, file):
    """With maps of nothing (weight 1/2) the first distortion is half of the unguided one."""
    from fsplit_lib.codec import CodecConfig
    from fsplit_lib.decoders import DecoderConfig
    from fsplit_lib.system import build_system

    seen = {}
    for name, maps in (("unguided", None), ("guided", [torch.zeros(1, 4, 4)] * 3)):
        system = build_system(lite, CodecConfig((4, 4, 4)), DecoderConfig(0, 0, 8), 0)
        config = TrainConfig(steps=1, batch=2, lmbda=0.0, guidance=name, learning_rate=1e-6)
        seen[name] = train_system(system, FolderSource(album, 32, maps=maps), config)[0].values["distortion"]
    assert seen["guided"] == pytest.approx(seen["unguided"] / 2, rel=1e-4)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (64, 64), (48, 432)])
def test_orthogonalise_turns_all_singular_values_to_about_one(shape):
    g = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    u, _, vt = torch.linalg.svd(g, full_matrices=False)
    found = orthogonalise(g)
    assert found.shape == shape
    inner = (u.T @ found @ vt.T).diagonal()  # in the gradient's own singular basis
    assert inner.min() > 0.3 and inner.max() < 1.3
    assert orthogonalise(1000 * g) == pytest.approx(found, abs=1e-4)  # the size of a gradient has no say
    assert torch.isfinite(orthogonalise(torch.zeros(shape))).all()


def test_muon_moves_all_directions_alike_where_curvatures_differ_by_a_thousand():
    generator = torch.Generator().manual_seed(0)
    curvature, start = torch.logspace(-3, 0, 8)[:, None], torch.randn(8, 8, generator=generator)
    left = {}
    for name, make in (("muon", lambda p: Muon([p], lr=0.5)), ("sgd", lambda p: torch.optim.SGD([p], lr=0.5))):
        p = torch.nn.Parameter(start.clone())
        optimiser = make(p)
        for step in range(100):
            optimiser.param_groups[0]["lr"] = 0.5 * (1 - step / 100)
            optimiser.zero_grad()
            (curvature * p**2).sum().backward()
            optimiser.step()
        left[name] = float(p.detach()[0].norm() / start[0].norm())  # the flattest direction
    assert left["muon"] < 0.3 < 0.9 < left["sgd"]


def test_muon_takes_dense_layers_alone():
    takes = {
        "dense": torch.zeros(8, 4, 3, 3), "linear": torch.zeros(8, 4), "1x1": torch.zeros(8, 4, 1, 1),
        "depthwise": torch.zeros(8, 1, 7, 7), "bias": torch.zeros(8), "affine": torch.zeros(1, 8, 1, 1),
    }  # fmt: skip
    assert {name for name, p in takes.items() if is_matrix(p)} == {"dense", "linear", "1x1"}
