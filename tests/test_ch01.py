"""Chapter 01: exercises and their hints, panels at every end, what can be read off its tables, what breaks it."""

import math
from pathlib import Path

import numpy as np
import pytest

from fsplit_lib.chapters import ch01
from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import SweepRow, linear_probe, read_table, what_symbols_tell
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.exercises.ch01 import batch_bounds
from fsplit_lib.plots import caption
from fsplit_lib.recipes.fashion import LABEL_BITS
from fsplit_lib.theory import anneal, at, entropy, solve, update_encoder, variational_bounds

P_XY = np.array([[0.3, 0.05, 0.0], [0.28, 0.06, 0.01], [0.0, 0.05, 0.25]])
MINE = [e for e in EXERCISES.values() if e.id[:2] == "01"]


@pytest.mark.parametrize("exercise", MINE, ids=lambda e: e.id)
def test_no_answer_draws_the_hint_and_nonsense_never_raises(exercise):
    assert exercise.hint in check(exercise.id, ...).message
    for nonsense in (None, "?", [], {}, float("nan"), True, object(), lambda *_: 1 / 0, lambda *_: "text"):
        assert check(exercise.id, nonsense).status == "wrong"


@pytest.mark.parametrize(("id", "answer"), [("01.3", 2.536), ("01.4", 0.737), ("01.5", 1.3333), ("01.7", "b")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_information_exercise_knows_its_mistakes():
    def information(p, log=np.log2, weights=None):
        product = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
        used = p > 0
        return float(((p if weights is None else weights)[used] * log(p[used] / product[used])).sum())

    assert check("01.6", information).status == "right"
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
            assert word in check("01.6", function).message, word
    assert "without calling" in check("01.6", 1.0).message


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_builds_are_right_as_solved_and_wrong_in_known_ways_at_any_seed(seed, monkeypatch):
    solved = {"check": check, "np": np, "math": math}
    exec((Path(__file__).parents[1] / "notebooks" / "solutions" / "01.py").read_text("utf-8"), solved)
    monkeypatch.setattr(core, "SEED", seed)
    for id, name in (("01.1", "my_step"), ("01.2", "my_bounds")):
        assert EXERCISES[id].drawn and check(id, solved[name]).status == "right"
        for trap in EXERCISES[id].traps:
            assert check(id, trap.value).message == trap.message


def test_builds_tell_of_zeros_and_of_rows_that_do_not_add_up():
    def step(p_xy, encoder, beta):
        p_y_x, p_t = p_xy / p_xy.sum(1, keepdims=True), p_xy.sum(1) @ encoder
        ratio = p_y_x[:, None] / (encoder.T @ p_xy / p_t[:, None])
        weights = p_t * 2 ** (-beta * (p_y_x[:, None] * np.log2(ratio)).sum(2))
        return weights / weights.sum(1, keepdims=True)

    assert "0 counts as 0" in check("01.1", step).message

    def product(p_xy, encoder, beta):  # its NaN would come later, where p(y|t) has become 0
        p_y_x, p_t = p_xy / p_xy.sum(1, keepdims=True), p_xy.sum(1) @ encoder
        weights = p_t * 2 ** (beta * p_y_x @ np.log2(encoder.T @ p_xy / p_t[:, None]).T)
        return weights / weights.sum(1, keepdims=True)

    assert "p(y|t) is 0" in check("01.1", product).message
    assert (
        "Your columns"
        in check("01.1", lambda p, e, b: update_encoder(p, e, b) / update_encoder(p, e, b).sum(0)).message
    )
    assert "which is what the sign" in check("01.1", lambda p, e, b: 2 * update_encoder(p, e, b)).message
    assert "of the shape" in check("01.1", lambda p, e, b: update_encoder(p, e, b).T).message

    def overwrites(p_xy, encoder, beta):
        encoder[:] = update_encoder(p_xy, encoder, beta)
        return encoder

    assert "Do not change the arrays" in check("01.1", overwrites).message

    def bounds(x, y, encoder, prior, decoder):
        p = encoder[x]
        return (p * np.log2(p / prior)).sum(1).mean(), -(p * np.log2(decoder[:, y].T)).sum(1).mean()

    assert "0 counts as 0" in check("01.2", bounds).message


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_no_step_raises_the_lagrangian_and_a_solution_stays(beta):
    encoder = np.random.default_rng(0).dirichlet(np.ones(4), size=3)
    values = [at(P_XY, encoder, beta).lagrangian]
    for _ in range(40):
        encoder = update_encoder(P_XY, encoder, beta)
        assert np.allclose(encoder.sum(1), 1)
        values.append(at(P_XY, encoder, beta).lagrangian)
    assert np.diff(values).max() < 1e-12
    found = solve(P_XY, beta, np.eye(3)).encoder
    np.testing.assert_allclose(update_encoder(P_XY, found, beta), found, atol=1e-8)


def test_a_step_at_beta_0_forgets_x():
    encoder = np.random.default_rng(1).dirichlet(np.ones(4), size=3)
    np.testing.assert_allclose(update_encoder(P_XY, encoder, 0.0), np.tile(P_XY.sum(1) @ encoder, (3, 1)))


@pytest.mark.equation("01.9")
@pytest.mark.equation("01.10")
def test_bounds_of_all_samples_are_the_exact_bounds():
    counts = np.array([[3, 1, 0], [2, 2, 4], [0, 5, 3]])
    x, y = np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0).T
    rng = np.random.default_rng(2)
    encoder, prior, decoder = (rng.dirichlet(np.ones(k), size=n) for k, n in ((4, 3), (4, 1), (3, 4)))
    rate, cross_entropy = batch_bounds(x, y, encoder, prior[0], decoder)
    exact = variational_bounds(counts / counts.sum(), encoder, prior[0], decoder)
    assert (rate, entropy(counts.sum(0) / counts.sum()) - cross_entropy) == pytest.approx(exact)


def test_bottleneck_panel_splits_groups_as_beta_grows():
    solutions = anneal(P_XY, np.geomspace(1, 10, 41))
    panel = ch01.bottleneck_panel(solutions, 1.2, "abc")
    groups = []
    for beta in (1.0, 1.2, 3.3, 10.0):
        panel.set(beta=beta)
        groups.append(panel.summary.value.count("|"))
    assert groups == sorted(groups) and groups[-1] > groups[0]
    with pytest.raises(ParameterError, match="from 1 to 10"):
        panel.set(beta=0.5)


def test_bounds_panel_stays_on_the_right_side():
    wrongness = np.linspace(0, 1, 21)
    panel = ch01.bounds_panel(wrongness, 1 + wrongness, 0.5 - wrongness / 4, at(P_XY, np.eye(3), 1.0))
    for guesswork in (0.0, 0.35, 1.0):
        panel.set(guesswork=guesswork)
        here = next(panel.figure.select_traces({"name": "here"}))
        assert here.y[0] == pytest.approx(1 + guesswork)


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
    assert linear_probe(latent, latent[:, :3] * 2 + 1, 600) > 0.99
    assert linear_probe(latent, rng.normal(size=(900, 3)), 600) < 0.05


def test_label_price_draws_means_and_whiskers_between_seeds():
    rows = [
        SweepRow(o, lmbda, seed, 40, 100 / lmbda, 0.8 + 0.02 * seed, 0.8, 0.4, 10)
        for o in LABEL_BITS.lmbdas
        for lmbda in (0.5, 1.0)
        for seed in (0, 1)
    ]
    figure = ch01.label_price(rows, 3.32, 0.92)
    curve = figure.data[0]
    assert list(curve.x) == [100, 200] and list(curve.y) == pytest.approx([81, 81])
    assert list(curve.error_y.array) == list(curve.error_y.arrayminus) == pytest.approx([1, 1])
    assert "81.0 % at 100 bits" in caption(figure) and "teacher has 92.0 %" in caption(figure)


def test_bits_are_read_along_the_curve_and_not_beyond():
    rows = [
        SweepRow("head_distillation", lmbda, s, 40, bits, top1, 0.8, 0.4, 10)
        for lmbda, bits, top1 in ((1.0, 100.0, 0.8), (0.3, 400.0, 0.9))
        for s in (0, 1)
    ]
    rows += [SweepRow(o, 1.0, 0, 40, 10.0, 0.5, 0.5, 1.0, 10) for o in LABEL_BITS.lmbdas if o != "head_distillation"]
    assert ch01.bits_at(rows, 0.85)["head_distillation"] == pytest.approx(200)
    assert math.isnan(ch01.bits_at(rows, 0.95)["head_distillation"])


def test_the_shipped_sweep_is_whole():
    rows = read_table("label_bits.csv")
    plan = {
        (o, lmbda, seed) for seed in LABEL_BITS.seeds for o, lmbdas in LABEL_BITS.lmbdas.items() for lmbda in lmbdas
    }
    assert {(r.objective, r.lmbda, r.seed) for r in rows} == plan
    assert all(r.n == 10000 and r.bits is not None and r.bytes > r.bits / 8 for r in rows)


def test_from_equal_descriptions_the_iteration_never_moves():
    betas = np.geomspace(1.5, 10, 5)
    stuck = [solve(P_XY, beta, np.full((3, 3), 1 / 3)).relevance for beta in betas]
    assert max(stuck) < 1e-6 < 0.3 < min(s.relevance for s in anneal(P_XY, betas))


def test_without_enough_groups_relevance_stops_early():
    four, rng = 0.22 * np.eye(4) + 0.0075, np.random.default_rng(0)
    starts = [rng.dirichlet(np.ones(2), size=4) for _ in range(10)]
    healthy = anneal(four, np.geomspace(1.5, 10, 5))[-1]
    two = min((solve(four, healthy.beta, start) for start in starts), key=lambda s: s.lagrangian)
    assert 0.5 < two.relevance <= 1 < 1.2 < healthy.relevance  # two groups can name one bit
