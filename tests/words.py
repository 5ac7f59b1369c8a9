"""The text of a chapter, for tests that hold its numbers against the tables."""

import nbformat

from fsplit_lib.runner.execute import chapters


def words_of(chapter):
    """All markdown of a chapter, such as "04"."""
    cells = nbformat.read(chapters(chapter)[0], as_version=4).cells
    return " ".join(cell.source for cell in cells if cell.cell_type == "markdown")
