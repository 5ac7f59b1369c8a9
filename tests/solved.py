"""What the book's solutions hand over, for tests of the builds."""

import re
from pathlib import Path
from typing import Any


def solved_builds(chapter: str, **names: Any) -> dict[str, Any]:
    """Run the solutions of a chapter and return what they check, by exercise.

    Args:
        chapter: such as "07".
        names: that the solutions use, such as modules.
    """
    folder, given = Path(__file__).parents[1] / "notebooks" / "solutions", dict(names)
    text = (folder / f"{chapter}.py").read_text("utf-8")
    for part in re.split(r"^# %% ", text, flags=re.MULTILINE)[1:]:
        exec(part.partition("\n")[2], given | {"check": lambda id, answer: given.update({id: answer})}, given)
    return given
