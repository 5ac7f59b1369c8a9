"""One seeded, resumable loop, the data it draws from, and what is trained by it."""

from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.loop import LogRow, fine_tune, fit, train_decoder, train_system
from fsplit_lib.training.sources import ArraySource, Batch, FolderSource, batches
