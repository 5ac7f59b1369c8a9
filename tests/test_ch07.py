"""Chapter 07: its tables read and told, figures, panels, exercises; on made-up tables in a temporary folder."""

import hashlib
import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsplit_lib.backbones import FeatureSpec, load_backbone
from fsplit_lib.data import FASHION_CLASSES, data_root, fashion_mnist, write_rows
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.errors import DataError, PacketError, ParameterError
from fsplit_lib.evaluation import BDRate, RatePoint, bd_rate
from fsplit_lib.evaluation.cross_backbone import CrossRow, DecodeTime, read_ablation, read_crossing, read_photo_servers
from fsplit_lib.exercises import check
from fsplit_lib.latency.profiling import multiply_adds
from fsplit_lib.panels.ch07 import ablation_panel, server_panel
from fsplit_lib.plots import caption
from fsplit_lib.plots import ch07 as plots
from fsplit_lib.recipes.cross_backbone import ANCHORS
from fsplit_lib.system import FrankenSplit, attach_decoder, build_system, load_system
from fsplit_lib.training import ArraySource, train_decoder, train_system
from fsplit_lib.training.lab import LAB_DECODER, train_lab

FAMILIES = ("resnet", "convnext", "swin")
LMBDAS = (0.01, 0.023, 0.055, 0.13, 0.3)


def rows_of(cell, trained, decoded, blueprint, frozen, seed, times, restoration=1, width=48, gain=0.0, parameters=None):
    """A cell whose packets are ``times`` as large as some base curve's, and ``gain`` better."""
    found = []
    for lmbda in LMBDAS:
        kept = 0.93 - 0.1 * math.log10(lmbda / 0.01) ** 2 / 2 + gain
        size = times * 60 * (lmbda / 0.01) ** -0.4
        parameters = parameters or 50_000 + 1000 * FAMILIES.index(blueprint)
        found.append(
            CrossRow(cell, f"fashion_{trained}", f"fashion_{decoded}", blueprint, frozen, restoration, width, parameters, seed, lmbda,
                     size, kept - 0.05, kept - 0.06, kept - 0.04, kept, kept - 0.01, kept + 0.01, 10_000)
        )  # fmt: skip
    return found


def cross_tables(folder, times=lambda trained, decoded, blueprint: 1.0, seeds=(0, 1, 2), luck=0.02, half_width=2.0):
    """Both tables of the crossing; later seeds are ``luck`` times seed larger."""
    cells = {}
    for seed, f in itertools.product(seeds, FAMILIES):
        name = f"native-{f}-{seed}"
        cells[name] = rows_of(name, f, f, f, 0, seed, 1 + luck * seed)
    for trained, decoded, blueprint in itertools.product(FAMILIES, repeat=3):
        if trained == decoded or blueprint == decoded:
            name = f"{trained}-to-{decoded}-by-{blueprint}"
            cells[name] = rows_of(name, trained, decoded, blueprint, 1, 0, times(trained, decoded, blueprint))
    deltas = []
    for name, rows in cells.items():
        anchor = f"native-{rows[0].decoded.removeprefix('fashion_')}-{seeds[0]}"
        if name != anchor:
            ends = [np.array([[r.bytes, r.agreement] for r in cells[c]]).T for c in (anchor, name)]
            v = bd_rate(*ends[0], *ends[1])
            deltas.append(
                BDRate("d", name, anchor, v, None if v is None else v - half_width, None if v is None else v + half_width,
                       0.7, 0.9, 10_000)
            )  # fmt: skip
    write_rows(folder / "cross_backbone.csv", [row for rows in cells.values() for row in rows])
    write_rows(folder / "cross_backbone_bd_rates.csv", deltas)
    return read_crossing(folder)


def ablation_tables(folder, gain=lambda restoration, width: 0.01 * min(restoration, 2), seeds=(0, 1, 2)):
    """Both tables of the ablation; winners have all seeds, later ones a thousandth worse each."""
    rows, times = [], []
    for f, restoration, width in itertools.product(FAMILIES, range(5), (32, 64)):
        count = 1000 * (restoration + 1) * width
        cell = f"{f}-r{restoration}-w{width}"
        rows += rows_of(cell, f, f, f, 0, 0, 1.0, restoration, width, gain(restoration, width), count)
        times.append(DecodeTime(f"fashion_{f}", restoration, width, 0.1 * (restoration + 1) * width / 32, 0.01, 100))
    write_rows(folder / "decoder_ablation.csv", rows)
    write_rows(folder / "decoder_ablation_times.csv", times)
    found = read_ablation(folder)
    for network, seed in itertools.product(found.networks, seeds[1:]):
        (restoration, width), f = found.smallest(network), network.removeprefix("fashion_")
        count = 1000 * (restoration + 1) * width
        rows += rows_of("", f, f, f, 0, seed, 1.0, restoration, width, gain(restoration, width) - 0.001 * seed, count)
    write_rows(folder / "decoder_ablation.csv", rows)
    return read_ablation(folder)


def foreign(price, anew=1.0, other=1.0):
    """Multiples of bytes: of a crossed pair, of a decoder trained anew, and of foreign blocks."""
    return lambda a, b, blueprint: price if a != b else anew if blueprint == b else other


# tables ------------------------------------------------------------------------------------------


@pytest.mark.equation("07.3")
def test_a_delta_is_against_the_native_pair_of_whoever_answers(tmp_path):
    found = cross_tables(
        tmp_path, lambda a, b, blueprint: 1 + 0.1 * FAMILIES.index(a) + 0.01 * FAMILIES.index(blueprint)
    )
    assert found.networks == [f"fashion_{f}" for f in FAMILIES]
    for a, b in itertools.product(found.networks, repeat=2):
        cell, native = found.cells[found.cell(a, b)], found.cells[found.natives(b)[0]]
        assert (cell[0].trained, cell[0].decoded, cell[0].frozen, native[0].seed) == (a, b, 1, 0)
        by_hand = bd_rate(
            *(np.array(v) for rows in (native, cell) for v in ([r.bytes for r in rows], [r.agreement for r in rows]))
        )
        assert found.delta(a, b).percent == pytest.approx(by_hand, abs=0.01)
        assert by_hand == pytest.approx(10 * found.networks.index(a) + found.networks.index(b), abs=0.1)
    assert found.spread("fashion_swin") == pytest.approx([2, 4], abs=0.05)
    own, *others = found.blueprints("fashion_swin")
    assert own == "swin" and set(others) == {"resnet", "convnext"}
    assert found.delta("fashion_swin", "fashion_swin", "resnet").method == "swin-to-swin-by-resnet"
    with pytest.raises(DataError, match="blocks of efficientnet: make it with `fsplit train cross_backbone"):
        found.cell("fashion_swin", "fashion_swin", "efficientnet")


def test_quality_at_equal_bytes_by_hand(tmp_path):
    found = cross_tables(tmp_path, foreign(1.25))
    kept, size = found.at_equal_bytes("agreement")
    low, high = 1.25 * 60 * 30**-0.4, 60.0
    assert size == pytest.approx(math.sqrt(low * high), rel=1e-4)
    rows = found.cells["native-swin-0"]
    native = np.interp(math.log(size), [math.log(r.bytes) for r in rows], [r.agreement for r in rows])
    assert kept.diagonal() == pytest.approx([native] * 3) and (kept[~np.eye(3, dtype=bool)] < native).all()
    assert found.at_equal_bytes("top1")[0] == pytest.approx(kept - 0.05, abs=1e-5)


def test_tables_that_are_missing_or_not_whole_say_what_to_run(tmp_path):
    with pytest.raises(DataError, match="fsplit train cross_backbone --out data/results/cross_backbone"):
        read_crossing(tmp_path)
    with pytest.raises(DataError, match="fsplit train decoder_ablation --out data/results/decoder_ablation"):
        read_ablation(tmp_path)
    whole = cross_tables(tmp_path)
    rows = [row for name, rows in whole.cells.items() if name != "swin-to-resnet-by-resnet" for row in rows]
    write_rows(tmp_path / "cross_backbone.csv", rows)
    with pytest.raises(DataError, match="codec of fashion_swin, answers by fashion_resnet"):
        read_crossing(tmp_path)
    cross_tables(tmp_path)
    write_rows(tmp_path / "cross_backbone_bd_rates.csv", [whole.deltas["native-swin-1"]])
    with pytest.raises(DataError, match="no BD-rate of convnext-to-convnext-by-convnext"):
        read_crossing(tmp_path)
    ablation_tables(tmp_path)
    write_rows(tmp_path / "decoder_ablation_times.csv", [DecodeTime("fashion_resnet", 0, 32, 0.1, 0.01, 100)])
    with pytest.raises(DataError, match="no time of"):
        read_ablation(tmp_path)


# what the tables say -----------------------------------------------------------------------------

OUTCOMES = {
    "all pay": (
        foreign(1.3),
        "every server that did not take part in the training pays",
        "6 have whole intervals above",
    ),
    "nobody pays": (foreign(1.0), "costs no more here than another seed", "0 have whole intervals above"),
    "within luck": (foreign(1.03), "costs no more here than another seed", "6 have whole intervals above"),
    "cheaper": (
        foreign(0.9),
        "costs no more here than another seed",
        "0 have whole intervals above the native pair, 6 below",
    ),
    "some pay": (
        lambda a, b, blueprint: 1.2 if (a, b) == ("swin", "resnet") else 1.0,
        "1 of 6 servers pay",
        "1 have whole intervals above",
    ),
}


def test_wide_intervals_and_single_seeds_leave_it_open(tmp_path):
    said = plots.cross_outcome(cross_tables(tmp_path, foreign(1.2), half_width=30.0))
    assert "0 have whole intervals above" in said[3] and "not shown by these pictures" in said[-1]
    said = plots.cross_outcome(cross_tables(tmp_path, foreign(1.2), seeds=(0,)))
    assert "6 of 6 servers pay; whether by more than a seed's luck is not known" in said[-1]


@pytest.mark.parametrize("kind", OUTCOMES)
def test_sentences_follow_from_the_cross_table(kind, tmp_path):
    times, last, counted = OUTCOMES[kind]
    said = plots.cross_outcome(cross_tables(tmp_path, times))
    assert last in said[-1] and counted in said[3] and "up to 4.0 % from the first" in said[1]
    assert plots.told(said).data.count("<li>") == len(said) == 7
    if kind == "some pay":
        assert said[-1].endswith(
            "by more than the luck of any seed here, 1 by more than that of their own column's seeds."
        )
        assert "+20.0 % (+18.0 to +22.0) with Swin's codec and ResNet's answer" in said[2]
        assert "serves the others best is ResNet's (+0.0 % on average" in said[4] and "Swin's +9.5 %" in said[4]


def test_quality_that_no_foreign_packet_reaches_is_told(tmp_path):
    found = cross_tables(tmp_path)
    assert (
        "0 of 6 crossed pairs keep fewer decisions than the native pair at its own." in plots.cross_outcome(found)[-2]
    )
    lower = {"resnet-to-swin-by-swin": 0.012, "swin-to-resnet-by-resnet": 0.02}
    cells = {n: [replace(r, agreement=r.agreement - lower.get(n, 0)) for r in rows] for n, rows in found.cells.items()}
    said = plots.cross_outcome(type(found)(cells, found.deltas))[-2]
    assert "2 of 6 crossed pairs keep fewer" in said and "by 1.2 to 2.0 points" in said


def test_curves_that_share_no_quality_and_single_seeds_are_told(tmp_path):
    found = cross_tables(tmp_path, seeds=(0,))
    none = {
        n: d if d.method[0] == "n" else BDRate("d", n, d.against, None, None, None, None, None, 9)
        for n, d in found.deltas.items()
    }
    empty = type(found)(found.cells, none)
    said = plots.cross_outcome(empty)
    assert "one seed" in said[0] and "nothing to compare" in said[-1]
    assert "no shared quality" in caption(plots.cross_table(empty)) and "not measured" in str(
        plots.cross_table(empty).data[0].text
    )
    assert "share no quality" in plots.blueprint_outcome(empty)[0] and len(plots.blueprint_deltas(empty).data) == 0
    unsure = {n: BDRate("d", n, d.against, d.percent, None, None, 0.5, 0.6, 9) for n, d in found.deltas.items()}
    assert "not shown by this experiment" in plots.blueprint_outcome(type(found)(found.cells, unsure))[-1]


BLUEPRINTS = {
    "own ahead": (foreign(1.0, 1.0, 1.2), "holds for all 3 families"),
    "foreign ahead": (foreign(1.0, 1.2, 1.0), "contradicted here for 3 of 3"),
    "equal": (foreign(1.0, 1.0, 1.0), "not shown by this experiment"),
    "luck": (foreign(1.0, 1.0, 1.035), "not shown by this experiment"),
    "one family": (
        lambda a, b, blueprint: 1.2 if a == b == "swin" != blueprint else 1.0,
        "shown for 1 of 3 families, and contradicted for 0",
    ),
}


@pytest.mark.parametrize("kind", BLUEPRINTS)
def test_sentences_follow_from_the_blueprints(kind, tmp_path):
    times, last = BLUEPRINTS[kind]
    said = plots.blueprint_outcome(cross_tables(tmp_path, times, half_width=1.0))
    assert ("no more than another seed" in said[0]) == (kind == "luck")
    assert len(said) == 4 and last in said[-1]
    assert "52,000 parameters" in said[2] and said[2].startswith("Swin features")


@pytest.mark.parametrize(("gain", "told", "small"), [
    (lambda r, w: 0.01 * min(r, 2), "within half a point has restoration blocks for 3 of 3", (2, 32)),
    (lambda r, w: 0.0, "for 0 of 3 families; ResNet, ConvNeXt, Swin do without", (0, 32)),
    (lambda r, w: 0.01 * (w == 64), "for 0 of 3 families; ResNet, ConvNeXt, Swin do without", (0, 64)),
])  # fmt: skip
def test_sentences_follow_from_the_ablation(gain, told, small, tmp_path):
    found = ablation_tables(tmp_path, gain)
    said = plots.ablation_outcome(found)
    assert len(said) == 5 and told in said[-1]
    assert all(found.smallest(network) == small for network in found.networks)
    best = 100 * max(found.scores("fashion_swin")[0].values())
    assert found.confirmed("fashion_swin")[0] == pytest.approx(best / 100, abs=0.005)
    assert np.diff(found.confirmed("fashion_swin")) == pytest.approx([-0.001, -0.001], abs=1e-4)
    assert "3 seeds of the former score" in said[0] and f"{best:.1f} %" in said[2]
    change = 100 * (gain(4, 32) - gain(0, 32))
    assert f"changes by {change:+.1f} to {change:+.1f} points, {change:+.1f} on average" in said[3].replace(
        "-0.0", "+0.0"
    )


# figures -----------------------------------------------------------------------------------------


def test_figures_say_what_they_show(tmp_path):
    found = cross_tables(tmp_path, foreign(1.25, 1.05, 1.1))
    table = plots.cross_table(found)
    assert "ResNet for Swin +25.0 % (+23.0 to +27.0)" in caption(table) and "Swin for Swin +5.0 %" in caption(table)
    assert "other seeds: +2.0, +4.0<br>decoder anew: +5.0 %" in table.data[0].text[1][1]
    assert np.array(table.data[0].z)[0] == pytest.approx([5, 25, 25], abs=0.05)
    curves = plots.table_curves(found, "agreement")
    assert len(curves.data) == 9 and "Swin answers, ResNet" in caption(curves)
    assert sum(bool(t.showlegend) for t in curves.data) == 3
    assert len({(t.line.dash, t.marker.symbol) for t in curves.data}) == 3  # never colour alone
    assert list(curves.data[0].y) == sorted(curves.data[0].y) and curves.data[0].error_y.array[0] == pytest.approx(1)
    at = plots.equal_byte_tables(found)
    assert "top-1 accuracy (%): codec of ResNet" in caption(at) and len(at.data) == 2
    mismatch = plots.blueprint_deltas(found)
    assert len(mismatch.data) == 9 and "Swin features, ResNet blocks (50,000) +10.0 % (+8.0 to +12.0)" in caption(
        mismatch
    )
    assert mismatch.data[0].y == (0,) and mismatch.data[8].y == (-8,)


@pytest.mark.equation("07.1")
def test_a_decoder_is_the_equation_of_its_blocks():
    torch.manual_seed(0)
    decoder = build_decoder(6, FeatureSpec("resnet", 5, 8), DecoderConfig(2, 1, 8))
    torch.nn.init.normal_(decoder.project.weight)
    h, y_hat = 3 * torch.randn(4, 5, 3, 3) + 1, torch.randn(2, 6, 3, 3)
    decoder.fit_statistics(h)
    with torch.no_grad():
        out = torch.nn.functional.conv2d(y_hat, decoder.widen.weight, decoder.widen.bias, padding=1)
        for block in (*decoder.restore, *decoder.transform):
            out = block(out)
        out = torch.einsum("pc,bchw->bphw", decoder.project.weight[:, :, 0, 0], out)
        by_hand = h.mean((0, 2, 3))[:, None, None] + h.std((0, 2, 3))[:, None, None] * out
        assert torch.allclose(decoder(y_hat), by_hand, atol=1e-5)
    assert len(decoder.restore) == 2 and len(decoder.transform) == 1


def test_families_and_blueprints_are_counted():
    networks = {name: load_backbone(name, "random") for name in ("fashion_resnet", "fashion_swin")}
    config = DecoderConfig(1, 2, 48, window=4)
    decoders = {name: build_decoder(16, one.spec, config) for name, one in networks.items()}
    text = re.sub("<[^>]+>", "|", plots.family_table(networks, decoders).data)
    assert "759,930" in text and "822,414" in text and "64×8×8" in text and "96×8×8" in text
    shares = [[int(v) for v in found] for found in re.findall(r"\|(\d+)%, (\d+)%\|", text)]
    assert len(shares) == 2 and all(0 < share < 100 for row in shares for share in row)
    assert "BHWC" in text and "2 4 8 16" in text and "2 4 8 8" in text
    figure = plots.blueprints(decoders, 8)
    drawn = " ".join(a.text for a in figure.layout.annotations)
    convolutions = 2 * 9 * 48**2 + 4 * 48  # and two Affines, a weight and a bias each
    assert f"2 ResNet blocks<br>48 × 8 × 8<br>{2 * convolutions:,}" in drawn and "latent<br>16 × 8 × 8" in drawn
    assert "features<br>96 × 8 × 8" in drawn
    whole = sum(p.numel() for p in decoders["fashion_swin"].parameters())
    assert f"of {whole:,} parameters" in caption(figure)


def test_spreads_are_sorted_and_told():
    h = np.random.default_rng(0).normal(size=(50, 4, 8, 8)) * np.array([0.1, 10, 1, 2])[:, None, None]
    figure = plots.spreads({"fashion_swin": h, "fashion_resnet": h[:, :2]})
    assert list(figure.data[0].y) == pytest.approx([10, 2, 1, 0.1], rel=0.1)
    assert "Swin from" in caption(figure) and figure.data[1].name == "ResNet, 2 channels"


def photo_table(folder, agreement=(0.90, 0.86, 0.80), others=(0.89, 0.85, 0.72), bytes_of_others=(3000.0, 1500.0, 800.0)):
    rows = []
    for judge, shares, sizes in (
        ("", agreement, (3000.0, 1500.0, 800.0)),
        (" for tf_efficientnet_lite1", others, bytes_of_others),
    ):
        rows.append(RatePoint("d", f"teacher{judge}", "raw", 150528.0, 1.0, 1.0, 1.0, None, None, None, 500))
        for share, size in zip(shares, sizes, strict=True):
            rows.append(
                RatePoint(
                    "d", f"FrankenSplit{judge}", "photo", size, share, share - 0.03, share + 0.03, None, None, None, 500
                )
            )
    write_rows(folder / "photos_backbones.csv", rows)


def test_photo_servers_are_read_by_network_and_told(tmp_path):
    photo_table(tmp_path)
    found = read_photo_servers(tmp_path)
    assert list(found) == ["tf_efficientnet_lite0", "tf_efficientnet_lite1"]
    assert [point.bytes for point in found["tf_efficientnet_lite1"]] == [800.0, 1500.0, 3000.0]
    own, newcomer, apart = plots.photo_outcome(found)
    assert own == (
        "EfficientNet-Lite0 (the codec was trained with it) keeps 80.0% at 800 bytes, 86.0% at 1,500 bytes, "
        "90.0% at 3,000 bytes of its own decisions."
    )
    assert newcomer.startswith("EfficientNet-Lite1 (behind the frozen codec) keeps 72.0% at 800 bytes")
    assert apart.endswith(
        "apart only for EfficientNet-Lite1 at 800 bytes; of 3 rates, EfficientNet-Lite1 lies below at 3."
    )
    photo_table(tmp_path, others=(0.89, 0.85, 0.79))
    assert plots.photo_outcome(read_photo_servers(tmp_path))[-1].endswith(
        "are nowhere apart; of 3 rates, EfficientNet-Lite1 lies below at 3."
    )


def test_servers_of_other_packets_are_refused(tmp_path):
    photo_table(tmp_path, bytes_of_others=(3000.0, 1500.0, 801.0))
    with pytest.raises(DataError, match="not sent the same packets"):
        read_photo_servers(tmp_path)
    with pytest.raises(DataError, match="make it with `fsplit evaluate photos"):
        read_photo_servers(tmp_path / "nowhere")


# panels ------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    def pack(picture, lmbda):
        return bytes([picture]) * round(10 / lmbda)

    def answer(shift):
        return lambda data: np.eye(10)[(data[0] + shift) % 10]

    pictures = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3)
    answers = {"fashion_resnet": answer(0), "fashion_swin": answer(1)}
    whole = dict.fromkeys(answers, lambda picture: np.eye(10)[picture])
    return server_panel(pictures, [0, 1, 2, 3], FASHION_CLASSES, pack, answers, whole, (0.01, 0.3), 0.1)


def test_the_server_changes_and_the_packet_stays(server):
    server.set(picture=2, lmbda=0.2)
    wire = server.figure.data[3].z
    digest = hashlib.sha256(bytes([2]) * 50).hexdigest()[:8]
    assert "ResNet says pullover (100%)" in server.summary.value and "decision kept" in server.summary.value
    server.set(server="Swin")
    assert np.array_equal(server.figure.data[3].z, wire) and f"50 bytes, sha256 {digest}" in server.summary.value
    assert "Swin says dress (100%), without compression pullover" in server.summary.value
    assert "decision lost" in server.summary.value
    assert list(server.figure.data[1].y) == list(100 * np.eye(10)[3]) and server.figure.data[0].z[0][0][0] == 18
    assert caption(server.static()) in server.summary.value
    before = server.state()
    for wrong in ({"picture": 4}, {"lmbda": 1.0}, {"server": "fashion_swin"}, {"backbone": 1}):
        with pytest.raises(ParameterError):
            server.set(**wrong)
    assert server.state() == before


def test_the_slider_over_the_ablation(tmp_path):
    found = ablation_tables(tmp_path)
    panel = ablation_panel(found, "fashion_convnext")
    assert panel.state() == {"network": "ConvNeXt", "restoration": 2, "width": "32"}
    assert "The smallest within half a point: this one" in panel.summary.value
    scores, _ = found.scores("fashion_swin")
    for restoration, width in itertools.product(range(5), ("32", "64")):
        panel.set(network="Swin", restoration=restoration, width=width)
        key = (restoration, int(width))
        assert list(panel.figure.data[3].y) == pytest.approx([100 * scores[key]])
        assert list(panel.figure.data[3].x) == pytest.approx([0.1 * (restoration + 1) * int(width) / 32])
        assert f"{1000 * (restoration + 1) * int(width):,} parameters" in panel.summary.value
        points = [row.bytes for row in found.curves("fashion_swin")[key]]
        assert list(panel.figure.data[1].x) == points
    assert "2 restoration blocks of width 32" in panel.summary.value and len(panel.figure.data[2].text) == 10
    panel.set(restoration=1, width="32")
    assert (
        "1 restoration block of width 32" in panel.summary.value and "1.0 points behind the best" in panel.summary.value
    )
    for wrong in ({"restoration": 5}, {"width": "48"}, {"width": 32}, {"network": "fashion_swin"}):
        with pytest.raises(ParameterError):
            panel.set(**wrong)


# exercises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "answer"), [("07.1", 1.995), ("07.2", 40), ("07.3", "C"), ("07.4", 9)])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_the_function_exercise_knows_its_mistakes():
    def within(s, loss):
        return [k for k in s if s[k] >= max(s.values()) - loss]

    assert check("07.5", lambda s, p, loss: min(within(s, loss), key=p.get)).status == "right"
    wrong = {
        "best": lambda s, *_: max(s, key=s.get),
        "smallest": lambda _, p, __: min(p, key=p.get),
        "share": lambda s, p, loss: min((k for k in s if s[k] >= max(s.values()) * (1 - loss)), key=p.get),
        "strict": lambda s, p, loss: min((k for k in s if s[k] >= max(s.values()) or s[k] > max(s.values()) - loss), key=p.get),
        "per cent": lambda s, p, loss: min(within(s, loss / 100), key=p.get),
        "constant": lambda s, p, _: min(within(s, 0.005), key=p.get),
        "largest": lambda s, p, loss: max(within(s, loss), key=p.get),
        "worst": lambda s, _, loss: min(within(s, loss), key=s.get),
    }  # fmt: skip
    said = {name: check("07.5", f) for name, f in wrong.items()}
    assert all(v.status == "wrong" and "Hint" not in v.message for v in said.values())
    assert len({v.message for v in said.values()}) == len(wrong)
    assert "raised ZeroDivisionError" in check("07.5", lambda *_: 1 / 0).message
    assert "itself" in check("07.5", 3).message and "name" in check("07.5", lambda *_: 0.9).message


def test_the_real_tables():
    found = read_crossing(data_root() / "results")
    assert len(found.networks) == 3 and all(len(found.spread(network)) == 2 for network in found.networks)
    assert len(plots.cross_outcome(found)) == 7 and len(plots.blueprint_outcome(found)) == 4
    assert len(plots.ablation_outcome(read_ablation(data_root() / "results"))) == 5


def test_the_shipped_decoder_costs_what_the_text_says():
    system = load_system("photo")
    head, decoder = multiply_adds(system.backbone.head, 1, 3, 224, 224), multiply_adds(system.decoder, 1, 48, 28, 28)
    assert 6 < decoder / head < 7  # "more than six times the work of Lite0's head"
    config = system.decoder.config
    assert (config.restoration, config.transformation, config.width, config.kind) == (3, 0, 128, "dense")


# what breaks it ----------------------------------------------------------------------------------


def test_what_breaks_chapter_07():
    """A thawed codec is refused, a decoder of another network answers everything and keeps little."""
    resnet, convnext = (load_backbone(f"fashion_{family}") for family in ("resnet", "convnext"))
    run = train_lab(resnet, 0.05, 60, seed=0, anchors=ANCHORS)
    codec, config, source = run.system.codec.eval(), replace(run.config, steps=50), ArraySource(*fashion_mnist("train"))
    healthy = attach_decoder(codec, convnext, LAB_DECODER, 0)
    train_decoder(healthy, source, config)
    x = images_to_tensor(fashion_mnist("test")[0][:200])
    sent, decided = codec.compress(x, 0.05), convnext(x).argmax(1)
    thawed = build_system(convnext, codec.config, LAB_DECODER, 0)
    thawed.codec.load_state_dict(dict(codec.named_parameters()), strict=False)
    train_system(thawed, source, replace(config, steps=2))
    with pytest.raises(PacketError, match="both ends must load the same checkpoint"):
        thawed.eval().answer(sent)
    kept = [
        float((one.eval().answer(sent).argmax(1) == decided).float().mean())
        for one in (healthy, FrankenSplit(codec, run.system.decoder, convnext))
    ]
    assert kept[0] > 0.4 and kept[1] < kept[0] - 0.2, kept
