"""Chapter 02: exercises and their hints, the panel and the maps, what breaks it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from fsplit_lib.chapters import ch02
from fsplit_lib.errors import ParameterError
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.ch02 import best_split, layer_costs
from fsplit_lib.latency import Route, SplitPoint, best, profile, routes
from fsplit_lib.latency.profiling import multiply_adds

MINE = [e for e in EXERCISES.values() if e.id[:2] == "02"]


@pytest.mark.parametrize("exercise", MINE, ids=lambda e: e.id)
def test_no_answer_draws_the_hint_and_nonsense_never_raises(exercise):
    assert exercise.hint in check(exercise.id, ...).message
    for nonsense in (None, "?", [], {}, float("nan"), True, object(), lambda *_: 1 / 0, lambda *_: "text"):
        assert check(exercise.id, nonsense).status == "wrong"


@pytest.mark.parametrize(("id", "answer"), [("02.3", 401408), ("02.4", 4.444), ("02.5", "a")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_route_exercise_knows_its_mistakes():
    def total(device, sizes, server, rate, eight=8):
        return [d + eight * s / rate + t for d, s, t in zip(device, sizes, server, strict=True)]

    assert check("02.6", lambda *a: int(np.argmin(total(*a)))).status == "right"
    assert "eight" in check("02.6", lambda *a: int(np.argmin(total(*a, eight=1)))).message
    assert "smallest" in check("02.6", lambda d, s, t, r: int(np.argmin(s))).message
    assert "server's time" in check("02.6", lambda d, s, t, r: int(np.argmin(total(d, s, [0] * len(t), r)))).message
    assert "on the device counts" in check("02.6", lambda d, *a: int(np.argmin(total([0] * len(d), *a)))).message
    assert "slowest" in check("02.6", lambda *a: int(np.argmax(total(*a)))).message


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_builds_are_right_as_solved_and_wrong_in_known_ways_at_any_seed(seed, monkeypatch):
    solved = {"check": check, "torch": torch, "nn": nn}
    exec((Path(__file__).parents[1] / "notebooks" / "solutions" / "02.py").read_text("utf-8"), solved)
    monkeypatch.setattr(core, "SEED", seed)
    for id, name in (("02.1", "my_costs"), ("02.2", "my_split")):
        assert EXERCISES[id].drawn and check(id, solved[name]).status == "right"
        for trap in EXERCISES[id].traps:
            assert check(id, trap.value).message == trap.message
    no_server = lambda seconds, sizes, photo, rate, _: best_split(seconds, sizes, photo, rate, 1e12)
    assert "does not change with k" in check("02.2", no_server).message
    megabits = lambda seconds, sizes, photo, rate, speedup: best_split(seconds, sizes, photo, 1e6 * rate, speedup)
    assert "not in Mbit/s" in check("02.2", megabits).message


def test_hooks_count_what_torchs_counter_counts():
    network = timm.create_model("resnet18", pretrained=False).eval()
    costs = layer_costs(network, torch.zeros(1, 3, 64, 64))
    assert sum(macs for macs, _ in costs) == multiply_adds(network, 1, 3, 64, 64)
    assert costs[0] == (64 * 32 * 32 * 3 * 49, 64 * 32 * 32) and costs[-1] == (512 * 1000, 1000)


def test_hooks_that_stay_and_layers_that_are_left_out_are_told():
    def forgets(network, x):
        found = []
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.register_forward_hook(
                    lambda layer, _, out: found.append((out.numel() * layer.weight[0].numel(), out.numel()))
                )
        network(x)
        return found

    assert "remove()" in check("02.1", forgets).message
    assert "your list has 3 pairs" in check("02.1", lambda network, x: layer_costs(network, x)[:3]).message
    assert "0 to 6" in check("02.2", lambda *_: 7).message


def test_the_best_split_of_a_chain_is_the_best_route():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ends = np.cumsum(rng.uniform(0.001, 0.05, 8))
        points = [
            SplitPoint(str(k), int(b), 0, t)
            for k, (t, b) in enumerate(zip([0, *ends], rng.integers(10, 90_000, 9), strict=True))
        ]
        photo, rate, speedup = rng.uniform(5e3, 5e4), 10 ** rng.uniform(5, 8), rng.uniform(1, 30)
        seconds, sizes = np.diff([p.seconds for p in points]).tolist(), [p.bytes() for p in points[1:]]
        candidates = routes(points, photo)
        chosen = candidates[best_split(seconds, sizes, photo, rate, speedup)]
        assert chosen == best(candidates, rate, speedup).route


def test_split_panel_moves_the_star():
    ways = [
        Route("send the photo", "remote", 0, 1e4, 0.1),
        Route("middle", "split", 0.05, 1e3, 0.05),
        Route("stay", "local", 0.1, 0, 0),
    ]
    panel = ch02.split_panel({"a": ways, "b": ways[:1] + ways[2:]}, "a", 5.0, 10.0)
    stars = {}
    for megabits in (0.1, 1.0, 1000.0):
        panel.set(megabits=megabits, ratio=100.0)
        stars[megabits] = next(name for name in panel.figure.data[0].y if "★" in name)
    assert stars == {0.1: "★ stay", 1.0: "★ middle", 1000.0: "★ send the photo"}
    panel.set(network="b", megabits=1.0)
    assert len(panel.figure.data[0].y) == 2
    for wrong in ({"megabits": 0.01}, {"ratio": 1e4}, {"network": "c"}):
        with pytest.raises(ParameterError):
            panel.set(**wrong)


def test_a_line_has_every_place_to_split_but_not_the_whole_network():
    points = [SplitPoint("input", 300, 0, 0.0), SplitPoint("a", 200, 60, 0.5), SplitPoint("all", 10, 100, 1.0)]
    figure = ch02.along_networks({"Swin-T": points}, lambda p, whole: p.macs / whole.macs, lambda p, _: p.bytes())
    assert [list(line.x) for line in figure.data] == [[0, 0.6]] and list(figure.data[0].y) == [300, 200]
    assert list(figure.data[0].text) == ["input", "a"]


def test_splits_look_good_only_beside_a_raw_photo():
    points = profile("tf_efficientnet_lite0", passes=3)
    rates, speedups = np.geomspace(1e5, 1e9, 15), np.geomspace(1, 100, 9)

    def splits(picture_bytes, bits=8):
        ways = routes(points, picture_bytes, bits)
        return np.mean([[best(ways, r, s).route.kind == "split" for r in rates] for s in speedups])

    assert splits(9_600) < 0.02 < 0.1 < splits(150_528)  # only beside a raw photo does a split look good
    assert splits(150_528, bits=32) < splits(150_528)
    ways = routes(points, 9_600)
    assert {best(ways, rate, 1.0).route.kind for rate in rates} == {"local"}  # no fast server, no reason to leave


def test_a_regions_name_stands_inside_the_region(monkeypatch):
    """Also where the middle of its rows is a row that it does not reach."""
    rates, speedups, kinds = np.geomspace(1e5, 1e8, 5), np.array([1.0, 3.0, 10.0]), list(ch02.KINDS)
    grid = np.array([[0, 0, 1, 1, 1], [2, 2, 2, 2, 2], [0, 0, 1, 1, 1]])

    def best(_, rate, speedup):
        at = int(np.argmin(abs(speedups - speedup))), int(np.argmin(abs(rates - rate)))
        return SimpleNamespace(route=SimpleNamespace(kind=kinds[grid[at]]))

    monkeypatch.setattr(ch02, "best", best)
    figure = ch02.decision_map([], rates, speedups, "three regions")
    assert len(figure.layout.annotations) >= 3
    for note in figure.layout.annotations:
        row, column = np.argmin(abs(np.log10(speedups) - note.y)), np.argmin(abs(np.log10(rates / 1e6) - note.x))
        assert kinds[grid[row, column]] == note.text
