"""A class's copies: graded side by side under limits, with another seed, into one report. No sandbox.

:mod:`~fsplit_lib.classroom.copies` puts a student's cells into the chapter, :mod:`~fsplit_lib.classroom.watch` runs that
under limits, :mod:`~fsplit_lib.classroom.grading` says what came of each exercise, and
:mod:`~fsplit_lib.classroom.report` writes it down.
"""

from fsplit_lib.classroom.grading import Graded, Outcome, grade_class, grade_copy
from fsplit_lib.classroom.report import write_report
from fsplit_lib.classroom.watch import Limits

__all__ = ["Graded", "Limits", "Outcome", "grade_class", "grade_copy", "write_report"]
