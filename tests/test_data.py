"""Photos of every kind, folders of every shape, files written whole or not at all."""

import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fsplit_lib.data import (
    PHOTOS,
    caltech101,
    center_crop,
    data_root,
    fashion_mnist,
    image_folder,
    load_photo,
    open_image,
    to_array,
    write_atomically,
)
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.errors import DataError

RED = (200, 30, 30)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def mean_colour(image):
    return np.asarray(image, dtype=float).reshape(-1, 3).mean(axis=0)


def test_every_kind_of_picture_becomes_upright_rgb(tmp_path):
    red = Image.new("RGB", (40, 20), RED)
    clear = red.convert("RGBA")
    clear.putalpha(0)
    palette = red.quantize(4)
    grey16 = Image.fromarray(np.full((20, 40), 65535 // 2, np.uint16))
    cases = {
        "grey.png": (red.convert("L"), (81, 81, 81), {}),
        "alpha.png": (clear, (255, 255, 255), {}),
        "greyalpha.png": (Image.new("LA", (40, 20), (10, 0)), (255, 255, 255), {}),
        "palette.png": (palette, RED, {}),
        "seethrough.gif": (palette, (255, 255, 255), {"transparency": palette.getpixel((0, 0))}),
        "print.jpg": (red.convert("CMYK"), RED, {"quality": 95}),
        "deep.png": (grey16, (127, 127, 127), {}),
        "float.tiff": (Image.fromarray(np.full((20, 40), 0.5, np.float32)), (127, 127, 127), {}),
        "bilevel.png": (Image.new("1", (40, 20), 1), (255, 255, 255), {}),
    }
    for name, (image, colour, options) in cases.items():
        opened = open_image(saved(image, tmp_path / name, **options))
        assert opened.mode == "RGB", name
        assert opened.size == (40, 20), name
        assert np.abs(mean_colour(opened) - colour).max() < 6, name


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    assert open_image(saved(image, tmp_path / "phone.jpg", exif=exif)).size == (20, 40)


def test_one_pixel_works_and_a_line_is_refused(tmp_path):
    pixel = open_image(saved(Image.new("RGB", (1, 1), RED), tmp_path / "pixel.png"))
    assert np.abs(mean_colour(center_crop(pixel)) - RED).max() < 1
    with pytest.raises(DataError, match="line"):
        center_crop(Image.new("RGB", (1, 2000)))


def test_what_is_no_photo_is_refused_in_one_sentence(tmp_path, monkeypatch):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = saved(noise, tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, message in (("cut.jpg", "cut short"), ("text.jpg", "not an image"), ("empty.png", "not an image"),
                          ("none.jpg", "no photo at"), (".", "folder")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            open_image(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="too many pixels"):
        open_image(tmp_path / "whole.jpg")


@pytest.mark.parametrize("name", PHOTOS)
def test_crop_is_the_usual_test_recipe(name):
    photo = load_photo(name)
    reference = v2.Compose([v2.Resize(256, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(224)])(photo)
    assert np.array_equal(np.asarray(center_crop(photo)), np.asarray(reference))


def test_unknown_photo():
    with pytest.raises(DataError, match="chelsea"):
        load_photo("mona lisa")


def test_arrays_are_contiguous_and_scaled():
    array = to_array(Image.new("RGB", (6, 4), (255, 0, 51)))
    assert array.shape == (3, 4, 6) and array.dtype == np.float32 and array.flags.c_contiguous
    assert array[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    x = images_to_tensor(np.full((2, 4, 4), 51, np.uint8))
    assert x.shape == (2, 3, 4, 4) and x.is_contiguous() and torch.allclose(x, torch.tensor(0.2))


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(DataError, match="nothing was written"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_writing_into_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="cannot write"):
        write_atomically(tmp_path / "no" / "file", b"x")


def tiny(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return saved(Image.new("RGB", (8, 8), RED), path)


def test_folders_with_and_without_labels(tmp_path):
    for name in ("cats/a.png", "cats/b.jpg", "dogs/c.png", "dogs/.hidden.png"):
        tiny(tmp_path / "two" / name)
    two = image_folder(tmp_path / "two")
    assert (len(two), two.labels, two.classes, two.name) == (3, (0, 0, 1), ("cats", "dogs"), "two")
    assert two[0].size == (8, 8)
    tiny(tmp_path / "flat" / "x.png")
    assert image_folder(tmp_path / "flat", "mine").labels is None
    tiny(tmp_path / "net" / "n01440764_tench.png")
    tiny(tmp_path / "net" / "n01443537_goldfish.png")
    net = image_folder(tmp_path / "net")
    assert net.labels == (0, 1) and len(net.classes) == 1000
    tiny(tmp_path / "val" / "n01443537" / "1.png")
    assert image_folder(tmp_path / "val").labels == (1,)
    (tmp_path / "empty").mkdir()
    for name, message in (("empty", "no photo in"), ("missing", "no folder")):
        with pytest.raises(DataError, match=message):
            image_folder(tmp_path / name)


@pytest.mark.parametrize("inside", ["caltech101/101_ObjectCategories", "101_ObjectCategories", "."])
def test_caltech_in_each_layout_without_its_background(tmp_path, inside):
    for name in ("accordion/1.png", "BACKGROUND_Google/2.png", "zebra/3.png"):
        tiny(tmp_path / inside / name)
    folder = caltech101(tmp_path)
    assert folder.classes == ("accordion", "zebra") and folder.labels == (0, 1)
    with pytest.raises(DataError, match="Caltech-101"):
        caltech101(tmp_path / "accordion")


def test_fashion_mnist_is_whole():
    images, labels = fashion_mnist("test")
    assert images.shape == (10_000, 32, 32)
    assert np.bincount(labels).tolist() == [1000] * 10
    assert images[:, :2].max() == images[:, :, -2:].max() == 0
    with pytest.raises(ValueError):
        images[0, 0, 0] = 1
    with pytest.raises(DataError, match="split"):
        fashion_mnist("validation")


def test_damaged_or_missing_fashion_mnist_is_noticed(tmp_path, monkeypatch):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    monkeypatch.setenv("FSPLIT_DATA", str(tmp_path))
    fashion_mnist.cache_clear()
    with pytest.raises(DataError, match="missing"):
        fashion_mnist("test")
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"x")
    with pytest.raises(DataError, match="damaged"):
        fashion_mnist("test")
    monkeypatch.setenv("FSPLIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="FSPLIT_DATA"):
        data_root()
    monkeypatch.delenv("FSPLIT_DATA")
    fashion_mnist.cache_clear()
