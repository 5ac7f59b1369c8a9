"""Chapter 00: the packet and what travels in it, and the answers with and without it."""

from fsplit_lib.chapters.ch00.answers import (
    answer_bars,
    breakage,
    card_table,
    kept_bars,
    kept_counts,
    photo_panel,
    rival_pictures,
    verdict_table,
)  # fmt: skip
from fsplit_lib.chapters.ch00.travel import TINTS, field_table, fields_of, hexdump, journey, seconds_to_send

__all__ = [
    "TINTS", "answer_bars", "breakage", "card_table", "field_table", "fields_of", "hexdump", "journey", "kept_bars", "kept_counts",
    "photo_panel", "rival_pictures", "seconds_to_send", "verdict_table",
]  # fmt: skip
