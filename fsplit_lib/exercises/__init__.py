"""Exercises that check themselves: ``check("00.1", answer)`` says right, or why not, or gives a hint."""

from fsplit_lib.exercises import ch00, ch05
from fsplit_lib.exercises.core import Exercise, Trap, Verdict, make_check

EXERCISES: dict[str, Exercise] = {exercise.id: exercise for exercise in (*ch00.EXERCISES, *ch05.EXERCISES)}
check = make_check(EXERCISES)

__all__ = ["EXERCISES", "Exercise", "Trap", "Verdict", "check"]
