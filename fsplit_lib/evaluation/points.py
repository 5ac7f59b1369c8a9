"""A rate point: what one setting of one codec costs and keeps on every picture, and its summary with intervals."""

from dataclasses import dataclass

import numpy as np

from fsplit_lib.evaluation.intervals import wilson
from fsplit_lib.evaluation.tables import RatePoint


@dataclass(frozen=True)
class PerImageResult:
    """One setting of one codec on every picture of a set.

    Attributes:
        dataset: name of the pictures.
        codec: name of the curve, as in :class:`~fsplit_lib.evaluation.tables.RatePoint`.
        lmbda: rate weight of a codec of ours, else None.
        quality: of an image codec, else None.
        backbone: network that judged.
        sizes: (N,) bytes of whole packets or files.
        decided: (N,) top-1 behind the codec.
        teacher: (N,) the teacher's top-1 on the same crops.
        labels: (N,) true classes, or None.
    """

    dataset: str
    codec: str
    lmbda: float | None
    quality: float | None
    backbone: str
    sizes: np.ndarray
    decided: np.ndarray
    teacher: np.ndarray
    labels: np.ndarray | None

    def point(self) -> RatePoint:
        """Summarise as the row of a result table."""
        n, ours = len(self.sizes), (self.dataset, self.codec, self.lmbda, self.quality, self.backbone)
        agree = int((self.decided == self.teacher).sum())
        right = None if self.labels is None else int((self.decided == self.labels).sum())
        top1 = (None, None, None) if right is None else (right / n, *wilson(right, n))
        return RatePoint(*ours, float(np.mean(self.sizes)), agree / n, *wilson(agree, n), *top1, n)
