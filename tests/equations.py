"""The table of equations: chapter and number, the function that computes it, the tests that hold it to a closed form.

python tests/equations.py        writes notebooks/equations.md
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from fsplit_lib.data.files import data_root, write_atomically
from fsplit_lib.runner.execute import chapters

__all__ = ["Equation", "equation_table", "equations"]

MARK = re.compile(r"\*\*Eq\. \((\d+)\)\*\*")
CODE = re.compile(r"`(fsplit_lib\.[\w.]+)`")


@dataclass(frozen=True)
class Equation:
    """One numbered equation of the book.

    Attributes:
        id: chapter and number, such as "01.3".
        function: dotted name of what computes it; "" if the text names none.
        tests: "file::test" of each test marked with the id.
    """

    id: str
    function: str
    tests: tuple[str, ...]


def equations() -> list[Equation]:
    """All numbered equations, in reading order."""
    root = data_root().parent
    tests = _marked(root / "tests")
    found = []
    for notebook in chapters():
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type == "markdown":
                marks = list(MARK.finditer(cell.source))
                ends = [*(mark.start() for mark in marks), len(cell.source)][1:]
                for mark, end in zip(marks, ends, strict=True):
                    id = f"{notebook.name[:2]}.{mark[1]}"
                    found.append(Equation(id, _function_near(cell.source, mark.start(), end), tuple(tests.get(id, ()))))
    return found


def _function_near(text: str, begin: int, end: int) -> str:
    """The first name behind the mark and before the next one; else the last before it; else the next."""
    names = [(m.start(), m[1]) for m in CODE.finditer(text)]
    own = [name for at, name in names if begin < at < end]
    before = [name for at, name in names if at < begin]
    after = [name for at, name in names if at >= end]
    return (own or before[-1:] or after or [""])[0]


def _marked(folder: Path) -> dict[str, list[str]]:
    marked: dict[str, list[str]] = {}
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                    for argument in mark.args:
                        marked.setdefault(argument.value, []).append(f"{file.name}::{node.name}")
    return marked


def equation_table() -> str:
    """The table as Markdown."""
    rows = [f"| {e.id} | `{e.function}` | {'<br>'.join(f'`{t}`' for t in e.tests)} |" for e in equations()]
    head = (
        "# Equations of the book\n\nMade by `python tests/equations.py`. 05.4 is Eq. (4) of chapter 05. The second column is the code that "
        "computes it, the third a test that fails if the code stops doing so.\n\n"
    )
    return head + "\n".join(["| equation | computed by | tested by |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    write_atomically(data_root().parent / "notebooks" / "equations.md", equation_table().encode())
