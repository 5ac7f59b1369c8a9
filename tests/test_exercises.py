"""Every exercise of every chapter: no answer draws the hint, each typical mistake its own sentence."""

import pytest

from fsplit_lib.exercises import EXERCISES, check

TRAPS = [(exercise, trap) for exercise in EXERCISES.values() for trap in exercise.traps]


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=lambda e: e.id)
def test_unanswered_gives_the_hint(exercise):
    verdict = check(exercise.id, ...)
    assert verdict.status == "unanswered" and exercise.hint in verdict.message


@pytest.mark.parametrize(("exercise", "trap"), TRAPS, ids=lambda v: getattr(v, "id", None))
def test_each_trap_draws_its_own_hint(exercise, trap):
    verdict = check(exercise.id, trap.value)
    assert (verdict.status, verdict.message) == ("wrong", trap.message)
    assert len({t.message for t in exercise.traps}) == len(exercise.traps) >= 3
