"""The report of a class: one HTML page that opens offline, and a tidy table.

All that students wrote is escaped, and the page itself forbids scripts and loading, so that an answer stays text.
"""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from jinja2 import Environment

from fsplit_lib.classroom.grading import Graded, Outcome
from fsplit_lib.classroom.watch import Limits
from fsplit_lib.data.files import write_atomically
from fsplit_lib.data.tables import write_rows

__all__ = ["NO_SANDBOX", "WORDS", "write_report"]

NO_SANDBOX = (
    "This is no sandbox. The copies ran as ordinary programs of the account that graded them: they could read and write "
    "its files, use its network, and forge their own outcomes. The limits keep accidents apart, not attacks; processes "
    "that multiply are not stopped. Grade copies that you do not trust in a container or under an account of their own."
)
WORDS = {  # outcome: mark, word, meaning
    "solved": ("✓", "solved", "the check said right, in a run with another seed"),
    "trap": ("✗", "known mistake", "the check knows this wrong answer and has a hint for it"),
    "wrong": ("✗", "wrong", "a wrong answer of no known kind"),
    "error": ("!", "error", "the cell raised, or never called check"),
    "limit": ("◷", "limit", "the cell took too much or ended the kernel; the copy ran again without it"),
    "untouched": ("…", "untouched", "no answer given"),
    "missing": ("∅", "deleted", "the exercise's cell is not in the copy"),
    "unreadable": ("?", "unreadable", "the copy is no notebook"),
    "no copy": ("–", "no copy", "nothing handed in for this chapter"),
}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Class report</title><style>
body { font: 17px/1.5 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: #1b1f24; max-width: 1100px;
  margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .6rem 0 1.6rem; font-size: 15px; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { border-bottom: 1px solid #d0d7de; padding: .3rem .7rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.o { border-left: 5px solid #8b949e; white-space: nowrap; }
td.solved { border-left-color: #009E73; } td.trap, td.wrong { border-left-color: #D55E00; }
td.error, td.limit, td.unreadable { border-left-color: #CC79A7; }
.bar { display: inline-block; height: .8em; background: #0072B2; }
.note { border: 1px solid #57606a; padding: .6rem 1rem; } .few { color: #57606a; }
.wide { overflow-x: auto; } summary { cursor: pointer; padding: .2rem 0; }
</style></head><body>
<h1>Class report</h1>
<p>{{ students }} students, {{ copies }} copies of {{ chapters|length }} chapters, run with seed {{ seed }}. A copy had
{{ "%g"|format(limits.seconds) }} s, one cell of a student's {{ "%g"|format(limits.cell_seconds) }} s,
{{ "%g"|format(limits.memory_mb) }} MB of memory and {{ "%g"|format(limits.disk_mb) }} MB for one file. Measured on {{ machine }}.</p>
<p class="note">{{ no_sandbox }}</p>
<h2>What the words mean</h2>
<table><caption>Outcomes</caption><tr><th scope="col">outcome</th><th scope="col">meaning</th></tr>
{% for key, (mark, word, meaning) in words.items() %}<tr><td class="o {{ key }}">{{ mark }} {{ word }}</td><td>{{ meaning }}</td></tr>
{% endfor %}</table>
<p>The seed moves what the checks of exercises marked "drawn" try a function on, so one that knows its results by heart
fails. The right answer of every other exercise is a constant: no seed tells who worked it out from who copied it.</p>
<h2>Misconceptions of the class</h2>
{% if traps %}<div class="wide"><table><caption>Mistakes that the checks know, most frequent first</caption>
<tr><th scope="col">exercise</th><th scope="col">students</th><th scope="col">share of those who handed in</th><th scope="col">what the check says to it</th></tr>
{% for t in traps %}<tr><th scope="row">{{ t.exercise }}</th><td class="n">{{ t.count }} of {{ t.of }}</td><td><span class="bar"
style="width:{{ t.count * 100 // t.of }}px" aria-hidden="true"></span> {{ t.count * 100 // t.of }} %</td><td>{{ t.message }}</td></tr>
{% endfor %}</table></div>{% else %}<p>No copy holds a mistake that the checks know.</p>{% endif %}
{% for number, rows in chapters.items() %}
<h2>Chapter {{ number }}</h2>
<div class="wide"><table><caption>Exercises of chapter {{ number }}</caption>
<tr><th scope="col">exercise</th>{% for word in used %}<th scope="col">{{ words[word][1] }}</th>{% endfor %}<th scope="col">seed</th></tr>
{% for e in exercises[number] %}<tr><th scope="row">{{ e.name }}</th>{% for word in used %}<td class="n">{{ e.counts[word] }}</td>{% endfor %}
<td>{{ "drawn" if e.drawn else "constant" }}</td></tr>
{% endfor %}</table></div>
<div class="wide"><table><caption>Students in chapter {{ number }}</caption>
<tr><th scope="col">student</th>{% for e in exercises[number] %}<th scope="col">{{ e.name }}</th>{% endfor %}<th scope="col">seconds</th></tr>
{% for g in rows %}<tr><th scope="row">{{ g.student }}</th>{% for o in g.outcomes %}<td class="o {{ o.outcome }}">{{ words[o.outcome][0] }}
{{ words[o.outcome][1] }}</td>{% endfor %}<td class="n">{{ "%.0f"|format(g.seconds) }}</td></tr>
{% endfor %}</table></div>
{% for g in rows %}{% if g.outcomes[0].outcome != "no copy" %}<details><summary>{{ g.student }}, chapter {{ number }}</summary>
{% for note in g.notes %}<p>{{ note }}</p>{% endfor %}
<div class="wide"><table><caption>Answers of {{ g.student }}</caption><tr><th scope="col">exercise</th><th scope="col">outcome</th><th scope="col">answer</th>
<th scope="col">the check's hint</th><th scope="col">error or limit</th><th scope="col">seconds</th></tr>
{% for o in g.outcomes %}<tr><th scope="row">{{ o.exercise }}</th><td class="o {{ o.outcome }}">{{ words[o.outcome][0] }} {{ words[o.outcome][1] }}
{% if o.cells == "own" %}(only among the student's own cells){% endif %}</td><td><code>{{ o.answer }}</code></td>
<td>{{ o.trap }}</td><td>{{ o.error }}</td><td class="n">{{ "%.1f"|format(o.seconds) }}</td></tr>
{% endfor %}</table></div></details>{% endif %}{% endfor %}{% endfor %}
{% if strays %}<h2>Files of no chapter</h2><ul>{% for g in strays %}<li>{{ g.student }}: {{ g.notes[0] }}</li>{% endfor %}</ul>{% endif %}
<p class="few">The same as a table: class.csv</p>
</body></html>
"""


def write_report(graded: list[Graded], out: Path, seed: int, limits: Limits, machine: str) -> Path:
    """Write ``class.html`` and ``class.csv``.

    Args:
        graded: of a class.
        out: folder.
        seed: that it was graded with.
        limits: of each copy.
        machine: that it ran on, in words.

    Returns:
        The page.
    """
    chapters: dict[str, list[Graded]] = {}
    for one in graded:
        if one.outcomes:
            chapters.setdefault(one.chapter, []).append(one)
    outcomes = [o for one in graded for o in one.outcomes]
    exercises: dict[str, list[dict]] = {}
    for number, rows in chapters.items():
        for column in zip(*(one.outcomes for one in rows), strict=True):
            counts = Counter(o.outcome for o in column)
            entry = {"name": column[0].exercise, "counts": counts, "drawn": any(o.drawn for o in column)}
            exercises.setdefault(number, []).append(entry)
    handed = Counter(o.exercise for o in outcomes if o.outcome != "no copy")
    traps = Counter((o.exercise, o.trap) for o in outcomes if o.trap)
    found = {o.outcome for o in outcomes}
    page = (
        Environment(autoescape=True)
        .from_string(PAGE)
        .render(
            students=len({one.student for one in graded}),
            copies=sum(one.outcomes[0].outcome != "no copy" for rows in chapters.values() for one in rows),
            chapters=chapters,
            exercises=exercises,
            traps=[{"exercise": e, "message": m, "count": n, "of": handed[e]} for (e, m), n in traps.most_common()],
            strays=[one for one in graded if not one.outcomes],
            used=[word for word in WORDS if word in found],
            words=WORDS,
            no_sandbox=NO_SANDBOX,
            seed=seed,
            limits=limits,
            machine=machine,
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    if outcomes:
        write_rows(out / "class.csv", [_tame(o) for o in outcomes])
    write_atomically(out / "class.html", page.encode())
    return out / "class.html"


def _tame(outcome: Outcome) -> Outcome:
    """What a spreadsheet would take for a formula gets a quotation mark before it."""
    texts = {k: v for k, v in asdict(outcome).items() if isinstance(v, str) and v[:1] in ("=", "+", "-", "@")}
    return replace(outcome, **{name: f"'{text}" for name, text in texts.items() if not _is_number(text)})


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
