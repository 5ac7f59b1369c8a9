"""Photos of every kind, folders of every shape, files written whole or not at all."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from torchvision.transforms import v2

from fsplit_lib.data import (
    FASHION_CLASSES,
    PHOTOS,
    ImageFolder,
    caltech101,
    center_crop,
    data_root,
    fashion_mnist,
    image_folder,
    load_photo,
    open_image,
    read_rows,
    sha256_of,
    to_array,
    training_folder,
    write_atomically,
    write_rows,
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


def test_sixteen_bits_and_float_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 1, 256)[None].repeat(4, 0)
    want = np.round(ramp * 255)
    for name, values in {
        "deep.png": (ramp * 65535).astype(np.uint16),
        "deep.tiff": (ramp * 65535).astype(np.uint16),
        "long.tiff": (ramp * 65535).astype(np.int32),
        "unit.tiff": ramp.astype(np.float32),
        "byte.tiff": (ramp * 255).astype(np.float32),
        "large.tiff": (ramp * 1e6).astype(np.float32),
    }.items():
        got = np.asarray(open_image(saved(Image.fromarray(values), tmp_path / name)), dtype=float)
        assert np.abs(got - want[..., None]).max() <= 1.01, name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number_is_refused(tmp_path, value):
    values = np.full((4, 6), 0.5, np.float32)
    values[1, 2] = value
    with pytest.raises(DataError, match=r"float\.tiff.*NaN or infinite"):
        open_image(saved(Image.fromarray(values), tmp_path / "float.tiff"))


def test_half_transparent_is_half_white(tmp_path):
    half = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
    assert np.abs(mean_colour(open_image(saved(half, tmp_path / "half.png"))) - (227, 127, 127)).max() <= 1
    keyed = saved(Image.new("RGB", (4, 4), RED), tmp_path / "keyed.png", transparency=RED)  # one colour is none
    assert mean_colour(open_image(keyed)).tolist() == [255] * 3


def test_of_an_animation_the_first_picture_counts(tmp_path):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 0, 255))
    for name in ("a.gif", "a.webp", "a.png"):
        path = saved(first, tmp_path / name, save_all=True, append_images=[second], lossless=True)
        assert np.abs(mean_colour(open_image(path)) - RED).max() < 3, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # the corner at the top left tells every turn and mirror
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "phone.png", exif=exif))
    assert np.array_equal(np.asarray(opened), upright)


def test_open_files_are_read_too(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), RED).save(buffer, "PNG")
    assert open_image(buffer).size == (5, 4)
    torn = io.BytesIO(buffer.getvalue()[:20])
    torn.name = "holiday.png"
    with pytest.raises(DataError, match=r"holiday\.png"):
        open_image(torn)


def test_a_file_without_permission_is_not_called_broken():
    class Locked(io.BytesIO):
        name = "holiday.png"

        def read(self, *_):
            raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(DataError, match=r"holiday\.png may not be read.*permissions"):
        open_image(Locked())


def test_one_pixel_works_and_a_line_is_refused(tmp_path):
    pixel = open_image(saved(Image.new("RGB", (1, 1), RED), tmp_path / "pixel.png"))
    assert np.abs(mean_colour(center_crop(pixel)) - RED).max() < 1
    assert center_crop(pixel).size == (224, 224)
    assert center_crop(Image.new("RGB", (3, 100))).size == (224, 224)
    for line in ((1, 2000), (2000, 1)):
        with pytest.raises(DataError, match="line"):
            center_crop(Image.new("RGB", line))


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
    for most in (100, 3000):  # Pillow raises above twice the limit and only warns below that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        with pytest.raises(DataError, match="too many pixels"):
            open_image(tmp_path / "whole.jpg", most)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "avif", "gif", "bmp", "heic"])
def test_too_many_pixels_are_refused_before_any_is_decoded(tmp_path, monkeypatch, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = saved(Image.new("RGB", (80, 50), RED), tmp_path / f"a.{suffix}")
    assert open_image(path, 4000).size == (80, 50)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(DataError, match=r"too many pixels \(80 x 50, at most 3999\)"):
            open_image(source, 3999)


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    whole = saved(Image.new("RGB", (64, 48), RED), tmp_path / "a.jpg", progressive=True).read_bytes()
    first = whole.index(b"\xff\xda")
    last = whole.rindex(b"\xff\xda")
    scan, scans = whole[last:-2], whole.count(b"\xff\xda")
    assert first < last and 2 < scans < 20
    photo = open_image(tmp_path / "a.jpg")
    preview = b"\xff\xe1" + (2 + 200).to_bytes(2) + 100 * b"\xff\xda"  # markers inside a segment are no scans
    allowed = whole[:2] + preview + whole[2:-2] + (64 - scans) * scan + b"\xff\xd9" + 100 * scan
    assert open_image(io.BytesIO(allowed)) == photo
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + b"\xff\xff\0\xff" + (65 - scans) * scan)  # never ends; garbage between
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    for source in (tmp_path / "a.jpg", io.BytesIO((tmp_path / "a.jpg").read_bytes())):
        with pytest.raises(DataError, match="more than 64 scans"):
            open_image(source)


FORMATS = ("png", "jpg", "gif", "webp", "tiff", "bmp", "ppm", "avif")


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_files_open_or_are_refused_and_nothing_else(tmp_path, suffix):
    rng = np.random.default_rng(FORMATS.index(suffix))
    pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 3, "camera"
    options = {"exif": exif} if suffix in ("png", "jpg", "webp", "tiff", "avif") else {}
    whole = saved(Image.fromarray(pixels), tmp_path / f"whole.{suffix}", **options).read_bytes()
    assert open_image(tmp_path / f"whole.{suffix}").size == (24, 24)
    path, refused = tmp_path / f"broken.{suffix}", 0
    for trial in range(150):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            del damaged[int(rng.integers(len(whole))) :]
        else:
            for position in rng.integers(min(len(whole), 200), size=1 + trial % 4):
                damaged[position] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        try:
            assert open_image(path).mode == "RGB"
        except DataError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 20


@pytest.mark.parametrize("name", PHOTOS)
def test_crop_is_the_usual_test_recipe(name):
    photo = load_photo(name)
    reference = v2.Compose([v2.Resize(256, v2.InterpolationMode.BICUBIC, antialias=True), v2.CenterCrop(224)])(photo)
    assert np.array_equal(np.asarray(center_crop(photo)), np.asarray(reference))


def test_unknown_photo():
    with pytest.raises(DataError, match="chelsea"):
        load_photo("mona lisa")


def test_a_photo_of_ones_own_is_loaded_by_its_path(tmp_path):
    assert load_photo(str(tiny(tmp_path / "mine.png"))).size == (8, 8)


def test_arrays_are_contiguous_and_scaled():
    array = to_array(Image.new("RGB", (6, 4), (255, 0, 51)))
    assert array.shape == (3, 4, 6) and array.dtype == np.float32 and array.flags.c_contiguous
    assert array[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    x = images_to_tensor(np.full((2, 4, 4), 51, np.uint8))
    assert x.shape == (2, 3, 4, 4) and x.is_contiguous() and torch.allclose(x, torch.tensor(0.2))


@pytest.mark.parametrize("broken", ["replace", "fsync", "chmod"])
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


def test_a_disk_that_fills_up_while_writing(tmp_path):
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")
    resource = pytest.importorskip("resource")  # not on Windows
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # the system refuses from byte 1,001 on
    try:
        with pytest.raises(DataError, match="nothing was written"):
            write_atomically(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_written_files_are_whole_and_readable(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"x" * 100_000)
    assert path.read_bytes() == b"x" * 100_000
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o644
    write_atomically(path, b"")
    assert path.read_bytes() == b""
    assert sha256_of(path) == hashlib.sha256(b"").hexdigest()


def test_writing_into_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="cannot write"):
        write_atomically(tmp_path / "no" / "file", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="cannot write"):
        write_atomically(tmp_path / "folder", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


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
    tiny(tmp_path / "flat" / "a.JPG")
    (tmp_path / "flat" / "notes.txt").write_text("no photo")
    flat = image_folder(tmp_path / "flat", "mine")
    assert (flat.labels, flat.classes, flat.name) == (None, (), "mine")
    assert [p.name for p in flat.paths] == ["a.JPG", "x.png"]
    tiny(tmp_path / "flat" / "cats" / "y.png")
    with pytest.raises(DataError, match=r"a\.JPG lies beside the sub-folders.*move it into one of them"):
        image_folder(tmp_path / "flat")
    assert training_folder(tmp_path / "flat").labels is None and len(training_folder(tmp_path / "flat")) == 3
    tiny(tmp_path / "net" / "n01440764_tench.png")
    tiny(tmp_path / "net" / "n01443537_goldfish.png")
    net = image_folder(tmp_path / "net")
    assert net.labels == (0, 1) and len(net.classes) == 1000
    assert "n01440764" in net.classes[0] and net.classes == tuple(sorted(net.classes))
    tiny(tmp_path / "one" / "n01440764_tench.JPEG")
    assert image_folder(tmp_path / "one").labels == (0,)
    tiny(tmp_path / "val" / "n01443537" / "x.jpg")
    tiny(tmp_path / "val" / "n15075141" / "y.jpg")
    assert image_folder(tmp_path / "val").labels == (1, 999)
    tiny(tmp_path / "val" / "n99999999" / "z.jpg")  # no class of ImageNet: then they are just folders
    assert image_folder(tmp_path / "val").labels == (0, 1, 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    tiny(tmp_path / "hidden" / ".x.png")
    for name, message in (("empty", "no photo in"), ("hidden", "no photo in"), ("missing", "no folder"),
                          ("flat/x.png", "no folder")):  # fmt: skip
        with pytest.raises(DataError, match=message):
            image_folder(tmp_path / name)


def test_a_folder_is_split_into_what_is_trained_on_and_what_is_not(tmp_path):
    paths = tuple(tmp_path / f"{n}.png" for n in range(11))
    whole = ImageFolder("mine", paths, tuple(range(11)), ("a", "b"))
    train, test = whole.split(every=5)
    assert test.labels == (4, 9) and test.paths == (paths[4], paths[9]) and test.classes == whole.classes
    assert sorted(train.labels + test.labels) == list(range(11)) and train.name == "mine"
    assert ImageFolder("mine", paths).split(every=2)[1].labels is None
    for wrong in (0, 1, 12, -3):
        with pytest.raises(DataError, match=f"2 to the number of photos, 11, got {wrong}"):
            whole.split(wrong)


def test_hidden_folders_and_folders_named_like_photos_are_passed_over(tmp_path):
    for name in ("cats/a.png", "dogs/b.png", ".thumbnails/a.png", "cats/.cache/c.png"):
        tiny(tmp_path / ".mine" / name)
    (tmp_path / ".mine" / "cats" / "album.jpg").mkdir()
    folder = image_folder(tmp_path / ".mine")  # a hidden folder that was asked for is read
    assert [p.name for p in folder.paths] == ["a.png", "b.png"] and folder.classes == ("cats", "dogs")


@pytest.mark.parametrize("inside", ["caltech101/101_ObjectCategories", "101_ObjectCategories", "."])
def test_caltech_in_each_layout_without_its_background(tmp_path, inside):
    for name in ("accordion/1.png", "BACKGROUND_Google/2.png", "yin_yang/3.png"):
        tiny(tmp_path / inside / name)
    for name in ("Faces_easy", "car_side", "windsor_chair", *(f"category {n}" for n in range(96))):
        (tmp_path / inside / name).mkdir()
    folder = caltech101(tmp_path)
    assert folder.classes == ("accordion", "yin_yang") and folder.labels == (0, 1)
    assert [p.name for p in folder.paths] == ["1.png", "3.png"] and folder.name == "caltech101"
    assert training_folder(tmp_path) == folder and "CC BY 4.0" in folder.licence == folder.split(2)[0].licence
    for nothing in (tmp_path / "nowhere", tmp_path / inside / "yin_yang"):
        with pytest.raises(DataError, match=r"no Caltech-101 below .*download=True"):
            caltech101(nothing)
    tiny(tmp_path / inside / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png lies beside the sub-folders"):
        caltech101(tmp_path)


def test_an_accordion_alone_is_no_caltech(tmp_path):
    for name in ("accordion/1.png", "zither/2.png"):
        tiny(tmp_path / "caltech101" / name)
    for n in range(100):
        (tmp_path / "caltech101" / f"instrument {n}").mkdir()
    with pytest.raises(DataError, match="no Caltech-101"):
        caltech101(tmp_path / "caltech101")
    mine = training_folder(tmp_path / "caltech101")
    assert (mine.name, mine.licence, len(mine)) == ("caltech101", "", 2)


def test_fashion_mnist_is_whole():
    images, labels = fashion_mnist("test")
    assert images.shape == (10_000, 32, 32)
    assert images.dtype == np.uint8 and labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [1000] * 10
    assert fashion_mnist("test")[0] is images  # read once
    assert len(FASHION_CLASSES) == 10 and FASHION_CLASSES[labels[0]] == "ankle boot"
    assert images[:, :2].max() == images[:, :, -2:].max() == 0
    with pytest.raises(ValueError):
        images[0, 0, 0] = 1
    with pytest.raises(ValueError):
        labels[0] = 1
    with pytest.raises(DataError, match="split"):
        fashion_mnist("validation")
    images, labels = fashion_mnist("train")
    assert images.shape == (60_000, 32, 32) and np.bincount(labels).tolist() == [6000] * 10


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """FSPLIT_DATA points to a folder of ours, and the cache knows nothing."""
    (tmp_path / "fashion-mnist").mkdir()
    monkeypatch.setenv("FSPLIT_DATA", str(tmp_path))
    fashion_mnist.cache_clear()
    yield tmp_path
    fashion_mnist.cache_clear()


def test_damaged_or_missing_fashion_mnist_is_noticed(elsewhere, monkeypatch):
    home = Path(__file__).parents[1] / "data" / "fashion-mnist"
    copies = elsewhere / "fashion-mnist"
    assert data_root() == elsewhere
    with pytest.raises(DataError, match=r"t10k-images.*missing.*git checkout"):
        fashion_mnist("test")
    whole = (home / "t10k-images-idx3-ubyte.gz").read_bytes()
    for broken in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        (copies / "t10k-images-idx3-ubyte.gz").write_bytes(broken)
        with pytest.raises(DataError, match=r"t10k-images.*damaged.*git checkout"):
            fashion_mnist("test")
    (copies / "t10k-images-idx3-ubyte.gz").write_bytes(whole)
    with pytest.raises(DataError, match=r"t10k-labels.*missing"):
        fashion_mnist("test")
    (copies / "t10k-labels-idx1-ubyte.gz").write_bytes((home / "t10k-labels-idx1-ubyte.gz").read_bytes())
    assert len(fashion_mnist("test")[0]) == 10_000


def test_a_data_folder_that_is_not_there(elsewhere, monkeypatch):
    monkeypatch.setenv("FSPLIT_DATA", str(elsewhere / "nowhere"))
    for call in (data_root, lambda: fashion_mnist("test")):
        with pytest.raises(DataError, match=r"nowhere does not exist.*set FSPLIT_DATA"):
            call()


@dataclass
class Line:
    name: str
    size: int
    share: float | None


@dataclass
class Word:
    text: str


@pytest.mark.parametrize("broken", ["b", "b,2", "b,2,0.5,9", "b,two,0.5", "b,2,half", "b,,0.5"])
def test_a_table_that_was_cut_or_changed_is_refused_by_its_line(tmp_path, broken):
    path = tmp_path / "table.csv"
    write_rows(path, [Line("a", 1, None), Line("b", 2, 0.5)])
    assert read_rows(path, Line, "fsplit make") == [Line("a", 1, None), Line("b", 2, 0.5)]
    path.write_text(f"name,size,share\na,1,\n{broken}\n")
    with pytest.raises(DataError, match=r"table\.csv, line 3: .*or make it with `fsplit make`"):
        read_rows(path, Line, "fsplit make")


def test_a_table_that_was_saved_in_another_encoding(tmp_path):
    write_rows(tmp_path / "t.csv", [Word("Köln")])
    (tmp_path / "t.csv").write_bytes((tmp_path / "t.csv").read_bytes().decode().encode("cp1252"))
    with pytest.raises(DataError, match="UTF-8"):
        read_rows(tmp_path / "t.csv", Word, "fsplit make")


def test_what_we_wrote_is_read_in_a_locale_that_is_not_ours(tmp_path):
    write_rows(tmp_path / "table.csv", [Word("λ, größer")])
    code = (
        "import sys; from pathlib import Path; from fsplit_lib.data import read_rows, write_rows;"
        "from fsplit_lib.runner.equations import equation_table; sys.path.insert(0, sys.argv[2]);"
        "from test_data import Word; path = Path(sys.argv[1]); rows = read_rows(path, Word, 'fsplit make');"
        "write_rows(path.with_name('again.csv'), rows); equation_table()"
    )
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, tmp_path / "table.csv", here], env=plain, cwd=here.parent, check=True)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
