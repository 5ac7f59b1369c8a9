import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image, ImageCms

from fsplit_lib.backbones import load_backbone
from fsplit_lib.baselines import LIVE, BudgetFile, encode_image
from fsplit_lib.chapters import ch00
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import PHOTOS, center_crop, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.evaluation import Answer, Rival, answer_damaged, answer_photo, answer_rivals, read_table, wilson
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.ch00 import EXERCISES as MINE
from fsplit_lib.exercises.ch00 import flipped_bit, read_header
from fsplit_lib.exercises.core import altered
from fsplit_lib.packet import Packet
from fsplit_lib.panels.photo_picker import MY_OWN
from fsplit_lib.plots.packets import TINTS, field_table, fields_of, hexdump
from fsplit_lib.plots.pictures import top_names
from fsplit_lib.runner.execute import chapters
from fsplit_lib.system import build_system, load_system
from fsplit_lib.zoo import Card

NAMES = tuple(f"class {i}" for i in range(8))
REFUSED = ("a flipped bit", "a cut packet", "another codec")


def wire_of(payload: int) -> bytes:
    stream = np.random.default_rng(payload).bytes(payload)
    return Packet(b"abcd", 224, 224, 153, (stream,)).to_bytes()


def shares(best: int) -> np.ndarray:
    values = np.full(8, 0.05)
    values[best] = 0.65
    return values


def fake(teacher: int = 1, split: int = 1, payload: int = 400) -> Answer:
    return Answer(
        Image.new("RGB", (224, 224), "teal"), wire_of(payload), 8.0 * payload - 3, shares(teacher), shares(split)
    )


def rival(best: int, size: int = 300, scale: float = 0.5) -> Rival:
    return Rival(BudgetFile(bytes(size), Image.new("RGB", (224, 224)), 30, scale), shares(best))


@pytest.fixture(scope="module")
def system():
    """Untrained, but with a decoder that listens to every channel."""
    built = build_system(load_backbone("tf_efficientnet_lite0"), CodecConfig(), DecoderConfig(1, 1, 48), seed=11)
    x = photo_tensor(center_crop(load_photo("coffee")))
    with torch.no_grad():
        built.decoder.fit_statistics(built.backbone.head(x))
        built.decoder.project.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    built.codec.update()
    return built.eval()


# packet ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("payload", "varint"), [(4, 1), (124, 1), (128, 2), (20_000, 3)])
def test_fields_are_the_packet_in_order(payload, varint):
    wire = wire_of(payload)
    fields = fields_of(wire)
    assert b"".join(data for _, _, data, _ in fields) == wire
    assert [offset for _, offset, _, _ in fields] == np.cumsum(
        [0, *(len(data) for _, _, data, _ in fields[:-1])]
    ).tolist()
    sizes = {name: len(data) for name, _, data, _ in fields}
    assert (sizes["stream length"], sizes["payload"], sizes["checksum"]) == (varint, payload, 4)
    assert fields[0][0] == "magic" and fields[0][2] == b"FS"


@pytest.mark.parametrize("payload", [4, 40, 60, 64, 1300])
def test_hexdump_shows_first_and_last_bytes_each_once(payload):
    wire = wire_of(payload)
    figure = hexdump(wire)
    (drawn,) = figure.data
    wanted = wire if len(wire) <= 80 else wire[:64] + wire[-16:]
    assert [text for row in drawn.text for text in row if text] == [f"{byte:02x}" for byte in wanted]
    assert (np.isfinite(drawn.z) == (drawn.text != "")).all()
    names = [drawn.colorbar.ticktext[int(place)] for row in drawn.z for place in row if np.isfinite(place)]
    byte = [name for name, _, data, _ in fields_of(wire) for _ in data]
    assert names == (byte if len(wire) <= 80 else byte[:64] + byte[-16:])
    assert f"{len(wire):,} bytes" in figure.layout.meta["alt"]
    assert (len(figure.layout.annotations) == 1) == (len(wire) > 80)


def test_field_table_names_every_field():
    table = field_table(wire_of(500)).data
    assert all(name in table for name in TINTS)
    assert "224 × 224" in table and "500 bytes of payload" in table


# equations ---------------------------------------------------------------------------------------


@pytest.mark.equation("00.1")
def test_eq_1_bits_per_pixel():
    answer = fake(payload=1550)
    assert len(answer.wire) == 1568
    assert answer.bits_per_pixel == 0.25


@pytest.mark.equation("00.2")
def test_eq_2_seconds_to_send():
    assert ch00.seconds_to_send(1_250_000, 10e6) == 1.0


# figures -----------------------------------------------------------------------------------------


def test_answer_bars_draw_both_answers_and_say_whether_they_agree():
    figure = ch00.answer_bars(fake(1, 2), NAMES)
    assert figure.data[0].y[0] == "class 1"
    assert figure.data[0].x[0] == pytest.approx(65) and figure.data[1].x[0] == pytest.approx(5)
    assert "class 2 (65%)" in figure.layout.meta["alt"] and "disagree" in figure.layout.meta["alt"]
    assert "photo agree." in ch00.answer_bars(fake(1, 1), NAMES).layout.meta["alt"]


def test_two_classes_of_one_name_stay_two_bars():
    first = np.array([0.5, 0.3, 0.2])
    _, labels = top_names((first,), ("crane", "crane", "cup"))
    assert labels == ["crane (0)", "crane (1)", "cup"]


def test_rival_pictures_say_what_shrank_and_what_does_not_fit():
    figure = ch00.rival_pictures(fake(), {"JPEG": rival(1), "WebP": None, "AVIF": rival(3, scale=1.0)}, NAMES)
    titles = [a.text for a in figure.layout.annotations]
    assert "112 px" in titles[1] and "does<br>not fit" in titles[2] and "class 3" in titles[3]
    alt = figure.layout.meta["alt"]
    assert "coded at 112 pixels" in alt and "WebP has no file that small" in alt
    assert "class 1, agrees" in alt and "coded at 224 pixels a side): class 3, disagrees" in alt


def test_counts_and_table_say_the_same_of_agreement():
    board = {
        "one": (fake(1, 1), {"JPEG": rival(1), "WebP": None}),
        "two": (fake(1, 2), {"JPEG": rival(2), "WebP": rival(1)}),
    }
    assert ch00.agreement_counts(board) == {"FrankenSplit": 1, "JPEG": 1, "WebP": 1}
    table = ch00.verdict_table(board, NAMES).data
    assert table.count("✓ agrees") == 3 and table.count("✗ class 2") == 2 and table.count("does not fit") == 1


@pytest.mark.parametrize("budgets", [("same",), ("same", "2 times")])
def test_agreement_bars_carry_wilsons_interval(budgets):
    figure = ch00.agreement_bars({budget: {"FrankenSplit": 3, "JPEG": 0} for budget in budgets}, 7)
    low, high = wilson(3, 7)
    bar = figure.data[0]
    assert bar.y[0] + bar.error_y.array[0] == pytest.approx(7 * high)
    assert bar.y[0] - bar.error_y.arrayminus[0] == pytest.approx(7 * low)
    assert f"{low:.0%} to {high:.0%}" in figure.layout.meta["alt"]
    assert figure.layout.showlegend == (len(budgets) > 1)


def test_card_table_with_and_without_scores():
    card = Card("mine", "codec", "A <b>first</b> one.", "make", "photos", {"crops": 3200, "gain": 1}, {})
    assert "no scores yet" in ch00.card_table(card).data
    assert "&lt;b&gt;" in ch00.card_table(card).data
    card.scores = [
        {"data": "dev", "n": 500, "bytes": 1234.5, "agreement": 0.5, "agreement_low": 0.45, "agreement_high": 0.55}
    ]
    card.limits = ["one seed"]
    shown = ch00.card_table(card).data
    assert "50.0% [45.0%, 55.0%]" in shown and "1,234" in shown and "one seed" in shown
    assert "3,200 pictures seen" in shown and "gain" not in shown and "other networks" not in shown
    card.scores.append({"codec": "mine", "backbone": "another", "bytes": 777.0})
    shown = ch00.card_table(card).data
    assert "777" not in shown and "1 more rows, with other networks" in shown


# panel -------------------------------------------------------------------------------------------


@pytest.fixture
def panel():
    asked = []

    def answer(image: Image.Image) -> Answer:
        asked.append(image.size)
        return fake(1, 2, payload=4 * image.width)

    built = ch00.photo_panel(answer, NAMES, "chelsea")
    built.asked = asked
    return built


def test_panel_shows_its_first_photo_at_once(panel):
    assert panel.state() == {"photo": "chelsea", "file": ""}
    assert panel.asked == [(451, 300)]
    assert panel.figure.layout.title.text == "chelsea: 1,822 bytes, packet and photo disagree"
    assert panel.figure.data[0].source.startswith("data:image/png;base64,")
    assert "class 2" in panel.summary.value


def test_panel_follows_its_choice(panel):
    panel.set(photo="coffee")
    assert panel.figure.layout.title.text.startswith("coffee: ")
    assert panel.state()["photo"] == "coffee"
    shown = panel.static()
    assert isinstance(shown, go.Figure) and not isinstance(shown, go.FigureWidget)
    assert shown.data[0].source == panel.figure.data[0].source
    assert list(shown.data[1].y) == list(panel.figure.data[1].y)


def test_a_typed_path_moves_the_choice_to_ones_own_photo(panel, tmp_path):
    Image.new("RGB", (300, 260), "red").save(tmp_path / "mine.png")
    panel.set(file=str(tmp_path / "mine.png"))
    assert panel.state()["photo"] == MY_OWN
    assert panel.asked[-1] == (300, 260)
    assert panel.figure.layout.title.text.startswith("mine.png: 1,218 bytes")


def _upload(panel, name: str, content: bytes) -> None:
    upload = panel.box.children[0].children[2]
    upload.value = (
        {
            "name": name,
            "type": "image/png",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(UTC),
        },
    )


def test_an_upload_is_shown(panel):
    buffer = io.BytesIO()
    Image.new("L", (280, 400), 90).save(buffer, "PNG")
    _upload(panel, "grey.png", buffer.getvalue())
    assert panel.state() == {"photo": MY_OWN, "file": "grey.png"}
    assert panel.asked[-1] == (280, 400)
    assert panel.figure.layout.title.text.startswith("grey.png: ")


@pytest.mark.parametrize("kind", ["broken upload", "missing path", "folder", "empty"])
def test_what_cannot_be_read_says_so_and_loses_nothing(panel, kind, tmp_path):
    before, asked = panel.static(), len(panel.asked)
    if kind == "broken upload":
        buffer = io.BytesIO()
        Image.effect_noise((200, 200), 50).save(buffer, "PNG")
        _upload(panel, "half.png", buffer.getvalue()[:2000])
        expected = "half.png is broken or cut short"
    elif kind == "missing path":
        panel.set(file="/no/such/photo.jpg")
        expected = "there is no photo at /no/such/photo.jpg"
    elif kind == "folder":
        panel.set(file=str(tmp_path))
        expected = "is a folder"
    else:
        panel.set(photo=MY_OWN)
        expected = "type the path of a photo"
    assert expected in panel.summary.value
    assert "still shows chelsea" in panel.summary.value
    after = panel.static()
    assert len(panel.asked) == asked
    assert after.data == before.data and after.layout.title == before.layout.title
    panel.set(photo="rocket")  # and it goes on
    assert panel.figure.layout.title.text.startswith("rocket: ")


def test_panel_refuses_what_its_controls_cannot_take(panel):
    with pytest.raises(ParameterError, match="must be a path as text"):
        panel.set(file=3)
    with pytest.raises(ParameterError, match="Photo must be one of"):
        panel.set(photo="dog")


# the line ----------------------------------------------------------------------------------------


def test_answer_photo_goes_through_the_real_packet(system):
    answer = answer_photo(system, load_photo("rocket"))
    assert answer.crop.size == (224, 224)
    packet = Packet.from_bytes(answer.wire)
    assert (packet.height, packet.width) == (224, 224)
    assert 0 <= packet.payload_bytes - answer.ideal_bits / 8 <= 4 + 0.001 * packet.payload_bytes
    np.testing.assert_allclose(answer.split, system.answer([packet]).softmax(1)[0].numpy(), atol=1e-6)
    x = photo_tensor(answer.crop)
    np.testing.assert_allclose(answer.teacher, system.backbone(x).softmax(1)[0].numpy(), atol=1e-6)


def test_rivals_stay_under_the_limit_or_say_that_they_cannot(system):
    crop = center_crop(load_photo("chelsea"))
    found = answer_rivals(system.backbone, crop, 900)
    assert set(found) == set(LIVE)
    assert all(one is None or len(one.file.data) <= 900 for one in found.values())
    assert any(one is not None for one in found.values())
    assert set(answer_rivals(system.backbone, crop, 10).values()) == {None}


@pytest.mark.parametrize("codec", LIVE)
def test_no_image_codec_pays_for_a_colour_profile(codec):
    crop = center_crop(load_photo("chelsea"))
    bare = crop.copy()
    crop.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert len(crop.info["icc_profile"]) > 500 and not bare.info
    assert encode_image(crop, codec, 20) == encode_image(bare, codec, 20)


@pytest.mark.parametrize("damage", REFUSED)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_damage_on_the_wire_is_refused_in_one_sentence(system, damage, seed):
    answer = answer_photo(system, load_photo("coffee"))
    with pytest.raises(PacketError) as refusal:
        answer_damaged(system, answer.wire, damage, seed)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    if damage == "another codec":
        assert "both ends must load the same checkpoint" in sentence
    figure = ch00.breakage(damage, answer, None, sentence, system.backbone.class_names)
    assert "no answer" in figure.layout.meta["alt"] and sentence in figure.layout.meta["alt"]
    assert len(figure.data) == 1 and "refused" in figure.layout.annotations[0].text


def test_shuffled_channels_pass_every_check_and_change_the_answer(system):
    answer = answer_photo(system, load_photo("coffee"))
    served = answer_damaged(system, answer.wire, "shuffled channels", 0)
    assert np.abs(served - answer.split).max() > 0.01
    alt = ch00.breakage("shuffled channels", answer, served, "", system.backbone.class_names).layout.meta["alt"]
    assert alt.startswith("Broken: shuffled channels. The server says")


def test_nothing_broken_is_the_healthy_answer(system):
    answer = answer_photo(system, load_photo("coffee"))
    served = answer_damaged(system, answer.wire, "nothing", 0)
    np.testing.assert_allclose(served, answer.split, atol=1e-6)
    figure = ch00.breakage("nothing", answer, served, "", system.backbone.class_names)
    for healthy, shown in zip(figure.data[0].x, figure.data[1].x, strict=True):
        assert shown == pytest.approx(healthy, abs=1e-4)
    with pytest.raises(ParameterError, match="no damage is called"):
        answer_damaged(system, answer.wire, "rain", 0)


def test_the_shipped_codec_shows_the_symptom_that_the_chapter_describes():
    shipped = load_system("photo-first")
    answers = [answer_photo(shipped, load_photo(name)) for name in PHOTOS]
    shuffled = [answer_damaged(shipped, one.wire, "shuffled channels", 0) for one in answers]
    changed = sum(s.argmax() != one.split.argmax() for s, one in zip(shuffled, answers, strict=True))
    assert changed >= len(PHOTOS) - 1
    assert all(len(one.wire) - Packet.from_bytes(one.wire).payload_bytes <= 20 for one in answers)


# exercises ---------------------------------------------------------------------------------------

RIGHT = {"00.3": 8 * 1568 / 224**2, "00.4": 100 * 18 / 400, "00.5": 8 * 18_750 / 1e6, "00.6": "b", "00.7": "c"}


def fields_by_the_library(wire):
    packet = Packet.from_bytes(wire)
    return wire[2] >> 4, packet.lmbda, packet.codec_id, packet.height, packet.width, packet.streams[0]


@pytest.mark.parametrize("payload", [1, 127, 128, 382, 20_000])
def test_header_is_read_as_the_packet_reads_it(payload):
    assert read_header(wire_of(payload)) == fields_by_the_library(wire_of(payload))


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_builds_are_right_as_solved_and_wrong_in_known_ways_at_any_seed(seed, monkeypatch):
    solved = {}
    exec((Path(__file__).parents[1] / "notebooks" / "solutions" / "00.py").read_text("utf-8"), solved)
    monkeypatch.setattr(core, "SEED", seed)
    for id, name in (("00.1", "my_header"), ("00.2", "my_flipped_bit")):
        assert EXERCISES[id].drawn and check(id, solved[name]).status == "right"
        assert [check(id, trap.value).message for trap in EXERCISES[id].traps] == [
            t.message for t in EXERCISES[id].traps
        ]
    by_numbers = lambda wire: (*solved["my_header"](wire)[:2], 1, 2, 3, 4)
    assert check("00.1", by_numbers).message == "codec_id is a piece of the packet: return bytes, not int."


def test_a_field_and_a_checksum_that_are_read_otherwise_are_told():
    added = altered(read_header, "length |= (wire[at] & 127)", "length += wire[at]", "wire[12] & 127", "wire[12]")
    assert "low seven bits" in check("00.1", added).message
    assert "changed copy" in check("00.2", altered(flipped_bit, "== tried[-4:]", "== wire[-4:]")).message


def test_any_one_flipped_bit_is_found_and_never_a_second():
    wire, rng = wire_of(40), np.random.default_rng(0)
    assert flipped_bit(wire) is None
    for byte, bit in zip(rng.integers(len(wire), size=30), rng.integers(8, size=30), strict=True):
        once = bytearray(wire)
        once[byte] ^= 1 << bit
        assert flipped_bit(bytes(once)) == (byte, bit)
        once[(byte + 7) % len(wire)] ^= 1 << bit
        assert flipped_bit(bytes(once)) is None


def test_every_exercise_has_a_right_answer_here():
    assert {e.id for e in MINE} == {*RIGHT, "00.1", "00.2"}
    assert all(EXERCISES[e.id] is e for e in MINE)


@pytest.mark.parametrize("id", RIGHT)
def test_right_answers_are_right_and_no_answer_draws_the_hint(id):
    assert check(id, RIGHT[id]).status == "right"
    nothing = check(id, ...)
    assert nothing.status == "unanswered" and EXERCISES[id].hint in nothing.message


@pytest.mark.parametrize(("id", "trap"), [(e.id, trap) for e in MINE for trap in e.traps])
def test_every_trap_draws_its_own_message(id, trap):
    verdict = check(id, trap.value)
    assert (verdict.status, verdict.message) == ("wrong", trap.message)
    assert [t.message for t in EXERCISES[id].traps].count(trap.message) == 1


def test_exercise_numbers_come_from_real_packets():
    wire = Packet(b"abcd", 224, 224, 0, (bytes(382),)).to_bytes()
    assert 100 * (len(wire) - 382) / len(wire) == pytest.approx(RIGHT["00.4"])
    saved = ch00.seconds_to_send(20_000, 1e6) - ch00.seconds_to_send(1250, 1e6)
    assert saved == pytest.approx(RIGHT["00.5"])


@pytest.mark.parametrize("bad", ["x", None, "", float("nan"), [1]])
def test_nonsense_is_wrong_and_never_raises(bad):
    assert all(check(e.id, bad).status == "wrong" for e in MINE)


def test_the_bytes_that_the_title_promises_are_those_of_the_table():
    smallest = min(point.bytes for point in read_table("photos.csv") if point.codec == "photo" and point.lmbda == 3)
    assert f"lambda = 3, where packets of `photo` have {smallest:.0f} bytes" in chapters("00")[0].read_text("utf-8")
