"""Chapter 07: its tables read and told, figures, panels, exercises; on made-up tables in a temporary folder."""

import hashlib
import itertools
import math
import re
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from solved import solved_builds

from fsplit_lib.backbones import FeatureSpec, load_backbone
from fsplit_lib.chapters import ch07 as plots
from fsplit_lib.chapters import ch07_networks
from fsplit_lib.chapters.ch07 import ablation_panel, server_panel
from fsplit_lib.data import FASHION_CLASSES, data_root, fashion_mnist, write_rows
from fsplit_lib.data.tensors import images_to_tensor
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.decoders.blocks import Affine
from fsplit_lib.errors import DataError, PacketError, ParameterError
from fsplit_lib.evaluation import BDRate, RatePoint, bd_rate
from fsplit_lib.evaluation.cross_backbone import equal_bytes, read_ablation, read_crossing, read_photo_servers
from fsplit_lib.evaluation.tables import CrossRow, DecodeTime
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.ch07 import _smallest
from fsplit_lib.latency.profiling import multiply_adds
from fsplit_lib.plots import caption
from fsplit_lib.recipes.cross_backbone import ANCHORS
from fsplit_lib.system import FrankenSplit, attach_decoder, build_system, load_system
from fsplit_lib.training import ArraySource, train_decoder, train_system
from fsplit_lib.training.lab import LAB_DECODER, LAB_WIDTHS, train_lab

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
                BDRate("d", rows[0].decoded, name, anchor, v, None if v is None else v - half_width, None if v is None else v + half_width,
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
    own, *others = found.blueprints("fashion_swin").items()
    assert own[0] == "swin" and ("resnet", "swin-to-swin-by-resnet") in others and len(others) == 2
    del found.cells["swin-to-swin-by-swin"]
    with pytest.raises(DataError, match="blocks of swin: make it with `fsplit train cross_backbone"):
        found.cell("fashion_swin", "fashion_swin")


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


def test_curves_that_share_no_quality_are_told(tmp_path):
    found = cross_tables(tmp_path, seeds=(0,))
    none = {
        n: d if d.codec[0] == "n" else BDRate("d", d.backbone, n, d.against, None, None, None, None, None, 9)
        for n, d in found.deltas.items()
    }
    empty = type(found)(found.cells, none)
    table = plots.cross_table(empty)
    assert "no shared quality" in caption(table) and "not measured" in str(table.data[0].text)
    assert all(len(trace.x) == 0 for trace in plots.blueprint_deltas(empty).data)


# figures -----------------------------------------------------------------------------------------


def test_figures_say_what_they_show(tmp_path):
    found = cross_tables(tmp_path, foreign(1.25, 1.05, 1.1))
    table = plots.cross_table(found)
    assert "ResNet for Swin +25.0 % (+23.0 to +27.0)" in caption(table) and "Swin for Swin +5.0 %" in caption(table)
    assert "other seeds: +2.0, +4.0<br>decoder anew:<br>+5.0 %" in table.data[0].text[1][1]
    assert np.array(table.data[0].z)[0] == pytest.approx([5, 25, 25], abs=0.05)
    curves = plots.table_curves(found, "agreement")
    assert len(curves.data) == 9 and "Swin answers, codec of ResNet" in caption(curves)
    assert sum(bool(t.showlegend) for t in curves.data) == 3
    assert len({(t.line.dash, t.marker.symbol) for t in curves.data}) == 3  # never colour alone
    assert list(curves.data[0].y) == sorted(curves.data[0].y) and curves.data[0].error_y.array[0] == pytest.approx(1)
    at = plots.equal_byte_tables(found)
    assert "top-1 accuracy (%): codec of ResNet" in caption(at) and len(at.data) == 2
    mismatch = plots.blueprint_deltas(found)
    assert len(mismatch.data) == 9 and "Swin features, ResNet blocks (50,000) +10.0 % (+8.0 to +12.0)" in caption(
        mismatch
    )
    assert [list(t.y) for t in mismatch.data] == [[-i] for i in range(9)]


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
    text = re.sub("<[^>]+>", "|", ch07_networks.family_table(networks, decoders).data)
    assert "759,930" in text and "822,414" in text and "64×8×8" in text and "96×8×8" in text
    shares = [[int(v) for v in found] for found in re.findall(r"\|(\d+)%, (\d+)%\|", text)]
    assert len(shares) == 2 and all(0 < share < 100 for row in shares for share in row)
    assert "BHWC" in text and "2 4 8 16" in text and "2 4 8 8" in text
    figure = ch07_networks.blueprints(decoders, 8)
    drawn = " ".join(a.text for a in figure.layout.annotations)
    convolutions = 2 * 9 * 48**2 + 4 * 48  # and two Affines, a weight and a bias each
    assert f"2 ResNet<br>48 × 8 × 8<br>{2 * convolutions:,}" in drawn and "latent<br>16 × 8 × 8" in drawn
    assert "features<br>96 × 8 × 8" in drawn
    whole = sum(p.numel() for p in decoders["fashion_swin"].parameters())
    assert f"of {whole:,} parameters" in caption(figure)


def test_spreads_are_sorted_and_told():
    h = np.random.default_rng(0).normal(size=(50, 4, 8, 8)) * np.array([0.1, 10, 1, 2])[:, None, None]
    figure = ch07_networks.spreads({"fashion_swin": h, "fashion_resnet": h[:, :2]})
    assert list(figure.data[0].y) == pytest.approx([10, 2, 1, 0.1], rel=0.1)
    assert "Swin from" in caption(figure) and figure.data[1].name == "ResNet, 2 channels"


def photo_table(
    folder, agreement=(0.90, 0.86, 0.80), others=(0.89, 0.85, 0.72), bytes_of_others=(3000.0, 1500.0, 800.0)
):
    rows = []
    for judge, shares, sizes in (
        ("tf_efficientnet_lite0", agreement, (3000.0, 1500.0, 800.0)),
        ("tf_efficientnet_lite1", others, bytes_of_others),
    ):
        rows.append(RatePoint("d", "teacher", None, None, judge, 150528.0, 1.0, 1.0, 1.0, None, None, None, 500))
        for share, size in zip(shares, sizes, strict=True):
            rows.append(
                RatePoint(
                    "d", "photo", 1.0, None, judge, size, share, share - 0.03, share + 0.03, None, None, None, 500
                )
            )
    write_rows(folder / "photos_backbones.csv", rows)


def test_photo_servers_are_read_by_network_and_told(tmp_path):
    photo_table(tmp_path)
    found = read_photo_servers(tmp_path)
    assert list(found) == ["tf_efficientnet_lite0", "tf_efficientnet_lite1"]
    assert [point.bytes for point in found["tf_efficientnet_lite1"]] == [800.0, 1500.0, 3000.0]


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
    assert "ResNet says pullover (100%)" in server.summary.value and "the answers agree" in server.summary.value
    server.set(server="Swin")
    assert np.array_equal(server.figure.data[3].z, wire) and f"50 bytes, sha256 {digest}" in server.summary.value
    assert "Swin says dress (100%), without compression pullover" in server.summary.value
    assert "the answers differ" in server.summary.value
    assert list(server.figure.data[1].y) == list(100 * np.eye(10)[3]) and server.figure.data[0].z[0][0][0] == 18
    assert caption(server.static()) in server.summary.value
    before = server.state()
    for wrong in ({"picture": 4}, {"lmbda": 1.0}, {"server": "fashion_swin"}, {"backbone": 1}):
        with pytest.raises(ParameterError):
            server.set(**wrong)
    assert server.state() == before


def drawn(panel, name):
    (trace,) = panel.figure.select_traces({"name": name})
    return trace


def test_the_slider_over_the_ablation(tmp_path):
    found = ablation_tables(tmp_path)
    panel = ablation_panel(found, "fashion_convnext")
    assert panel.state() == {"network": "ConvNeXt", "restoration": 2, "width": "32"}
    assert "The smallest within half a point: this one" in panel.summary.value
    scores, _ = equal_bytes(found.curves("fashion_swin"))
    for restoration, width in itertools.product(range(5), ("32", "64")):
        panel.set(network="Swin", restoration=restoration, width=width)
        key = (restoration, int(width))
        assert list(drawn(panel, "this one").y) == pytest.approx([100 * scores[key]])
        assert list(drawn(panel, "this one").x) == pytest.approx([0.1 * (restoration + 1) * int(width) / 32])
        assert f"{1000 * (restoration + 1) * int(width):,} parameters" in panel.summary.value
        points = [row.bytes for row in found.curves("fashion_swin")[key]]
        assert list(drawn(panel, "this decoder").x) == points
    assert "2 restoration blocks of width 32" in panel.summary.value and len(drawn(panel, "others").text) == 10
    panel.set(restoration=1, width="32")
    assert (
        "1 restoration block of width 32" in panel.summary.value and "1.0 points behind the best" in panel.summary.value
    )
    for wrong in ({"restoration": 5}, {"width": "48"}, {"width": 32}, {"network": "fashion_swin"}):
        with pytest.raises(ParameterError):
            panel.set(**wrong)


# exercises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "answer"), [("07.5", 1.995), ("07.6", 40), ("07.7", "C"), ("07.8", 9)])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_the_function_exercise_knows_its_mistakes():
    def within(s, loss):
        return [k for k in s if s[k] >= max(s.values()) - loss]

    assert check("07.9", lambda s, p, loss: min(within(s, loss), key=p.get)).status == "right"
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
    said = {name: check("07.9", f) for name, f in wrong.items()}
    assert all(v.status == "wrong" and "Hint" not in v.message for v in said.values())
    assert len({v.message for v in said.values()}) == len(wrong)
    assert "raised ZeroDivisionError" in check("07.9", lambda *_: 1 / 0).message
    assert "best decoder itself must stay" in check("07.9", core.altered(_smallest, ">=", ">")).message
    assert "itself" in check("07.9", 3).message and "name" in check("07.9", lambda *_: 0.9).message


@pytest.fixture
def solved():
    """The book's solutions, by exercise."""
    given = solved_builds("07", nn=torch.nn, F=torch.nn.functional, torch=torch, Affine=Affine)
    return {id: given[id] for id in BUILDS}


BUILDS = ("07.1", "07.2", "07.3", "07.4")


@pytest.mark.parametrize("seed", (0, 11))
def test_builds_are_right_at_any_seed(solved, seed, monkeypatch):
    monkeypatch.setattr(core, "SEED", seed)
    assert {id: check(id, solved[id]).status for id in BUILDS} == dict.fromkeys(BUILDS, "right")
    traps = [(id, trap) for id in BUILDS for trap in EXERCISES[id].traps if seed]
    assert all(check(id, trap.value).message == trap.message for id, trap in traps)


def test_a_build_of_another_shape_or_without_an_answer_is_told():
    class Empty(torch.nn.Module):
        def __init__(self, width): ...

        def forward(self, x): ...

    assert check("07.1", Empty).status == check("07.3", lambda *_: ...).status == "unanswered"
    assert "shape has to stay (2, 4, 8, 9)" in check("07.2", lambda x, w: x.permute(0, 2, 3, 1)).message
    assert "a number" in check("07.4", lambda *_: "D").message


def test_a_decoder_of_own_blocks_computes_and_learns_what_the_library_s_does(solved):
    y_hat = torch.randn(2, LAB_WIDTHS[-1], 8, 8)
    for family in FAMILIES:
        theirs = build_decoder(
            LAB_WIDTHS[-1], FeatureSpec(family, 5, 4), replace(LAB_DECODER, restoration=2, transformation=2)
        )
        torch.nn.init.normal_(theirs.project.weight)
        mine = deepcopy(theirs)
        ch07_networks.use_blocks(mine, solved["07.1"], {"convnext": solved["07.2"], "swin": solved["07.3"]})
        results = [one(y_hat) for one in (theirs, mine)]
        assert torch.allclose(*results, atol=1e-4)
        gradients = [
            torch.autograd.grad(r.square().sum(), list(one.parameters()))
            for r, one in zip(results, (theirs, mine), strict=True)
        ]
        assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-2) for a, b in zip(*gradients, strict=True))


def test_the_real_tables():
    found = read_crossing(data_root() / "results")
    assert len(found.networks) == 3 and all(len(found.spread(network)) == 2 for network in found.networks)
    crossed = {(a, b): found.delta(a, b) for a in found.networks for b in found.networks if a != b}
    percents = sorted(delta.percent for delta in crossed.values())
    assert (percents[0], percents[-1]) == pytest.approx((-6.9, 50.2), abs=0.05)
    served = [1 + d.percent / 100 for (a, _), d in crossed.items() if a == "fashion_resnet"]
    assert 100 * (math.prod(served) ** 0.5 - 1) == pytest.approx(2.1, abs=0.05)  # the mean of the logarithms
    assert sorted(delta.verdict for delta in crossed.values()) == ["fewer", *["more"] * 5]
    luck = max(abs(v) for network in found.networks for v in found.spread(network))
    assert luck == pytest.approx(12.2, abs=0.05) and sum(v > luck for v in percents) == 3
    top = {cell: 100 * max(row.agreement for row in rows) for cell, rows in found.cells.items()}
    gaps = [top[found.natives(b)[0]] - top[found.cell(a, b)] for a, b in crossed]
    assert (min(gaps), max(gaps)) == pytest.approx((1.0, 1.9), abs=0.05)
    ablation = read_ablation(data_root() / "results")
    smallest = {n.removeprefix("fashion_"): ablation.smallest(n) for n in ablation.networks}
    assert smallest == {"resnet": (0, 64), "convnext": (1, 32), "swin": (0, 64)}
    photos = read_photo_servers(data_root() / "results")
    ends = [100 * points[at].agreement for points in photos.values() for at in (0, -1)]
    assert ends == pytest.approx([76.0, 91.2, 76.2, 89.8, 72.4, 86.8], abs=0.05)


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
