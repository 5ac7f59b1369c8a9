"""Whole curves against whole curves: the Bjøntegaard delta, with intervals over photos.

One point against one point compares two methods at different bytes *and* different quality. The
Bjøntegaard delta rate asks instead how many bytes the one needs more or less than the other for the
same quality, on average over all the quality that both reach (Bjøntegaard 2001, ITU-T VCEG-M33).

    BD = exp( mean over q of  ln R_test(q) − ln R_anchor(q) ) − 1
"""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation.evaluate import Progress, silent
from fsplit_lib.evaluation.intervals import middle, resampled
from fsplit_lib.evaluation.tables import BDRate, PerImageResult, RatePoint

RAMP = 1e-6  # that tells equal shares of neighbouring settings apart: a plateau has no inverse
LEAST_OVERLAP = 1e-4  # of agreement; below it the ramps would be compared, not the curves


def bd_rate(
    anchor_bytes: np.ndarray, anchor_quality: np.ndarray, test_bytes: np.ndarray, test_quality: np.ndarray
) -> float | None:
    """Compute the Bjøntegaard delta rate in percent, or None where the curves share no quality, or only a single one.

    Each curve is made monotone first (isotonic regression): measured shares of a few hundred photos
    wobble, and a curve that falls has no inverse.

    Args:
        anchor_bytes: (S,) of the anchor's settings.
        anchor_quality: (S,).
        test_bytes: (T,).
        test_quality: (T,).

    >>> r, q = np.array([100.0, 200, 400, 800]), np.array([0.5, 0.6, 0.7, 0.8])
    >>> round(bd_rate(r, q, 0.75 * r, q), 6)
    -25.0
    """
    import bjontegaard  # brings matplotlib, which nothing else here needs

    anchor, test = monotone(anchor_bytes, anchor_quality), monotone(test_bytes, test_quality)
    fits = [fit - RAMP * np.arange(len(fit)) for _, fit in (anchor, test)]
    if min(fit[-1] for fit in fits) - max(fit[0] for fit in fits) < LEAST_OVERLAP:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how far curves overlap is reported, not warned of
        delta = bjontegaard.bd_rate(*anchor, *test, method="pchip", require_matching_points=False, min_overlap=0)
    return float(delta) if np.isfinite(delta) else None


def monotone(size: np.ndarray, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve as strictly increasing bytes and quality, ready to be inverted."""
    order = np.argsort(size)
    fitted = isotonic_regression(quality[order]).x + RAMP * np.arange(len(order))
    return np.asarray(size)[order] + RAMP * np.arange(len(order)), fitted


def bytes_at(points: Sequence[RatePoint], share: float, quality: str = "agreement") -> float | None:
    """Compute the bytes at which a curve's agreement, or ``top1``, reaches a share of 0 to 1; None if it never does."""
    sizes, kept = monotone(np.array([p.bytes for p in points]), np.array([getattr(p, quality) for p in points]))
    return float(np.exp(np.interp(share, kept, np.log(sizes)))) if kept[0] <= share <= kept[-1] else None


def bd_rates(
    measured: list[PerImageResult],
    pairs: list[tuple[str, str]] | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> list[BDRate]:
    """Compute the delta of every curve against every other, with bootstrap intervals over photos.

    All curves are resampled with the same photos, since all were measured on the same: what is easy
    for one is easy for the others, and only differences count. ``pairs`` are those of curves (codec, against) that are
    compared for each backbone that judged, all by default.

    Raises:
        ParameterError: a pair names a curve that was not measured.
    """
    curves: dict[tuple[str, str], list[PerImageResult]] = {}
    for one in measured:
        curves.setdefault((one.backbone, one.codec), []).append(one)
    curves = {key: group for key, group in curves.items() if len(group) > 1}
    judges = dict.fromkeys(backbone for backbone, _ in curves)
    if pairs is None:
        wanted = [(a, b) for a in curves for b in curves if a != b and a[0] == b[0]]
    else:
        wanted = [((judge, a), (judge, b)) for judge in judges for a, b in pairs]
    if unknown := {codec for pair in wanted for judge, codec in pair if (judge, codec) not in curves}:
        known = ", ".join(dict.fromkeys(codec for _, codec in curves))
        raise ParameterError(f"no curve {', '.join(sorted(unknown))}; there are {known}")
    n = len(measured[0].sizes)
    shares = np.hstack([np.full((n, 1), 1 / n), resampled(n, draws, seed)])  # of each photo: once as it is, then drawn
    means = {
        key: (np.stack([m.sizes for m in group]) @ shares, np.stack([m.decided == m.teacher for m in group]) @ shares)
        for key, group in curves.items()
    }
    found = []
    for done, (test, anchor) in enumerate(wanted, start=1):
        deltas = (bd_rate(*parts) for parts in zip(*(part.T for part in (*means[anchor], *means[test])), strict=True))
        value = next(deltas)
        ends = None if value is None else middle(np.array([*deltas], float), n)  # None becomes NaN
        fits = [monotone(size[:, 0], kept[:, 0])[1] for size, kept in (means[test], means[anchor])]
        shared = [max(fit[0] for fit in fits), min(fit[-1] for fit in fits)]
        kept = [None, None] if value is None else [round(float(v), 4) for v in shared]  # monotone() adds millionths
        found.append(BDRate(measured[0].dataset, *test, anchor[1], value, *(ends or (None, None)), *kept, n))
        progress(done, len(wanted))
    return found
