"""Figures of chapter 07."""

from fsplit_lib.plots.ch07.ablation import ablation_figure, ablation_outcome, move_ablation
from fsplit_lib.plots.ch07.crossing import (
    blueprint_deltas,
    blueprint_outcome,
    cross_outcome,
    cross_table,
    curves,
    equal_byte_tables,
    photo_outcome,
    table_curves,
    told,
)
from fsplit_lib.plots.ch07.families import blueprints, family_table, name_of, servers, spreads

__all__ = [
    "ablation_figure", "ablation_outcome", "blueprint_deltas", "blueprint_outcome", "blueprints", "cross_outcome", "cross_table",
    "curves", "equal_byte_tables", "family_table", "move_ablation", "name_of", "photo_outcome", "servers", "spreads", "table_curves", "told",
]  # fmt: skip
