"""The packet, byte by byte, and what it costs to send."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from fsplit_lib.packet import Packet, code_to_lmbda
from fsplit_lib.plots.ch00.tools import GREY, html_table
from fsplit_lib.plots.style import finish, look_of

__all__ = ["TINTS", "Field", "clock_text", "field_table", "fields_of", "hexdump", "ladder", "seconds_to_send"]

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
        ("payload", begin, len(wire) - 4, "the entropy coder's output: the photo's features"),
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
    return html_table(("field", "offset", "bytes", "content", "meaning"), rows, numbers=(1, 2))


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
            text=[f" {size:,.0f} B · {clock_text(seconds_to_send(size, bits_per_second))}" for size in sizes.values()],
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


def clock_text(seconds: float) -> str:
    """Seconds as people say them."""
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
