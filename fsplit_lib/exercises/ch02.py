"""Exercises of chapter 02: the cost of a layer, the best split, a break-even link, why early layers inflate, the best route."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsplit_lib.exercises.core import Exercise, choice, fits, function, inputs, near, number

Costs = list[tuple[int, int]]


def layer_costs(network: nn.Module, x: Tensor) -> Costs:
    """Count multiply-adds and output bytes, at 8 bits a value, of each Conv2d and Linear in the order they run in.

    >>> layer_costs(nn.Conv2d(3, 8, 3, padding=1), torch.zeros(1, 3, 32, 32))  # 8 · 32² · 27, and 8 · 32²
    [(221184, 8192)]
    """
    costs = []

    def weigh(layer: nn.Module, _: Any, output: Tensor) -> None:
        costs.append((output.numel() * layer.weight[0].numel(), output.numel()))

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(weigh) for layer in layers]
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return costs


def best_split(seconds: list[float], sizes: list[float], photo: float, rate: float, speedup: float) -> int:
    """Choose how many layers of a chain the device runs, Eqs. (3) and (4) of chapter 02: bytes, and bits per second.

    >>> best_split([1.0, 1.0], [100.0, 10.0], photo=2000.0, rate=8e3, speedup=10.0)  # 2.2, 1.2 or 2 seconds
    1
    """
    sent = [photo, *sizes[:-1], 0]
    times = [sum(seconds[:k]) + 8 * sent[k] / rate + sum(seconds[k:]) / speedup for k in range(len(seconds) + 1)]
    return times.index(min(times))


def _fastest(device: list[float], sizes: list[float], server: list[float], rate: float) -> int:
    totals = [d + 8 * size / rate + s for d, size, s in zip(device, sizes, server, strict=True)]
    return totals.index(min(totals))


class _Drawn(nn.Module):
    """A network with a stride, a depthwise layer and a layer that is defined first and runs last."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.answer = nn.Linear(2 * width, classes)
        self.body = nn.Sequential(nn.Conv2d(3, width, 5, stride=2, padding=2), nn.ReLU())
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.point = nn.Conv2d(width, 2 * width, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.answer(self.point(x + self.depthwise(x)).mean((2, 3)))


def _networks() -> list[tuple[nn.Module, Tensor]]:
    rng = inputs(5)
    drawn = [rng.integers((3, 5, 5, 5), (12, 20, 12, 12)) for _ in range(2)]
    return [(_Drawn(int(w), int(n)), torch.zeros(1, 3, 4 * int(h), 4 * int(b))) for w, n, h, b in drawn]


def _weigh(answer: Callable, network: nn.Module, x: Tensor) -> tuple[Any, int]:
    """Return what an answer says of a network, and how many hooks it leaves there."""
    said = answer(network, x)
    return said, sum(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in network.modules())


def _costs_form(result: tuple[Any, int], network: nn.Module, _: Tensor) -> str | None:
    costs, left = result
    if not isinstance(costs, list | tuple) or any(not isinstance(c, list | tuple) or len(c) != 2 for c in costs):
        return f"Return a list of pairs (multiply-adds, bytes), one for each layer, not {str(costs)[:60]}."
    wanted = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules())
    if len(costs) != wanted:
        return f"The network has {wanted} layers of nn.Conv2d and nn.Linear; your list has {len(costs)} pairs."
    np.asarray(costs, float)
    if left:
        return "Your hooks are still on the network and would run at every later pass: call remove() of each handle."
    return None


def _chains() -> list[tuple[list[float], list[float], float, float, float]]:
    """Draw chains of six layers with links and servers, so that each number of layers is best for some."""
    rng = inputs(6)
    seconds, sizes = rng.uniform(0.005, 0.03, (100, 6)), np.exp(rng.uniform(np.log(500), np.log(90_000), (100, 6)))
    photos, rates = rng.uniform(8e3, 2e4, 100), 10 ** rng.uniform(5.5, 7, 100)
    drawn = (part.tolist() for part in (seconds, sizes, photos, rates, rng.choice([1.3, 4.0, 50.0], 100)))
    return list(zip(*drawn, strict=True))


DEPTH = "Return how many layers run on the device, 0 to 6, not {got}."
SENT, JPEG = 5_000, 20_000  # bytes
COST = 0.030 - 0.003  # seconds that the bottleneck takes on the device, less those that it saves at the server
ROUTES = ((0.0, 30_000, 0.01), (0.02, 400_000, 0.002), (0.05, 5_000, 0.006), (0.2, 100, 0.01))  # device, bytes, server


def _cases() -> list[tuple[list[float], list[float], list[float], float]]:
    rng, cases = inputs(2), []
    for _ in range(3):
        routes = [[value * rng.uniform(0.8, 1.25) for value in ROUTES[i]] for i in rng.permutation(4)]
        device, sizes, server = map(list, zip(*routes, strict=True))
        cases += [(device, sizes, server, rate) for rate in (1e5, 1e6, 1e7, 1e9)]
        cases.append((device, sizes, [10 * s for s in server], 1e9))  # here the server's time decides
    return cases


EXERCISES: tuple[Exercise, ...] = (
    function("02.1", layer_costs, _networks, use=_weigh, form=_costs_form, same=lambda a, b: near()(a[0], b[0]))(
        "A forward hook is called as hook(layer, inputs, output) after each pass of its layer: append the pair there. "
        "Every value of the output takes as many multiply-adds as one filter, layer.weight[0], has weights.",
        "With hooks you can weigh any network without touching its code. The counts depend on shapes alone, so no weights are needed.",
        ("weight[0].numel()", "weight[0].numel() * getattr(layer, 'groups', 1)"),
        "Your count ignores groups: a filter of a depthwise layer sees one channel. layer.weight[0] has in_channels / groups channels.",
        ("output.numel() * layer.weight[0]", "(_[0][0, 0].numel() if output.ndim == 4 else 1) * layer.weight"),
        "You counted a filter at each position of the input. With a stride there are fewer positions in the output, and those are computed.",
        ("weight[0].numel()", "weight.numel()"),
        "One value of the output uses one filter, not all of them: layer.weight[0].",
        ("layer.weight[0].numel()", "(layer.weight[0].numel() + 1)"),
        "Biases are not counted.",
        lambda network, x: [pair[::-1] for pair in layer_costs(network, x)],
        "Each pair is exchanged: the multiply-adds come first.",
        ("(output.numel() *", "(2 * output.numel() *"),
        "Those are operations (FLOPs): a multiplication and an addition together are one multiply-add.",
        ("output.numel() * layer.weight[0]", "layer.weight"),
        "Those are the weights of the layer. A convolution uses each of them once for every position of its output.",
        (", output.numel()", ", 4 * output.numel()"),
        "Those are the bytes of 32-bit floats; Eq. (1) with b = 8 counts one byte a value.",
        (", output.numel()", ", 8 * output.numel()"),
        "The multiply-adds are right, but you counted bits: at 8 bits each value is one byte.",
        (", output.numel()", ", _[0].numel()"),
        "The multiply-adds are right, but the bytes are those of the input. Behind a layer its output would be sent.",
        ("return costs", "return [costs[-1], *costs[:-1]]"),
        "The pairs are right, but in the order in which the layers were defined. Hooks run in the order of the pass: append in the hook.",
    ),
    function("02.2", best_split, _chains, form=fits(lambda k, *_: isinstance(k, Integral) and 0 <= k <= 6, DEPTH))(
        "For k from 0 to the number of layers: sum(seconds[:k]), the bytes behind layer k, sum(seconds[k:]) / speedup. "
        "What is sent for k = 0, and what for the last k?",
        "This is what Neurosurgeon does before each request, with predicted times in place of measured ones.",
        ("8 * ", ""),
        "Links are counted in bits a second: a byte has eight.",
        ("[photo,", "[0,"),
        "Your wire costs next to nothing, at least for k = 0. The photo itself is sent there, and rate is in bits a second, not in Mbit/s.",
        ("sizes[:-1], 0", "sizes"),
        "With all layers on the device nothing has to be sent: the bytes of the last k are 0.",
        ("/ speedup", "* speedup"),
        "The server is faster: divide its time by speedup.",
        ("sum(seconds[k:])", "sum(seconds)"),
        "The server's time does not change with k in your sum: it has to run the layers behind the split, sum(seconds[k:]) / speedup.",
        ("sum(seconds[:k])", "(seconds[k - 1] if k else 0)"),
        "You counted one layer on the device; all layers before the split run there: sum(seconds[:k]).",
        ("sizes[:-1], 0", "sizes[1:], 0, 0"),
        "You are one layer off: behind k layers sizes[k - 1] is sent.",
    ),
    number("02.3", 512 * 28 * 28)(
        "Eq. (1): channels times height times width, at one byte a value.",
        "401,408 bytes: the picture itself, raw, has 150,528. Splitting alone made it larger.",
        (4 * 512 * 28 * 28, "Those are 32-bit floats; with 8 bits a value each takes one byte."),
        (8 * 512 * 28 * 28, "Those are bits; a byte has eight."),
        (512 * 28, "The map has 28 rows of 28 values: height and width."),
        (512 * 224 * 224, "The map has 28 x 28 positions, not the picture's 224 x 224."),
    ),
    number("02.4", 8 * (JPEG - SENT) / COST / 1e6)(
        "Set Eq. (3) of both routes equal. The bytes saved are worth 8 · Δbytes / r seconds; computing costs 27 ms net.",
        "4.4 Mbit/s: below it the bottleneck is faster, above it the wire is so fast that bytes are not worth computing for.",
        ((JPEG - SENT) / COST / 1e6, "Those are megabytes a second; links are counted in bits."),
        (8 * SENT / COST / 1e6, "Only the difference in bytes counts: 15,000 fewer."),
        (8 * (JPEG - SENT) / 30e3, "The bottleneck costs 30 ms on the device, but saves 3 ms at the server."),
        (8 * (JPEG - SENT) / 3e3, "The 3 ms at the server are saved; what is paid are 30 ms on the device."),
        (8 * (JPEG - SENT) / COST, "Right, in bits a second; the question asks for Mbit/s."),
    ),
    choice("02.5", "a")(
        "Stride 2 leaves a quarter of the positions. What happens to the channels meanwhile?",
        "Three channels become 64 or more while positions fall to a quarter or a sixteenth: more values, not fewer.",
        b="Activations are stored as floats in memory, but the figure counts 8 bits a value.",
        c="Padding adds a pixel at the border, a few per cent.",
        d="Weights stay where they are; only activations would be sent.",
    ),
    function("02.6", _fastest, _cases)(
        "For each route: device + 8 · bytes / rate + server; then the index of the smallest.",
        "These few lines choose where a network should be cut. The difficult part is to measure the times that go into them.",
        ("8 * size", "size"),
        "Links are counted in bits a second: a byte has eight.",
        ("d + 8 * size / rate + s for", "size for"),
        "You chose the smallest thing to send; time on the device counts as well.",
        ("size / rate + s for", "size / rate for"),
        "The server's time counts as well.",
        ("d + 8 * size / rate + s for", "8 * size / rate + s for"),
        "Time on the device counts as well.",
        ("min(totals)", "max(totals)"),
        "That is the slowest: you want the least total.",
    ),
)
