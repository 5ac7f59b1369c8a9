"""Chapter 09: another task and the places of an answer over bytes, and maps that go stale."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.chapters.ch04 import overlay
from fsplit_lib.evaluation.map_agreement import map_correlation, peak_is_inside
from fsplit_lib.evaluation.tables import MapRow, TaskGainRow, TaskRow
from fsplit_lib.evaluation.variants import Variants, variant_of
from fsplit_lib.panels.base import Choice, LogNumber, Panel
from fsplit_lib.plots.curves import BYTE_TICKS, curve, rate_accuracy, rate_curve
from fsplit_lib.plots.forest import signed
from fsplit_lib.plots.pictures import html_table, picture, side_by_side
from fsplit_lib.plots.style import BLUE, GREEN, Look, below, caption, finish, look_of

PROBES = {"packets": look_of("FrankenSplit"), "photos": BLUE}
OTHERS = ("dash", "dot", "dashdot", "longdash", "longdashdot")
AGES = (GREEN, look_of("FrankenSplit"), BLUE)
OBJECTIVES = {"contrast": "a contrastive term", "augment": "stronger augmentation", "both": "both"}
TASKS = {"caltech101": "Caltech-101", "fashion-mnist, enlarged": "enlarged Fashion-MNIST", "elpv": "ELPV"}


def tasks_over_bytes(rows: Sequence[TaskRow]) -> go.Figure:
    """Draw what a linear probe gets right over bytes, a plot per task; the dotted line is what it gets right without a packet.

    Of the codec ``photo`` both probes of ``tasks.csv`` are drawn, of other codecs the one that was fitted to packets.
    """
    plots, teachers = {}, {row.task: row for row in rows if row.codec == "teacher"}
    for task in teachers:
        lines = []
        for codec, probe in dict.fromkeys((r.codec, r.probe) for r in rows if r.task == task and r.codec != "teacher"):
            if codec != "photo" and probe != "packets":
                continue
            mine = [r for r in rows if (r.task, r.codec, r.probe) == (task, codec, probe)]
            look = PROBES[probe] if codec == "photo" else Look("#57606a", OTHERS[len(lines) % len(OTHERS)], "diamond")
            name = f"probe fitted to {probe}" if codec == "photo" else codec
            lines.append(rate_curve(name, mine, "accuracy", look, hovertemplate=None))
        plots[TASKS.get(task, task)] = lines
    figure = rate_accuracy(plots, "Another question, the same packets", "accuracy of a linear probe (%)")
    figure.update_xaxes(title_text="", tickvals=[500, 1000, 2000, 4000], tickangle=0)  # three columns: one title
    figure.update_xaxes(title_text="mean bytes of the whole packet or file", col=1 + len(plots) // 2)
    told = []
    for column, (task, row) in enumerate(teachers.items(), start=1):
        line = {"dash": "dot", "color": look_of("teacher").color}
        legend = {"name": "without a packet", "showlegend": column == 1}
        figure.add_hline(y=100 * row.accuracy, line=line, row=1, col=column, **legend)
        told.append(
            f"{TASKS.get(task, task)}, from photos: {100 * row.accuracy:.1f} (n = {row.n:,}, {row.classes} classes)"
        )
    return figure.update_layout(meta={"alt": f"{caption(figure)} {'; '.join(told)}."})


def objectives_table(variants: Variants, gains: Sequence[TaskGainRow]) -> HTML:
    """Tabulate what each other objective does against the base: the mean over pairs of seeds, and the ends of all intervals.

    The variants are those of the experiment "objectives", the gains those of ``objectives_tasks_gains.csv``.
    """
    head, lines = ["added to head distillation", "teacher's answer: bytes at equal agreement (%)"], []
    for task in dict.fromkeys(gain.task for gain in gains):
        head.append(f"{TASKS[task]}: points at equal bytes")
    for variant, name in OBJECTIVES.items():
        found = variants.contrast(variant, "base")
        told = [(found.percent, *found.reach), *mean_gains(gains, variant).values()]
        lines.append([name, *("{} ({} to {})".format(*map(signed, one)) for one in told)])
    return html_table(head, lines, tuple(range(1, len(head))))


def mean_gains(gains: Sequence[TaskGainRow], variant: str) -> dict[str, tuple[float, float, float]]:
    """Average a variant's gains over the base, by task: the mean over pairs of seeds, and the ends of all intervals.

    >>> row = lambda codec, points: TaskGainRow("a", codec, "ablation-base", points, points - 1, points + 1, 1, 2, 100)
    >>> mean_gains([row("ablation-both", 1.0), row("ablation-both-1", 2.0), row("ablation-contrast", 9.0)], "both")
    {'a': (1.5, 0.0, 3.0)}
    """
    pairs: dict[str, list[TaskGainRow]] = {}
    for gain in gains:
        tested, against = (variant_of(name, "objectives") for name in (gain.codec, gain.against))
        if (tested[0], against[0]) == (variant, "base"):
            pairs.setdefault(gain.task, []).append(gain)
    return {
        task: (float(np.mean([g.points for g in mine])), min(g.low for g in mine), max(g.high for g in mine))
        for task, mine in pairs.items()
    }


def maps_over_bytes(rows: Sequence[MapRow]) -> go.Figure:
    """Draw how well the map survives over bytes: its correlation, and how often its peak stays inside (``maps.csv``)."""
    titles = ("correlation of the two maps", "peak inside the top fifth (%)")
    figure, told = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1), []
    control = next(row for row in rows if row.codec == "another photo")
    looks = {"photo": ("FrankenSplit", look_of("FrankenSplit")), "JPEG": ("JPEG", look_of("JPEG"))}
    for codec in dict.fromkeys(row.codec for row in rows if row is not control):
        mine = sorted((row for row in rows if row.codec == codec), key=lambda row: row.bytes)
        name, look = looks.get(codec, (codec, Look("#57606a", "dot", "diamond")))
        for column, (field, unit) in enumerate((("correlation", 1), ("pointing", 100)), start=1):
            style = {"showlegend": column == 1, "hovertemplate": None}
            figure.add_trace(rate_curve(name, mine, field, look, unit, **style), 1, column)
        ends = (f"{r.correlation:.2f} and {r.pointing:.0%} at {r.bytes:,.0f} bytes" for r in (mine[0], mine[-1]))
        told.append(f"{name}: {', '.join(ends)}")
    for column, value in enumerate((control.correlation, 100 * control.pointing), start=1):
        style = {"line": {"dash": "dot", "color": "#57606a"}, "annotation_text": "another photo's map"}
        figure.add_hline(y=value, annotation_position="bottom right", row=1, col=column, **style)
    figure.update_xaxes(title_text="mean bytes of the whole packet or file", type="log", tickvals=BYTE_TICKS)
    figure.update_yaxes(range=[0, 1.02], title_text="Pearson's correlation", col=1)
    figure.update_yaxes(range=[0, 102], title_text="photos (%)", col=2).update_annotations(font_size=15)
    alt = (
        f"Correlation of the teacher's maps before and after, and share of peaks inside, {control.n} photos. "
        f"{'; '.join(told)}. Another photo's map: {control.correlation:.2f} and {control.pointing:.0%}."
    )
    title = "Where the answer comes from, before and after"
    return finish(figure, title, alt, 480, legend=below(-0.22), margin={"b": 120})


@dataclass(frozen=True)
class Survived:
    """One photo's maps of the teacher's first answer, from the teacher's features and from a packet's."""

    before: np.ndarray  # (h, w) in [0, 1], from the teacher's features
    after: np.ndarray  # (h, w) in [0, 1], from the decoded ones
    size: int  # bytes of the packet
    label: str  # of the teacher's first answer, which both maps explain
    answer: str  # the first answer from the packet


Compare = Callable[[str, float], Survived]


def survival_panel(
    crops: dict[str, Image.Image], compare: Compare, ends: tuple[float, float], lmbda: float, photo: str
) -> Panel:
    """Show where one photo's answer comes from, before and after a packet of any rate; the button asks the network.

    It calls ``compare`` with a photo's name and a rate weight between the ends; lmbda and photo are shown first.
    """
    controls = {"lmbda": LogNumber("lambda", *ends, lmbda), "photo": Choice("photo", tuple(crops), photo)}

    def update(lmbda: float, photo: str) -> str:
        found, crop = compare(photo, lmbda), crops[photo]
        images = (crop, overlay(crop, found.before), overlay(crop, found.after))
        with panel.figure.batch_update():
            for shown, image in zip(panel.figure.data, images, strict=True):
                shown.source = picture(image)
            panel.figure.layout.title.text = f"Where {found.label!r} comes from"
        stays = "stays in" if peak_is_inside(found.before, found.after) else "leaves"
        kept = "the answer is kept" if found.answer == found.label else f"the answer becomes {found.answer}"
        return (
            f"{photo} at lambda {lmbda:.3g}, {found.size:,} bytes: the two maps for {found.label} have a correlation of "
            f"{map_correlation(found.before, found.after):.2f}, the peak {stays} the top fifth, and {kept}."
        )

    titles = ("the photo", "before the packet", "after the packet")
    figure = side_by_side(dict.fromkeys(titles, crops[photo]), "Before and after", "One photo and two maps of it.", 405)
    panel = Panel(controls, figure, update, run="Ask the network")
    return panel.set()


def staleness(steps: Sequence[int], alike: dict[int, Sequence[float | None]]) -> go.Figure:
    """Draw how alike the map of a step is to older ones.

    The correlations are means (T,), None before there is an older map, by turns since it; 0 is the teacher's map.
    """
    figure, told, third = go.Figure(), [], len(steps) // 3
    for (age, values), look in zip(alike.items(), AGES, strict=True):
        name = "the teacher's own map" if age == 0 else f"the map {age} turn{'s' if age > 1 else ''} ago"
        figure.add_trace(curve(name, list(steps), list(values), look, marker={"symbol": look.symbol, "size": 6}))
        early, late = (np.mean([v for v in part if v is not None]) for part in (values[:third], values[-third:]))
        told.append(f"{name}: {early:.2f} in the first third, {late:.2f} in the last")
    figure.update_xaxes(title_text="optimiser steps")
    figure.update_yaxes(title_text="correlation with this step's map")
    alt = f"Correlation of each step's map with older ones, mean over the pictures of one batch. {'; '.join(told)}."
    return finish(figure, "How fast a map goes stale", alt, 430)
