"""Speech as a picture of one channel: WAV files, mel patches, held-out speakers, packets, rivals, recipes and tables."""

import struct
import zlib

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from fsplit_lib import zoo
from fsplit_lib.backbones import SPEECH_NETWORKS, Backbone, load_backbone
from fsplit_lib.chapters import ch09_speech
from fsplit_lib.cli.app import app
from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.data import data_root
from fsplit_lib.data.speech import (
    TRAINED_ON,
    japanese_vowels,
    log_mel,
    mel_filters,
    patches,
    read_wav,
    spoken_digits,
)
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import RatePoint, evaluate_speech, read_table
from fsplit_lib.evaluation import speech as rivals
from fsplit_lib.packet import Packet
from fsplit_lib.plots.style import caption
from fsplit_lib.recipes import RunContext, run_recipe
from fsplit_lib.recipes import speech as recipes
from fsplit_lib.system import build_system, load_system


def tone(hertz, seconds=0.4, rate=8000):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tone a digit, by two speakers of each side."""
    path = tmp_path_factory.mktemp("digits")
    for digit in (0, 3, 7):
        for n, speaker in enumerate(("george", "lucas", "theo", "me")):
            sound = tone(300 + 300 * digit + 20 * n)
            wavfile.write(path / f"{digit}_{speaker}_0.wav", 8000, (32767 * sound).astype(np.int16))
    (path / "notes.txt").write_text("no recording")
    wavfile.write(path / "hello.wav", 8000, np.ones(100, np.int16))
    return path


# the mel filter bank


def test_filters_are_triangles_between_points_that_are_even_on_the_mel_scale():
    bands, size, rate = 10, 8192, 8000
    filters = mel_filters(bands, size, rate)
    hertz = np.arange(size // 2 + 1) * rate / size
    mel = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    assert filters.shape == (bands, size // 2 + 1)
    for k in range(bands):
        expected = np.interp(hertz, edges[k : k + 3], [0, 1, 0], left=0, right=0)
        assert np.allclose(filters[k], expected, atol=1e-12)
        assert abs(hertz[filters[k].argmax()] - edges[k + 1]) <= rate / size  # 1 at its centre


def test_between_the_first_centre_and_the_last_neighbours_add_up_to_one():
    filters = mel_filters(64, 512, 8000)
    first, last = filters[0].argmax(), filters[-1].argmax()
    assert np.allclose(filters[:, first + 1 : last].sum(axis=0), 1)
    assert (filters.max(axis=1) > 0).all()  # no band is empty


# recordings


def test_a_tone_lights_the_band_whose_centre_is_nearest_and_loudness_does_not_count():
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 66)[1:-1] / 2595) - 1)
    for hertz in (440.0, 1000.0, 3000.0):
        patch = log_mel(tone(hertz))
        assert patch.shape == (1, 64, 64) and patch.dtype == np.uint8
        assert abs(int(patch[0, :, 32].argmax()) - int(np.abs(centres - hertz).argmin())) <= 1
        assert (log_mel(0.1 * tone(hertz)) == patch).all()


def test_a_short_recording_lies_between_silence_and_a_long_one_keeps_its_loudest_part():
    short = log_mel(tone(1000, 0.2))
    assert not short[..., :20].any() and not short[..., -20:].any() and short[..., 32].max() > 200
    quiet = np.zeros(4 * 8000)
    quiet[20000:23200] = tone(1000)
    assert log_mel(quiet)[0].max(axis=0).sum() >= log_mel(tone(1000))[0].max(axis=0).sum() - 255


def test_a_wav_file_of_any_width_rate_and_channels_is_the_same_sound(tmp_path):
    sound = tone(440)
    for name, samples in {
        "u8": np.rint(127 * sound + 128).astype(np.uint8),
        "s16": np.rint(32767 * sound).astype(np.int16),
        "s32": np.rint((2**31 - 1) * sound).astype(np.int32),
        "f32": sound.astype(np.float32),
        "stereo": np.stack([32767 * sound, np.zeros_like(sound)], axis=1).astype(np.int16),
    }.items():
        wavfile.write(tmp_path / f"{name}.wav", 8000, samples)
        read, share = read_wav(tmp_path / f"{name}.wav"), 0.5 if name == "stereo" else 1
        assert np.allclose(read, share * sound, atol=0.01), name
    wavfile.write(tmp_path / "cd.wav", 44100, np.rint(32767 * tone(440, rate=44100)).astype(np.int16))
    read = read_wav(tmp_path / "cd.wav")
    assert len(read) == 3200 and np.allclose(read[400:-400], sound[400:-400], atol=0.02)


def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(DataError, match="there is no recording"):
        read_wav(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("seven")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "cut.wav").write_bytes((data_root() / "speech" / "seven.wav").read_bytes()[:30])
    for name in ("text", "empty", "cut"):
        with pytest.raises(DataError, match=f"{name}.wav is no WAV file that can be read"):
            read_wav(tmp_path / f"{name}.wav")
    for name, samples in {"silence": np.zeros(800, np.int16), "nothing": np.zeros(0, np.int16)}.items():
        wavfile.write(tmp_path / f"{name}.wav", 8000, samples)
        with pytest.raises(DataError, match=f"{name}.wav holds no sound"):
            read_wav(tmp_path / f"{name}.wav")


def test_no_speaker_is_on_both_sides(folder, tmp_path):
    named = {
        split: {path.name.split("_")[1] for path in spoken_digits(folder, split)[0]} for split in ("train", "test")
    }
    assert named == {"train": {"george", "lucas"}, "test": {"theo", "me"}} and named["train"] < set(TRAINED_ON)
    paths, digits = spoken_digits(folder, "test")
    assert [int(path.name[0]) for path in paths] == digits.tolist()
    for split, said in (("train", "of george"), ("test", "of others than george")):
        with pytest.raises(DataError, match=said):
            spoken_digits(tmp_path, split)


def test_the_japanese_vowels_are_whole_and_silent_behind_their_end():
    sizes = {"train": 270, "test": 370}
    for split, size in sizes.items():
        images, speakers = japanese_vowels(split)
        assert images.shape == (size, 1, 12, 32) and set(speakers) == set(range(9))
        sounding = images[:, 0].min(axis=1) > 0  # (N, 32)
        assert (sounding == (images[:, 0].max(axis=1) > 0)).all()
        assert (np.diff(sounding.astype(int), axis=1) <= 0).all()
        assert sounding.sum(axis=1).min() >= 7 and sounding.sum(axis=1).max() <= 29


def test_missing_vowels_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("FSPLIT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"japanese_vowels.npz is missing: restore it"):
        japanese_vowels("train")


# one channel through the classes of photos


def test_images_of_one_channel_keep_it_and_grey_ones_become_rgb():
    images = np.arange(2 * 16 * 16).reshape(2, 1, 16, 16).astype(np.uint8)
    assert torch.equal(images_to_tensor(images).expand(2, 3, 16, 16), images_to_tensor(images[:, 0]))


def test_a_packet_of_one_channel_comes_back():
    torch.manual_seed(0)
    codec = FeatureCodec(CodecConfig((8, 8, 8), channels=1))
    codec.update()
    x = images_to_tensor(log_mel(tone(700))[None])
    wire = codec.compress(x)[0].to_bytes()
    packet = Packet.from_bytes(wire)
    assert (packet.height, packet.width) == (64, 64)
    with torch.no_grad():
        assert torch.equal(codec.decompress([packet]), codec.prior.quantise(codec.encoder(x)))
    assert CodecConfig.from_dict({"widths": [8, 8, 8]}).channels == 3  # cards are older than the field
    for config in ({"channels": 0}, {"channels": 1, "kind": "lean", "strides": (4, 2, 1)}):
        with pytest.raises(ValueError, match="channels must be 3, or at least 1 for a residual encoder"):
            CodecConfig(**config)


def test_the_teacher_is_cut_at_stride_8_and_whole():
    network = SPEECH_NETWORKS["speech-teacher"]()
    backbone, x = Backbone("speech-teacher", network), torch.rand(2, 1, 64, 64)
    assert (backbone.spec.stride, backbone.spec.channels, backbone.head(x).shape) == (8, 32, (2, 32, 8, 8))
    with torch.no_grad():
        assert torch.equal(backbone(x), network(2 * x - 1))
    assert backbone.class_names[7] == "seven"


# rivals


@pytest.mark.parametrize("bits", rivals.BITS)
def test_mel_of_fewer_bits_is_off_by_half_a_step_at_most(bits):
    patch = log_mel(tone(900))
    back = rivals.unpack_mel(rivals.pack_mel(patch, bits), bits, patch.shape)
    assert np.abs(back.astype(int) - patch).max() <= 255 / (2**bits - 1) / 2 + 0.5
    if bits == 8:
        assert (back == patch).all()


def test_an_ogg_file_without_pages_is_its_frames():
    def page(*packets):
        table = bytes(map(len, packets))
        return b"OggS" + bytes(22) + struct.pack("B", len(table)) + table + b"".join(packets)

    file = page(b"OpusHead" + bytes(11)) + page(b"OpusTags" + bytes(30)) + page(b"a" * 40, b"b" * 33) + page(b"c" * 9)
    assert rivals.ogg_payload(file) == 40 + 33 + 9


@pytest.fixture(scope="module")
def system():
    backbone = Backbone("speech-teacher", SPEECH_NETWORKS["speech-teacher"]())
    built = build_system(backbone, CodecConfig((8, 8, 8), channels=1), recipes.SPEECH_DECODER, 0)
    built.codec.update()
    return built.eval()


def test_rivals_are_measured_on_the_same_recordings(folder, system, monkeypatch):
    monkeypatch.setattr(rivals.shutil, "which", lambda _: None)  # no audio codec is installed
    paths, digits = spoken_digits(folder, "test")
    seen = []
    measured = evaluate_speech({"ours": system}, system.backbone, paths, digits, "d", lambda *at: seen.append(at))
    by_name = {(one.codec, one.quality): one for one in measured}
    assert {name for name, _ in by_name} == {"ours", "teacher", "mel, zlib", "mel, WebP"}
    assert seen[-1] == (len(paths), len(paths)) and all(len(one.sizes) == len(paths) for one in measured)
    assert by_name["teacher", None].sizes.tolist() == [2 * len(read_wav(path)) for path in paths]
    eight = by_name["mel, zlib", 8]
    assert (eight.decided == eight.teacher).all()  # lossless
    assert eight.sizes[0] == len(zlib.compress(patches(paths[:1])[0].transpose(0, 2, 1).tobytes(), 9))


# recipes, tables, weights


def test_recipes_train_on_a_folder_and_say_what_they_did(folder, tmp_path, monkeypatch):
    for name in ("TEACHER", "CODEC"):
        config = getattr(recipes, name)
        monkeypatch.setattr(recipes, name, recipes.TrainConfig(**{**vars(config), "steps": 3, "batch": 4}))
    run = RunContext(tmp_path / "speech-teacher", folder, tmp_path / "work")
    assert "of 6 recordings of held-out speakers" in run_recipe("speech-teacher", run)
    card = zoo.read_card(tmp_path / "speech-teacher")
    assert card.kind == "backbone" and card.scores[0]["n"] == 6 and "4.0" in card.data
    weights = tmp_path / "speech-teacher" / "network.safetensors"
    monkeypatch.setattr(recipes, "load_backbone", lambda name: load_backbone(name, weights))
    assert "bits per mel value" in run_recipe("speech-1", RunContext(tmp_path / "speech-1", folder, tmp_path / "work"))
    card = zoo.read_card(tmp_path / "speech-1")
    assert (card.command, card.training["seed"]) == ("fsplit train speech-1 --data FOLDER", 1)
    assert card.architecture["codec"]["channels"] == 1
    with pytest.raises(DataError, match="give its folder with --data"):
        run_recipe("speech", RunContext(tmp_path / "speech", None, tmp_path / "work"))


def test_warped_copies_leave_silence_silent_and_repeat_with_their_seed():
    images = np.stack([log_mel(tone(500)), np.zeros((1, 64, 64), np.uint8)])
    made = recipes.warped(images, 3, 0)
    assert made.shape == (6, 1, 64, 64) and made.dtype == np.uint8
    assert not made[1::2].any() and made[::2].any(axis=(1, 2, 3)).all()
    assert (made == recipes.warped(images, 3, 0)).all() and (made != recipes.warped(images, 3, 1)).any()
    assert (made[0] != made[2]).any()


def test_the_command_measures_a_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(rivals.shutil, "which", lambda _: None)
    out = tmp_path / "speech.csv"
    told = CliRunner().invoke(app, ["evaluate", "speech", str(folder), "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert "mel, zlib" in told.output and out.with_name("speech_bd_rates.csv").is_file()
    assert {row.codec for row in read_table("speech.csv", tmp_path)} == {"speech", "teacher", "mel, zlib", "mel, WebP"}


def test_the_shipped_table_has_two_seeds_and_its_lossless_rows_agree():
    rows = read_table("speech.csv")
    assert {"speech", "speech-1", "teacher", "mel, WebP"} <= {row.codec for row in rows}
    assert {row.n for row in rows} == {1000}
    for row in rows:
        if row.codec == "teacher" or row.codec.startswith("FLAC") or (row.codec, row.quality) == ("mel, zlib", 8):
            assert row.agreement == 1
    assert any("opus" in row.codec.lower() and "1." in row.codec for row in rows)  # names its version


def test_the_shipped_codec_answers_the_shipped_recording():
    system = load_system("speech")
    patch = images_to_tensor(log_mel(read_wav(data_root() / "speech" / "seven.wav"))[None])
    sizes = []
    for lmbda in (system.codec.config.anchors[0], system.codec.config.anchors[-1]):
        packets = system.codec.compress(patch, lmbda)
        wire = packets[0].to_bytes()
        sizes.append(len(wire))
        assert system.answer([Packet.from_bytes(wire)]).shape == (1, 10)
    assert 17 < sizes[1] < sizes[0]
    assert len(b"seven") < sizes[1]  # a word is smaller than its features


# the chapter's figures


def test_the_bytes_for_a_share_lie_between_the_settings():
    def rows(codec, sizes, kept):
        return [
            RatePoint("d", codec, None, 1.0 * n, "t", size, share, 0, 1, share, 0, 1, 100)
            for n, (size, share) in enumerate(zip(sizes, kept, strict=True))
        ]

    table = (
        rows("speech", [100.0, 400.0], [0.8, 0.9])
        + rows("Opus, file (1.3)", [500.0, 900.0], [0.95, 0.97])
        + rows("FLAC (1.4)", [3000.0], [1.0])
    )
    found = ch09_speech.bytes_for(table, "agreement", 0.85)
    assert found == {"speech": pytest.approx(200, rel=1e-3), "Opus, file": None}


def test_figures_tell_what_they_show():
    rows = read_table("speech.csv")
    figure = ch09_speech.speech_curves(rows)
    assert {line.name for line in figure.data} >= {"FrankenSplit", "FrankenSplit, another seed", "mel, WebP"}
    assert {note.text for note in figure.layout.annotations} >= {"FLAC", "16-bit PCM"}
    drawn = ch09_speech.patch_and_bits(log_mel(tone(500)), {"a": np.eye(8), "b": 2 * np.eye(8)})
    assert len(drawn.data) == 3 and "b: 0.0 to 2.0 bits at a place" in caption(drawn)
