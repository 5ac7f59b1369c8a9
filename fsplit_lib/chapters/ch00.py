"""Chapter 00: the answer with and without the packet, from the rivals' pictures, and of the reader's own photo."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.errors import DataError
from fsplit_lib.evaluation import Answer, Rival, wilson
from fsplit_lib.evaluation.tables import label_of
from fsplit_lib.panels.base import Panel
from fsplit_lib.panels.photo_picker import MY_OWN, PhotoPicker
from fsplit_lib.plots.pictures import GREY, HATCH, html_table, picture, shortened, side_by_side, top_names
from fsplit_lib.plots.style import finish, look_of
from fsplit_lib.zoo import Card

Board = dict[str, tuple[Answer, dict[str, Rival | None]]]  # photo to its answer and what each image codec leaves


def seconds_to_send(size_bytes: float, bits_per_second: float) -> float:
    """Compute the time on the link alone, Eq. (2) of chapter 00.

    >>> seconds_to_send(1250, 1e6)
    0.01
    """
    return 8 * size_bytes / bits_per_second


def _answer_traces(answers: dict[str, tuple[np.ndarray, str, dict]], names: Sequence[str]) -> list[go.Bar]:
    """Draw two answers, a bar for each class that one ranks among its first five: title to (probs, colour, pattern)."""
    order, labels = top_names([probs for probs, _, _ in answers.values()], names)
    return [
        go.Bar(y=labels, x=[100 * float(probs[i]) for i in order], orientation="h", name=title,
               marker={"color": colour, "pattern": pattern}, hovertemplate="%{y}: %{x:.1f} %")
        for title, (probs, colour, pattern) in answers.items()
    ]  # fmt: skip


def _answer_layout(figure: go.Figure, title: str, alt: str, **where: int) -> go.Figure:
    """Give a chart of answers its axes and its legend; ``where`` names the subplot, if there are several."""
    figure.update_xaxes(title_text="probability (%)", range=[0, 100], **where)
    figure.update_yaxes(autorange="reversed", showgrid=False, **where)
    corner, height = {"x": 0.99, "xanchor": "right", "y": 0.02}, 150 + 42 * len(figure.data[-1].y)
    return finish(figure, title, alt, height, barmode="group", bargap=0.25, legend=corner, showlegend=True)


def _with_and_without(answer: Answer) -> dict[str, tuple[np.ndarray, str, dict]]:
    ours = (answer.split, look_of("FrankenSplit").color, HATCH)
    return {"no compression": (answer.teacher, look_of("teacher").color, {}), "from the packet": ours}


def _said(probs: np.ndarray, names: Sequence[str]) -> str:
    return f"{names[int(probs.argmax())]} ({probs.max():.0%})"


def _told(answer: Answer, names: Sequence[str]) -> str:
    return (
        f"Without compression the network says {_said(answer.teacher, names)}; from {len(answer.wire):,} bytes "
        f"it says {_said(answer.split, names)}: packet and photo {'agree' if answer.agreement else 'disagree'}."
    )


def answer_bars(answer: Answer, names: Sequence[str]) -> go.Figure:
    """Draw the classes that either answer ranks among its first five."""
    figure = go.Figure(_answer_traces(_with_and_without(answer), names))
    return _answer_layout(figure, "The answer, with and without the packet", _told(answer, names))


def breakage(damage: str, answer: Answer, served: np.ndarray | None, refusal: str, names: Sequence[str]) -> go.Figure:
    """Draw the healthy answer beside what the server makes of a packet with some damage.

    It serves (classes,) probabilities, or refuses with a sentence and serves None.
    """
    answers = {"healthy packet": (answer.split, look_of("FrankenSplit").color, HATCH)}
    alt = f"Broken: {damage}. There is no answer: the server refuses. It says: {refusal}."
    if served is not None:
        answers[f"served: {damage}"] = (served, GREY, {})
        alt = f"Broken: {damage}. The server says {_said(served, names)}; the healthy packet led to {_said(answer.split, names)}."
    figure = go.Figure(_answer_traces(answers, names))
    if served is None:
        figure.add_annotation(x=0.98, y=0.5, xref="paper", yref="paper", xanchor="right", showarrow=False,
                              text="<b>refused</b><br>no answer", font={"size": 17, "color": GREY})  # fmt: skip
    if damage == "nothing":
        alt = f"An intact packet: the server says {_said(answer.split, names)}."
    return _answer_layout(figure, "An intact packet" if damage == "nothing" else f"What breaks it: {damage}", alt)


def rival_pictures(answer: Answer, rivals: dict[str, Rival | None], names: Sequence[str]) -> go.Figure:
    """Draw what each image codec leaves of the crop in the packet's number of bytes."""
    pictures = {f"the photo<br><b>{shortened(names[answer.teacher.argmax()])}</b>": answer.crop}
    told = []
    for codec, rival in rivals.items():
        if rival is None:
            pictures[f"{codec}: does<br>not fit"] = Image.new("RGB", answer.crop.size, "#e5e8ec")
            told.append(f"{codec} has no file that small")
            continue
        side, size = round(answer.crop.width * rival.file.scale), rival.file.size
        best = int(rival.probs.argmax())
        pictures[f"{codec}: {size:,} B, {side} px<br><b>{shortened(names[best])}</b>"] = rival.file.image
        agrees = "agrees" if best == answer.teacher.argmax() else "disagrees"
        told.append(f"{codec} ({size:,} B, coded at {side} pixels a side): {names[best]}, {agrees}")
    title = f"In {len(answer.wire):,} bytes: what is left to see, and what the network calls it"
    alt = f"Coded in at most {len(answer.wire):,} bytes. {'; '.join(told)}."
    return side_by_side(pictures, title, alt, height=370)


def verdict_table(board: Board, names: Sequence[str]) -> HTML:
    """List the photos: bytes, what the teacher says, and whether each method agrees."""

    def mark(probs: np.ndarray, teacher: int) -> str:
        best = int(probs.argmax())
        return "✓ agrees" if best == teacher else f"✗ {html.escape(shortened(names[best]))}"

    rows = []
    for photo, (answer, rivals) in board.items():
        best = int(answer.teacher.argmax())
        said = f"{html.escape(shortened(names[best]))} ({answer.teacher[best]:.0%})"
        marks = ["does not fit" if rival is None else mark(rival.probs, best) for rival in rivals.values()]
        rows.append([photo, f"{len(answer.wire):,}", said, mark(answer.split, best), *marks])
    codecs = next(iter(board.values()))[1]
    return html_table(("photo", "bytes", "teacher says", "FrankenSplit", *codecs), rows, numbers=(1,))


def agreement_counts(board: Board) -> dict[str, int]:
    """Count the photos on which each method agrees with the photo itself; a file that does not fit never does."""
    counts = {"FrankenSplit": sum(answer.agreement for answer, _ in board.values())}
    for answer, rivals in board.values():
        for codec, rival in rivals.items():
            same = rival is not None and rival.probs.argmax() == answer.teacher.argmax()
            counts[codec] = counts.get(codec, 0) + int(same)
    return counts


def agreement_bars(counts: dict[str, dict[str, int]], n: int) -> go.Figure:
    """Draw on how many of ``n`` photos each method agrees, counted by budget, then by method, with 95 % intervals."""
    figure, told, several = go.Figure(), [], len(counts) > 1
    for method in dict.fromkeys(method for row in counts.values() for method in row):
        agreeing = {budget: row[method] for budget, row in counts.items() if method in row}
        values = np.array(list(agreeing.values()))
        low, high = n * np.array([wilson(k, n) for k in agreeing.values()]).T
        figure.add_bar(
            x=list(agreeing) if several else [method], y=values, name=method, marker_color=look_of(method).color,
            error_y={"array": high - values, "arrayminus": values - low, "color": "#1b1f24", "thickness": 1.5},
        )  # fmt: skip
        at = zip(agreeing.items(), low / n, high / n, strict=True)
        told += [f"{method} {k} ({f'{budget}; ' if several else ''}{a:.0%} to {b:.0%})" for (budget, k), a, b in at]
    figure.update_yaxes(title_text=f"photos with agreement, of {n}", range=[0, n + 0.4], dtick=1)
    figure.update_xaxes(type="category", title_text="bytes allowed" if several else "")
    alt = f"Photos with agreement, of {n}, and the 95 % interval of the agreement: {'; '.join(told)}."
    title = "Agreement with the answer on the photo itself" + ("" if several else ", at equal bytes")
    return finish(figure, title, alt, 430, showlegend=several, bargap=0.2 if several else 0.5)


def card_table(card: Card) -> HTML:
    """Show what a codec's card says of its training, and its scores with the network that it was trained for."""

    def share(score: dict, key: str) -> str:
        ends = [f"{score[end]:.1%}" for end in (f"{key}_low", f"{key}_high") if score.get(end) is not None]
        return (f"{score[key]:.1%}" if score.get(key) is not None else "") + (f" [{', '.join(ends)}]" if ends else "")

    formats = {
        "objective": "{}", "crops": "{:,} pictures seen", "crop_pixels": "{} pixels a side", "minutes": "{:.0f} minutes",
    }  # fmt: skip
    known = {key: text for key, text in formats.items() if card.training.get(key)}
    told = [text.format(card.training[key]).replace("_", " ") for key, text in known.items()]
    native = card.architecture.get("backbone")
    own = [{"codec": card.name} | score for score in card.scores if score.get("backbone", native) == native]
    rows = [
        [*(html.escape(str(score.get(key, ""))) for key in ("dataset", "codec")),
         label_of(score.get("lmbda"), score.get("quality")), f"{score.get('n', 0):,}",
         f"{score['bytes']:,.0f}" if score.get("bytes") is not None else "", share(score, "agreement"), share(score, "top1")]
        for score in own
    ]  # fmt: skip
    head = ("pictures", "codec", "setting", "n", "bytes", "agreement [95 %]", "top-1 [95 %]")
    training, others = html.escape(", ".join(told) or "not told"), len(card.scores) - len(own)
    limits = "".join(f"<li>{html.escape(limit)}</li>" for limit in card.limits)
    parts = [
        f"<p><b>{html.escape(card.name)}.</b> {html.escape(card.summary)}</p>",
        f"<p><b>Data:</b> {html.escape(card.data)}. <b>Training:</b> {training}.</p>",
        html_table(head, rows, numbers=(3, 4, 5, 6)).data if rows else "<p>This card holds no scores yet.</p>",
        f"<p>{others} more rows, with other networks at the server, stand in the card's file.</p>" if others else "",
        f"<p><b>Before you trust these numbers:</b></p><ul>{limits}</ul>" if limits else "",
    ]
    return HTML(f'<div style="font-size:16px;line-height:1.5;max-width:60em">{"".join(parts)}</div>')


def photo_panel(answer: Callable[[Image.Image], Answer], names: Sequence[str], photo: str = "chelsea") -> Panel:
    """Pick a photo or bring one; see the crop, both answers and the bytes that ``answer`` makes of a photo of any size.

    A file that cannot be read leaves the figure as it was and says why in the summary. The photo that is shown first is
    a key of PHOTOS, or a path.
    """
    picker, nothing = PhotoPicker(photo), np.zeros(len(names))
    empty = Answer(Image.new("RGB", (224, 224), "#d0d7de"), b"", 0.0, nothing, nothing)
    figure = make_subplots(1, 2, column_widths=[0.36, 0.64], horizontal_spacing=0.2)
    figure.add_trace(go.Image(name="photo", source=picture(empty.crop), hoverinfo="skip"), 1, 1)
    figure.add_traces(_answer_traces(_with_and_without(empty), names), rows=1, cols=2)
    figure.update_xaxes(visible=False, col=1).update_yaxes(visible=False, col=1)
    _answer_layout(figure, "", "No photo yet.", col=2).update_layout(height=480, margin={"l": 10})
    title = ""

    def update(photo: str, file: str) -> str:
        nonlocal title
        try:
            found = answer(picker.open(photo, file))
        except DataError as error:
            return f"{str(error).rstrip('.')}." + (f" The figure still shows {title}." if title else "")
        title = photo if photo != MY_OWN else Path(file).name
        panel.update_trace("photo", source=picture(found.crop))
        for bars in _answer_traces(_with_and_without(found), names):
            panel.update_trace(bars.name, x=bars.x, y=bars.y)
        verdict = "agree" if found.agreement else "disagree"
        panel.figure.layout.title.text = f"{title}: {len(found.wire):,} bytes, packet and photo {verdict}"
        return f"{title}: {_told(found, names)}"

    panel = Panel(picker.controls, figure, update, extra=(picker.upload,))
    picker.attach(panel)
    return panel.set()
