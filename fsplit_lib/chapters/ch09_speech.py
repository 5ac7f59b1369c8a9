"""Chapter 09, on speech: a patch and where its bits go, and what a byte buys for a spoken digit."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from fsplit_lib.evaluation import RatePoint
from fsplit_lib.evaluation.curves import bytes_at
from fsplit_lib.plots.curves import rate_accuracy, rate_curve
from fsplit_lib.plots.pictures import GREY, paint_map, side_by_side
from fsplit_lib.plots.style import BLUE, Look, look_of

OURS = look_of("FrankenSplit")
NAMES = {"speech": "FrankenSplit", "speech-1": "FrankenSplit, another seed"}
LOOKS = {
    "speech": OURS,
    "speech-1": Look(OURS.color, "dash", "circle-open"),
    "mel, WebP": look_of("WebP"),
    "mel, zlib": look_of("PNG"),
    "Opus, bare frames": BLUE,
    "Opus, file": Look("#56B4E9", "longdash", "triangle-down"),
}


def _curves(rows: Sequence[RatePoint]) -> dict[str, list[RatePoint]]:
    """Return the rows of each curve that has several settings, without the versions in its name."""
    found: dict[str, list[RatePoint]] = {}
    for row in rows:
        found.setdefault(row.codec.partition(" (")[0], []).append(row)
    return {name: points for name, points in found.items() if len(points) > 1}


def bytes_for(rows: Sequence[RatePoint], quality: str, share: float) -> dict[str, float | None]:
    """Compute the bytes at which each curve of ``speech.csv`` reaches a share of recordings, between its settings.

    The share is one of "agreement" or "top1"; a curve that never reaches it has None.
    """
    return {name: bytes_at(points, share, quality) for name, points in _curves(rows).items()}


def speech_curves(rows: Sequence[RatePoint]) -> go.Figure:
    """Draw agreement over bytes from rows of ``speech.csv``, a curve per method, with lines where lossless methods lie."""
    curves = _curves(rows).items()
    lines = [rate_curve(NAMES.get(name, name), points, "agreement", LOOKS[name]) for name, points in curves]
    figure = rate_accuracy({"": lines}, "What a byte buys for a spoken digit", n=rows[0].n, height=560, of="recordings")
    figure.update_xaxes(tickvals=[20, 50, 100, 200, 500, 1000, 2000, 5000])
    for row in rows:
        if row.codec == "teacher" or row.codec.startswith("FLAC"):
            name = "16-bit PCM" if row.codec == "teacher" else "FLAC"
            figure.add_vline(x=row.bytes, line={"color": GREY, "width": 1, "dash": "dot"})
            figure.add_annotation(x=np.log10(row.bytes), y=0, yref="paper", text=name, textangle=-90, xshift=-9,
                                  yanchor="bottom", showarrow=False)  # fmt: skip
    return figure


def patch_and_bits(patch: np.ndarray, bits: dict[str, np.ndarray]) -> go.Figure:
    """Draw a log-mel patch (1, 64, 64), low notes below, beside the bits that packets of it spend at every place.

    The bits are by title, (h, w), summed over the channels.
    """
    most = max(one.max() for one in bits.values())
    pictures = {"the patch": paint_map(patch[0, ::-1] / 255, "Cividis")}
    pictures |= {f"{name}: {one.sum():.0f} bits": paint_map(one[::-1] / most, "Cividis") for name, one in bits.items()}
    told = "; ".join(f"{name}: {one.min():.1f} to {one.max():.1f} bits at a place" for name, one in bits.items())
    alt = f"Time runs to the right. {told}."
    return side_by_side(pictures, "A patch, low frequencies below, and its bits", alt, 405)
