"""One seeded, resumable loop, the data it draws from, and the named recipes that `fsplit train` repeats."""

from fsplit_lib.training.loop import LogRow, TrainConfig, fit, train_system
from fsplit_lib.training.sources import ArraySource, FolderSource

__all__ = ["ArraySource", "FolderSource", "LogRow", "TrainConfig", "fit", "train_system"]
