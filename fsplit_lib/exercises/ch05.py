"""Exercises of chapter 05."""

from fsplit_lib.exercises.core import Exercise

__all__ = ["EXERCISES"]

EXERCISES: tuple[Exercise, ...] = ()
