"""Chapters 01 to 03: checks and their hints, panels at every end of their controls, figures, probes, the equation table."""

import math
import pydoc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from equations import equation_table, equations

from fsplit_lib.data import center_crop, data_root, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.entropy.coding import Tables, decode_symbols, encode_symbols
from fsplit_lib.errors import DataError, PacketError, ParameterError
from fsplit_lib.evaluation import readable, what_symbols_tell
from fsplit_lib.exercises import EXERCISES, check
from fsplit_lib.latency import Route, best, profile, routes
from fsplit_lib.panels.ch01 import bottleneck_panel, bounds_panel
from fsplit_lib.panels.ch02 import split_panel
from fsplit_lib.panels.ch03 import coder_panel, density_panel
from fsplit_lib.plots import caption
from fsplit_lib.plots import ch01 as plots01
from fsplit_lib.plots import ch02 as plots02
from fsplit_lib.plots import ch03 as plots03
from fsplit_lib.plots.variants import two_at_once
from fsplit_lib.system import load_codec
from fsplit_lib.theory import anneal, at, entropy, solve, steps
from fsplit_lib.training.side_information import SideRow
from fsplit_lib.training.sweep import LABEL_BITS, SweepRow, read_sweep

MINE = [e for e in EXERCISES.values() if e.id[:2] in ("01", "02", "03")]


@pytest.mark.parametrize("exercise", MINE, ids=lambda e: e.id)
def test_no_answer_draws_the_hint_and_nonsense_never_raises(exercise):
    assert exercise.hint in check(exercise.id, ...).message
    for nonsense in (None, "?", [], {}, float("nan"), True, object(), lambda *_: 1 / 0, lambda *_: "text"):
        assert check(exercise.id, nonsense).status == "wrong"


@pytest.mark.parametrize(
    ("id", "answer"),
    [("01.1", 2.536), ("01.2", 0.737), ("01.3", 1.3333), ("01.5", "b"), ("02.1", 401408), ("02.2", 4.444), ("02.3", "a"),
     ("03.1", 6.059), ("03.2", 715.0), ("03.3", "d")],
)  # fmt: skip
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_information_exercise_knows_its_mistakes():
    def information(p, log=np.log2, weights=None):
        product = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
        used = p > 0
        return float(((p if weights is None else weights)[used] * log(p[used] / product[used])).sum())

    assert check("01.4", information).status == "right"
    wrong = {
        "nats": lambda p: information(p, np.log),
        "sign": lambda p: -information(p),
        "H(X,Y)": entropy,
        "H(Y|X)": lambda p: entropy(p) - entropy(p.sum(1)),
        "averaged": lambda p: float(np.log2(p / (p.sum(1, keepdims=True) * p.sum(0, keepdims=True))).mean()),
        "exchange": lambda p: float(
            (p.sum(1, keepdims=True) * p.sum(0) * np.log2(p.sum(1, keepdims=True) * p.sum(0) / p)).sum()
        ),
        "0 counts as 0": lambda p: information(p) if (p > 0).all() else float("nan"),
    }
    for word, function in wrong.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            assert word in check("01.4", function).message, word
    assert "without calling" in check("01.4", 1.0).message


def test_route_exercise_knows_its_mistakes():
    def total(device, sizes, server, rate, eight=8):
        return [d + eight * s / rate + t for d, s, t in zip(device, sizes, server, strict=True)]

    assert check("02.4", lambda *a: int(np.argmin(total(*a)))).status == "right"
    assert "eight" in check("02.4", lambda *a: int(np.argmin(total(*a, eight=1)))).message
    assert "smallest" in check("02.4", lambda d, s, t, r: int(np.argmin(s))).message
    assert "slowest" in check("02.4", lambda *a: int(np.argmax(total(*a)))).message


def test_likelihood_exercise_knows_its_mistakes():
    assert check("03.4", lambda c, v: c(v + 0.5) - c(v - 0.5)).status == "right"
    wrong = {
        "sign": lambda c, v: c(v - 0.5) - c(v + 0.5),
        "two symbols wide": lambda c, v: c(v + 1) - c(v - 1),
        "starts at v": lambda c, v: c(v + 1) - c(v),
        "slope": lambda c, v: c(v) * (1 - c(v)),
        "bits": lambda c, v: -math.log2(c(v + 0.5) - c(v - 0.5)),
    }
    for word, function in wrong.items():
        assert word in check("03.4", function).message, word


def test_stream_exercise_knows_the_missing_quantile_update():
    def stream(prior, values, **options):
        prior.update(**options)
        return len(encode_symbols(prior.to_symbols(values)[0], prior.tables))

    assert check("03.5", stream).status == "right"
    wrong = {
        "quantile update is missing": lambda p, v: stream(p, v, update_quantiles=False),
        "bits": lambda p, v: 8 * stream(p, v),
        "estimate": lambda p, v: -p.likelihood(p.quantise(v)).log2().sum().item() / 8 + 0.0,
        "update": lambda p, v: len(encode_symbols(p.to_symbols(v)[0], p.tables)),
    }
    for word, function in wrong.items():
        assert word in check("03.5", function).message, word


def speaks(panel):
    assert any(c.isdigit() for c in panel.summary.value)
    for trace in panel.figure.data:
        for axis in ("x", "y", "z"):
            values = getattr(trace, axis, None)
            if values is not None:
                for value in np.ravel(np.array(list(values), dtype=object)):
                    assert value is None or isinstance(value, str) or np.isfinite(value)


P_XY = np.array([[0.3, 0.05, 0.0], [0.28, 0.06, 0.01], [0.0, 0.05, 0.25]])


def test_bottleneck_panel_splits_groups_as_beta_grows():
    solutions = anneal(P_XY, np.geomspace(1, 10, 41))
    panel = bottleneck_panel(solutions, 1.2, "abc")
    groups = []
    for beta in (1.0, 1.2, 3.3, 10.0):
        panel.set(beta=beta)
        speaks(panel)
        groups.append(panel.summary.value.count("|"))
    assert groups == sorted(groups) and groups[-1] > groups[0]
    with pytest.raises(ParameterError, match="from 1 to 10"):
        panel.set(beta=0.5)


def test_bounds_panel_stays_on_the_right_side():
    wrongness = np.linspace(0, 1, 21)
    panel = bounds_panel(wrongness, 1 + wrongness, 0.5 - wrongness / 4, at(P_XY, np.eye(3), 1.0))
    for guesswork in (0.0, 0.35, 1.0):
        panel.set(guesswork=guesswork)
        speaks(panel)
        assert panel.figure.data[2].y[0] == pytest.approx(1 + guesswork)


def test_split_panel_moves_the_star():
    ways = [
        Route("send the photo", "remote", 0, 1e4, 0.1),
        Route("middle", "split", 0.05, 1e3, 0.05),
        Route("stay", "local", 0.1, 0, 0),
    ]
    panel = split_panel({"a": ways, "b": ways[:1] + ways[2:]}, "a", 5.0, 10.0)
    stars = {}
    for megabits in (0.1, 1.0, 1000.0):
        panel.set(megabits=megabits, ratio=100.0)
        speaks(panel)
        stars[megabits] = next(name for name in panel.figure.data[0].y if "★" in name)
    assert stars == {0.1: "★ stay", 1.0: "★ middle", 1000.0: "★ send the photo"}
    panel.set(network="b", megabits=1.0)
    assert len(panel.figure.data[0].y) == 2
    for wrong in ({"megabits": 0.01}, {"ratio": 1e4}, {"network": "c"}):
        with pytest.raises(ParameterError):
            panel.set(**wrong)


def test_coder_panel_reads_symbol_by_symbol():
    shares = {"A": Fraction(1, 2), "B": Fraction(3, 10), "C": Fraction(1, 5)}
    panel = coder_panel(steps("ABAC", shares), {s: float(p) for s, p in shares.items()}, 4)
    assert "6.06 bits" in panel.summary.value
    for read, bits in ((0, "no bit"), (1, "1.00 bits"), (2, "2.74 bits")):
        panel.set(read=read)
        assert bits in panel.summary.value
    with pytest.raises(ParameterError, match="0 to 4"):
        panel.set(read=5)


def test_density_panel_follows_lmbda():
    window, lmbdas = np.arange(-2, 3), np.geomspace(0.1, 3, 9)
    rows = lambda lmbda: [np.array([0, lmbda, 1 - 2 * lmbda / 10, lmbda, 0]) / 2]
    panel = density_panel(rows, [7], window, lmbdas, 1000 / lmbdas, 0.5)
    for lmbda in (0.1, 0.77, 3.0):
        panel.set(lmbda=lmbda)
        speaks(panel)
        assert list(panel.figure.data[-1].x) == [pytest.approx(lmbda)]
    assert "333" in panel.summary.value
    with pytest.raises(ParameterError):
        panel.set(lmbda=5.0)


@pytest.mark.equation("01.11")
def test_bits_split_into_the_label_and_the_rest():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 8000)
    symbols = np.stack([labels, labels % 2, rng.integers(0, 8, 8000), np.zeros(8000, int)], 1)
    told = what_symbols_tell(symbols, labels)
    assert told.spent == pytest.approx(2 + 1 + 3, abs=0.02)
    assert told.label == pytest.approx(2 + 1, abs=0.02)  # the same bit is told twice
    assert told.rest == pytest.approx(3, abs=0.02)
    by_hand = sum(
        entropy(np.bincount(column) / 8000)
        - sum((labels == c).mean() * entropy(np.bincount(column[labels == c]) / (labels == c).sum()) for c in range(4))
        for column in symbols.T
    )
    assert told.label + told.control == pytest.approx(by_hand, abs=1e-9)


def test_the_control_removes_what_few_samples_flatter():
    rng = np.random.default_rng(1)
    told = what_symbols_tell(rng.integers(0, 9, (300, 40)), rng.integers(0, 10, 300))
    assert told.control > 5
    assert abs(told.label) < 0.1 * told.control


def test_a_reader_reads_what_is_there():
    rng = np.random.default_rng(2)
    latent = rng.normal(size=(900, 20))
    assert readable(latent, latent[:, :3] * 2 + 1, 600) > 0.99
    assert readable(latent, rng.normal(size=(900, 3)), 600) < 0.05


def test_figures_speak():
    rows = [
        SweepRow(o, lmbda, s, 40, 100 / lmbda, 0.8, 0.8, 0.4, 10)
        for o in LABEL_BITS.lmbdas
        for lmbda in (0.3, 1.0)
        for s in (0, 1)
    ]
    side = [SideRow("d", name, 900.0, z, 5) for name, z in (("factorised", 0.0), ("scale hyperprior", 30.0))]
    figures = [
        plots01.label_price(rows, 3.32, 0.92),
        plots01.relevance_over_beta(np.array([1.0, 2.0]), {"healthy": [0.1, 0.2], "without": [0.0, 0.0]}),
        plots03.side_information(side),
        plots03.table_damage([0, 1], [0.0, 0.5]),
        two_at_once(["a", "b"], {"bytes": ((100, 90), "{:,.0f} bytes"), "%": ((0, 2), "{:.1f} % wrong")}, "two"),
        plots03.ideal_against_real(["a"], [10.0], [12.0], [30.0]),
    ]
    for figure in figures:
        assert any(c.isdigit() for c in caption(figure)) and figure.layout.title.text
    assert "930" in caption(figures[2])


def test_bits_are_read_along_the_curve_and_not_beyond():
    rows = [
        SweepRow("head_distillation", lmbda, s, 40, bits, top1, 0.8, 0.4, 10)
        for lmbda, bits, top1 in ((1.0, 100.0, 0.8), (0.3, 400.0, 0.9))
        for s in (0, 1)
    ]
    rows += [SweepRow(o, 1.0, 0, 40, 10.0, 0.5, 0.5, 1.0, 10) for o in LABEL_BITS.lmbdas if o != "head_distillation"]
    assert plots01.bits_at(rows, 0.85)["head_distillation"] == pytest.approx(200)
    assert math.isnan(plots01.bits_at(rows, 0.95)["head_distillation"])


def test_the_shipped_sweep_is_whole():
    rows = read_sweep(data_root() / "results" / "label_bits.csv", LABEL_BITS)
    plan = {
        (o, lmbda, seed) for seed in LABEL_BITS.seeds for o, lmbdas in LABEL_BITS.lmbdas.items() for lmbda in lmbdas
    }
    assert {(r.objective, r.lmbda, r.seed) for r in rows} == plan
    assert all(r.n == 10000 and r.bits is not None and r.bytes > r.bits / 8 for r in rows)
    with pytest.raises(DataError, match="fsplit train label_bits"):
        read_sweep(data_root() / "results" / "none.csv", LABEL_BITS)


@pytest.mark.parametrize("equation", equations(), ids=lambda e: e.id)
def test_every_equation_has_a_function_and_a_test(equation):
    assert equation.function and pydoc.locate(equation.function) is not None, equation
    assert equation.tests


def test_the_table_of_equations_is_up_to_date():
    kept = (data_root().parent / "notebooks" / "equations.md").read_text()
    assert kept == equation_table(), "write it again: python tests/equations.py"
    ids = [e.id for e in equations()]
    assert len(ids) == len(set(ids)) > 25


def test_what_breaks_chapter_01():
    betas = np.geomspace(1.5, 10, 5)
    stuck = [solve(P_XY, beta, np.full((3, 3), 1 / 3)).relevance for beta in betas]
    assert max(stuck) < 1e-6 < 0.3 < min(s.relevance for s in anneal(P_XY, betas))


def test_without_enough_groups_relevance_stops_early():
    four, rng = 0.22 * np.eye(4) + 0.0075, np.random.default_rng(0)
    starts = [rng.dirichlet(np.ones(2), size=4) for _ in range(10)]
    healthy = anneal(four, np.geomspace(1.5, 10, 5))[-1]
    two = min((solve(four, healthy.beta, start) for start in starts), key=lambda s: s.lagrangian)
    assert 0.5 < two.relevance <= 1 < 1.2 < healthy.relevance  # two groups can name one bit


def test_what_breaks_chapter_02():
    points = profile("tf_efficientnet_lite0", passes=3)
    rates, speedups = np.geomspace(1e5, 1e9, 15), np.geomspace(1, 100, 9)

    def splits(picture_bytes, bits=8):
        ways = routes(points, picture_bytes, bits)
        return np.mean([[best(ways, r, s).route.kind == "split" for r in rates] for s in speedups])

    assert splits(9_600) < 0.02 < 0.1 < splits(150_528)  # only beside a raw photo does a split look good
    assert splits(150_528, bits=32) < splits(150_528)
    ways = routes(points, 9_600)
    assert {best(ways, rate, 1.0).route.kind for rate in rates} == {"local"}  # no fast server, no reason to leave


def test_what_breaks_chapter_03():
    codec = load_codec("photo-first")
    with torch.no_grad():
        y = codec.encoder(photo_tensor(center_crop(load_photo("coffee"))))
    symbols, tables = codec.prior.to_symbols(y)[0], codec.prior.tables
    stream = encode_symbols(symbols, tables)
    frequencies = tables.frequencies.copy()
    for row, length in zip(frequencies, tables.lengths, strict=True):
        top, second = np.argsort(row[:length])[[-1, -2]]
        row[top], row[second] = row[top] - 1, row[second] + 1
    others = Tables(frequencies, tables.lengths, tables.offsets)
    assert (decode_symbols(stream, others, 784, check=False) != symbols).mean() > 0.03
    with pytest.raises(PacketError):
        decode_symbols(stream, others, 784)
    lively, last = 4 * symbols, (tables.offsets + tables.lengths - 2)[:, None]
    clipped = np.clip(lively, tables.offsets[:, None], last)  # no escape: shorter, and wrong where it was needed
    escaped, short = encode_symbols(lively, tables), encode_symbols(clipped, tables)
    assert (decode_symbols(escaped, tables, 784) == lively).all() and len(short) < len(escaped)
    assert ((decode_symbols(short, tables, 784) != lively) == (clipped != lively)).all() and (clipped != lively).any()
    low, median, high = codec.prior.density.quantiles.data[:, 0].T
    low[:], high[:] = median - 1, median + 1
    codec.prior.update(update_quantiles=False)
    longer = encode_symbols(symbols, codec.prior.tables)  # the same grid, so the same symbols
    assert len(longer) > 1.3 * len(stream) and (decode_symbols(longer, codec.prior.tables, 784) == symbols).all()


def test_tables_tell_their_probabilities():
    tables = Tables(np.array([[32768, 16384, 16384]], "i4"), np.array([3], "i4"), np.array([-1], "i4"))
    assert tables.probabilities(0, np.array([-2, -1, 0, 1])).tolist() == [0, 0.5, 0.25, 0]


def test_a_regions_name_stands_inside_the_region(monkeypatch):
    """Also where the middle of its rows is a row that it does not reach."""
    rates, speedups, kinds = np.geomspace(1e5, 1e8, 5), np.array([1.0, 3.0, 10.0]), list(plots02.KINDS)
    grid = np.array([[0, 0, 1, 1, 1], [2, 2, 2, 2, 2], [0, 0, 1, 1, 1]])

    def best(_, rate, speedup, __):
        at = int(np.argmin(abs(speedups - speedup))), int(np.argmin(abs(rates - rate)))
        return SimpleNamespace(route=SimpleNamespace(kind=kinds[grid[at]]))

    monkeypatch.setattr(plots02, "best", best)
    figure = plots02.decision_map([], rates, speedups, 1.0, "three regions")
    assert len(figure.layout.annotations) >= 3
    for note in figure.layout.annotations:
        row, column = np.argmin(abs(np.log10(speedups) - note.y)), np.argmin(abs(np.log10(rates / 1e6) - note.x))
        assert kinds[grid[row, column]] == note.text
