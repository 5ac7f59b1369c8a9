"""One seeded, resumable loop, the data it draws from, and what is trained by it."""

from fsplit_lib.training.loop import LogRow, TrainConfig, fit
from fsplit_lib.training.sources import ArraySource, FolderSource
from fsplit_lib.training.systems import train_decoder, train_system

__all__ = ["ArraySource", "FolderSource", "LogRow", "TrainConfig", "fit", "train_decoder", "train_system"]
