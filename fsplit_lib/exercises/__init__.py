"""Exercises that check themselves: ``check("00.1", answer)`` says right, or why not, or gives a hint; ``own`` goes on with a right one."""

from fsplit_lib.exercises import ch00, ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08
from fsplit_lib.exercises.core import Exercise, Trap, Verdict, make_check, make_own

EXERCISES: dict[str, Exercise] = {
    e.id: e for chapter in (ch00, ch01, ch02, ch03, ch04, ch05, ch06, ch07, ch08) for e in chapter.EXERCISES
}
check = make_check(EXERCISES)
own = make_own(EXERCISES)

__all__ = ["EXERCISES", "Exercise", "Trap", "Verdict", "check", "own"]
