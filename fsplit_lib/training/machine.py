"""What a number was measured on."""

import os

from fsplit_lib.device.timing import cpu_name, instructions

FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, Arm


def fast_precision() -> str:
    """bf16-mixed where the processor computes in bfloat16, 32-true where it would have to emulate that or does not say."""
    return "bf16-mixed" if FAST_BFLOAT16 & set(instructions()) else "32-true"


def machine() -> str:
    """Processor, cores, threads and torch, for cards, tables and the index page."""
    import torch

    return f"{cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"
