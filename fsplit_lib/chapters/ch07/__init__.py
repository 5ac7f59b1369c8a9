"""The figures and the panels of chapter 07."""

from fsplit_lib.chapters.ch07.networks import (
    blueprints,
    family_table,
    look_of_network,
    name_of,
    server_panel,
    spreads,
    use_blocks,
)
from fsplit_lib.chapters.ch07.tables import (
    ablation_panel,
    blueprint_deltas,
    cross_table,
    equal_byte_tables,
    table_curves,
)
