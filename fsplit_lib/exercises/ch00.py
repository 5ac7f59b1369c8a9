"""Exercises of chapter 00."""

from fsplit_lib.exercises.core import Exercise

__all__ = ["EXERCISES"]

EXERCISES: tuple[Exercise, ...] = ()
