"""How good, at how many bytes."""

from fsplit_lib.evaluation.answers import Answer, Rival, answer_damaged, answer_photo, answer_rivals
from fsplit_lib.evaluation.curves import bd_rate, bd_rates
from fsplit_lib.evaluation.evaluate import (
    curve_of_images,
    evaluate_images,
    evaluate_photos,
    ideal_bits_of_images,
    top1_of_images,
)
from fsplit_lib.evaluation.intervals import wilson
from fsplit_lib.evaluation.points import PerImageResult
from fsplit_lib.evaluation.probes import ProbeResult, linear_probe, what_symbols_tell
from fsplit_lib.evaluation.processes import evaluate_in_processes
from fsplit_lib.evaluation.speech import evaluate_speech
from fsplit_lib.evaluation.tables import TABLES, BDRate, LatencyRow, RatePoint, SideRow, SweepRow, read_table
from fsplit_lib.evaluation.variants import Contrast, Variants, read_variants

__all__ = [
    "TABLES",
    "Answer",
    "BDRate",
    "Contrast",
    "LatencyRow",
    "PerImageResult",
    "ProbeResult",
    "RatePoint",
    "Rival",
    "SideRow",
    "SweepRow",
    "Variants",
    "answer_damaged",
    "answer_photo",
    "answer_rivals",
    "bd_rate",
    "bd_rates",
    "curve_of_images",
    "evaluate_images",
    "evaluate_in_processes",
    "evaluate_photos",
    "evaluate_speech",
    "ideal_bits_of_images",
    "linear_probe",
    "read_table",
    "read_variants",
    "top1_of_images",
    "what_symbols_tell",
    "wilson",
]
