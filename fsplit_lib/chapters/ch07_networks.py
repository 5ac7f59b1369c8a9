"""The networks of chapter 07 side by side: names, looks, blocks, blueprints, and the spreads of their features."""

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML
from torch import Tensor, nn

from fsplit_lib.backbones import Backbone, stages_of, strides_of
from fsplit_lib.decoders import Decoder
from fsplit_lib.decoders.blocks import SwinBlock
from fsplit_lib.latency.profiling import multiply_adds
from fsplit_lib.plots.curves import curve
from fsplit_lib.plots.pictures import html_table
from fsplit_lib.plots.style import BLUE, GREEN, METHODS, ORANGE, Look, finish

NAMES = {"resnet": "ResNet", "convnext": "ConvNeXt", "swin": "Swin", "efficientnet": "EfficientNet"}
NAMES |= {f"tf_efficientnet_lite{n}": f"EfficientNet-Lite{n}" for n in range(3)}
LOOKS = {"resnet": BLUE, "convnext": ORANGE, "swin": GREEN, "efficientnet": Look("#CC79A7", "dot", "x")}
LOOKS |= {f"tf_efficientnet_lite{n}": LOOKS[family] for n, family in enumerate(("convnext", "resnet", "swin"))}


class OwnBlock(nn.Module):
    """A block of timm's of whose parameters another function makes the result."""

    def __init__(self, block: nn.Module, forward: Callable):
        super().__init__()
        self.block, self.function = block, forward

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.block, SwinBlock):
            return self.function(x, dict(self.block.named_parameters()))
        timm, y = self.block.block, x.permute(0, 2, 3, 1)
        given = timm.attn._get_rel_pos_bias()[0], timm.get_attn_mask(y), timm.window_size[0], timm.shift_size[0]
        return self.function(y, dict(timm.named_parameters()), *given).permute(0, 3, 1, 2).contiguous()


def use_blocks(decoder: Decoder, restoration: Callable[[int], nn.Module], transformation: dict[str, Callable]) -> None:
    """Have a decoder, in place, compute its blocks by other classes and functions, from the same first weights.

    ``restoration`` makes a depthwise block of a width, with parameters in the library's order; the transformation is,
    for "convnext", a function of (x, parameters), for "swin" one of (x, parameters, bias, mask, window, shift) with x
    (B, h, w, C) of whole windows. Other families keep their blocks.
    """
    for index, block in enumerate(decoder.restore):
        decoder.restore[index] = mine = restoration(decoder.config.width)
        for new, old in zip(mine.parameters(), block.parameters(), strict=True):
            new.data.copy_(old)
    function = transformation.get(decoder.config.family or decoder.spec.family)
    if function is not None:
        for index, block in enumerate(decoder.transform):
            decoder.transform[index] = OwnBlock(block, function)


def name_of(network: str) -> str:
    """Say how the chapter calls a family, or the network of ours of that family; others keep their names.

    >>> name_of("fashion_swin"), name_of("resnet"), name_of("resnet50")
    ('Swin', 'ResNet', 'resnet50')
    """
    return NAMES.get(network.removeprefix("fashion_"), network)


def look_of_network(network: str) -> Look:
    """Return its family's colour, dash and marker; a method of the book keeps its own."""
    return LOOKS.get(network.removeprefix("fashion_")) or METHODS.get(network, Look("#57606a", "longdash", "star"))


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def family_table(backbones: dict[str, Backbone], decoders: dict[str, Decoder]) -> HTML:
    """Lay networks side by side: axes, strides, features at the cut, and where parameters and multiply-adds are.

    Backbones and decoders have the same names; the backbones' weights do not matter.
    """
    rows = []
    for name, backbone in backbones.items():
        _, stages, nhwc = stages_of(backbone.network)
        side = backbone.input_size // backbone.spec.stride
        replaced, whole = _count(backbone.head), _count(backbone.network)
        parts = (backbone.network, 3), (backbone.head, 3), (decoders[name], decoders[name].widen.in_channels)
        sides = backbone.input_size, backbone.input_size, side
        work = [multiply_adds(part, 1, c, at, at) for (part, c), at in zip(parts, sides, strict=True)]
        mean, std = (float(getattr(backbone.head, part)[0, 0, 0, 0]) for part in ("mean", "std"))
        rows.append(
            (
                f"{name}<br>{'BHWC' if nhwc else 'BCHW'}, mean {mean:g}, std {std:g}",
                " ".join(map(str, strides_of(stages, nhwc, backbone.input_size))),
                f"{backbone.spec.channels}×{side}×{side}", f"{whole:,}<br>head {replaced:,} ({replaced / whole:.0%})",
                f"{_count(decoders[name]):,}", f"{work[1] / work[0]:.0%}, {work[2] / work[0]:.0%}",
            )
        )  # fmt: skip
    head = ("network; its axes; its red channel", "strides of the stages", "features at the cut", "parameters",
            "decoder's parameters", "work of head; of decoder")  # fmt: skip
    return html_table(head, rows, (3, 4, 5))


def blueprints(decoders: dict[str, Decoder], side: int) -> go.Figure:
    """Draw decoders, by name, as lines of boxes with shapes and parameters; the latent is ``side`` positions wide."""
    figure, told = go.Figure(), []
    for row, (name, decoder) in enumerate(decoders.items()):
        config, family = decoder.config, decoder.config.family or decoder.spec.family
        inside = f"{config.width} × {side} × {side}"
        parts = [
            (f"latent<br>{decoder.widen.in_channels} × {side} × {side}", "#e5e8ec"),
            (f"3×3 to {config.width}<br>{_count(decoder.widen):,}", "#ffffff"),
            (f"{config.restoration} restoration<br>{inside}<br>{_count(decoder.restore):,}", "#f6d9c7"),
            (f"{config.transformation} {NAMES[family]}<br>{inside}<br>{_count(decoder.transform):,}", "#cfe3f2"),
            (f"1×1 to {decoder.spec.channels}<br>{_count(decoder.project):,}", "#ffffff"),
            (f"features<br>{decoder.spec.channels} × {side} × {side}", "#e5e8ec"),
        ]
        title = {"text": f"<b>{name}</b>", "font_size": 15, "xanchor": "left"}
        figure.add_annotation(x=-0.5, y=0.4 - row, showarrow=False, **title)
        for at, (text, colour) in enumerate(parts):
            corners = {"x0": at - 0.45, "x1": at + 0.4, "y0": -row - 0.3, "y1": 0.25 - row}
            figure.add_shape(type="rect", fillcolor=colour, line_width=1, **corners)
            figure.add_annotation(x=at - 0.025, y=-row - 0.025, text=text, showarrow=False, font_size=13)
            if at:
                figure.add_annotation(
                    x=at - 0.45, y=-row, ax=at - 0.6, ay=-row, xref="x", yref="y", axref="x", ayref="y", showarrow=True,
                    arrowhead=2, text="",
                )  # fmt: skip
        told.append(
            f"{name}: restoration {_count(decoder.restore):,}, {NAMES[family]} blocks {_count(decoder.transform):,} of "
            f"{_count(decoder):,} parameters"
        )
    figure.update_xaxes(visible=False, range=[-0.55, 5.5])
    figure.update_yaxes(visible=False, range=[0.4 - len(decoders), 0.6])
    title, margin = "Decoders and the parameters of each box", {"l": 10, "r": 10, "t": 50, "b": 10}
    return finish(figure, title, "; ".join(told) + ".", 110 + 115 * len(decoders), margin=margin)


def spreads(features: dict[str, np.ndarray]) -> go.Figure:
    """Draw the standard deviation of every channel of features (N, C, h, w) at the cut, sorted, a line per network."""
    figure, told = go.Figure(), []
    for network, h in features.items():
        sigma, look = np.sort(h.std(axis=(0, 2, 3)))[::-1], look_of_network(network)
        name, x = f"{name_of(network)}, {len(sigma)} channels", 100 * (np.arange(len(sigma)) + 0.5) / len(sigma)
        marks = {"symbol": look.symbol, "size": [8 if n % 16 == 0 else 0 for n in range(len(sigma))]}
        figure.add_trace(curve(name, x, sigma, look, marker=marks))
        told.append(f"{name_of(network)} from {sigma[0]:.3g} to {sigma[-1]:.3g} (median {np.median(sigma):.3g})")
    figure.update_xaxes(title_text="channels, by falling standard deviation (%)")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    figure.update_yaxes(title_text="standard deviation of the channel", type="log", tickvals=ticks)
    alt = f"Standard deviation of the channels at the cut, from the largest to the smallest: {'; '.join(told)}."
    return finish(figure, "The features of each network have units of their own", alt, 440)
