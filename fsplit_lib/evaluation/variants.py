"""The variants of the experiments of chapters 04, 06 and 09, compared twice: at equal lambda, and at equal quality.

At equal lambda any weight below 1 seems to save bytes (chapter 04, Eq. (6)), so that comparison shows
the confound. At equal quality, by whole curves, a variant is ahead of another only if it is so for every
pair of seeds, and with the whole of every interval over photos.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fsplit_lib.errors import DataError
from fsplit_lib.evaluation.tables import BDRate, RatePoint, incomplete, read_table

EXPERIMENTS = {  # table to the names of its codecs, its variants, and what other codecs of the book it takes in
    "saliency_variants": (r"saliency-(\w+)-(\d+)", {"unguided", "guided", "constant", "shuffled"}, {}),
    "regularisers": (
        r"regulariser-(\w+)-(\d+)",
        {"unguided", "guided", "constant", "decoded", "dropout", "decay", "attention"},
        {"ablation-base": ("unguided", 0), "ablation-base-1": ("unguided", 1)},
    ),
    "prior_work": (r"(?:ablation|prior)-(base|student|patch-4)(?:-(\d+))?", {"base", "student", "patch-4"}, {}),
    "objectives": (r"ablation-(\w+?)(?:-(\d+))?", {"base", "contrast", "augment", "both"}, {}),
}


@dataclass(frozen=True)
class Contrast:
    """One variant against another, over all pairs of seeds."""

    deltas: tuple[BDRate, ...]  # one per pair of seeds whose curves share any quality

    @property
    def percent(self) -> float:
        """Geometric mean of the pairs: bytes more or less for the same agreement."""
        return float(100 * np.expm1(np.mean([np.log1p(d.percent / 100) for d in self.deltas])))

    @property
    def reach(self) -> tuple[float, float]:
        """From the lowest to the highest end of the pairs' intervals, in percent."""
        ends = [(d.low, d.high) if d.low is not None else (-100.0, np.inf) for d in self.deltas]
        return min(low for low, _ in ends), max(high for _, high in ends)

    @property
    def verdict(self) -> Literal["fewer", "more", "open"]:
        """Whether the variant needs fewer bytes, more, or cannot be told apart by these photos and seeds."""
        low, high = self.reach
        return "fewer" if high < 0 else "more" if low > 0 else "open"


@dataclass(frozen=True)
class Variants:
    """What was measured of every variant."""

    # (guidance, seed) to points from the smallest lambda up; all at the same lambdas
    curves: dict[tuple[str, int], list[RatePoint]]
    deltas: dict[tuple[tuple[str, int], tuple[str, int]], BDRate]  # between every two of them

    def seeds(self, guidance: str) -> list[int]:
        """List the seeds that a variant was trained with."""
        return sorted(seed for variant, seed in self.curves if variant == guidance)

    def contrast(self, variant: str, against: str) -> Contrast:
        """Compare one variant with another, pair by pair; a variant with itself: each later seed against each earlier one.

        Raises:
            DataError: no two of their curves share any quality.
        """
        pairs = [((variant, s), (against, t)) for s in self.seeds(variant) for t in self.seeds(against)]
        wanted = [pair for pair in pairs if variant != against or pair[0][1] > pair[1][1]]
        found = tuple(d for d in map(self.deltas.get, wanted) if d is not None and d.percent is not None)
        if not found:
            raise DataError(f"the tables know no two curves of {variant} and {against} that share any quality")
        return Contrast(found)

    def at_equal_lmbda(self, variant: str) -> tuple[float, float]:
        """Compute the bytes in percent and the agreement in points that a variant has more, mean over lambdas and seeds."""
        means = []
        for wanted in (variant, "unguided"):
            points = [p for (name, _), curve in self.curves.items() if name == wanted for p in curve]
            means.append(np.mean([(np.log(p.bytes), p.agreement) for p in points], axis=0))
        size, kept = means[0] - means[1]
        return float(100 * np.expm1(size)), float(100 * kept)


def variant_of(codec: str, experiment: str) -> tuple[str, int] | None:
    """Return what a codec's name says of it, its variant and its seed; None for a codec of another experiment.

    >>> variant_of("saliency-guided-1", "saliency_variants"), variant_of("ablation-both", "objectives")
    (('guided', 1), ('both', 0))
    """
    name, _, taken_in = EXPERIMENTS[experiment]
    match = re.fullmatch(name, codec)
    return (match[1], int(match[2] or 0)) if match else taken_in.get(codec)


def read_variants(folder: Path, experiment: str = "saliency_variants") -> Variants:
    """Read an experiment's two tables; rows of other methods are left out.

    A key of :data:`EXPERIMENTS` names both: "regularisers" reads ``regularisers.csv`` and ``regularisers_bd_rates.csv``.

    Raises:
        DataError: a table is missing, or the variants were not measured at the same lambdas.

    >>> from fsplit_lib.data import data_root
    >>> read_variants(data_root() / "results").seeds("guided")
    [0, 1]
    """
    _, variants, _ = EXPERIMENTS[experiment]
    curves: dict[tuple[str, int], dict[float, RatePoint]] = {}
    for point in read_table(f"{experiment}.csv", folder):
        if variant := variant_of(point.codec, experiment):
            curves.setdefault(variant, {})[point.lmbda] = point
    if variants - {variant for variant, _ in curves} or len({tuple(sorted(curve)) for curve in curves.values()}) != 1:
        what = f"{folder / experiment}.csv needs all {len(variants)} variants at the same lambdas"
        raise incomplete(f"{experiment}.csv", what)
    deltas = {
        (variant_of(delta.codec, experiment), variant_of(delta.against, experiment)): delta
        for delta in read_table(f"{experiment}_bd_rates.csv", folder)
    }
    return Variants(
        {variant: [curve[at] for at in sorted(curve)] for variant, curve in curves.items()},
        {pair: delta for pair, delta in deltas.items() if all(pair)},
    )
