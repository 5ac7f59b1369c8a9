"""Chapter 08: journeys against arithmetic and brute force, the table's settings, the panel, figures, exercises."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solved import solved_builds
from words import words_of

from fsplit_lib.backbones import load_backbone
from fsplit_lib.baselines import encode_image
from fsplit_lib.chapters import ch08 as plots
from fsplit_lib.chapters.ch08 import journey_panel
from fsplit_lib.codec import CodecConfig
from fsplit_lib.data import PHOTOS, center_crop, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.device import DeviceCard, Timing
from fsplit_lib.device.benchmark import DeviceRow
from fsplit_lib.device.export import export_bundle
from fsplit_lib.errors import DataError, ParameterError
from fsplit_lib.evaluation import LatencyRow, RatePoint, read_table
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.ch08 import int8_layer
from fsplit_lib.latency import EndToEnd, Scenario, end_to_end, rate_for, ratio, widest_ratio
from fsplit_lib.latency.end_to_end import REPLY_BYTES, REQUEST_BYTES
from fsplit_lib.latency.measured import through_server
from fsplit_lib.latency.stages import measure_latency, settings_at
from fsplit_lib.offload.link import LINKS, Link
from fsplit_lib.offload.server import serving
from fsplit_lib.plots import caption
from fsplit_lib.system import build_system

NEITHER = (None, None)


def table():
    """A made-up latency table: two networks, two levels, as `fsplit latency` writes it."""
    rows = []

    def add(network, method, setting, stage, place, precision, threads, ms, level, size):
        rows.append(
            LatencyRow(network, method, *setting, stage, place, "", precision, threads, ms, ms if ms is None else ms / 10,
                       0 if ms is None else 100, level, size, 0.8, 500, "a cpu", "numpy 1")
        )  # fmt: skip

    for level, setting, size, quality, jpeg in (
        (0.75, (2.0, None), 1000.0, (None, 17.0), 3500.0),
        (0.85, (0.4, None), 2000.0, (None, 30.0), 5500.0),
    ):
        for precision, ms in (("float32", 16.0), ("int8", 6.0)):
            add("", "FrankenSplit", setting, "send", "wire", precision, 1, None, level, size)
            for threads in (1, 2):
                add("", "FrankenSplit", setting, "encode", "device", precision, threads, ms / threads, level, size)
                add("", "FrankenSplit", setting, "whole call", "check", precision, threads, ms + 4, level, size)
                add("", "FrankenSplit", setting, "libraries alone", "check", precision, threads, ms + 3.5, level, size)
        add("", "FrankenSplit", setting, "preprocess", "device", "", 1, 2.0, level, size)
        add("", "FrankenSplit", setting, "entropy code", "device", "", 1, 0.4, level, size)
        add("", "FrankenSplit", setting, "entropy decode", "server", "", 1, 1.0, level, size)
        for network, served, answered in (("tf_efficientnet_lite0", 25.0, 18.0), ("resnet50", 100.0, 110.0)):
            add(network, "FrankenSplit", setting, "decoder + tail", "server", "float32", 1, served, level, size)
            add(network, "JPEG", quality, "network", "server", "float32", 1, answered, level, jpeg)
        add("", "JPEG", quality, "send", "wire", "", 1, None, level, jpeg)
        add("", "JPEG", quality, "preprocess", "device", "", 1, 2.0, level, jpeg)
        add("", "JPEG", quality, "encode", "device", "", 1, 0.7, level, jpeg)
        add("", "JPEG", quality, "decode", "server", "", 1, 0.6, level, jpeg)
    add("", "PNG", NEITHER, "send", "wire", "", 1, None, None, 90000.0)
    add("", "PNG", NEITHER, "encode", "device", "", 1, 9.0, None, 90000.0)
    add("", "PNG", NEITHER, "decode", "server", "", 1, 0.9, None, 90000.0)
    for network, ms in (("tf_efficientnet_lite0", 18.0), ("resnet50", 110.0)):
        add(network, "PNG", NEITHER, "network", "server", "float32", 1, ms, None, 90000.0)
        add(network, "on the device", NEITHER, "send", "wire", "float32", 1, None, None, 0.0)
        add(network, "on the device", NEITHER, "network", "device", "float32", 1, ms, None, 0.0)
        add(network, "on the device", NEITHER, "network", "device", "float32", 2, 0.6 * ms, None, 0.0)
    add("tf_efficientnet_lite0", "8-bit features, our cut", NEITHER, "send", "wire", "", 1, None, None, 12000.0)
    add("tf_efficientnet_lite0", "8-bit features, our cut", NEITHER, "head", "device", "float32", 1, 7.0, None, 12000.0)
    add(
        "tf_efficientnet_lite0", "8-bit features, our cut", NEITHER, "rest", "server", "float32", 1, 11.0, None, 12000.0
    )
    return rows


ROWS = table()
TABLES = {
    "paper's": ROWS,
    "lean": [replace(row, median_ms=row.median_ms / 4) if row.stage == "encode" and row.method == "FrankenSplit" else row for row in ROWS],
}  # fmt: skip


@pytest.fixture(scope="module")
def panel():
    return journey_panel(TABLES, "resnet50", "75 %", "int8", 1.0, 4.0, 4.0)


def test_journeys_take_what_belongs_to_them():
    found = end_to_end(ROWS, "resnet50", 0.75)
    assert list(found) == ["FrankenSplit", "JPEG", "PNG", "on the device"]  # no split of a network that was not split
    ours = found["FrankenSplit"]
    assert ours.device == {"encode": 6.0, "preprocess": 2.0, "entropy code": 0.4}
    assert ours.server == {"entropy decode": 1.0, "decoder + tail": 100.0}
    assert (ours.bytes, ours.agreement) == (1000.0, 0.8)
    assert found["on the device"].device == {"network": 110.0} and found["on the device"].up_bytes == 0
    exact = end_to_end(ROWS, "tf_efficientnet_lite0", 0.85, "float32")  # on one thread, whatever else the table has
    assert exact["FrankenSplit"].device["encode"] == 16.0 and exact["on the device"].device == {"network": 18.0}
    assert exact["8-bit features, our cut"].device == {"head": 7.0} and exact["JPEG"].bytes == 5500.0
    busy = [row for row in ROWS if row.precision == "" or row.stage != "encode" or row.threads == 2]
    assert end_to_end(busy, "tf_efficientnet_lite0", 0.85, "float32")["FrankenSplit"].device["encode"] == 8.0
    for wrong in (("resnet50", 0.5), ("vgg", 0.75)):
        with pytest.raises(DataError, match="fsplit latency --photos FOLDER --agreement"):
            end_to_end(ROWS, *wrong)


@pytest.mark.equation("08.2", "08.3")
def test_a_journey_by_hand():
    ours, jpeg = (end_to_end(ROWS, "resnet50", 0.75)[name] for name in ("FrankenSplit", "JPEG"))
    where = Scenario(Link("", 2.0, 0.5, 30.0), slowdown=3.0, speedup=10.0)
    plan = where.plan(ours)
    wire = 8e-3 * (1000 + REQUEST_BYTES) / 2 + 8e-3 * REPLY_BYTES / 0.5 + 60
    assert 1e3 * plan.device == pytest.approx(3 * 8.4) and 1e3 * plan.server == pytest.approx(10.1)
    assert 1e3 * plan.wire == pytest.approx(wire) and 1e3 * plan.total == pytest.approx(25.2 + wire + 10.1)
    assert ratio(ours, jpeg, where) == pytest.approx(where.plan(jpeg).total / plan.total)
    local = where.plan(end_to_end(ROWS, "resnet50", 0.75)["on the device"])
    assert local.wire == local.server == 0 and local.route.kind == "local"


def drawn(rng, name):
    sent = float(rng.integers(0, 2)) * rng.uniform(100, 1e5)
    return EndToEnd(name, {"a": rng.uniform(1, 50)}, {"b": rng.uniform(0, 50)}, sent, None)


@pytest.mark.equation("08.4")
@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_the_rate_for_a_ratio_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    ours, other = drawn(rng, "ours"), drawn(rng, "other")
    delay, times = rng.uniform(0, 50), 10 ** rng.uniform(-1, 1.5)
    where = Scenario(Link("", 1.0, 1.0, delay), rng.uniform(0.1, 20), rng.uniform(0.1, 20))
    rate = rate_for(ours, other, where, times)
    at = lambda r: ratio(ours, other, Scenario(Link("", r, r, delay), where.slowdown, where.speedup))
    if rate is not None:
        assert at(rate) == pytest.approx(times, rel=1e-6)
    else:
        signs = {at(r) > times for r in np.geomspace(1e-7, 1e7, 60)}
        assert len(signs) == 1


@pytest.mark.equation("08.5")
@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_ratios_lie_between_their_ends(seed):
    rng = np.random.default_rng(seed)
    ours, other = replace(drawn(rng, "ours"), bytes=rng.uniform(100, 5000)), drawn(rng, "other")
    where = Scenario(Link("", 1.0, 1.0, rng.uniform(0, 50)), rng.uniform(0.1, 20), rng.uniform(0.1, 20))
    ends = widest_ratio(ours, other, where)
    values = [
        ratio(ours, other, Scenario(Link("", r, r, where.link.delay_ms), where.slowdown, where.speedup))
        for r in np.geomspace(1e-6, 1e9, 50)
    ]
    assert values[0] == pytest.approx(ends[0], rel=0.05, abs=0.01) and values[-1] == pytest.approx(ends[1], rel=0.01)
    steps = np.diff(values)
    assert (steps >= -1e-9).all() or (steps <= 1e-9).all()
    assert all(min(ends) - 1e-9 <= v <= max(ends) + 1e-9 for v in values)


def test_a_ratio_has_to_be_positive():
    ours = end_to_end(ROWS, "resnet50", 0.75)["FrankenSplit"]
    with pytest.raises(ParameterError, match="times must be above 0"):
        rate_for(ours, ours, Scenario(), 0.0)


def test_crossovers_by_both_sides_of_each_rate():
    where = Scenario(Link("", 1.0, 1.0, 5.0), 4.0, 4.0)
    lines = plots.crossovers(TABLES, 0.75, where)
    assert [line[:2] for line in lines] == [(c, n) for c in TABLES for n in ("tf_efficientnet_lite0", "resnet50")]
    numbers = 0
    for codec, network, device, server, jpeg, local, _ in lines:
        found = end_to_end(TABLES[codec], network, 0.75)
        ours = found["FrankenSplit"]
        assert (device, server) == (f"{sum(ours.device.values()):.1f}", f"{sum(ours.server.values()):.1f}")
        for told, other, sooner in ((jpeg, found["JPEG"], 0.7), (local, found["on the device"], 1.4)):
            rates = np.geomspace(1e-4, 1e5, 7) if told[0] == "o" else [float(told) * sooner, float(told) / sooner]
            ahead = [ratio(ours, other, replace(where, link=Link("", r, r, 5.0))) > 1 for r in rates]
            numbers += told[0] != "o"
            assert ahead == ([told == "on every link"] * 7 if told[0] == "o" else [True, False])
    assert numbers


def test_the_words_of_the_chapter_are_those_of_its_tables():
    text = words_of("08")
    assert f"Of {len(PHOTOS) * 48 * 28 * 28:,} symbols none differed" in text  # tests/proof_processor.py counts them
    tables = {"photo": read_table("latency.csv"), "lean": read_table("latency_lean.csv")}
    where, lite, large = Scenario(Link("", 1.0, 1.0, 10.0), 4.0, 4.0), "tf_efficientnet_lite0", "resnet50"
    lines = {line[:2]: line[2:] for line in plots.crossovers(tables, 0.8, where)}
    ways = {codec: end_to_end(rows, lite, 0.8) for codec, rows in tables.items()}
    ours, jpeg, local = (ways["photo"][name] for name in ("FrankenSplit", "JPEG", "on the device"))
    spans = {network: plots.winners(end_to_end(tables["photo"], network, 0.8), where) for network in (lite, large)}
    encode = [f"{way['FrankenSplit'].device['encode']:.1f}" for way in ways.values()]
    jpegs = [f"{sum(way['JPEG'].server.values()):.1f}" for way in ways.values()]
    ends = {codec: lines[codec, large][-1].split(" to ")[1] for codec in tables}
    kept = lambda codec, name, level: 100 * end_to_end(tables[codec], lite, level)[name].agreement
    exact = end_to_end(tables["photo"], lite, 0.8, "float32")
    behind = [end_to_end(rows, large, 0.8)["FrankenSplit"] for rows in tables.values()]
    stages = [way.device["entropy code"] for way in behind], [way.server["entropy decode"] for way in behind]
    coding = [after - before for before, after in stages]
    for said in (
        f"{100 * ours.agreement:.1f} % of 500 answers from packets are those from the photo, instead of "
        f"{100 * end_to_end(tables['photo'], lite, 0.8, 'float32')['FrankenSplit'].agreement:.1f} % in float32",
        f"A JPEG of {jpeg.bytes:,.0f} bytes and a packet of {ours.bytes:,.0f} bytes therefore have a ratio of "
        f"{widest_ratio(ours, jpeg, where)[0]:.1f} on the wire, and not of {jpeg.bytes / ours.bytes:.1f}",
        f"sending {jpeg.bytes - ours.bytes:,.0f} bytes less",
        f"the fastest way below {spans[lite][0][2]:.2g} Mbit/s, and a JPEG is the fastest above",
        f"only below {spans[large][0][2]:.1g} Mbit/s",
        f"this range ends at {ends['lean']} instead of {ends['photo']} Mbit/s",
        f"`lean` is the fastest from {dict((x[:2], x[-1]) for x in plots.crossovers(tables, 0.84, where))['lean', lite]} Mbit/s",
        f"In float32 the encoder takes {exact['FrankenSplit'].device['encode']:.1f} ms and Lite0 "
        f"{exact['on the device'].device['network']:.1f} ms",
        f"the same answer for only {100 * local.agreement:.1f} % of the photos",
        f"coding {coding[0]:.1f} ms slower on the device and {coding[1]:.1f} ms slower at the server",
        "the device's part falls from {:.1f} to {:.1f} ms".format(*(sum(way.device.values()) for way in behind)),
        "time at the server even rises from {:.1f} to {:.1f} ms".format(*(sum(way.server.values()) for way in behind)),
        f"takes {encode[1]} ms on the device in 8 bits instead of {encode[0]}",
        f"needs {jpegs[0]} ms there in the run of `photo` and {jpegs[1]} in the run of `lean`",
        "{:.1f} against {:.1f} % at the first level, {:.1f} against {:.1f} % at the second".format(
            *(kept("photo", name, level) for level in (0.8, 0.84) for name in ("FrankenSplit", "JPEG"))
        ),
        f"`lean` agree with the teacher on {kept('lean', 'FrankenSplit', 0.84):.1f} % of the photos, and the JPEG on "
        f"{kept('lean', 'JPEG', 0.84):.1f} %",
    ):
        assert said in text, said
    assert [lines[codec, lite][-1] for codec in tables] == ["on no link"] * 2
    work = {(row.part, row.name): row.multiply_adds for row in read_table("work.csv")}
    assert 4 / 3 < work["encoder", "FrankenSplit"] / work["network", lite] < 1.4  # "over a third more"
    assert 0.9 < float(lines["lean", lite][2]) / float(lines["lean", lite][3]) < 1  # "ends just before"
    assert [name for name, *_ in spans[lite]] == ["on the device", "JPEG"]
    assert ours.device["encode"] / local.device["network"] == pytest.approx(0.5, abs=0.05)  # "half the time"
    assert 1.6 < ours.server["decoder + tail"] / jpeg.server["network"] < 2  # "almost twice as long"
    served, whole = (end_to_end(tables["photo"], large, 0.8)[name].server for name in ("FrankenSplit", "JPEG"))
    assert served["decoder + tail"] < whole["network"]  # "take less time than the whole network"
    known = {row.precision: row.median_ms for row in tables["photo"]
             if (row.network, row.method, row.stage, row.threads) == (lite, "on the device", "network", 1)}  # fmt: skip
    assert known["int8"] > known["float32"]  # "no faster in 8 bits"
    for name, link in LINKS.items():
        for network in (lite, large):
            plans = {
                m: replace(where, link=link).plan(w).total for m, w in end_to_end(tables["photo"], network, 0.8).items()
            }
            assert (min(plans, key=plans.get) == "FrankenSplit") == (network == large and name == "BLE"), (
                name,
                network,
            )
            assert name == "BLE" or plans["JPEG"] < plans["FrankenSplit"]
    for rows in tables.values():
        timed = [row for row in rows if row.median_ms is not None]
        assert (sum(row.iqr_ms > 0.2 * row.median_ms for row in timed), len(timed)) == (1, 97)  # "one row of 97"
        assert {row.n for row in rows} == {500}


@pytest.mark.parametrize("network", ["resnet50", "tf_efficientnet_lite0"])
def test_winners_against_a_grid(network):
    found = end_to_end(ROWS, network, 0.75)
    where = Scenario(Link("", 1.0, 1.0, 5.0), 4.0, 20.0)
    spans = plots.winners(found, where)
    assert spans[0][1] == 0.01 and spans[-1][2] == 1e4
    for rate in np.geomspace(0.0101, 9999, 200):
        here = Scenario(Link("", rate, rate, 5.0), 4.0, 20.0)
        best = min(found.values(), key=lambda one: here.plan(one).total).method
        assert best == next(name for name, low, high in spans if low <= rate <= high)


def point(codec, lmbda, quality, size, kept):
    return RatePoint("d", codec, lmbda, quality, "r", size, kept, 0, 1, None, None, None, 500)


def test_settings_are_read_from_the_curves():
    points = [
        point("teacher", None, None, 150528.0, 1.0), point("JPEG", None, 10, 2000.0, 0.6), point("JPEG", None, 20, 4000.0, 0.8),
        point("JPEG, no tables", None, 10, 1500.0, 0.6), point("mine", 0.1, None, 3000.0, 0.8),
        point("mine", 10.0, None, 500.0, 0.6), point("other", 1.0, None, 500.0, 0.7), point("first", 0.3, None, 1.0, 0.7),
    ]  # fmt: skip
    found = settings_at(points, 0.7, "mine")
    assert found == {"JPEG": 15.0, "FrankenSplit": pytest.approx(1.0, rel=1e-4)}
    assert settings_at(points, 0.9, "mine") == {} and settings_at([], 0.9, "mine") == {}
    wobbling = [point("JPEG", None, q, 100.0 * q, k) for q, k in ((10, 0.6), (20, 0.75), (30, 0.74), (40, 0.9))]
    assert 20 <= settings_at(wobbling, 0.745, "mine")["JPEG"] <= 30


@pytest.mark.parametrize(
    "state",
    [{}, {"network": "tf_efficientnet_lite0", "level": "85 %"}, {"precision": "float32", "megabits": 0.01, "slowdown": 100.0},
     {"megabits": 1000.0, "delay": 200.0, "speedup": 100.0, "slowdown": 0.1}, {"codec": "lean", "megabits": 5.0}],
)  # fmt: skip
def test_the_panel_says_what_it_draws(panel, state):
    panel.set(**state)
    said = panel.state()
    found = end_to_end(TABLES[said["codec"]], said["network"], float(said["level"].split()[0]) / 100, said["precision"])
    where = Scenario(Link("", said["megabits"], said["megabits"], said["delay"]), said["slowdown"], said["speedup"])
    plans = [where.plan(one) for one in found.values()]
    drawn = np.sum([trace.x for trace in panel.figure.data], axis=0)
    assert drawn == pytest.approx([1e3 * plan.total for plan in plans])
    fastest = min(plans, key=lambda one: one.total).route.name
    assert f"Fastest: {fastest}" in panel.summary.value and "FrankenSplit is the fastest" in panel.summary.value
    assert [name.startswith("★") for name in panel.figure.data[0].y].index(True) == [p.route.name for p in plans].index(
        fastest
    )


@pytest.mark.parametrize(
    "wrong", [{"megabits": 0}, {"level": "70 %"}, {"network": "vgg"}, {"delay": -1.0}, {"rate": 1}], ids=str
)
def test_illegal_values_move_nothing(panel, wrong):
    before = panel.state(), panel.summary.value
    with pytest.raises(ParameterError):
        panel.set(**wrong)
    assert (panel.state(), panel.summary.value) == before


def test_figures_say_what_they_show():
    found, where = end_to_end(ROWS, "resnet50", 0.75), Scenario(Link("", 1.0, 1.0, 10.0), 4.0, 4.0)
    lines = plots.over_the_link(found, where, "t")
    assert {t.name for t in lines.data} == set(found) and caption(lines).startswith("Fastest: ")
    assert len({(t.line.dash, t.marker.symbol) for t in lines.data}) == len(found)
    times = plots.times_as_fast(found, where, 16.0, "t")
    slow, fast = widest_ratio(found["FrankenSplit"], found["PNG"], where)
    assert f"PNG {slow:.1f} and {fast:.2f}" in caption(times) and "FrankenSplit" not in {t.name for t in times.data}
    bars = plots.stages(
        {"a": {"preprocess": Timing(2, 0.1, 100), "encode": Timing(5, 0.2, 100)}, "b": {"encode": Timing(1, 0.9, 100)}},
        "t",
    )
    assert "a 7.0, b 1.0" in caption(bars) and "Too noisy to conclude anything: b" in caption(bars)
    row = DeviceRow("FrankenSplit", None, None, "encode", "int8", 1, 4.2, 0.1, 100)
    card = DeviceCard(
        "a board",
        "cpu",
        4,
        "Linux",
        "2026-01-01",
        "photo",
        "512 x 512",
        {},
        (row, replace(row, stage="packet", runs=3)),
    )
    figure = plots.cards([card, replace(card, name="b")], [("FrankenSplit", "encode", "int8"), ("JPEG", "encode", "")])
    assert [list(t.x) for t in figure.data] == [[4.2], [4.2]] and len({t.marker.symbol for t in figure.data}) == 2
    assert "a board: FrankenSplit encode int8 4.20 ms, 1 of 2 rows not conclusive" in caption(figure)


def test_what_breaks_chapter_08():
    """Each broken comparison moves the end of the curve that the chapter says it moves."""
    found, where = end_to_end(ROWS, "resnet50", 0.75), Scenario(Link("", 1.0, 1.0, 10.0), 4.0, 4.0)
    ours, jpeg = found["FrankenSplit"], found["JPEG"]
    healthy = widest_ratio(ours, jpeg, where)
    unequal = widest_ratio(ours, replace(jpeg, bytes=found["PNG"].bytes), where)
    uncoded = widest_ratio(replace(ours, bytes=48 * 28 * 28), jpeg, where)
    far = widest_ratio(ours, jpeg, replace(where, link=Link("", 1.0, 1.0, 100.0)))
    assert healthy[0] < 16 < unequal[0] and unequal[1] == healthy[1]
    assert uncoded[0] < 1 < healthy[0] and uncoded[1] == healthy[1]
    assert far[0] == healthy[0] and abs(math.log(far[1])) < abs(math.log(healthy[1]))


@pytest.fixture(scope="module")
def system():
    backbone = load_backbone("tf_efficientnet_lite0")
    tiny = build_system(backbone, CodecConfig((8, 8, 6), lmbda=0.5, anchors=(0.1, 3.0)), DecoderConfig(0, 1, 16), 0)
    tiny.codec.update()
    return tiny


def test_the_same_journey_through_a_real_server(system):
    """Bytes that take 100 ms on the link take them; a slower payload takes longer; the parts leave little unexplained."""
    crop = center_crop(load_photo("coffee"))
    packet = system.codec.compress(photo_tensor(crop))[0].to_bytes()
    link = Link("slow", 0.4, 8.0, 5.0)
    with serving(system) as port:
        found = through_server(
            f"http://127.0.0.1:{port}", {"ours": packet, "JPEG": encode_image(crop, "JPEG", 10)}, link, 3, 1
        )
    for one in found.values():
        assert one.total.median_ms > one.wire_ms > 10 and one.decode_ms > 0 and one.tail_ms > 0
        assert one.unexplained_ms < one.total.median_ms
    figure = plots.real_journeys({"slow": found})
    assert [t.y[0] for t in figure.data] == ["slow: ours"] * 3 and list(figure.data[0].x) == [
        one.wire_ms for one in found.values()
    ]
    assert "slow: JPEG" in caption(figure)
    sent = 8e-3 * (len(packet) + REQUEST_BYTES) / 0.4 + 8e-3 * REPLY_BYTES / 8 + 10
    assert found["ours"].wire_ms == pytest.approx(sent)


def test_the_whole_table_in_one_run(tmp_path, system):
    """Small, but real: a tiny codec, two photos, two rounds; every method has its stages, bytes and scores."""
    bundle = export_bundle(tmp_path, system.codec, "tiny", network=system.backbone)
    points = [point("JPEG", None, q, 100.0 * q, k) for q, k in ((10, 0.5), (40, 0.9))]
    points += [point("tiny", v, None, 1000 / v, k) for v, k in ((0.2, 0.9), (2.0, 0.5))]
    photos = [load_photo(name) for name in list(PHOTOS)[:2]]
    rows = measure_latency(system, bundle, points, photos[0], photos, [0.7], 2)
    found = {network: end_to_end(rows, network, 0.7, "float32") for network in ("tf_efficientnet_lite0", "resnet50")}
    names = ["FrankenSplit", "JPEG", "PNG", "on the device"]
    assert sorted(found["resnet50"]) == names
    assert sorted(found["tf_efficientnet_lite0"]) == sorted(
        [*names, "8-bit features, our cut", "8-bit features, narrowest"]
    )
    lite = found["tf_efficientnet_lite0"]
    assert set(lite["FrankenSplit"].device) == {"preprocess", "encode", "entropy code", "packet"}
    assert set(lite["FrankenSplit"].server) == {"entropy decode", "decoder + tail"}
    assert set(lite["JPEG"].server) == {"decode", "network"} and lite["on the device"].server == {}
    assert {row.setting for row in rows if row.method == "JPEG"} == {"q25"} and 0 < lite["JPEG"].bytes < lite[
        "PNG"
    ].bytes
    assert lite["8-bit features, narrowest"].bytes < lite["8-bit features, our cut"].bytes < 40 * 28 * 28
    assert {(row.n, row.agreement) for row in rows} == {(2, None)}  # two photos tell nothing about agreement
    with pytest.raises(ParameterError, match="agreement must be one that tiny reaches"):
        measure_latency(system, bundle, points, photos[0], photos, [0.99], 2)


@pytest.mark.parametrize(("id", "answer"), [("08.4", 1.412), ("08.5", 3), ("08.6", 10), ("08.7", "C")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_the_function_exercise_knows_five_mistakes():
    def total(d, b, s, r, w, k, f, bits=8, ways=2, unit=1e3, slow=1, fast=1):
        return d * k**slow + bits * b / (unit * r) + ways * w + s / f**fast

    assert check("08.8", total).status == "right"
    mistakes = ({"bits": 1}, {"ways": 1}, {"unit": 1.0}, {"fast": -1}, {"slow": -1})
    said = [check("08.8", lambda *a, m=m: total(*a, **m)) for m in mistakes]
    assert all(v.status == "wrong" for v in said) and len({v.message for v in said}) == 5
    assert "raised ZeroDivisionError" in check("08.8", lambda *a: 1 / 0).message
    assert "itself" in check("08.8", 3).message


BUILDS = ("08.1", "08.2", "08.3")


@pytest.fixture(scope="module")
def solved():
    """The book's solutions, by exercise."""
    return solved_builds("08", np=np)


@pytest.mark.parametrize("seed", (0, 11))
def test_builds_are_right_and_their_mistakes_known_at_any_seed(solved, seed, monkeypatch):
    monkeypatch.setattr(core, "SEED", seed)
    assert {id: check(id, solved[id]).status for id in BUILDS} == dict.fromkeys(BUILDS, "right")
    assert all(check(id, trap.value).message == trap.message for id in BUILDS for trap in EXERCISES[id].traps)


def test_a_range_from_0_and_a_whole_zero_point_are_asked_for(solved):
    """Rules that most activations do not need: the check has some that do."""
    told = {"stretch": ("min(x.min(), 0), max(x.max(), 0)", "x.min(), x.max()"), "round it": ("np.round(-low", "(-low")}
    for said, swap in told.items():
        assert said in check("08.1", core.altered(int8_layer, *swap)).message
    no_clip = core.altered(int8_layer, "np.clip(np.round(x / step) + zero, 0, 255)", "np.round(x / step) + zero")
    assert check("08.1", no_clip).status == "right"  # as the chapter says of a range that is measured on x itself
    assert "equally many bytes" in check("08.3", lambda *a: 0.0 if a[1] == a[3] else solved["08.3"](*a)).message


def test_builds_without_an_answer_or_with_half_a_rule_are_told(solved):
    assert {check(id, lambda *_: ...).status for id in BUILDS} == {"unanswered"}
    always = lambda a, b, c, d: 8e-3 * (d - b) / (a - c)
    assert "return None" in check("08.3", always).message
    assert "there is a rate" in check("08.3", lambda a, *_: None if a else a).message
    assert "another clock" in check("08.2", lambda call, *_: (call(), 1.0)).message
    assert "never ran the call" in check("08.2", lambda *_: (1.0, 2.0)).message
    assert "(12, 5); yours is (5, 12)" in check("08.1", lambda *a: solved["08.1"](*a).T).message


def test_eight_bits_lose_less_than_their_steps(solved):
    """The error of a layer in whole numbers stays below what half a step in each factor can make; a wide range of x costs more."""
    rng = np.random.default_rng(0)
    x, weight, bias = (
        v.astype(np.float32) for v in (rng.normal(size=(50, 30)), rng.normal(size=(4, 30)), rng.normal(size=4))
    )
    errors = []
    for widest in (1, 20):
        x[0, 0] = 5.0 * widest
        step, scale = (x.max() - x.min()) / 255, np.abs(weight).max(axis=1) / 64
        bound = step * np.abs(weight).sum(1) + scale / 2 * np.abs(x).sum(1)[:, None] + step * scale * 30
        found = np.abs(solved["08.1"](x, weight, bias) - (x @ weight.T + bias))
        assert (found <= bound).all()
        errors.append(np.median(found))
    assert errors[1] > 2 * errors[0] > 0


def test_the_crossover_is_the_scenario_s(solved):
    """The reader's closed form gives the rate that the library reads off Eq. (4) with headers and delays."""
    where = Scenario(Link("", 1.0, 1.0, 10.0), 4.0, 4.0)
    found = end_to_end(ROWS, "resnet50", 0.75)
    ours = found["FrankenSplit"]
    for name, other in found.items():
        if other.bytes:
            fixed, sizes = zip(
                *((where.fixed_ms(one), one.up_bytes + one.down_bytes) for one in (ours, other)), strict=True
            )
            rate = rate_for(ours, other, where)
            mine = solved["08.3"](fixed[0], sizes[0], fixed[1], sizes[1])
            assert mine == (None if rate is None else pytest.approx(rate)), name
