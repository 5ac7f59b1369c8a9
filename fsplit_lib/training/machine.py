"""What a number was measured on."""

import os

import torch

from fsplit_lib.device.timing import cpu_name, instructions

FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, Arm


def fast_precision() -> str:
    """Return "bf16-mixed" where the processor or a GPU computes in bfloat16, else "32-true": emulation would be slow."""
    gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16-mixed" if gpu or FAST_BFLOAT16 & set(instructions()) else "32-true"


def machine(device: torch.device | None = None) -> str:
    """Say processor, cores, threads and torch, for cards, tables and the index page; of a GPU also its name."""
    gpu = f"{torch.cuda.get_device_name(device)}, " if device is not None and device.type == "cuda" else ""
    return f"{gpu}{cpu_name()}, {os.cpu_count()} cores, {(n := torch.get_num_threads())} thread{'s' * (n != 1)}, torch {torch.__version__}"
