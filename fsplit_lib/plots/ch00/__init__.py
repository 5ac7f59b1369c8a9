"""Figures and tables of chapter 00."""

from fsplit_lib.plots.ch00.answers import (
    answer_bars,
    bar_traces,
    kept_bars,
    kept_counts,
    rival_pictures,
    top_names,
    verdict,
    verdict_table,
)
from fsplit_lib.plots.ch00.care import breakage, card_table
from fsplit_lib.plots.ch00.features import bits_map, journey
from fsplit_lib.plots.ch00.tools import picture
from fsplit_lib.plots.ch00.wire import Field, field_table, fields_of, hexdump, ladder, seconds_to_send

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
    "verdict",
    "verdict_table",
]
