"""What damage does, and the card of the codec: how far to trust what you see."""

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from fsplit_lib.evaluation import Answer
from fsplit_lib.evaluation.points import JUDGED
from fsplit_lib.plots.ch00.answers import top_names
from fsplit_lib.plots.ch00.tools import GREY, HATCH, bar_layout, html_table
from fsplit_lib.plots.style import look_of
from fsplit_lib.zoo import Card

__all__ = ["breakage", "card_table"]


def breakage(damage: str, answer: Answer, served: np.ndarray | None, refusal: str, names: Sequence[str]) -> go.Figure:
    """The healthy answer beside what the server makes of a damaged packet.

    Args:
        damage: its name.
        answer: the healthy one.
        served: (classes,) shares, or None where the packet was refused.
        refusal: the error's sentence, or "".
        names: of the classes.
    """
    healthy = int(answer.split.argmax())
    order, labels = top_names((answer.split,) if served is None else (answer.split, served), names)
    figure = go.Figure(
        go.Bar(
            y=labels,
            x=[100 * float(answer.split[i]) for i in order],
            orientation="h",
            name="healthy packet",
            marker={"color": look_of("FrankenSplit").color, "pattern": HATCH},
        )
    )
    if served is None:
        alt = f"With {damage} there is no answer: the server refuses. It says: {refusal}."
        figure.add_annotation(
            x=0.98, y=0.5, xref="paper", yref="paper", xanchor="right", showarrow=False,
            text="<b>refused</b><br>no answer", font={"size": 17, "color": GREY},
        )  # fmt: skip
    else:
        x = [100 * float(served[i]) for i in order]
        figure.add_bar(y=labels, x=x, orientation="h", name=f"served: {damage}", marker={"color": GREY})
        now = int(served.argmax())
        said = f"The server says {names[now]} ({served[now]:.0%})"
        if damage == "nothing":
            alt = f"{said}, as it should: nothing is broken yet."
        else:
            same = "still the healthy answer" if now == healthy else f"no longer {names[healthy]}"
            alt = f"With {damage}, no checksum complains. {said}, {same} ({answer.split[healthy]:.0%})."
    figure.update_layout(showlegend=True)
    return bar_layout(figure, f"What breaks it: {damage}", alt)


def card_table(card: Card) -> HTML:
    """What a codec's card says of its training, and its scores with the network that it was trained for."""
    told = {
        "objective": card.training.get("objective", "").replace("_", " "),
        "pictures seen": f"{card.training['crops']:,}" if "crops" in card.training else "",
        "pixels a side": str(card.training.get("crop_pixels", "")),
        "minutes": f"{card.training['minutes']:.0f}" if "minutes" in card.training else "",
    }
    train = ", ".join(f"{key} {value}" for key, value in told.items() if value) or "not told"
    rows = []
    own = [score for score in card.scores if JUDGED not in str(score.get("method", ""))]
    for score in own:
        row = [str(score.get("dataset", "")), str(score.get("method", card.name))]
        row += [str(score.get("setting", "")), f"{score.get('n', 0):,}"]
        row.append(f"{score['bytes']:,.0f}" if score.get("bytes") is not None else "")
        row += [_share_with_interval(score, key) for key in ("kept", "top1")]
        rows.append(tuple(html.escape(text) for text in row))
    parts = [
        f"<p><b>{html.escape(card.name)}.</b> {html.escape(card.summary)}</p>",
        f"<p><b>Data:</b> {html.escape(card.data)}. <b>Training:</b> {html.escape(train)}.</p>",
        html_table(
            ("pictures", "method", "setting", "n", "bytes", "kept [95 %]", "top-1 [95 %]"), rows, numbers=(3, 4)
        ).data
        if rows
        else "<p>This card holds no scores yet: nobody has measured these weights beyond what this page shows.</p>",
    ]
    if others := len(card.scores) - len(own):
        parts.append(f"<p>{others} more rows, with other networks at the server, stand in the card's file.</p>")
    if card.limits:
        items = "".join(f"<li>{html.escape(limit)}</li>" for limit in card.limits)
        parts.append(f"<p><b>Before you trust these numbers:</b></p><ul>{items}</ul>")
    return HTML(f'<div style="font-size:16px;line-height:1.5;max-width:60em">{"".join(parts)}</div>')


def _share_with_interval(score: dict, key: str) -> str:
    if score.get(key) is None:
        return ""
    low, high = score.get(f"{key}_low"), score.get(f"{key}_high")
    return f"{score[key]:.1%}" + (f" [{low:.1%}, {high:.1%}]" if low is not None and high is not None else "")
