"""One rate point a method and setting, with intervals.

bytes   mean length of the whole packet or image file
agreement    the share of pictures whose top-1 equals the teacher's on the same crop
top1    accuracy, where the data set has labels
"""

from dataclasses import dataclass, replace

import numpy as np

from fsplit_lib.evaluation.intervals import wilson

__all__ = ["JUDGED", "PerImageResult", "RatePoint", "rate_point"]

JUDGED = " for "  # between a method and the backbone, where it is not the codec's own


@dataclass(frozen=True)
class RatePoint:
    """One row of a result table; intervals are those of :func:`~fsplit_lib.evaluation.intervals.wilson`.

    Attributes:
        dataset: name of the pictures.
        method: as in the book's figures; "JPEG for resnet50" where another backbone judged than the codec's own.
        setting: quality or lmbda.
        bytes: mean of whole packets or files.
        agreement: top-1 agreement with the teacher.
        agreement_low: lower end of its interval.
        agreement_high: upper end.
        top1: accuracy, or None without labels.
        top1_low: lower end, or None.
        top1_high: upper end, or None.
        n: pictures.
    """

    dataset: str
    method: str
    setting: str
    bytes: float
    agreement: float
    agreement_low: float
    agreement_high: float
    top1: float | None
    top1_low: float | None
    top1_high: float | None
    n: int


@dataclass(frozen=True)
class PerImageResult:
    """One setting of one method on every picture of a set.

    Attributes:
        dataset: name of the pictures.
        method: as in the book's figures.
        setting: quality or lmbda.
        sizes: (N,) bytes of whole packets or files.
        decided: (N,) the method's top-1.
        teacher: (N,) the teacher's top-1 on the same crops.
        labels: (N,) true classes, or None.
    """

    dataset: str
    method: str
    setting: str
    sizes: np.ndarray
    decided: np.ndarray
    teacher: np.ndarray
    labels: np.ndarray | None

    @property
    def curve(self) -> str:
        """Which curve this is a point of: the method, or the codec's weights, and for which backbone."""
        method, judged, backbone = self.method.partition(JUDGED)
        return (self.setting.split(",")[0] if method == "FrankenSplit" else method) + judged + backbone

    def judged_by(self, backbone: str) -> "PerImageResult":
        """The same under the name of the backbone that judged, such as "JPEG for resnet50"."""
        return replace(self, method=f"{self.method}{JUDGED}{backbone}")

    def point(self) -> RatePoint:
        """The row of a result table."""
        return rate_point(self.dataset, self.method, self.setting, self.sizes, self.decided, self.teacher, self.labels)


def rate_point(
    dataset: str,
    method: str,
    setting: str,
    sizes: np.ndarray,
    decided: np.ndarray,
    teacher: np.ndarray,
    labels: np.ndarray | None,
) -> RatePoint:
    """Summarise one method.

    Args:
        dataset: name of the pictures.
        method: name of the method.
        setting: of the method.
        sizes: (N,) bytes.
        decided: (N,) the method's top-1.
        teacher: (N,) the teacher's top-1 on the same crops.
        labels: (N,) true classes, or None.
    """
    n = len(sizes)
    kept = int((decided == teacher).sum())
    right = None if labels is None else int((decided == labels).sum())
    return RatePoint(
        dataset, method, setting, float(np.mean(sizes)), kept / n, *wilson(kept, n),
        *((None, None, None) if right is None else (right / n, *wilson(right, n))), n,
    )  # fmt: skip
