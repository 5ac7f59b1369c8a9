"""A rate point: what one setting of one codec costs and keeps on every picture, and its summary with intervals."""

from dataclasses import dataclass

import numpy as np

from fsplit_lib.evaluation.intervals import wilson
from fsplit_lib.evaluation.tables import RatePoint


@dataclass(frozen=True)
class PerImageResult:
    """One setting of one codec on every picture of a set; the first five are those of a :class:`RatePoint`."""

    dataset: str
    codec: str
    lmbda: float | None
    quality: float | None
    backbone: str
    sizes: np.ndarray  # (N,) bytes of whole packets or files
    decided: np.ndarray  # (N,) top-1 behind the codec
    teacher: np.ndarray  # (N,) the teacher's top-1 on the same crops
    labels: np.ndarray | None  # (N,) true classes

    def point(self) -> RatePoint:
        """Summarise as the row of a result table."""
        n, ours = len(self.sizes), (self.dataset, self.codec, self.lmbda, self.quality, self.backbone)
        agree = int((self.decided == self.teacher).sum())
        right = None if self.labels is None else int((self.decided == self.labels).sum())
        top1 = (None, None, None) if right is None else (right / n, *wilson(right, n))
        return RatePoint(*ours, float(np.mean(self.sizes)), agree / n, *wilson(agree, n), *top1, n)
