"""Exercises that check themselves: ``check("00.1", answer)`` says right, or why not, or gives a hint; ``own`` goes on with a right one."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import ClassVar

from fsplit_lib.exercises.core import Exercise, Verdict, make_check, make_own


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
own = make_own(EXERCISES)
__test__ = {"check": check, "own": own}  # their examples stand in core, where doctest would not look for them
