"""What the network says, with and without the packet, and from the rivals' pictures."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image

from fsplit_lib.evaluation import Answer, Rival, wilson
from fsplit_lib.plots.ch00.tools import HATCH, bar_layout, html_table, shortened, side_by_side
from fsplit_lib.plots.style import finish, look_of

__all__ = [
    "answer_bars",
    "bar_traces",
    "kept_bars",
    "kept_counts",
    "rival_pictures",
    "top_names",
    "verdict",
    "verdict_table",
]


def top_names(shares: Sequence[np.ndarray], names: Sequence[str], count: int = 5) -> tuple[list[int], list[str]]:
    """Classes in any of the answers' first ``count``, by the first answer's share, and labels that differ."""
    wanted = {int(i) for one in shares for i in np.argsort(one)[::-1][:count]}
    order = sorted(wanted, key=lambda i: -shares[0][i])
    labels = [shortened(names[i]) for i in order]
    return order, [f"{text} ({i})" if labels.count(text) > 1 else text for i, text in zip(order, labels, strict=True)]


def bar_traces(teacher: np.ndarray, split: np.ndarray, names: Sequence[str]) -> list[go.Bar]:
    """Two bars a class: what the teacher says without compression and what the packet led to."""
    order, labels = top_names((teacher, split), names)
    return [
        go.Bar(
            y=labels,
            x=[100 * float(shares[i]) for i in order],
            orientation="h",
            name=title,
            marker={"color": look_of(method).color, "pattern": pattern},
            hovertemplate="%{y}: %{x:.1f} %<extra>" + title + "</extra>",
        )
        for shares, method, title, pattern in (
            (teacher, "teacher", "no compression", {}),
            (split, "FrankenSplit", "from the packet", HATCH),
        )
    ]


def answer_bars(answer: Answer, names: Sequence[str]) -> go.Figure:
    """The classes that either answer ranks among its first five."""
    figure = go.Figure(bar_traces(answer.teacher, answer.split, names))
    return bar_layout(figure, "The answer, with and without the packet", verdict(answer, names))


def verdict(answer: Answer, names: Sequence[str]) -> str:
    """What both said, in one sentence."""
    before, after = int(answer.teacher.argmax()), int(answer.split.argmax())
    return (
        f"Without compression the network says {names[before]} ({answer.teacher[before]:.0%}); "
        f"from {len(answer.wire):,} bytes it says {names[after]} ({answer.split[after]:.0%}): "
        f"the decision is {'kept' if answer.kept else 'lost'}."
    )


def rival_pictures(answer: Answer, rivals: dict[str, Rival | None], names: Sequence[str]) -> go.Figure:
    """What each image codec leaves of the crop in the packet's number of bytes."""
    pictures = {f"the photo<br><b>{shortened(names[answer.teacher.argmax()])}</b>": answer.crop}
    said = []
    for codec, rival in rivals.items():
        if rival is None:
            pictures[f"{codec}: does<br>not fit"] = Image.new("RGB", answer.crop.size, "#e5e8ec")
            said.append(f"{codec} has no file that small")
            continue
        side = round(answer.crop.width * rival.squeezed.scale)
        best = int(rival.shares.argmax())
        size = len(rival.squeezed.data)
        pictures[f"{codec}: {size:,} B, {side} px<br><b>{shortened(names[best])}</b>"] = rival.squeezed.image
        kept = "kept" if best == answer.teacher.argmax() else "lost"
        shrunk = "at full size" if rival.squeezed.scale == 1 else f"shrunk to {side} pixels a side first"
        said.append(f"{codec} ({size:,} B, {shrunk}): {names[best]}, decision {kept}")
    limit = f"{len(answer.wire):,} bytes"
    alt = f"Squeezed to at most {limit}. " + "; ".join(said) + "."
    return side_by_side(pictures, f"In {limit}: what is left to see, and what the network calls it", alt, height=370)


def verdict_table(board: dict[str, tuple[Answer, dict[str, Rival | None]]], names: Sequence[str]) -> HTML:
    """One row a photo: bytes, the teacher's word, and whether each method kept it."""
    codecs = list(next(iter(board.values()))[1])
    rows = []
    for photo, (answer, rivals) in board.items():
        teacher = int(answer.teacher.argmax())
        row = [photo, f"{len(answer.wire):,}", f"{shortened(names[teacher])} ({answer.teacher[teacher]:.0%})"]
        row.append(_mark(answer.split, teacher, names))
        row += ["does not fit" if r is None else _mark(r.shares, teacher, names) for r in rivals.values()]
        rows.append(tuple(row))
    return html_table(("photo", "bytes", "teacher says", "FrankenSplit", *codecs), rows, numbers=(1,))


def kept_counts(board: dict[str, tuple[Answer, dict[str, Rival | None]]]) -> dict[str, int]:
    """How many decisions each method kept; a file that does not fit keeps none."""
    counts = {"FrankenSplit": sum(answer.kept for answer, _ in board.values())}
    for answer, rivals in board.values():
        for codec, rival in rivals.items():
            same = rival is not None and rival.shares.argmax() == answer.teacher.argmax()
            counts[codec] = counts.get(codec, 0) + int(same)
    return counts


def kept_bars(counts: dict[str, dict[str, int]], n: int) -> go.Figure:
    """Decisions kept of ``n`` photos.

    Args:
        counts: budget to method to the number kept.
        n: photos.
    """
    figure, said = go.Figure(), []
    methods = list(dict.fromkeys(method for kept in counts.values() for method in kept))
    for method in methods:
        budgets = [budget for budget, kept in counts.items() if method in kept]
        kept = [counts[budget][method] for budget in budgets]
        spans = [wilson(k, n) for k in kept]
        figure.add_bar(
            x=budgets if len(counts) > 1 else [method],
            y=kept,
            name=method,
            marker_color=look_of(method).color,
            text=kept,
            textposition="inside",
            insidetextanchor="start",
            textangle=0,
            error_y={
                "type": "data",
                "array": [n * high - k for k, (_, high) in zip(kept, spans, strict=True)],
                "arrayminus": [k - n * low for k, (low, _) in zip(kept, spans, strict=True)],
                "color": "#1b1f24",
                "thickness": 1.5,
            },
        )
        parts = [f"{k}" if len(counts) == 1 else f"{k} ({at})" for k, at in zip(kept, budgets, strict=True)]
        said.append(f"{method} {', '.join(parts)}")
    low, high = wilson(counts[next(iter(counts))][methods[0]], n)
    alt = (
        f"Decisions kept of {n}: {'; '.join(said)}. The 95 % interval of {methods[0]}'s share runs "
        f"from {low:.0%} to {high:.0%}: {n} photos are a first look, not a ranking."
    )
    figure.update_yaxes(title_text=f"decisions kept, of {n}", range=[0, n + 0.4], dtick=1)
    figure.update_xaxes(type="category", title_text="bytes allowed" if len(counts) > 1 else "")
    figure.update_layout(showlegend=len(counts) > 1, bargap=0.2 if len(counts) > 1 else 0.5)
    return finish(
        figure, "Who keeps the teacher's decision" + ("" if len(counts) > 1 else ", at equal bytes"), alt, 430
    )


def _mark(shares: np.ndarray, teacher: int, names: Sequence[str]) -> str:
    best = int(shares.argmax())
    return "✓ kept" if best == teacher else f"✗ {html.escape(shortened(names[best]))}"
