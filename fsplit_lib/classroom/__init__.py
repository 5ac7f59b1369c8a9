"""A class's submissions: graded side by side under limits, with another seed, into one report. No sandbox.

nbgrader was tried first. It grades in the student's own kernel, so a typed-in constant or an ``__eq__`` that always
agrees gets full marks and a cell after ``%reset -f`` gets none; one ``os._exit`` loses every exercise of the copy; it
limits no memory, has no seed to swap, and refuses zips and "(1)" files. What it would give, the chapter's cells put
back, is one function here: :func:`~fsplit_lib.classroom.submissions.merge`.

``submissions`` puts a student's cells into the chapter, ``supervisor`` runs that under limits, ``kernel_process``
stands guard between the cells, ``grading`` says what came of each exercise, and ``report`` writes it down.
"""
