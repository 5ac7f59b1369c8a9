"""Chapter 09: another task and the places of an answer over bytes, maps that go stale, and the verdict on each claim."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.chapters.ch04 import overlay
from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.data import data_root
from fsplit_lib.evaluation import read_table, read_variants
from fsplit_lib.evaluation.cross_backbone import read_crossing
from fsplit_lib.evaluation.map_agreement import map_correlation, peak_is_inside
from fsplit_lib.evaluation.tables import BDRate, MapRow, TaskRow
from fsplit_lib.latency import Scenario, end_to_end, widest_ratio
from fsplit_lib.panels.base import Choice, LogNumber, Panel
from fsplit_lib.plots.curves import BYTE_TICKS, curve, rate_accuracy
from fsplit_lib.plots.forest import signed
from fsplit_lib.plots.pictures import picture, side_by_side
from fsplit_lib.plots.style import Look, caption, finish, look_of

PROBES = {"packets": look_of("FrankenSplit"), "photos": Look("#0072B2", "dash", "square")}
OTHERS = ("dash", "dot", "dashdot", "longdash", "longdashdot")
AGES = (Look("#009E73", "dashdot", "diamond"), look_of("FrankenSplit"), Look("#0072B2", "dash", "square"))
LEVEL, CLAIMED_TIMES = 0.8, 16.0
TASKS = {"caltech101": "Caltech-101", "fashion-mnist, enlarged": "enlarged Fashion-MNIST"}
Answer = Literal["confirmed", "confirmed in part", "not confirmed", "not enough to say"]


def tasks_over_bytes(rows: Sequence[TaskRow], main: str = "photo") -> go.Figure:
    """Draw what a linear probe gets right over bytes, a plot per task; the dotted line is what it gets right from photos.

    Args:
        rows: of ``tasks.csv``.
        main: weights of the codec whose two probes are drawn; of other codecs the probe that was fitted to packets.
    """
    plots, teachers = {}, {row.task: row for row in rows if row.codec == "teacher"}
    for task in teachers:
        lines = []
        for codec, probe in dict.fromkeys((r.codec, r.probe) for r in rows if r.task == task and r.codec != "teacher"):
            mine = sorted(
                (r for r in rows if (r.task, r.codec, r.probe) == (task, codec, probe)), key=lambda r: r.bytes
            )
            if codec != main and probe != "packets":
                continue
            share, low, high = (
                100 * np.array([getattr(r, "accuracy" + end) for r in mine], float) for end in ("", "_low", "_high")
            )
            look = PROBES[probe] if codec == main else Look("#57606a", OTHERS[len(lines) % len(OTHERS)], "diamond")
            name = f"probe fitted to {probe}" if codec == main else codec
            lines.append(curve(name, [r.bytes for r in mine], share, look, (low, high)))
        plots[TASKS.get(task, task)] = lines
    figure = rate_accuracy(plots, "Another question, the same packets", "accuracy of a linear probe (%)")
    told = []
    for column, (task, row) in enumerate(teachers.items(), start=1):
        figure.add_hline(
            y=100 * row.accuracy, line={"dash": "dot", "color": look_of("teacher").color}, row=1, col=column
        )
        told.append(
            f"{TASKS.get(task, task)}, from photos: {100 * row.accuracy:.1f} (n = {row.n:,}, {row.classes} classes)"
        )
    return figure.update_layout(meta={"alt": f"{caption(figure)} {'; '.join(told)}."})


def maps_over_bytes(rows: Sequence[MapRow]) -> go.Figure:
    """Draw how well the map survives over bytes: its correlation, and how often its peak stays inside.

    Args:
        rows: of ``maps.csv``.
    """
    titles = ("correlation of the two maps", "peak inside the top fifth (%)")
    figure, told = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1), []
    control = next(row for row in rows if row.codec == "another photo")
    looks = {"photo": ("FrankenSplit", look_of("FrankenSplit")), "JPEG": ("JPEG", look_of("JPEG"))}
    for codec in dict.fromkeys(row.codec for row in rows if row is not control):
        mine = sorted((row for row in rows if row.codec == codec), key=lambda row: row.bytes)
        name, look = looks.get(codec, (codec, Look("#57606a", "dot", "diamond")))
        for column, (field, unit) in enumerate((("correlation", 1), ("pointing", 100)), start=1):
            value, low, high = (
                unit * np.array([getattr(row, field + end) for row in mine], float) for end in ("", "_low", "_high")
            )
            line = curve(name, [row.bytes for row in mine], value, look, (low, high), showlegend=column == 1)
            figure.add_trace(line, 1, column)
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
    finish(figure, "Where the answer comes from, before and after", alt, 480)
    return figure.update_layout(legend={"orientation": "h", "y": -0.22, "yanchor": "top"}, margin={"b": 120})


@dataclass(frozen=True)
class Survived:
    """One photo's maps of the teacher's first answer, from the teacher's features and from a packet's.

    Attributes:
        before: (h, w) in [0, 1], from the teacher's features.
        after: (h, w) in [0, 1], from the decoded ones.
        size: bytes of the packet.
        label: of the teacher's first answer, which both maps explain.
        answer: the first answer from the packet.
    """

    before: np.ndarray
    after: np.ndarray
    size: int
    label: str
    answer: str


def survival_panel(
    crops: dict[str, Image.Image],
    compare: Callable[[str, float], Survived],
    ends: tuple[float, float],
    lmbda: float,
    photo: str,
) -> Panel:
    """Show where one photo's answer comes from, before and after a packet of any rate; the button asks the network.

    Args:
        crops: the photos by name.
        compare: called with a photo's name and a rate weight.
        ends: least and largest rate weight.
        lmbda: first position.
        photo: shown first.
    """
    controls = {
        "lmbda": LogNumber("lambda", *(math.log10(end) for end in ends), lmbda),
        "photo": Choice("photo", tuple(crops), photo),
    }

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

    titles = ("the photo", "before the packet", "after it")
    figure = side_by_side(dict.fromkeys(titles, crops[photo]), "Before and after", "One photo and two maps of it.", 430)
    panel = Panel(controls, figure, update, run="Ask the network")
    panel.refresh()
    return panel


def staleness(steps: Sequence[int], alike: dict[int, Sequence[float | None]]) -> go.Figure:
    """Draw how alike the map of a step is to older ones.

    Args:
        steps: (T,) of the run.
        alike: turns since the older map to (T,) mean correlations, None before there is one; 0 is the teacher's map.
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


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and what became of it here.

    Attributes:
        claim: the paper's, in a few words.
        answer: whether it was confirmed.
        ours: what was measured, with intervals.
        why: why the two differ, or what the number does not say.
    """

    claim: str
    answer: Answer
    ours: str
    why: str

    @property
    def line(self) -> str:
        """The claim as a line of the README."""
        return f"- **{self.claim}**: {self.answer}. {self.ours}."


def claims() -> list[Claim]:
    """Collect every claim of the paper with what the shipped tables say of it."""
    return [_prior_split_computing(), _saliency(), _times_as_fast(), _many_backbones(), _many_tasks(), _parameters()]


def _prior_split_computing() -> Claim:
    deltas = {d.codec: d for d in read_table("prior_work_bd_rates.csv") if d.against == "ablation-base"}
    told = [
        f"{_seen_from_the_base(deltas[codec])} against {name}"
        for codec, name in (
            ("prior-student", "the Entropic Student"),
            ("prior-patch-4", "patches with 4 blocks"),
            ("prior-reduction", "channel reduction"),
        )
    ]
    return Claim(
        "60 % fewer bits than prior split computing",
        "confirmed in part",
        f"At equal budget (25,008 crops, one seed, frozen tail) FrankenSplit's bytes are {', '.join(told)}",
        "The number depends on the rival: it holds against the Entropic Student, and not against patches with blocks. "
        "The authors' own second stages and schedules were not repeated on ImageNet.",
    )


def _seen_from_the_base(delta: BDRate) -> str:
    """Say the bytes of the base against a method, where the table has those of the method against the base."""
    turned = [100 * (1 / (1 + value / 100) - 1) for value in (delta.percent, delta.high, delta.low)]
    value, low, high = map(signed, turned)
    return f"{value} % ({low} to {high})"


def _saliency() -> Claim:
    arms = read_variants(data_root() / "results")
    none, even = (arms.contrast("guided", other) for other in ("unguided", "constant"))
    answers: dict[str, Answer] = {"fewer": "confirmed in part", "more": "not confirmed", "open": "not confirmed"}
    return Claim(
        "25 % fewer bits by saliency guidance",
        answers[none.verdict],
        f"{signed(none.percent)} % bytes against no guidance ({signed(none.reach[0])} to {signed(none.reach[1])} over two seeds), "
        f"{signed(even.percent)} % ({signed(even.reach[0])} to {signed(even.reach[1])}) against a constant map of equal mean",
        "A map also makes bits dearer, and a comparison at equal λ would count that as a saving. We do not know how the paper compared.",
    )


def _times_as_fast() -> Claim:
    rows = read_table("latency.csv")
    large = list(dict.fromkeys(row.network for row in rows if row.network))[-1]
    ways = end_to_end(rows, large, LEVEL)
    ours = ways["FrankenSplit"]
    slow = {
        name: widest_ratio(ours, other, Scenario())[0]
        for name, other in ways.items()
        if other.bytes and other is not ours
    }
    lossless, lossy = slow.pop("PNG"), max(slow.values())
    answer = (
        "confirmed" if lossy >= CLAIMED_TIMES else "confirmed in part" if lossless >= CLAIMED_TIMES else "not confirmed"
    )
    return Claim(
        "up to 16 times faster than offloading with image codecs",
        answer,
        f"On a link so slow that only bytes count, {lossless:.0f} times against lossless PNG and {min(slow.values()):.1f} to {lossy:.1f} times "
        f"against {', '.join(sorted(slow))} at {100 * LEVEL:.0f} % agreement; less on any faster link",
        "The ratio of waiting times lies between the ratio of bytes and that of computing: the number is one of the rival, not of the method.",
    )


def _many_backbones() -> Claim:
    crossing = read_crossing(data_root() / "results")
    pairs = [crossing.delta(a, b) for a in crossing.networks for b in crossing.networks if a != b]
    best, worst = (end(pairs, key=lambda pair: pair.percent) for end in (min, max))
    photos = [row for row in read_table("photos_backbones.csv") if row.codec == "photo"]
    middle = min(photos, key=lambda row: abs((row.lmbda or 0) - 1)).lmbda
    kept = [f"{r.backbone[-5:].capitalize()} {100 * r.agreement:.0f} %" for r in photos if r.lmbda == middle]
    size = next(r.bytes for r in photos if r.lmbda == middle)
    return Claim(
        "one encoder serves many backbones",
        "confirmed" if worst.low <= 0 else "confirmed in part",
        f"One packet of {size:,.0f} bytes serves three photo networks (agreement: {', '.join(kept)}); between families on Fashion-MNIST "
        f"it costs {signed(best.percent)} to {signed(worst.percent)} % bytes (largest: {signed(worst.low)} to {signed(worst.high)})",
        "It works for each pair. The price is low among sisters and depends on which network the encoder was trained with.",
    )


def _many_tasks() -> Claim:
    rows = [row for row in read_table("tasks.csv") if (row.codec, row.probe) == ("photo", "packets")]
    lmbdas = sorted({row.lmbda for row in rows})
    fine, coarse = ([row for row in rows if row.lmbda == lmbda] for lmbda in (lmbdas[1], lmbdas[-1]))

    def told(group: list[TaskRow]) -> str:
        said = (
            f"{100 * r.lost:.1f} points ({100 * r.lost_low:.1f} to {100 * r.lost_high:.1f}) on {TASKS.get(r.task, r.task)} at {r.bytes:,.0f} bytes"
            for r in group
        )
        return " and ".join(said)

    return Claim(
        "the packets serve many tasks",
        "confirmed in part" if all(row.lost_low <= 0 for row in fine) else "not confirmed",
        f"A linear probe of the tail's features loses {told(fine)}, and {told(coarse)}",
        "Only classes were asked for, of two sets, behind one teacher's tail; no detector and no segmenter.",
    )


def _parameters() -> Claim:
    count = sum(p.numel() for p in FeatureCodec(CodecConfig()).encoder.parameters())
    return Claim(
        "an encoder of 140,000 parameters",
        "confirmed" if round(count, -4) == 140_000 else "not confirmed",
        f"The encoder of this book has {count:,}",
        "Same blocks and widths as the authors' public code, where an activation inside the blocks is lost (chapter 06).",
    )
