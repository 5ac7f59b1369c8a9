"""What a number was measured on."""

import os

from fsplit_lib.device.timing import cpu_name

__all__ = ["machine"]


def machine() -> str:
    """Processor, cores, threads and torch, for cards, tables and the index page."""
    import torch

    return f"{cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
