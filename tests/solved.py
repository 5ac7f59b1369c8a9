"""What the book's solutions hand over, for tests of the builds."""

import re
from pathlib import Path
from typing import Any


def solved_builds(chapter: str, first: int = 1, **names: Any) -> dict[str, Any]:
    """Run the solutions of a chapter, from their ``first`` one on, and return what they check, by exercise.

    Args:
        chapter: such as "07".
        first: of the solutions in the file; those before need what the notebook has computed.
        names: that the solutions use, such as modules.
    """
    folder, given = Path(__file__).parents[1] / "notebooks" / "solutions", dict(names)
    text = (folder / f"{chapter}.py").read_text("utf-8")
    for part in re.split(r"^# %% ", text, flags=re.MULTILINE)[first:]:
        exec(part.partition("\n")[2], given | {"check": lambda id, answer: given.update({id: answer})}, given)
    return given
