"""How good, at how many bytes."""

from fsplit_lib.evaluation.answers import Answer, Rival, answer_damaged, answer_photo, answer_rivals
from fsplit_lib.evaluation.curves import bd_rate, bd_rates
from fsplit_lib.evaluation.evaluate import (
    curve_of_images,
    evaluate_images,
    evaluate_in_processes,
    evaluate_photos,
    ideal_bits_of_images,
    top1_of_images,
)
from fsplit_lib.evaluation.intervals import wilson
from fsplit_lib.evaluation.probes import linear_probe, what_symbols_tell
from fsplit_lib.evaluation.speech import evaluate_speech
from fsplit_lib.evaluation.tables import TABLES, BDRate, LatencyRow, PerImageResult, RatePoint, SweepRow, read_table
from fsplit_lib.evaluation.variants import Variants, read_variants
