"""Photos of every kind, folders of every shape, files written whole or not at all."""

import errno
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageFile
from torchvision.transforms import v2

from fsplit_lib.data import (
    FASHION_CLASSES,
    PHOTOS,
    ImageFolder,
    caltech101,
    center_crop,
    data_root,
    elpv,
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
from fsplit_lib.data.tensors import images_to_tensor, photo_tensor
from fsplit_lib.errors import DataError
from fsplit_lib.system import load_codec

RED = (200, 30, 30)
LOSSLESS = {"webp": {"lossless": True}}


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
        "bytes in 16 bits.png": (ramp * 255).astype(np.uint16),
        "bytes in 32 bits.tiff": (ramp * 255).astype(np.int32),
        "longest.tiff": (ramp * (2**31 - 1)).astype(np.int32),
        "bright.tiff": np.where(np.arange(1024).reshape(4, 256) == 1023, 1.004, ramp).astype(np.float32),
    }.items():
        got = np.asarray(open_image(saved(Image.fromarray(values), tmp_path / name)), dtype=float)
        assert np.abs(got - want[..., None]).max() <= 1.01, name


def tiff(path, values, **options):
    tifffile.imwrite(path, values, **options)
    return path


def test_what_a_tiff_says_of_its_values_is_heeded(tmp_path):
    ramp = np.linspace(0, 1, 256)[None].repeat(4, 0)
    grey = np.round(ramp * 255)
    deep = (ramp * 65535).astype(np.uint16)
    noisy = ramp.astype(np.float32)
    noisy[0, 0], noisy[1, 1] = 40.0, -0.004  # one hot pixel, one below black
    planes = np.stack([deep, deep[:, ::-1], deep])
    for name, values, options, want in (
        ("white is zero, 16 bits", deep, {"photometric": "miniswhite"}, 255 - grey),
        ("the same, packed", deep, {"photometric": "miniswhite", "compression": "zlib"}, 255 - grey),
        ("white is zero, float", ramp.astype(np.float32), {"photometric": "miniswhite"}, 255 - grey),
        ("unsigned 32 bits", (ramp * (2**32 - 1)).astype(np.uint32), {"photometric": "minisblack"}, grey),
        ("signed 16 bits", (ramp * 32767).astype(np.int16), {"photometric": "minisblack"}, grey),
        ("one hot pixel", noisy, {"photometric": "minisblack"}, grey),
        ("big-endian", deep, {"photometric": "minisblack", "byteorder": ">"}, grey),
    ):
        got = np.asarray(open_image(tiff(tmp_path / f"{name}.tiff", values, **options)), dtype=float)
        assert np.abs(got - want[..., None])[:, 2:].max() <= 1.01, name
    got = open_image(tiff(tmp_path / "p.tiff", planes, photometric="rgb", planarconfig="separate", compression="zlib"))
    assert np.abs(np.asarray(got, dtype=float) - np.stack([grey, grey[:, ::-1], grey], -1)).max() <= 1.01
    for name, values, options, sentence in (
        ("planes", planes, {"photometric": "rgb", "planarconfig": "separate"}, "16-bit colours in planes"),
        ("signed 8 bits", (ramp * 127).astype(np.int8), {"photometric": "minisblack"}, "signed 8-bit"),
        (
            "below zero",
            (ramp * 3000 - 900).astype(np.int16),
            {"photometric": "minisblack"},
            "from -900 to 2100.*cannot be",
        ),
        ("heights", (ramp * 3000 - 900).astype(np.float32), {"photometric": "minisblack"}, "black and white cannot be"),
        (
            "12 bits",
            (ramp * 3000).astype(np.uint16),
            {"photometric": "minisblack"},
            "0 to 3000.*scale them to 0 to 255 or",
        ),
        ("three", (ramp * 3).astype(np.float32), {"photometric": "minisblack"}, "scale them to 0 to 1 or 255"),
        ("a million", (ramp * 1e6).astype(np.float32), {"photometric": "minisblack"}, "black and white cannot be"),
    ):
        with pytest.raises(DataError, match=f"{name}.*{sentence}"):
            open_image(tiff(tmp_path / f"{name}.tiff", values, **options))


def test_a_transparent_shade_of_16_bits_is_white(tmp_path):
    deep = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    key = int(deep[0, 77])
    got = np.asarray(open_image(saved(Image.fromarray(deep), tmp_path / "keyed.png", transparency=key)), dtype=float)
    want = np.arange(256.0)
    want[77] = 255
    assert np.abs(got - want[None, :, None]).max() <= 1.01

    def chunk(kind, data):
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    rows = b"".join(b"\0" + row.tobytes() for row in np.stack([deep] * 3, -1).astype(">u2"))
    header = struct.pack(">IIBBBBB", 256, 4, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"tRNS", bytes(6)), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    (tmp_path / "rgb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(DataError, match="16-bit colours transparent.*save it with alpha"):
        open_image(tmp_path / "rgb.png")


S15 = lambda value: struct.pack(">i", round(value * 65536))  # s15Fixed16Number of the ICC's specification
TO_XYZ = {  # of linear light to the profile connection space (D50): the columns are the primaries
    "Display P3": [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]],
    "Adobe RGB": [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]],
}
SRGB = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
WHITE = (0.9642, 1.0, 0.8249)


def icc(space, tags, kind=b"mntr", connection=b"XYZ "):
    """A profile of version 2: header, table of tags, tags."""
    data, table, at = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[0:4], header[8:12] = struct.pack(">I", at + len(data)), b"\x02\x40\0\0"
    header[12:24], header[36:40] = kind + space + connection, b"acsp"
    header[68:80] = b"".join(map(S15, WHITE))
    return bytes(header) + table + data


def named(text):
    return b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text.encode() + bytes(79)


def gamma(power):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(power * 256))


def rgb_profile(columns, power):
    xyz = lambda values: b"XYZ \0\0\0\0" + b"".join(map(S15, values))
    primaries = {
        name: xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), np.array(columns).T, strict=True)
    }
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(power))
    return icc(b"RGB ", {b"desc": named("made here"), b"wtpt": xyz(WHITE), **primaries, **curves})


def cmyk_profile():
    """Ink c, m, y and k leave (1 − ink)(1 − k) of sRGB's red, green and blue: a table of 9 points a side to Lab."""
    inks = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 4, indexing="ij"), -1).reshape(-1, 4)
    linear = to_linear((1 - inks[:, :3]) * (1 - inks[:, 3:]))
    lab = to_lab(linear @ np.array(SRGB).T)
    stored = np.stack([lab[:, 0] * 65280 / 100, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], -1)
    table = np.clip(stored.round(), 0, 65535).astype(">u2").tobytes()
    ramp = struct.pack(">HH", 0, 65535)
    matrix = b"".join(S15(v) for v in np.eye(3).ravel())
    lut = b"mft2\0\0\0\0" + bytes([4, 3, 9, 0]) + matrix + struct.pack(">HH", 2, 2) + 4 * ramp + table + 3 * ramp
    white = b"XYZ \0\0\0\0" + b"".join(map(S15, WHITE))
    tags = {b"desc": named("made here"), b"wtpt": white, b"A2B0": lut, b"A2B1": lut}
    return icc(b"CMYK", tags, b"prtr", b"Lab ")


def to_linear(v):
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def from_linear(v):
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * np.clip(v, 1e-9, None) ** (1 / 2.4) - 0.055)


def to_lab(xyz):
    t = xyz / np.array(WHITE)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def twin():
    """A photo in sRGB, of colours that every one of the other spaces holds."""
    photo = np.asarray(center_crop(load_photo("coffee")), dtype=float)
    return Image.fromarray((40 + 0.65 * photo).round().astype(np.uint8))


def as_bytes(values):
    return Image.fromarray(np.clip(np.round(values * 255), 0, 255).astype(np.uint8))


def in_space(columns, power):
    light = to_linear(np.asarray(twin()) / 255) @ np.array(SRGB).T @ np.linalg.inv(columns).T
    return as_bytes(np.clip(light, 0, 1) ** (1 / power))


def packet_sizes_and_share_of_equal_symbols(one, other):
    codec = load_codec("photo-first")
    symbols = [codec.symbols(codec.encoder(photo_tensor(image))) for image in (one, other)]
    return np.mean(symbols[0] == symbols[1]), [len(codec.compress(photo_tensor(i))[0].to_bytes()) for i in (one, other)]


@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB", "CMYK"])
def test_a_photo_of_another_colour_space_is_the_photo_of_its_srgb_twin(tmp_path, space):
    photo = twin()
    if space == "CMYK":
        rgb = np.asarray(photo) / 255
        black = 1 - rgb.max(axis=-1, keepdims=True)
        inks = np.concatenate([1 - rgb / (1 - black), black], -1)
        stored, profile = Image.fromarray(np.round(inks * 255).astype(np.uint8), "CMYK"), cmyk_profile()
    else:
        stored, profile = in_space(TO_XYZ[space], 2.2), rgb_profile(TO_XYZ[space], 2.2)
    path = saved(stored, tmp_path / "a.tiff", icc_profile=profile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = open_image(path)
        jpeg = open_image(saved(stored, tmp_path / "a.jpg", icc_profile=profile, quality=100, subsampling=0))
    distance = np.abs(np.asarray(got, dtype=float) - np.asarray(photo))
    unconverted = np.abs(np.asarray(Image.open(path).convert("RGB"), dtype=float) - np.asarray(photo))
    assert distance.mean() < 1 and distance.max() <= 6 and "icc_profile" not in got.info
    if space != "CMYK":
        assert unconverted.mean() > 3 * distance.mean()
    assert np.abs(np.asarray(jpeg, dtype=float) - np.asarray(photo)).mean() < 2
    equal, sizes = packet_sizes_and_share_of_equal_symbols(got, photo)
    assert equal > 0.97 and abs(sizes[0] / sizes[1] - 1) < 0.02
    if space != "CMYK":
        ignored = Image.open(path).convert("RGB")
        assert packet_sizes_and_share_of_equal_symbols(ignored, photo)[0] < equal


def test_grey_and_deep_and_transparent_pictures_have_profiles_too(tmp_path):
    ramp = np.arange(256, dtype=np.uint8)[None].repeat(8, 0)
    want = from_linear((ramp / 255.0) ** 1.8) * 255
    profile = icc(b"GRAY", {b"desc": named("grey"), b"wtpt": b"XYZ \0\0\0\0" + b"".join(map(S15, WHITE)),
                            b"kTRC": gamma(1.8)})  # fmt: skip
    deep = Image.fromarray(ramp.astype(np.uint16) * 257)
    alpha = Image.merge("LA", [Image.fromarray(ramp), Image.new("L", (256, 8), 255)])
    colour = rgb_profile(SRGB, 1.8)
    grey_with_colours = (Image.fromarray(ramp), colour)
    cases = {"grey": (Image.fromarray(ramp), profile), "deep": (deep, profile), "alpha": (alpha, profile),
             "paired": grey_with_colours, "rgba": (Image.fromarray(ramp).convert("RGBA"), colour),
             "palette": (Image.fromarray(ramp).convert("P"), colour)}  # fmt: skip
    for name, (image, embedded) in cases.items():
        got = np.asarray(open_image(saved(image, tmp_path / f"{name}.png", icc_profile=embedded)), dtype=float)
        assert np.abs(got - want[..., None]).max() < 2.5, name


def test_without_a_profile_or_with_srgbs_own_no_bit_changes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, options in (("none.png", {}), ("srgb.png", {"icc_profile": own})):
        assert np.array_equal(open_image(saved(Image.fromarray(pixels), tmp_path / name, **options)), pixels)


def test_a_profile_that_is_broken_or_of_another_kind_is_ignored_with_a_note(tmp_path):
    photo = Image.new("RGB", (8, 8), RED)
    whole = rgb_profile(SRGB, 1.8)
    for name, profile in (("garbage", b"hello" * 40), ("cut", whole[:150]), ("inks", cmyk_profile())):
        path = saved(photo, tmp_path / f"{name}.png", icc_profile=profile)
        with pytest.warns(UserWarning, match=rf"{name}\.png: its colour profile.*was ignored"):
            assert mean_colour(open_image(path)).tolist() == list(RED)


def test_metadata_that_is_odd_does_not_stop_the_rotation(tmp_path):
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    for suffix in ("png", "webp", "jpg"):
        plain = open_image(saved(Image.fromarray(pixels), tmp_path / f"plain.{suffix}", **LOSSLESS.get(suffix, {})))
        for kind, content in ((10, struct.pack("<ii", -1, 0)), (5, struct.pack("<II", 1, 0)), (2, b"72 dpi\0\0"),
                              (99, bytes(8))):  # fmt: skip
            odd = struct.pack("<HHII", 0x011A, kind, 8 if kind == 2 else 1, 38) + struct.pack(
                "<HHIHH", 0x0128, 3, 1, 3, 0
            )
            exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entry + odd[:12] + bytes(4) + content
            path = saved(Image.fromarray(pixels), tmp_path / f"odd.{suffix}", exif=exif, **LOSSLESS.get(suffix, {}))
            assert open_image(path) == plain.transpose(Image.Transpose.ROTATE_270), (suffix, kind)


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
    (tmp_path / "a.jpg").write_bytes(
        whole[:-2] + b"\xff\xff\0\xff" + (65 - scans) * scan
    )  # never ends; garbage between
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


def test_what_a_folder_leaves_out_is_counted_and_named_and_no_class_moves(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    for name in ("ants/a.heic", "bees/b.jfif", "bees/c.jp2", "dogs/d.png", "dogs/e.jpg"):
        tiny(tmp_path / name)
    (tmp_path / "cats").mkdir()
    for name in ("cats/f.nef", "notes.txt"):
        (tmp_path / name).write_text("no photo")
    with pytest.warns(UserWarning, match=r"2 of 7 files in .* were left out.*: cats.f\.nef, notes\.txt$"):
        folder = image_folder(tmp_path)
    assert folder.classes == ("ants", "bees", "cats", "dogs") and folder.labels == (0, 1, 1, 3, 3)
    assert all(folder[n].size == (8, 8) for n in range(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert folder.readable() is folder
    whole = folder.paths[3].read_bytes()
    folder.paths[3].write_bytes(whole[:-25])
    saved(Image.new("RGB", (1, 900)), folder.paths[1].with_suffix(".png")).rename(folder.paths[1])
    seen = []
    with pytest.warns(
        UserWarning, match=r"2 of 5 photos in .* were left out: .*b\.jfif: .* a line, not.*; .*d\.png is broken"
    ):
        good = folder.readable(lambda *n: seen.append(n))
    assert seen == [(n, 5) for n in range(1, 6)] and good.labels == (0, 1, 3) and good.classes == folder.classes
    for path in good.paths:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="3 of 3 photos in .* were left out"):
        good.readable()


def test_a_training_begins_without_decoding_and_leaves_out_what_is_cut(tmp_path, monkeypatch):
    for name in ("a.png", "b.jpg", "c.webp", "d.jpg", "e.png", "f.jpg", "g.jpg", "h.jpg"):
        saved(load_photo("coffee").resize((90, 60)), tmp_path / name)
    for name in ("d.jpg", "e.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-400])
    (tmp_path / "f.jpg").write_text("no photo")
    (tmp_path / "g.jpg").write_bytes((tmp_path / "b.jpg").read_bytes() + bytes(500))  # whole, and more behind it
    (tmp_path / "h.jpg").write_bytes(b"")
    decoded = []
    monkeypatch.setattr(
        "fsplit_lib.data.folders.open_image", lambda path: decoded.append(path.name) or open_image(path)
    )
    with pytest.warns(UserWarning, match=r"4 of 8 photos in .*: .*d\.jpg is broken or cut.*e\.png.*f\.jpg.*h\.jpg"):
        whole = image_folder(tmp_path).readable(thorough=False)
    assert [path.name for path in whole.paths] == ["a.png", "b.jpg", "c.webp", "g.jpg"]
    assert sorted(decoded) == ["d.jpg", "e.png", "f.jpg", "g.jpg", "h.jpg"]  # only what does not seem whole
    assert image_folder(tmp_path).paths[6:] == (tmp_path / "g.jpg", tmp_path / "h.jpg") and len(whole.readable()) == 4


def test_heic_names_its_plugin_where_it_is_missing(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = tiny(tmp_path / "phone.heic")
    for prelude, told in (
        ("", "(8, 8)"),
        ("sys.modules['pillow_heif'] = None; ", "needs a plugin: pip install fsplit_lib[codecs]"),
    ):
        code = (
            f"import sys; {prelude}from fsplit_lib.data.images import open_image; print(open_image({str(path)!r}).size)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert told in done.stdout + done.stderr.splitlines()[-1] if done.stderr else told in done.stdout


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


def test_cells_are_whole_or_defective(tmp_path):
    (tmp_path / "data").mkdir()
    table = tmp_path / "data" / "labels.csv"
    table.write_text("images/cell0001.png  1.0                 mono\nimages/cell0002.png  0.3333333333333333  poly\n")
    folder = elpv(tmp_path)
    assert (folder.name, folder.labels, folder.classes) == ("elpv", (1, 0), ("whole", "defective"))
    assert folder.paths == tuple(tmp_path / "data" / "images" / f"cell000{n}.png" for n in (1, 2))
    assert elpv(tmp_path / "data") == folder and "BY-NC-SA" in folder.licence
    with pytest.raises(DataError, match="pip install elpv-dataset"):
        elpv(tmp_path / "nothing")
    table.write_text("path,label\na.png,1\n")
    with pytest.raises(DataError, match="not ELPV's table"):
        elpv(tmp_path)


@pytest.mark.parametrize("inside", ["caltech101/101_ObjectCategories", "101_ObjectCategories", "."])
def test_caltech_in_each_layout_without_its_background(tmp_path, inside):
    for name in ("accordion/1.png", "BACKGROUND_Google/2.png", "yin_yang/3.png"):
        tiny(tmp_path / inside / name)
    for name in ("Faces_easy", "car_side", "windsor_chair", *(f"category {n}" for n in range(96))):
        (tmp_path / inside / name).mkdir()
    folder = caltech101(tmp_path)
    assert len(folder.classes) == 101 and "BACKGROUND_Google" not in folder.classes  # those without a photo count too
    assert [folder.classes[label] for label in folder.labels] == ["accordion", "yin_yang"]
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
        "import sys; from dataclasses import make_dataclass; from pathlib import Path;"
        "from fsplit_lib.data import read_rows, write_rows; Word = make_dataclass('Word', [('text', str)]);"
        "path = Path(sys.argv[1]); rows = read_rows(path, Word, 'fsplit make'); write_rows(path.with_name('again.csv'), rows);"
        "sys.path.insert(0, sys.argv[2]); from equations import equation_table; equation_table()"
    )
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, tmp_path / "table.csv", here], env=plain, cwd=here.parent, check=True)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
