"""Exercises that check themselves: ``check("00.1", answer)`` says right, or why not, or gives a hint; ``own`` goes on with a right one."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import ClassVar

from fsplit_lib.exercises.core import Exercise, Verdict, left_empty, make_check


class _Exercises(Mapping[str, Exercise]):
    """All exercises by id; a chapter's module, and torch where it needs it, is imported when the chapter is asked for."""

    CHAPTERS: ClassVar = tuple(f"{number:02}" for number in range(10))

    def _of(self, chapter: str) -> tuple[Exercise, ...]:
        return import_module(f"fsplit_lib.exercises.ch{chapter}").EXERCISES

    def __getitem__(self, id: str) -> Exercise:
        found = self._of(id[:2]) if isinstance(id, str) and id[:2] in self.CHAPTERS else ()
        return {exercise.id: exercise for exercise in found}[id]

    def __iter__(self) -> Iterator[str]:
        return (exercise.id for chapter in self.CHAPTERS for exercise in self._of(chapter))

    def __len__(self) -> int:
        return sum(1 for _ in self)


EXERCISES: Mapping[str, Exercise] = _Exercises()
check = make_check(EXERCISES)
__test__ = {"check": check}  # its example stands in core, where doctest would not look for it


def own(id: str, answer: Callable, otherwise: Callable) -> Callable:
    """Choose what a chapter goes on with: your function or class where it is right, else the library's; say which.

    Raises:
        KeyError: there is no such exercise.

    >>> own("05.3", ..., len) is len
    Exercise 05.3 is not solved yet, so this chapter goes on with the library's len.
    True
    """
    exercise = EXERCISES[id]
    if not left_empty(answer) and exercise.grade(answer) is True:
        print(f"From here on this chapter uses your own {getattr(answer, '__name__', 'answer')}.")
        return answer
    name = getattr(otherwise, "__name__", "version")
    print(f"Exercise {id} is not solved yet, so this chapter goes on with the library's {name}.")
    return otherwise
