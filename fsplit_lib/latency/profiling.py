"""What every layer of a network costs: multiply-adds, seconds on this machine, and bytes if one cut behind it.

pixels ──► stem ──► block ──► ... ──► block ──► answer
0       1         2                 n       a split point behind each
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fsplit_lib.backbones import stages_of


@dataclass(frozen=True)
class SplitPoint:
    """One place to cut a network."""

    name: str  # of the last layer on the device, "input" before the first
    elements: int  # of the activation there
    macs: int  # multiply-adds of all layers on the device
    seconds: float  # of all layers on the device, on one thread of this machine: median over passes

    def bytes(self, bits: int = 8) -> float:
        """Compute the size of the activation at ``bits`` per value, Eq. (1) of chapter 02."""
        return self.elements * bits / 8


def units_of(network: nn.Module) -> list[tuple[str, Callable[[Tensor], Tensor]]]:
    """Return a timm network as a chain of named layers, each mapping features to features; the last one answers."""
    family, stages, _ = stages_of(network)
    units = []
    for number, stage in enumerate(stages):
        blocks = getattr(stage, "blocks", stage if isinstance(stage, nn.Sequential) else ())
        last = number == len(stages) - 1
        if number == 0 or not len(blocks) or (family == "efficientnet" and last):
            units.append(("stem" if number == 0 else "last layer", stage))
            continue
        if not isinstance(getattr(stage, "downsample", nn.Identity()), nn.Identity):
            units.append((f"stage {number}, downsample", stage.downsample))
        units += [(f"stage {number}, block {index + 1}", block) for index, block in enumerate(blocks)]
    return [*units, ("answer", network.forward_head)]


@torch.no_grad()
def profile(name: str, input_size: int = 224, passes: int = 5) -> list[SplitPoint]:
    """Measure the split points of a timm network for a square photo, untrained: costs do not depend on weights.

    The first is the input, then there is one behind every layer; the last one is the answer itself. Times are medians
    over the passes, after one to warm up.

    >>> points = profile("test_resnet", 64, passes=1)
    >>> len(points), points[0].bytes(), points[-1].elements
    (7, 12288.0, 1000)
    """
    network = timm.create_model(name, pretrained=False).eval()
    units = units_of(network)
    value = x = torch.zeros(1, 3, input_size, input_size)
    elements, macs = [x.numel()], [0]
    with FlopCounterMode(display=False) as counter:
        for _, unit in units:
            value = unit(value)
            elements.append(value.numel())
            macs.append(counter.get_total_flops() // 2)
    seconds = time_passes([unit for _, unit in units], x, passes)
    names = ["input", *(name for name, _ in units)]
    return [SplitPoint(*point) for point in zip(names, elements, macs, [0.0, *seconds], strict=True)]


@torch.no_grad()
def multiply_adds(module: nn.Module, *shape: int) -> int:
    """Count the multiply-adds of a module for an input of a shape.

    >>> multiply_adds(nn.Conv2d(3, 8, 1, bias=False), 1, 3, 10, 10)
    2400
    """
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(shape))
    return counter.get_total_flops() // 2


@torch.no_grad()
def time_passes(chain: list[Callable[[Tensor], Tensor]], x: Tensor, passes: int) -> list[float]:
    """Time on one thread how long it takes until each link of a chain is done: seconds, medians over passes.

    One thread, because two that wait for each other measure whatever else the machine does.

    >>> first, second = time_passes([torch.relu, torch.exp], torch.zeros(8), passes=3)
    >>> 0 <= first <= second
    True
    """
    ends = np.zeros((passes + 1, len(chain)))
    with one_thread():
        for row in ends:
            value, begun = x, time.perf_counter()
            for index, link in enumerate(chain):
                value = link(value)
                row[index] = time.perf_counter() - begun
    return np.median(ends[1:], axis=0).tolist()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, and then as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
