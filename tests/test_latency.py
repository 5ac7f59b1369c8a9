"""Costs of layers and the choice of a split, against brute force and arithmetic."""

import itertools

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fsplit_lib.errors import ParameterError
from fsplit_lib.latency import Route, SplitPoint, best, can_win, plan, profile, routes, time_passes
from fsplit_lib.latency.profiling import units_of

NETWORKS = ("resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "tf_efficientnet_lite0")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_chain_of_layers_is_the_network(name):
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    x = torch.rand(1, 3, 224, 224)
    value = x
    with torch.no_grad():
        for _, unit in units_of(network):
            value = unit(value)
        assert torch.equal(value, network(x))
    names = [name for name, _ in units_of(network)]
    assert names[0] == "stem" and names[-1] == "answer" and len(set(names)) == len(names)


@pytest.mark.equation("02.1")
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_a_profile_counts_bytes_and_multiply_adds(name):
    points = profile(name, passes=1)
    network = timm.create_model(name).eval()
    value, sizes = torch.zeros(1, 3, 224, 224), [3 * 224 * 224]
    with torch.no_grad():
        for _, unit in units_of(network):
            value = unit(value)
            sizes.append(value.to(torch.uint8).element_size() * value.numel())
    assert [p.bytes(8) for p in points] == sizes
    assert [p.bytes(32) for p in points] == [4 * size for size in sizes]
    for part in ("macs", "seconds"):
        values = [getattr(p, part) for p in points]
        assert values[0] == 0 and all(b >= a for a, b in itertools.pairwise(values)) and values[-1] > 0


def test_multiply_adds_of_a_stem_by_hand():
    points = profile("resnet18", passes=1)
    assert points[1].macs == 64 * 3 * 7 * 7 * 112 * 112
    assert points[-1].macs == pytest.approx(1.814e9, rel=0.01)  # as torchvision states for ResNet-18


def test_other_networks_are_refused():
    with pytest.raises(ParameterError, match="cannot cut"):
        profile("vgg11")


def test_timing_uses_one_thread_and_gives_them_back():
    before, seen = torch.get_num_threads(), []

    def link(x):
        seen.append(torch.get_num_threads())
        return x

    ends = time_passes([link, link, link], torch.zeros(1), 4)
    assert set(seen) == {1} and len(seen) == 15 and torch.get_num_threads() == before
    assert ends == sorted(ends)
    with pytest.raises(ZeroDivisionError):
        time_passes([lambda x: 1 / 0], torch.zeros(1), 1)
    assert torch.get_num_threads() == before


@pytest.mark.equation("02.2")
def test_the_wire_by_hand():
    assert plan(Route("a", "split", 0.0, 1000, 0.0), 1e6).wire == pytest.approx(0.008)
    assert plan(Route("a", "local", 0.5, 0, 0.0), 1e6).wire == 0


POINTS = [
    SplitPoint("input", 100, 0, 0.0),
    SplitPoint("stem", 400, 10, 0.1),
    SplitPoint("block", 50, 30, 0.3),
    SplitPoint("answer", 10, 40, 0.4),
]


@pytest.mark.equation("02.3")
def test_a_plan_by_hand():
    ways = routes(POINTS, photo_bytes=30.0)
    assert [way.kind for way in ways] == ["remote", "split", "split", "local"]
    made = plan(ways[1], 8000, speedup=2.0)
    assert (made.device, made.wire, made.server) == pytest.approx((0.1, 0.4, 0.15))
    assert made.total == pytest.approx(0.65)
    assert plan(ways[0], 8000).total == pytest.approx(0.03 + 0.4)
    assert plan(ways[-1], 8000, 9.0).total == pytest.approx(0.4)
    assert routes(POINTS, 30.0, bits=32)[1].size_bytes == 1600
    coded = plan(routes(POINTS, 30.0, encode_seconds=0.01, decode_seconds=0.02)[0], 8000, 2.0)
    assert (coded.device, coded.wire, coded.server) == pytest.approx((0.01, 0.03, 0.21))


@pytest.mark.equation("02.4")
@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_the_best_route_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    ways = [
        Route(str(i), "split", *rng.uniform(0, 1, 1), float(rng.integers(1, 10**6)), rng.uniform(0, 1))
        for i in range(9)
    ]
    rate, speedup = 10 ** rng.uniform(4, 9), rng.uniform(1, 100)
    totals = [w.device_seconds + 8 * w.size_bytes / rate + w.server_seconds / speedup for w in ways]
    found = best(ways, rate, speedup)
    assert found.route.name == str(int(np.argmin(totals))) and found.total == pytest.approx(min(totals))


@pytest.mark.equation("02.5")
@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_what_can_win_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.01, 1, 5))
    points = [SplitPoint(str(i), int(rng.integers(1, 2000)), 0, t) for i, t in enumerate([0.0, *times])]
    ways, speedup = routes(points, 1000.0), 10 ** rng.uniform(0.1, 3)
    wins = set()
    for point in points[1:-1]:
        trio = [ways[0], next(w for w in ways if w.name == point.name), ways[-1]]
        if any(best(trio, rate, speedup).route.name == point.name for rate in np.geomspace(1, 1e9, 2000)):
            wins.add(point.name)
    allowed = {p.name for p in can_win(points, 1000.0)}
    clearly = {p.name for p in points[1:-1] if p.bytes() / 1000 < 0.97 - p.seconds / times[-1]}
    assert clearly <= wins <= allowed


def test_the_ends_of_the_circumstances():
    ways = routes(POINTS, 30.0)
    assert best(ways, 1.0, 1000.0).route.kind == "local"
    assert best(ways, 1e12, 1000.0).route.kind == "remote"
