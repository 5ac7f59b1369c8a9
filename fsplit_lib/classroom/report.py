"""The report of a class: one HTML page that opens offline, and a tidy table.

All that students wrote is escaped, and the page itself forbids scripts and loading, so that an answer stays text.
"""

import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from jinja2 import Environment

from fsplit_lib.classroom.grading import Graded, Outcome
from fsplit_lib.classroom.supervisor import Limits
from fsplit_lib.data.files import write_atomically
from fsplit_lib.data.tables import write_rows

NO_SANDBOX = (
    "This is no sandbox. Copies run as ordinary programs of the account that grades them: they can read and write its "
    "files, use its network, and forge their own outcomes. The limits keep accidents apart, not attacks; processes that "
    "multiply are not stopped. Grade copies that you do not trust in a container or under an account of their own."
)
FORMULA = re.compile(r"[=+@]|-(?![\d.e+-]+$)")
WORDS = {  # outcome: mark, word, meaning
    "solved": ("✓", "solved", "right in a run with another seed, and numbers and letters also outside of it"),
    "trap": ("✗", "known mistake", "the check knows this wrong answer and has a hint for it"),
    "wrong": ("✗", "wrong", "a wrong answer of no known kind"),
    "error": ("!", "error", "the cell raised, or never called check"),
    "limit": ("◷", "limit", "the cell took too much or ended the kernel; the copy ran again without it"),
    "untouched": ("…", "untouched", "no answer given"),
    "missing": ("∅", "deleted", "the exercise's cell is not in the copy"),
    "unreadable": ("?", "unreadable", "the copy is no notebook"),
    "not graded": ("↻", "not graded", "the copy is there, but grading it failed; the same call tries it again"),
    "no copy": ("–", "no copy", "nothing handed in for this chapter"),
}


def write_report(graded: list[Graded], out: Path, seed: int, limits: Limits, machine: str) -> Path:
    """Write ``class.html``, whose path is returned, and ``class.csv``: how a class was graded, and where."""
    chapters: dict[str, list[Graded]] = {}
    for one in graded:
        if one.outcomes:
            chapters.setdefault(one.chapter, []).append(one)
    outcomes, exercises = [o for one in graded for o in one.outcomes], {}
    for number, rows in chapters.items():
        columns = zip(*(one.outcomes for one in rows), strict=True)
        exercises[number] = [
            {"name": c[0].exercise, "counts": Counter(o.outcome for o in c), "drawn": any(o.drawn for o in c)}
            for c in columns
        ]
    handed = Counter(o.exercise for o in outcomes if o.outcome != "no copy")
    traps = Counter((o.exercise, o.trap) for o in outcomes if o.trap)
    alike = Counter((o.exercise, f"no hint yet; they answered {o.answer}") for o in outcomes if o.outcome == "wrong")
    traps.update({mistake: count for mistake, count in alike.items() if count > 1})
    found = {o.outcome for o in outcomes}
    template = Environment(autoescape=True).from_string(Path(__file__).with_name("report.html.j2").read_text("utf-8"))
    page = template.render(
        {"seed": seed, "limits": limits, "machine": machine, "words": WORDS, "no_sandbox": NO_SANDBOX},
        students=len({one.student for one in graded}),
        copies=sum(one.outcomes[0].outcome != "no copy" for rows in chapters.values() for one in rows),
        chapters=chapters,
        exercises=exercises,
        traps=[{"exercise": e, "message": m, "count": n, "of": handed[e]} for (e, m), n in traps.most_common()],
        strays=[one for one in graded if not one.outcomes or one.outcomes[0].outcome == "no copy"],
        used=[word for word in WORDS if word in found],
    )
    out.mkdir(parents=True, exist_ok=True)
    if outcomes:
        write_rows(out / "class.csv", [_tame(o) for o in outcomes])
    write_atomically(out / "class.html", page.encode())
    return out / "class.html"


def _tame(outcome: Outcome) -> Outcome:
    """What a spreadsheet would take for a formula gets a quotation mark before it; a negative number is none."""
    texts = {k: v for k, v in asdict(outcome).items() if isinstance(v, str) and FORMULA.match(v)}
    return replace(outcome, **{name: f"'{text}" for name, text in texts.items()})
