"""A packet, byte by byte: its fields, their bytes in hex, and what they mean."""

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from fsplit_lib.packet import Packet, code_to_lmbda
from fsplit_lib.plots.pictures import GREY, html_table
from fsplit_lib.plots.style import finish, stepped

TINTS = {  # light enough for dark text; the table repeats what each colour means
    "magic": "#F6D58E", "version, streams": "#BFE3F7", "lambda code": "#A6DCC8", "codec id": "#E9BFD6",
    "height, width": "#F7EF9A", "stream length": "#B5CDE8", "payload": "#F3C3A2", "checksum": "#D3D7DC",
}  # fmt: skip
FIRST, LAST, WIDTH = 64, 16, 16  # bytes that the hexdump shows, and those in a row


def fields_of(wire: bytes) -> list[tuple[str, int, bytes, str]]:
    """Split a packet with one stream into its fields, in order: name, offset, bytes, meaning.

    >>> wire = Packet(b"abcd", 224, 224, 153, (b"1234",)).to_bytes()
    >>> b"".join(data for _, _, data, _ in fields_of(wire)) == wire
    True
    """
    packet, end = Packet.from_bytes(wire), len(wire) - 4
    meanings = (
        "“FS”: this is a packet",
        f"version {wire[2] >> 4}, {wire[2] & 15} stream",
        f"λ = {code_to_lmbda(wire[3]):.3g}, the rate weight of the codec",
        "hash of encoder and integer tables",
        f"{packet.height} × {packet.width} pixels, little endian",
        f"{packet.payload_bytes:,} bytes of payload follow (a varint)",
        "the entropy coder's output: the photo's features",
        "CRC-32 of everything before it",
    )
    starts = (0, 2, 3, 4, 8, 12, end - packet.payload_bytes, end, len(wire))
    rows = zip(TINTS, starts, starts[1:], meanings, strict=False)
    return [(name, start, wire[start:stop], meaning) for name, start, stop, meaning in rows]


def hexdump(wire: bytes) -> go.Figure:
    """Draw the packet's first and last bytes in hex, coloured by field."""
    tail = max(FIRST, len(wire) - LAST)
    shown = [*range(min(FIRST, len(wire))), *range(tail, len(wire))]
    skipped = len(wire) - len(shown)
    place = {byte: (n % WIDTH, n // WIDTH + (skipped > 0 and byte >= tail)) for n, byte in enumerate(shown)}
    firsts = {row: byte for byte, (column, row) in place.items() if column == 0}
    bottom, last = max(firsts), len(TINTS) - 1
    fields, said = np.full((bottom + 1, WIDTH), np.nan), np.full((2, bottom + 1, WIDTH), "", object)
    for number, (name, offset, data, meaning) in enumerate(fields_of(wire)):
        for byte in place.keys() & range(offset, offset + len(data)):
            column, row = place[byte]
            fields[row, column] = last - number  # the first field on top of the scale
            said[:, row, column] = f"{wire[byte]:02x}", f"{name}<br>{meaning}"
    names, tints = ([*part][::-1] for part in (TINTS, TINTS.values()))
    bar = {"tickvals": list(range(len(names))), "ticktext": names, "thickness": 18, "tickfont": {"size": 14}}
    mono = {"family": "Menlo, Consolas, DejaVu Sans Mono, monospace", "size": 16, "color": "#1b1f24"}
    figure = go.Figure(go.Heatmap(
        z=fields, colorbar=bar, xgap=3, ygap=6, hoverongaps=False, **stepped(tints),
        text=said[0], texttemplate="%{text}", textfont=mono, customdata=said[1], hovertemplate="%{customdata}<extra></extra>",
    ))  # fmt: skip
    if skipped:
        figure.add_annotation(x=-0.4, y=bottom - 1, text=f"⋮  {skipped:,} more bytes of payload", showarrow=False,
                              xanchor="left", font={"color": GREY, "size": 15})  # fmt: skip
    figure.update_yaxes(range=[bottom + 0.6, -0.6], showgrid=False, title_text="byte", ticks="", showline=False,
                        tickvals=list(firsts), ticktext=[f"{byte:,}" for byte in firsts.values()])  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.7, WIDTH - 0.3])
    payload = Packet.from_bytes(wire).payload_bytes
    alt = (
        f"The packet in hex: {len(wire):,} bytes, of which {payload:,} are payload and {len(wire) - payload} "
        f"({1 - payload / len(wire):.1%}) say what the packet is and notice damage."
    )
    return finish(figure, "The packet, byte by byte", alt, 130 + 44 * (bottom + 1), margin={"b": 20})


def field_table(wire: bytes) -> HTML:
    """List the fields of a packet: name, offset, bytes, content and meaning.

    >>> from fsplit_lib.packet import Packet
    >>> "stream" in field_table(Packet(b"abcd", 224, 224, 100, (b"stream",)).to_bytes()).data
    True
    """
    swatch = '<span style="background:{};padding:.1em .6em;margin-right:.5em"></span>{}'
    rows = [
        (swatch.format(TINTS[name], name), f"{offset:,}", f"{len(data):,}",
         f"<code>{data[:4].hex(' ')}{' …' if len(data) > 4 else ''}</code>", meaning)
        for name, offset, data, meaning in fields_of(wire)
    ]  # fmt: skip
    return html_table(("field", "offset", "bytes", "content", "meaning"), rows, numbers=(1, 2))
