"""Chapter 03: exercises and their hints, panels at every end, what breaks it."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from fsplit_lib.chapters import ch03
from fsplit_lib.data import center_crop, load_photo
from fsplit_lib.data.tensors import photo_tensor
from fsplit_lib.entropy.coding import Tables, decode_symbols, encode_symbols, ideal_bits
from fsplit_lib.entropy.models import frequencies_of
from fsplit_lib.errors import PacketError, ParameterError
from fsplit_lib.exercises import EXERCISES, check, core
from fsplit_lib.plots import caption
from fsplit_lib.plots.variants import two_at_once
from fsplit_lib.system import load_codec
from fsplit_lib.theory import AnsStack, steps

MINE = [e for e in EXERCISES.values() if e.id[:2] == "03"]


@pytest.mark.parametrize("exercise", MINE, ids=lambda e: e.id)
def test_no_answer_draws_the_hint_and_nonsense_never_raises(exercise):
    assert exercise.hint in check(exercise.id, ...).message
    for nonsense in (None, "?", [], {}, float("nan"), True, object(), lambda *_: 1 / 0, lambda *_: "text"):
        assert check(exercise.id, nonsense).status == "wrong"


@pytest.mark.parametrize(("id", "answer"), [("03.4", 6.059), ("03.5", 715.0), ("03.6", "d")])
def test_right_answers(id, answer):
    assert check(id, answer).status == "right"


def test_likelihood_exercise_knows_its_mistakes():
    assert check("03.1", lambda c, v: c(v + 0.5) - c(v - 0.5)).status == "right"
    wrong = {
        "sign": lambda c, v: c(v - 0.5) - c(v + 0.5),
        "two symbols wide": lambda c, v: c(v + 1) - c(v - 1),
        "starts at v": lambda c, v: c(v + 1) - c(v),
        "slope": lambda c, v: c(v) * (1 - c(v)),
        "bits": lambda c, v: -np.log2(c(v + 0.5) - c(v - 0.5)),
    }
    for word, function in wrong.items():
        assert word in check("03.1", function).message, word


def test_stream_exercise_knows_the_missing_quantile_update():
    def stream(prior, values, **options):
        prior.update(**options)
        return len(encode_symbols(prior.to_symbols(values)[0], prior.tables))

    def early(prior, values):
        symbols = prior.to_symbols(values)[0]
        prior.update()
        return len(encode_symbols(symbols, prior.tables))

    assert check("03.7", stream).status == "right"
    wrong = {
        "symbols before the tables": early,
        "quantile update is missing": lambda p, v: stream(p, v, update_quantiles=False),
        "bits": lambda p, v: 8 * stream(p, v),
        "estimate": lambda p, v: -p.likelihood(p.quantise(v)).log2().sum().item() / 8 + 0.0,
        "update": lambda p, v: len(encode_symbols(p.to_symbols(v)[0], p.tables)),
    }
    for word, function in wrong.items():
        assert word in check("03.7", function).message, word


def test_coder_panel_reads_symbol_by_symbol():
    shares = {"A": Fraction(1, 2), "B": Fraction(3, 10), "C": Fraction(1, 5)}
    panel = ch03.coder_panel(steps("ABAC", shares), {s: float(p) for s, p in shares.items()}, 4)
    assert "6.06 bits" in panel.summary.value
    for read, bits in ((0, "0.00 bits"), (1, "1.00 bits"), (2, "2.74 bits")):
        panel.set(read=read)
        assert bits in panel.summary.value
    with pytest.raises(ParameterError, match="0 to 4"):
        panel.set(read=5)


def test_density_panel_follows_lmbda():
    window, lmbdas = np.arange(-2, 3), np.geomspace(0.1, 3, 9)
    rows = lambda lmbda: [np.array([0, lmbda, 1 - 2 * lmbda / 10, lmbda, 0]) / 2]
    panel = ch03.density_panel(rows, [7], window, lmbdas, 1000 / lmbdas, 0.5)
    for lmbda in (0.1, 0.77, 3.0):
        panel.set(lmbda=lmbda)
        assert list(next(panel.figure.select_traces({"name": "here"})).x) == [pytest.approx(lmbda)]
    assert "333" in panel.summary.value
    with pytest.raises(ParameterError):
        panel.set(lmbda=5.0)


def test_variants_stand_side_by_side():
    figure = two_at_once(["a", "b"], {"bytes": ((100, 90), "{:,.0f} bytes"), "%": ((0, 2), "{:.1f} % wrong")}, "two")
    assert [list(trace.y) for trace in figure.data] == [[100, 90], [0, 2]]
    assert caption(figure) == "a: 100 bytes, 0.0 % wrong; b: 90 bytes, 2.0 % wrong."
    one = two_at_once(["0", "1"], {"%": ((0.0, 50.0), "{:.1f} %")}, "one", ["FrankenSplit"])
    assert len(one.data) == 1 and list(one.data[0].text) == ["0.0", "50.0"]


def test_other_tables_clipped_symbols_and_old_quantiles():
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


class Stack:
    """The textbook's ANS, written once more."""

    def __init__(self, stream=b""):
        self.x = int.from_bytes(stream, "little")

    def push(self, s, f):
        self.x = (self.x // f[s] << 16) + sum(f[:s]) + self.x % f[s]

    def pop(self, f):
        slot = self.x % 2**16
        s = next(s for s in range(len(f)) if sum(f[: s + 1]) > slot)
        self.x = f[s] * (self.x >> 16) + slot - sum(f[:s])
        return s

    def to_bytes(self):
        return self.x.to_bytes(-(-self.x.bit_length() // 8), "little")


def changed(**methods):
    return type("Changed", (Stack,), methods)


@pytest.mark.parametrize("seed", [0, 1, 4711])
def test_the_coder_build_knows_its_mistakes(monkeypatch, seed):
    monkeypatch.setattr(core, "SEED", seed)
    assert check("03.2", Stack).status == check("03.2", AnsStack).status == "right"

    def digits(self, stream=b""):
        self.x = int(stream or 0)

    wrong = {
        "start": changed(push=lambda self, s, f: setattr(self, "x", (self.x // f[s] << 16) + self.x % f[s])),
        "16 bits a symbol": changed(
            push=lambda self, s, f: setattr(self, "x", (self.x << 16) + s),
            pop=lambda self, f: (self.x % 2**16, setattr(self, "x", self.x >> 16))[0],
        ),
        "decimal digits": changed(__init__=digits, to_bytes=lambda self: str(self.x).encode()),
        "another number than": changed(pop=lambda self, f: (Stack.pop(self, f), setattr(self, "x", self.x + 1))[0]),
        "leaves another number": changed(pop=lambda self, f: AnsStack(self.to_bytes()).pop(f)),  # and takes nothing off
        "not bytes": changed(to_bytes=lambda self: self.x),
        "OverflowError": changed(
            push=lambda self, s, f: setattr(self, "x", 65536 * int(self.x / f[s]) + sum(f[:s]) + self.x % f[s])
        ),
    }
    for word, coder in wrong.items():
        verdict = check("03.2", coder)
        assert verdict.status == "wrong" and word in verdict.message, (word, verdict)
    carries = changed(push=lambda self, s, f: (Stack.push(self, s, f), setattr(self, "x", self.x + 2**16))[0])
    assert check("03.2", carries).message.startswith("Not yet")  # a fault that no hint knows
    empty = changed(pop=lambda self, f: ...)
    assert check("03.2", empty).status == "unanswered"


def test_one_whole_number_is_as_short_as_the_coders_words():
    rng = np.random.default_rng(0)
    f = [40000, 20000, 5000, 500, 35, 1]
    tables = Tables(np.array([f], "i4"), np.array([6], "i4"), np.array([-2], "i4"))
    for count in (1, 10, 3000):
        entries = rng.choice(5, count, p=np.array(f[:5]) / sum(f[:5]))
        stack = AnsStack()
        for s in entries[::-1].tolist():
            stack.push(s, f)
        stream, symbols = stack.to_bytes(), (entries[None] - 2).astype("i4")
        assert abs(len(stream) - len(encode_symbols(symbols, tables))) <= 2
        assert len(stream) <= ideal_bits(symbols, tables) / 8 + 3
        again = AnsStack(stream)
        assert [again.pop(f) for _ in entries] == entries.tolist() and again.number == 0


@pytest.mark.parametrize("seed", [0, 1, 4711])
def test_the_table_build_knows_its_mistakes(monkeypatch, seed):
    monkeypatch.setattr(core, "SEED", seed)

    def rounded(pmf, least=1, where=np.argmax):
        f = [max(least, round(2**16 * p)) for p in [*pmf, max(0, 1 - sum(pmf))]]
        f[int(where(f))] += 2**16 - sum(f)
        return f

    def library(pmf):
        return frequencies_of(torch.tensor([pmf]), torch.tensor([len(pmf)]))[0]

    assert check("03.3", rounded).status == check("03.3", library).status == "right"
    wrong = {
        "no entry for the escape": lambda pmf: rounded(pmf)[:-1],
        "below 1": lambda pmf: rounded(pmf, least=0),
        "add up": lambda pmf: [max(1, round(2**16 * p)) for p in [*pmf, 1 - sum(pmf)]],
        "cost bits": lambda pmf: [2**16 // (len(pmf) + 1)] * len(pmf) + [2**16 - len(pmf) * (2**16 // (len(pmf) + 1))],
        "list of whole numbers": lambda pmf: [2**16 * p for p in [*pmf, 1 - sum(pmf)]],
        "has to be the last one": lambda pmf: rounded(pmf)[-1:] + rounded(pmf)[:-1],
        "that the others leave": lambda pmf: [*rounded([p / sum(pmf) * 65535 / 65536 for p in pmf])[:-1], 1],
        "frequencies for": lambda pmf: [*rounded(pmf), 1],
    }
    for word, function in wrong.items():
        assert word in check("03.3", function).message, word
    assert "without calling" in check("03.3", [1, 2]).message


def test_a_likelihood_takes_arrays_as_well():
    verdict = check("03.1", lambda c, v: float(np.mean(c(v + 0.5) - c(v - 0.5))))
    assert verdict.status == "wrong" and "(6,)" in verdict.message
