"""Figures and tables of chapter 00."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.colors
import plotly.graph_objects as go
from IPython.display import HTML
from PIL import Image
from plotly.subplots import make_subplots

from fsplit_lib.evaluation import Answer, Rival, wilson
from fsplit_lib.packet import Packet, code_to_lmbda
from fsplit_lib.plots.style import finish, look_of
from fsplit_lib.zoo import Card

__all__ = [
    "Field",
    "answer_bars",
    "bar_traces",
    "bits_map",
    "breakage",
    "card_table",
    "field_table",
    "fields_of",
    "hexdump",
    "journey",
    "kept_bars",
    "kept_counts",
    "ladder",
    "picture",
    "rival_pictures",
    "seconds_to_send",
    "top_names",
    "verdict_table",
]

GREY = "#57606a"
HATCH = {"shape": "/", "fillmode": "overlay", "fgcolor": "#FFFFFF", "fgopacity": 0.45, "solidity": 0.2}
TINTS = {  # light enough for dark text; the table repeats what each colour means
    "magic": "#F6D58E",
    "version, streams": "#BFE3F7",
    "lmbda code": "#A6DCC8",
    "codec id": "#E9BFD6",
    "height, width": "#F7EF9A",
    "stream length": "#B5CDE8",
    "payload": "#F3C3A2",
    "checksum": "#D3D7DC",
}


@dataclass(frozen=True)
class Field:
    """A stretch of a packet and what it means."""

    name: str
    offset: int
    data: bytes
    meaning: str


def fields_of(wire: bytes) -> tuple[Field, ...]:
    """The fields of a packet with one stream, in order; together they are the packet.

    >>> wire = Packet(b"abcd", 224, 224, 153, (b"1234",)).to_bytes()
    >>> b"".join(field.data for field in fields_of(wire)) == wire
    True
    """
    packet = Packet.from_bytes(wire)
    payload = packet.payload_bytes
    begin = len(wire) - 4 - payload
    parts = (
        ("magic", 0, 2, "“FS”: this is a packet"),
        ("version, streams", 2, 3, f"version {wire[2] >> 4}, {wire[2] & 15} stream"),
        ("lmbda code", 3, 4, f"λ = {code_to_lmbda(wire[3]):.3g}, the rate weight of the codec"),
        ("codec id", 4, 8, "hash of encoder and integer tables"),
        ("height, width", 8, 12, f"{packet.height} × {packet.width} pixels, little endian"),
        ("stream length", 12, begin, f"{payload:,} bytes of payload follow (a varint)"),
        ("payload", begin, len(wire) - 4, "the range coder's output: the photo's features"),
        ("checksum", len(wire) - 4, len(wire), "CRC-32 of everything before it"),
    )
    return tuple(Field(name, start, wire[start:stop], meaning) for name, start, stop, meaning in parts)


def hexdump(wire: bytes, first: int = 64, last: int = 16, width: int = 16) -> go.Figure:
    """The packet's first and last bytes in hex, coloured by field."""
    fields = fields_of(wire)
    tail = max(first, len(wire) - last)
    shown = [*range(min(first, len(wire))), *range(tail, len(wire))]
    skipped = len(wire) - len(shown)
    place = {byte: (n % width, n // width + (skipped > 0 and byte >= tail)) for n, byte in enumerate(shown)}
    figure = go.Figure()
    for field in fields:
        mine = [byte for byte in range(field.offset, field.offset + len(field.data)) if byte in place]
        figure.add_scatter(
            x=[place[byte][0] for byte in mine],
            y=[place[byte][1] for byte in mine],
            mode="markers+text",
            text=[f"{wire[byte]:02x}" for byte in mine],
            textfont={"family": "Menlo, Consolas, DejaVu Sans Mono, monospace", "size": 16},
            marker={"symbol": "square", "size": 36, "color": TINTS[field.name]},
            name=field.name,
            hovertemplate=f"{field.name}<br>{field.meaning}<extra></extra>",
        )
    rows = sorted({row for _, row in place.values()})
    offsets = {row: min(byte for byte, (_, r) in place.items() if r == row) for row in rows}
    if skipped:
        text = f"⋮  {skipped:,} more bytes of payload"
        figure.add_annotation(
            x=-0.4, y=rows[-1] - 1, text=text, showarrow=False, xanchor="left", font={"color": GREY, "size": 15}
        )
    figure.update_yaxes(
        range=[rows[-1] + 0.6, -0.6], showgrid=False, title_text="byte", ticks="", showline=False,
        tickvals=rows, ticktext=[f"{offsets[row]:,}" for row in rows],
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.7, width - 0.3])
    figure.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "itemsizing": "trace", "font": {"size": 14}})
    around = len(wire) - len(fields[6].data)
    alt = (
        f"The packet in hex: {len(wire):,} bytes, of which {len(fields[6].data):,} are payload and {around} "
        f"({around / len(wire):.1%}) say what the packet is and notice damage."
    )
    figure = finish(figure, "The packet, byte by byte", alt, height=130 + 44 * (rows[-1] + 1))
    return figure.update_layout(margin={"b": 20})


def field_table(wire: bytes) -> HTML:
    """Field name, bytes, content and meaning."""
    rows = []
    for field in fields_of(wire):
        content = field.data.hex(" ") if len(field.data) <= 4 else f"{field.data[:4].hex(' ')} …"
        swatch = f'<span style="background:{TINTS[field.name]};padding:.1em .6em;margin-right:.5em"></span>'
        rows.append(
            (swatch + field.name, f"{field.offset:,}", f"{len(field.data):,}", f"<code>{content}</code>", field.meaning)
        )
    return _table(("field", "offset", "bytes", "content", "meaning"), rows, numbers=(1, 2))


def seconds_to_send(size_bytes: float, bits_per_second: float) -> float:
    """Time on the link alone: Eq. (2) of chapter 00.

    >>> seconds_to_send(1250, 1e6)
    0.01
    """
    return 8 * size_bytes / bits_per_second


def ladder(sizes: dict[str, float], bits_per_second: float) -> go.Figure:
    """What a photo weighs in different forms, on a log axis, with the seconds that a link needs for each.

    Args:
        sizes: bytes by name; the one that begins with "packet" is drawn as ours, JPEG as JPEG.
        bits_per_second: of the link.
    """
    looks = [
        look_of("FrankenSplit" if name.startswith("packet") else "JPEG").color
        if name.startswith(("packet", "JPEG"))
        else "#b6bdc6"
        for name in sizes
    ]
    figure = go.Figure(
        go.Bar(
            y=list(sizes),
            x=list(sizes.values()),
            orientation="h",
            marker_color=looks,
            text=[f" {size:,.0f} B · {_clock(seconds_to_send(size, bits_per_second))}" for size in sizes.values()],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:,.0f} bytes<extra></extra>",
        )
    )
    low, high = np.log10(min(sizes.values())), np.log10(max(sizes.values()))
    first = int(np.floor(low - 0.5))
    decades = [10**power for power in range(first, int(np.ceil(high)) + 1)]
    figure.update_xaxes(
        type="log", range=[first, high + 0.5], title_text="bytes (log scale)",
        tickvals=decades, ticktext=[f"{decade:,}" for decade in decades],
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", showgrid=False)
    alt = (
        "; ".join(f"{name}: {size:,.0f} bytes" for name, size in sizes.items())
        + f". The seconds are for sending alone, at {bits_per_second / 1e6:g} Mbit/s."
    )
    title = f"One photo, and the time to send it at {bits_per_second / 1e6:g} Mbit/s"
    return finish(figure, title, alt, height=110 + 48 * len(sizes))


def journey(crop: Image.Image, y_hat: np.ndarray, h_hat: np.ndarray, h: np.ndarray) -> go.Figure:
    """Photo, latent, decoded features and the teacher's, as mosaics of channels.

    Args:
        crop: the photo.
        y_hat: (C, h, w) quantised latent.
        h_hat: (C_h, h, w) decoded features.
        h: (C_h, h, w) the teacher's.
    """
    scale = (h.mean(axis=(1, 2), keepdims=True), h.std(axis=(1, 2), keepdims=True) + 1e-6)
    limit = float(np.quantile(np.abs(y_hat), 0.995)) or 1.0
    near = [np.clip(((one - scale[0]) / scale[1] + 2) / 4, 0, 1) for one in (h_hat, h)]
    pictures = {
        f"the photo<br>{crop.width} × {crop.height} × 3": crop,
        f"ŷ: on the wire<br>{_shape(y_hat)}": _mosaic(np.clip(y_hat / limit / 2 + 0.5, 0, 1), "RdBu"),
        f"ĥ: decoded features<br>{_shape(h_hat)}": _mosaic(near[0], "Cividis"),
        f"h: the teacher's features<br>{_shape(h)}": _mosaic(near[1], "Cividis"),
    }
    alike = float(np.corrcoef(h_hat.ravel(), h.ravel())[0, 1])
    zeros = float((np.abs(y_hat - np.median(y_hat, axis=(1, 2), keepdims=True)) < 0.5).mean())
    alt = (
        f"From left to right: the photo; the {len(y_hat)} channels of the quantised latent, {zeros:.0%} of whose "
        f"values equal their channel's median; the {len(h)} maps that the server decodes from it; and the {len(h)} "
        f"maps that the whole network computes from the photo. Decoded and true maps correlate with {alike:.2f}."
    )
    return _pictures(pictures, "What travels, and what the server makes of it", alt, height=360)


def bits_map(crop: Image.Image, bits: np.ndarray) -> go.Figure:
    """Where the bits go.

    Args:
        crop: the photo.
        bits: (h, w) bits spent on each position of the latent.
    """
    top = float(np.quantile(bits, 0.99))
    heat = _paint(np.clip(bits / max(top, 1e-9), 0, 1), "Cividis").resize(crop.size, Image.Resampling.NEAREST)
    overlay = Image.blend(crop.convert("L").convert("RGB"), heat, 0.6)
    dearest = np.sort(bits.ravel())[::-1]
    half = int(np.searchsorted(np.cumsum(dearest), dearest.sum() / 2)) + 1
    alt = (
        f"Bits for each of the {bits.shape[0]} × {bits.shape[1]} positions, from {bits.min():.1f} (dark) to "
        f"{bits.max():.1f} (bright), {bits.mean():.1f} on average; half of all bits go to {half / bits.size:.0%} "
        "of the positions."
    )
    pictures = {"the photo": crop, "bits a position": heat, "both": overlay}
    return _pictures(pictures, "Where the bits go", alt, height=390)


def top_names(shares: Sequence[np.ndarray], names: Sequence[str], count: int = 5) -> tuple[list[int], list[str]]:
    """Classes in any of the answers' first ``count``, by the first answer's share, and labels that differ."""
    wanted = {int(i) for one in shares for i in np.argsort(one)[::-1][:count]}
    order = sorted(wanted, key=lambda i: -shares[0][i])
    labels = [_short(names[i]) for i in order]
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
    return _bars(figure, "The answer, with and without the packet", verdict(answer, names))


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
    pictures = {f"the photo<br><b>{_short(names[answer.teacher.argmax()])}</b>": answer.crop}
    said = []
    for codec, rival in rivals.items():
        if rival is None:
            pictures[f"{codec}: does<br>not fit"] = Image.new("RGB", answer.crop.size, "#e5e8ec")
            said.append(f"{codec} has no file that small")
            continue
        side = round(answer.crop.width * rival.squeezed.scale)
        best = int(rival.shares.argmax())
        size = len(rival.squeezed.data)
        pictures[f"{codec}: {size:,} B, {side} px<br><b>{_short(names[best])}</b>"] = rival.squeezed.image
        kept = "kept" if best == answer.teacher.argmax() else "lost"
        shrunk = "at full size" if rival.squeezed.scale == 1 else f"shrunk to {side} pixels a side first"
        said.append(f"{codec} ({size:,} B, {shrunk}): {names[best]}, decision {kept}")
    limit = f"{len(answer.wire):,} bytes"
    alt = f"Squeezed to at most {limit}. " + "; ".join(said) + "."
    return _pictures(pictures, f"In {limit}: what is left to see, and what the network calls it", alt, height=370)


def verdict_table(board: dict[str, tuple[Answer, dict[str, Rival | None]]], names: Sequence[str]) -> HTML:
    """One row a photo: bytes, the teacher's word, and whether each method kept it."""
    codecs = list(next(iter(board.values()))[1])
    rows = []
    for photo, (answer, rivals) in board.items():
        teacher = int(answer.teacher.argmax())
        row = [photo, f"{len(answer.wire):,}", f"{_short(names[teacher])} ({answer.teacher[teacher]:.0%})"]
        row.append(_mark(answer.split, teacher, names))
        row += ["does not fit" if r is None else _mark(r.shares, teacher, names) for r in rivals.values()]
        rows.append(tuple(row))
    return _table(("photo", "bytes", "teacher says", "FrankenSplit", *codecs), rows, numbers=(1,))


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
    return _bars(figure, f"What breaks it: {damage}", alt)


def card_table(card: Card) -> HTML:
    """What a codec's card says of its training and its scores."""
    train = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in card.training.items())
    rows = []
    for score in card.scores:
        row = [str(score.get("data", "")), str(score.get("method", card.name)), f"{score.get('n', 0):,}"]
        row.append(f"{score['bytes']:,.0f}" if score.get("bytes") is not None else "")
        row += [_share_with_interval(score, key) for key in ("kept", "top1")]
        rows.append(tuple(html.escape(text) for text in row))
    parts = [
        f"<p><b>{html.escape(card.name)}.</b> {html.escape(card.summary)}</p>",
        f"<p><b>Data:</b> {html.escape(card.data)}. <b>Training:</b> {html.escape(train)}.</p>",
        _table(("pictures", "method", "n", "bytes", "kept [95 %]", "top-1 [95 %]"), rows, numbers=(2, 3)).data
        if rows
        else "<p>This card holds no scores yet: nobody has measured these weights beyond what this page shows.</p>",
    ]
    if card.limits:
        items = "".join(f"<li>{html.escape(limit)}</li>" for limit in card.limits)
        parts.append(f"<p><b>Before you trust these numbers:</b></p><ul>{items}</ul>")
    return HTML(f'<div style="font-size:16px;line-height:1.5;max-width:60em">{"".join(parts)}</div>')


def picture(image: Image.Image, smallest: int = 224) -> str:
    """A PNG as data URI, small ones enlarged without blur."""
    times = -(-smallest // max(image.size))
    if times > 1:
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    bare = image.copy()
    bare.info = {}
    bare.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _pictures(pictures: dict[str, Image.Image], title: str, alt: str, height: int) -> go.Figure:
    count = len(pictures)
    figure = make_subplots(1, count, subplot_titles=list(pictures), horizontal_spacing=0.02)
    for column, image in enumerate(pictures.values(), start=1):
        figure.add_trace(go.Image(source=picture(image), hoverinfo="skip"), 1, column)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_annotations(font_size=15)
    finish(figure, title, alt, height)
    return figure.update_layout(margin={"l": 10, "r": 10, "t": 115, "b": 10})


def _bars(figure: go.Figure, title: str, alt: str) -> go.Figure:
    figure.update_xaxes(title_text="share of the answer (%)", range=[0, 100])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(barmode="group", bargap=0.25, legend={"x": 0.99, "xanchor": "right", "y": 0.02})
    return finish(figure, title, alt, height=150 + 42 * len(figure.data[0].y))


def _mosaic(values: np.ndarray, scale: str) -> Image.Image:
    channels, height, width = values.shape
    columns = 8 if channels % 8 == 0 else int(np.ceil(np.sqrt(channels)))
    rows = -(-channels // columns)
    canvas = Image.new("RGB", (columns * (width + 1) - 1, rows * (height + 1) - 1), "white")
    for n, channel in enumerate(values):
        canvas.paste(_paint(channel, scale), ((n % columns) * (width + 1), (n // columns) * (height + 1)))
    return canvas


def _paint(values: np.ndarray, scale: str) -> Image.Image:
    stops = plotly.colors.get_colorscale(scale)
    at = [stop for stop, _ in stops]
    rgb = np.array([_rgb(colour) for _, colour in stops])
    painted = np.stack([np.interp(values, at, rgb[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(painted.astype(np.uint8))


def _rgb(colour: str) -> tuple[float, ...]:
    return plotly.colors.hex_to_rgb(colour) if colour.startswith("#") else plotly.colors.unlabel_rgb(colour)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]], numbers: tuple[int, ...]) -> HTML:
    def cell(tag: str, column: int, text: str) -> str:
        side = "right" if column in numbers else "left"
        return f'<{tag} style="text-align:{side};padding:.3em .8em;vertical-align:top">{text}</{tag}>'

    first = "".join(cell("th", n, text) for n, text in enumerate(head))
    rest = "".join("<tr>" + "".join(cell("td", n, text) for n, text in enumerate(row)) + "</tr>" for row in rows)
    inside = f"<thead><tr>{first}</tr></thead><tbody>{rest}</tbody>"
    return HTML(f'<table style="font-size:15px;border-collapse:collapse">{inside}</table>')


def _mark(shares: np.ndarray, teacher: int, names: Sequence[str]) -> str:
    best = int(shares.argmax())
    return "✓ kept" if best == teacher else f"✗ {html.escape(_short(names[best]))}"


def _share_with_interval(score: dict, key: str) -> str:
    if score.get(key) is None:
        return ""
    low, high = score.get(f"{key}_low"), score.get(f"{key}_high")
    return f"{score[key]:.1%}" + (f" [{low:.1%}, {high:.1%}]" if low is not None and high is not None else "")


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _shape(values: np.ndarray) -> str:
    return " × ".join(str(side) for side in values.shape)


def _clock(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
