"""Every exercise of every chapter: no answer draws the hint, each typical mistake its own sentence."""

import html
import json

import pytest

from fsplit_lib.exercises import EXERCISES, ch03, check, core, own
from fsplit_lib.exercises.core import Exercise

TRAPS = [(exercise, trap) for exercise in EXERCISES.values() for trap in exercise.traps]


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda e: e.id)
def test_unanswered_gives_the_hint(exercise):
    verdict = check(exercise.id, ...)
    assert verdict.status == "unanswered" and exercise.hint in verdict.message
    seen, folded = verdict._repr_html_().split("<details>")
    assert html.escape(exercise.hint) in folded and "Hint" not in seen and exercise.hint not in repr(verdict)


@pytest.mark.parametrize(("exercise", "trap"), TRAPS, ids=lambda v: getattr(v, "id", None))
def test_each_trap_draws_its_own_hint(exercise, trap):
    verdict = check(exercise.id, trap.value)
    assert (verdict.status, verdict.message) == ("wrong", trap.message)
    assert len({t.message for t in exercise.traps}) == len(exercise.traps) >= 3


FUNCTIONS = [exercise for exercise in EXERCISES.values() if any(callable(trap.value) for trap in exercise.traps)]


def test_every_chapter_asks_for_a_function_and_draws_its_inputs():
    assert {exercise.id[:2] for exercise in FUNCTIONS} >= {f"0{chapter}" for chapter in range(1, 10)}
    assert {exercise.id for exercise in EXERCISES.values() if exercise.drawn} == {e.id for e in FUNCTIONS}


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda e: e.id)
def test_what_is_no_function_or_fails_or_returns_nothing_is_told(exercise):
    assert exercise.grade(0.5) in [
        f"Hand over the {asked} itself, without calling it." for asked in ("function", "class")
    ]
    assert " raised TypeError: " in exercise.grade(lambda: 0)
    for nothing in (None, "nothing", [], [5], [1.0, 2.0], [[1], [1, 2]], object()):
        said = exercise.grade(lambda *_, nothing=nothing: nothing)
        assert (said is False or isinstance(said, str)) and said not in [trap.message for trap in exercise.traps]


def test_a_forgotten_return_of_the_gain_is_named():
    assert "returned None: end it with a `return`" in EXERCISES["06.1"].grade(lambda *_: None)


def test_an_estimate_is_no_length_of_a_stream_at_any_seed(monkeypatch):
    exercise = EXERCISES["03.7"]
    estimate = next(trap for trap in exercise.traps if trap.message.startswith("That is the estimate"))
    for seed in (1, 2, 3):
        monkeypatch.setattr(core, "SEED", seed)
        ch03._wandered.cache_clear()
        assert exercise.grade(estimate.value) == estimate.message
    ch03._wandered.cache_clear()


KEYED = [exercise for exercise in EXERCISES.values() if exercise.key]


def test_functions_and_nothing_else_have_no_key():
    assert {e.id for e in EXERCISES.values()} - {e.id for e in KEYED} == {e.id for e in FUNCTIONS}


@pytest.mark.parametrize("exercise", KEYED, ids=lambda e: e.id)
def test_a_key_grades_as_its_exercise_does(exercise):
    again = Exercise.from_key(exercise.id, json.loads(json.dumps(exercise.key)))
    assert again.grade(exercise.key["expected"]) is exercise.grade(exercise.key["expected"]) is True
    for answer in (*(trap.value for trap in exercise.traps), None, True, "", "z", "17.5", 1e300, float("nan"), [1.0]):
        assert again.grade(answer) == exercise.grade(answer) is not True


def empty(*_): ...


def described(*_):
    """Say what is asked for."""


class Block:
    def __init__(self, width):
        self.width = width

    def forward(self, x): ...


class Bare: ...


@pytest.mark.parametrize(
    "answer",
    [..., empty, described, Block, Bare, lambda *_: ...],
    ids=lambda answer: getattr(answer, "__name__", "dots"),
)
def test_a_body_of_dots_is_no_answer(answer, capsys):
    exercise = EXERCISES["05.4"]
    assert (check("05.4", answer).status, check("05.4", answer).message) == ("unanswered", f"Hint: {exercise.hint}")
    assert own("05.4", answer, len) is len and "05.4 is not solved yet" in capsys.readouterr().out


def test_a_chapter_goes_on_with_a_right_answer_alone(monkeypatch, capsys):
    def mine(h, h_hat, spread):
        return (((h - h_hat) / spread) ** 2).mean()

    monkeypatch.setenv("FSPLIT_CHECK", "strict")  # only check insists
    assert own("05.4", mine, len) is mine and "your own mine" in capsys.readouterr().out
    for wrong in (lambda h, *_: h.mean(), lambda: 0, 3):
        assert own("05.4", wrong, len) is len and "the library's len" in capsys.readouterr().out
    with pytest.raises(KeyError):
        own("05.99", mine, len)
