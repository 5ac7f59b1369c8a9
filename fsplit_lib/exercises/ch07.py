"""Exercises of chapter 07: four numbers, the smallest decoder, three blocks of a decoder from primitives, a step that trains it alone."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from fsplit_lib.backbones import FeatureSpec
from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.decoders.blocks import Affine, NextBlock, RestorationBlock
from fsplit_lib.exercises.core import Exercise, Trap, inputs
from fsplit_lib.objectives import head_distillation

__all__ = ["EXERCISES", "convnext_block", "decoder_step", "swin_block"]

WIDTH = 48
RESNET, NEXT = 2 * 9 * WIDTH**2, 49 * WIDTH + 2 * 4 * WIDTH**2

CASES = (
    ({"a": 0.850, "b": 0.846, "c": 0.8455, "d": 0.80}, {"a": 900, "b": 300, "c": 400, "d": 100}, 0.005),
    ({"a": 0.850, "b": 0.846, "c": 0.8455, "d": 0.80}, {"a": 900, "b": 300, "c": 400, "d": 100}, 0.1),
    ({"wide": 0.50, "deep": 0.75, "tiny": 0.5, "odd": 0.74}, {"wide": 70, "deep": 60, "tiny": 5, "odd": 90}, 0.25),
    ({"a": 0.850, "b": 0.8454}, {"a": 900, "b": 300}, 0.005),
    ({"one": 0.9}, {"one": 7}, 0.0),
    ({"a": 0.9, "b": 0.8999, "c": 0.87}, {"a": 900, "b": 300, "c": 100}, 0.05),
)


def _cases() -> list[tuple[dict, dict, float]]:
    """Made cases with ties and edges, then drawn ones."""
    rng, names = inputs(7), [f"decoder {n}" for n in range(6)]
    drawn = []
    for _ in range(4):
        scores, parameters = rng.uniform(0.8, 0.9, 6).tolist(), (rng.permutation(900)[:6] + 1).tolist()
        drawn.append((dict(zip(names, scores, strict=True)), dict(zip(names, parameters, strict=True)), 0.05))
    return [*CASES, *drawn]


def _within(scores: dict, loss: float) -> list[str]:
    return [name for name in scores if scores[name] >= max(scores.values()) - loss]


def _smallest(scores: dict, parameters: dict, loss: float) -> str:
    return min(_within(scores, loss), key=parameters.get)


def _name(result: Any, scores: dict, *_: Any) -> str | None:
    known = isinstance(result, str) and result in scores
    return None if known else "Return a decoder's name: one of the keys of scores."


def _filled(module: nn.Module, rng: np.random.Generator) -> nn.Module:
    """The module with drawn parameters: near 1 where a norm scales, small elsewhere."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = 0.3 * rng.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.tensor(drawn + (parameter.ndim == 1 and "norm" in name and "weight" in name)))
    return module


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.tensor(rng.standard_normal(shape), dtype=torch.float32)


def _shape_of_x(result: Any, x: Tensor, *_: Any) -> str | None:
    """What is wrong with a block's result: it has to be a tensor like x."""
    if not isinstance(result, Tensor):
        return f"Return a tensor; your function returned {type(result).__name__}."
    return (
        None if result.shape == x.shape else f"The shape has to stay {tuple(x.shape)}; yours is {tuple(result.shape)}."
    )


def _near(got: Any, expected: Any) -> bool:
    got, expected = (v if isinstance(v, tuple) else (v,) for v in (got, expected))
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=2e-4)
        for a, b in zip(*([torch.as_tensor(v).detach().numpy() for v in side] for side in (got, expected)), strict=True)
    )


# 07.6 --------------------------------------------------------------------------------------------


def _block(
    side: int = 7, dense: bool = False, times: int = 3, between: type = nn.GELU, gain: Callable = lambda w: Affine(w, 0.2),
    last: type = nn.Identity, skip: float = 1.0,
) -> type:  # fmt: skip
    """The depthwise restoration block, or a variant of it."""

    class Block(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            wide = nn.Conv2d(width, width, side, padding=side // 2, groups=1 if dense else width)
            mix = (nn.Conv2d(width, times * width, 1), between(), nn.Conv2d(times * width, width, 1))
            self.branch = nn.Sequential(wide, *mix, gain(width), last())

        def forward(self, x: Tensor) -> Tensor:
            return skip * x + self.branch(x)

    return Block


def _try_block(answer: Callable, width: int, x: Tensor, values: int) -> tuple:
    """Output with drawn parameters, their number, and the constants other than 0 with which they begin."""
    block, rng = answer(width), np.random.default_rng(values)
    parameters = list(block.parameters())
    firsts = [p.flatten()[0].item() for p in parameters if p.numel() > 1 and p.unique().numel() == 1]
    begun = {round(first, 4) for first in firsts} - {0.0}
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(0.3 * _normal(rng, *parameter.shape))
        return block(x), float(sum(p.numel() for p in parameters)), tuple(sorted(begun))


def _form_of_block(result: tuple, _: int, x: Tensor, __: int) -> str | None:
    return _shape_of_x(result[0], x)


def _same_block(got: tuple, expected: tuple) -> bool:
    return got[1:] == expected[1:] and _near(got[0], expected[0])


def _block_cases() -> list[tuple]:
    rng = inputs(76)
    return [(width, _normal(rng, 2, width, 5, 6), int(rng.integers(10**6))) for width in (4, 6)]


# 07.7 --------------------------------------------------------------------------------------------


def _timm_convnext(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Compute timm's ConvNeXt block (B, C, h, w) with the parameters that are handed over."""
    return torch.func.functional_call(NextBlock(x.shape[1], ls_init_value=1.0), w, x)


def convnext_block(
    x: Tensor, w: dict, skip: int = 1, scale: int = 1, act: Callable = F.gelu, normed: bool = True, pixels: bool = False
) -> Tensor:
    """Compute ConvNeXt's block (B, C, h, w) from primitives and the parameters w of timm's, or a variant of it."""
    y = F.conv2d(x, w["conv_dw.weight"], w["conv_dw.bias"], padding=3, groups=x.shape[1])
    if pixels:
        y = F.group_norm(y, 1, w["norm.weight"], w["norm.bias"], 1e-6)
    y = y.permute(0, 2, 3, 1)
    if normed and not pixels:
        y = F.layer_norm(y, y.shape[-1:], w["norm.weight"], w["norm.bias"], 1e-6)
    y = F.linear(act(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"])), w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    return skip * x + (y * w["gamma"] if scale else y).permute(0, 3, 1, 2)


def _convnext_cases() -> list[tuple]:
    rng = inputs(77)
    blocks = [_filled(NextBlock(width, ls_init_value=1.0), rng) for width in (4, 6)]
    return [(_normal(rng, 2, len(b.gamma), 8, 9), {k: v.detach() for k, v in b.named_parameters()}) for b in blocks]


# 07.8 --------------------------------------------------------------------------------------------


def _timm_swin(x: Tensor, w: dict[str, Tensor], bias: Tensor, mask: Tensor | None, window: int, shift: int) -> Tensor:  # noqa: ARG001
    """Compute timm's Swin block (B, h, w, C) with the parameters that are handed over, which hold the bias's table too."""
    block = _swin_block(x.shape[-1], window, shift, len(bias))
    return torch.func.functional_call(block, w, x)


def _swin_block(width: int, window: int, shift: int, heads: int) -> SwinTransformerBlock:
    return SwinTransformerBlock(
        width, (window, window), heads, window_size=window, shift_size=shift, always_partition=True, dynamic_mask=True
    )


def swin_block(
    x: Tensor, w: dict, bias: Tensor, mask: Tensor | None, window: int, shift: int, *, scale: float = -0.5, back: int = 1,
    masked: bool = True, biased: bool = True, skip: int = 1,
) -> Tensor:  # fmt: skip
    """Compute Swin's block (B, h, w, C) from primitives and the parameters w of timm's, or a variant of it.

    Args:
        x: (B, h, w, C), h and w multiples of the window.
        w: parameters by timm's names.
        bias: (heads, window², window²), for the relative position.
        mask: (windows, window², window²), 0 or −100, or None.
        window: its side.
        shift: positions by which the windows are shifted, or 0.
        scale: exponent of the channels of a head.
        back: 0 forgets to roll back.
        masked: whether the mask is used.
        biased: whether the bias is.
        skip: 0 forgets x around the attention.
    """
    (b, rows, columns, c), heads, area = x.shape, len(bias), window**2
    y = F.layer_norm(x, (c,), w["norm1.weight"], w["norm1.bias"]).roll((-shift, -shift), (1, 2))
    y = y.view(b, rows // window, window, columns // window, window, c).transpose(2, 3)
    qkv = F.linear(y.reshape(b, -1, area, c), w["attn.qkv.weight"], w["attn.qkv.bias"])
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)
    scores = q @ k.mT * (c // heads) ** scale + (bias if biased else 0)
    if mask is not None and masked:
        scores = scores + mask[:, None]
    y = (scores.softmax(-1) @ v).transpose(2, 3).reshape(b, rows // window, columns // window, window, window, c)
    y = F.linear(y.transpose(2, 3).reshape(x.shape), w["attn.proj.weight"], w["attn.proj.bias"])
    x = skip * x + y.roll((back * shift, back * shift), (1, 2))
    y = F.gelu(
        F.linear(F.layer_norm(x, (c,), w["norm2.weight"], w["norm2.bias"]), w["mlp.fc1.weight"], w["mlp.fc1.bias"])
    )
    return x + F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])


def _swin_cases() -> list[tuple]:
    rng, cases = inputs(78), []
    for width, window, shift, heads in ((8, 2, 0, 2), (8, 4, 2, 2), (6, 2, 1, 3)):
        block, x = (
            _filled(_swin_block(width, window, shift, heads), rng),
            _normal(rng, 2, 2 * window, 4 * window, width),
        )
        bias, mask = block.attn._get_rel_pos_bias()[0].detach(), block.get_attn_mask(x)
        cases.append((x, {k: v.detach() for k, v in block.named_parameters()}, bias, mask, window, shift))
    return cases


# 07.9 --------------------------------------------------------------------------------------------


def decoder_step(
    codec: FeatureCodec, decoder: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, h: Tensor, noise: Tensor
) -> float:
    """Train a decoder for one step on pictures x and their features h, the codec as it is; return the distortion before it."""
    with torch.no_grad():
        y_hat, _ = codec.quantise(codec.encoder(x), "straight_through", noise)
    return _step(decoder, optimiser, h, y_hat)


def _step(
    decoder: nn.Module,
    optimiser: torch.optim.Optimizer,
    h: Tensor,
    y_hat: Tensor,
    spread: bool = True,
    fresh: bool = True,
    learns: bool = True,
) -> float:
    distortion = head_distillation(h, decoder(y_hat), decoder.spread if spread else torch.ones(()))
    if fresh:
        optimiser.zero_grad()
    distortion.backward()
    if learns:
        optimiser.step()
    return distortion.item()


def _latent(codec: FeatureCodec, x: Tensor, noise: Tensor, quantiser: str = "straight_through") -> Tensor:
    return codec.quantise(codec.encoder(x), quantiser, noise)[0]


def _try_step(answer: Callable, seed: int) -> tuple:
    """Both distortions of two steps, the decoder after them, and whether the codec moved."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec, decoder = (
            FeatureCodec(CodecConfig((4, 4, 4), (2, 2, 1))),
            build_decoder(4, FeatureSpec("resnet", 6, 4), TINY),
        )
    with torch.no_grad():
        for parameter in codec.encoder.parameters():
            parameter.mul_(2)  # latents that round to more than zeros
        decoder.project.weight.copy_(0.3 * _normal(rng, *decoder.project.weight.shape))
        decoder.spread.copy_(torch.tensor(rng.uniform(0.3, 3, (1, 6, 1, 1))))
    before = [p.detach().clone() for p in codec.parameters()]
    optimiser = torch.optim.SGD([*decoder.parameters(), *codec.parameters()], 0.05)
    told = []
    for _ in range(2):
        x, noise = (
            torch.tensor(rng.uniform(size=(3, 3, 16, 16)), dtype=torch.float32),
            _normal(rng, 3, 4, 4, 4).clamp(-2, 2) / 4,
        )
        told.append(answer(codec, decoder, optimiser, x, _normal(rng, 3, 6, 4, 4), noise))
    moved = any(not torch.equal(a, b) for a, b in zip(before, codec.parameters(), strict=True))
    return (*told, torch.cat([p.flatten() for p in decoder.parameters()]), float(moved))


def _form_of_step(result: tuple, _: int) -> str | None:
    if all(isinstance(told, float) or (isinstance(told, Tensor) and told.numel() == 1) for told in result[:2]):
        return None
    return f"Return the distortion before the step, a number; your function returned {type(result[0]).__name__}."


TINY = DecoderConfig(1, 0, 8, "dense")

EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "07.1",
        expected=RESNET / NEXT,
        hint="The first has 2 · 9 · 48² weights. In the second, the 7×7 convolution has one filter a channel, and two 1×1 layers follow.",
        why="2.00: blueprints of equal depth and width do not weigh the same, so the experiment with foreign blocks compares bias and size at once.",
        traps=(
            Trap(RESNET / (57 * WIDTH**2), "A depthwise convolution has one 7×7 filter a channel: 49 · 48 weights."),
            Trap(RESNET / (49 * WIDTH + 2 * WIDTH**2), "The 1×1 layers go to four times the width and back."),
            Trap(RESNET / 2 / NEXT, "The ResNet block has two 3×3 convolutions."),
            Trap(RESNET / (49 * WIDTH + 4 * WIDTH**2), "There are two 1×1 layers: to four times the width, and back."),
            Trap((RESNET + 2 * WIDTH) / (NEXT + 6 * WIDTH), "That counts biases too; leave them out."),
            Trap(NEXT / RESNET, "The question is how many times as many the ResNet block has: turn it around."),
        ),
    ),
    Exercise.number(
        "07.2",
        expected=40.0,
        hint="One packet has to be good enough for both servers. How large is it, and how large are the two others together?",
        why="40 %: 72 bytes instead of 120. A foreign codec may be dearer than a native one and still be the cheapest way to ask two servers.",
        traps=(
            Trap(50.0, "The second server needs a fifth more bytes than its own codec would: 72, not 60."),
            Trap(60.0, "That is what is left of the bytes; asked is the saving."),
            Trap(48.0, "Those are bytes; asked is the share of the 120."),
            Trap(45.0, "There is no packet of the average size: the one that is sent has to serve the dearer server."),
            Trap(72.0, "That is the size of the one packet, in bytes; asked is what it saves of the two."),
            Trap(0.4, "That is a share; the answer is asked in per cent."),
            Trap(-40.0, "A saving counts as positive here."),
            Trap(-20.0, "That compares with one native packet; the phone would have to send two."),
        ),
    ),
    Exercise.choice(
        "07.3",
        expected="c",
        options={
            "a": "The encoder goes from pixels to the latent and runs no part of any network; the server learns to read its packets.",
            "b": "The tables describe the latent's symbols, and those come from the encoder, which has not changed.",
            "d": "Mean and spread belong to the decoder, at the server; the phone knows no features.",
        },
        hint="What does the codec id hash, and whose parameters does train_decoder hand to the optimiser?",
        why="Nothing: encoder, gains and tables are the codec, and the codec id says that both ends hold the same one.",
    ),
    Exercise.number(
        "07.4",
        expected=9.0,
        hint="How does a squared error grow if everything is three times as large? The other term of the loss is in bits, and does not grow.",
        why="Nine times: without the division by the spread, every backbone would need a lambda of its own, and one grid of lambdas would compare nothing.",
        traps=(
            Trap(3.0, "The error grows three times; the distortion is its square."),
            Trap(1 / 9, "The distortion grows, so bits have to become dearer, not cheaper, to keep the balance."),
            Trap(1.0, "That is so with the spread divided out, as in our loss; here it is left out."),
            Trap(27.0, "A square, not a cube: D is a mean of squared errors, however many elements there are."),
        ),
    ),
    Exercise.function(
        "07.5",
        right=_smallest,
        cases=_cases,
        hint="Find the best score, keep the names whose score is at least that minus the loss, return the one of fewest parameters.",
        why="This rule chose the star in the panel; mind that it looks at one seed, which is why the winner was trained with two more.",
        traps=(
            Trap(
                lambda s, *_: max(s, key=s.get),
                "That is the best decoder; asked is the smallest one that is nearly as good.",
            ),
            Trap(
                lambda _, p, __: min(p, key=p.get),
                "That is the smallest of all: first leave out those that lose too much.",
            ),
            Trap(
                lambda s, p, x: _smallest(s, p, x * max(s.values())),
                "The loss is no share of the best: best minus loss.",
            ),
            Trap(lambda s, p, x: _smallest(s, p, x / 100), "Scores and loss are both shares: do not divide by 100."),
            Trap(lambda s, p, _: _smallest(s, p, 0.005), "The loss is an argument; your function always uses 0.005."),
            Trap(lambda s, p, x: max(_within(s, x), key=p.get), "You take the largest in reach; take the smallest."),
            Trap(lambda s, p, x: _smallest(s, p, max(x - 1e-9, 0)), "Best minus loss itself is still within: use >=."),
            Trap(
                lambda s, _, x: min(_within(s, x), key=s.get),
                "Among those within the loss you take the one of the lowest score; take the one of fewest parameters.",
            ),
        ),
        same=operator.eq,
        form=_name,
    ),
    Exercise.function(
        "07.6",
        right=lambda width: RestorationBlock(width, "depthwise"),
        cases=_block_cases,
        hint="In __init__: nn.Sequential of nn.Conv2d(width, width, 7, padding=3, groups=width), nn.Conv2d(width, 3 * width, 1), nn.GELU(), nn.Conv2d(3 * width, width, 1) and Affine(width, 0.2), in this order. In forward: x plus what they make of x.",
        why="The branch begins at a fifth of its weight, so that a stack of blocks starts close to doing nothing and learns what there is to repair.",
        traps=(
            Trap(_block(skip=0.0), "The skip is missing: add x to what the branch makes of it."),
            Trap(_block(gain=Affine), "The last scale begins at 1; let it begin at 0.2: Affine(width, 0.2)."),
            Trap(
                _block(gain=lambda _: nn.Identity()),
                "Affine(width, 0.2), a scale and a shift for each channel, is missing at the end of the branch.",
            ),
            Trap(
                _block(between=nn.Identity),
                "Without GELU between them the two 1×1 convolutions are one: the branch is linear.",
            ),
            Trap(_block(between=nn.ReLU), "The activation is a ReLU here; the block has a GELU."),
            Trap(
                _block(last=nn.GELU),
                "There is one activation, between the 1×1 convolutions; what is added to x may be negative.",
            ),
            Trap(_block(dense=True), "The 7×7 convolution is depthwise, one filter a channel: groups=width."),
            Trap(_block(times=1), "The 1×1 convolutions go to three times the width and back."),
        ),
        same=_same_block,
        form=_form_of_block,
        use=_try_block,
        asked="class",
    ),
    Exercise.function(
        "07.7",
        right=_timm_convnext,
        cases=_convnext_cases,
        hint="F.conv2d with padding=3 and groups=C; permute to (B, h, w, C); F.layer_norm over C with eps 1e-6; F.linear, F.gelu, F.linear; times gamma; permute back; add x.",
        why="It is timm's block to the digits that single precision has: a family's bias is these six lines, and nothing is hidden in the library.",
        traps=(
            Trap(lambda x, w: convnext_block(x, w, skip=0), "The skip is missing: add x at the end."),
            Trap(
                lambda x, w: convnext_block(x, w, scale=0),
                "gamma, the scale of each channel of the branch, is missing.",
            ),
            Trap(
                lambda x, w: convnext_block(x, w, act=F.relu),
                "The activation between the two layers is a GELU, not a ReLU.",
            ),
            Trap(
                lambda x, w: convnext_block(x, w, normed=False),
                "The LayerNorm between the convolution and the first layer is missing.",
            ),
            Trap(
                lambda x, w: convnext_block(x, w, pixels=True),
                "You normalise over the whole map; each position is normalised alone, over its channels.",
            ),
            Trap(lambda x, w: convnext_block(x, w, act=lambda y: y), "Without an activation the two layers are one."),
        ),
        same=_near,
        form=_shape_of_x,
    ),
    Exercise.function(
        "07.8",
        right=_timm_swin,
        cases=_swin_cases,
        hint="Windows: view as (B, h/M, M, w/M, M, C), exchange the two axes in the middle, reshape to (B, windows, M², C); the way back is the same in reverse. Heads: unflatten(-1, (3, heads, -1)), then permute, so that q, k and v each are (B, windows, heads, M², C/heads).",
        why="It is timm's block to the digits that single precision has. Nothing in it knows the size of the map: windows are merely more of a batch.",
        traps=(
            Trap(lambda *a: swin_block(*a, skip=0), "The skip around the attention is missing."),
            Trap(
                lambda *a: swin_block(*a, scale=0),
                "Divide the products of q and k by the root of the channels in a head.",
            ),
            Trap(
                lambda x, w, b, *a: swin_block(
                    x, w, b, *a, scale=-0.5 * np.log(x.shape[-1]) / np.log(x.shape[-1] // len(b))
                ),
                "The root is of the channels of one head, not of all.",
            ),
            Trap(
                lambda *a: swin_block(*a, biased=False),
                "The bias is missing: it says how far apart two positions of a window are.",
            ),
            Trap(
                lambda *a: swin_block(*a, masked=False),
                "The mask is missing: after the roll, a window at the edge holds positions that are not neighbours.",
            ),
            Trap(
                lambda *a: swin_block(*a, back=0),
                "You rolled the map and did not roll it back, so the attention is added to other positions.",
            ),
        ),
        same=_near,
        form=_shape_of_x,
    ),
    Exercise.function(
        "07.9",
        right=decoder_step,
        cases=lambda: [(int(seed),) for seed in inputs(79).integers(10**6, size=2)],
        hint='y_hat comes out of codec.quantise(codec.encoder(x), "straight_through", noise)[0], inside torch.no_grad(). Then the distortion of 05.4, zero_grad, backward, step.',
        why="No gradient reaches the codec, so it stays bit for bit although the optimiser holds its parameters, and every packet stays valid.",
        traps=(
            Trap(
                lambda c, d, o, x, h, n: _step(d, o, h, _latent(c, x, n)),
                "The codec moved: its packets are now other ones. Compute y_hat inside torch.no_grad(), or detach it.",
            ),
            Trap(
                lambda c, d, o, x, h, n: _step(d, o, h, _latent(c, x, n).detach(), fresh=False),
                "Gradients of earlier steps pile up: call optimiser.zero_grad() before backward().",
            ),
            Trap(
                lambda c, d, o, x, h, n: _step(d, o, h, _latent(c, x, n).detach(), spread=False),
                "Divide the error by decoder.spread before you square it.",
            ),
            Trap(
                lambda c, d, o, x, h, n: _step(d, o, h, _latent(c, x, n).detach(), learns=False),
                "The decoder stays what it was: optimiser.step() is missing.",
            ),
            Trap(
                lambda c, d, o, x, h, _: _step(d, o, h, c.encoder(x).detach()),
                "The decoder has to see what a packet holds, the rounded latent, not the encoder's output.",
            ),
            Trap(
                lambda c, d, o, x, h, n: _step(d, o, h, _latent(c, x, n, "noise").detach()),
                'With "noise" the decoder sees y + noise; a packet holds rounded numbers, so take "straight_through".',
            ),
        ),
        same=_near,
        form=_form_of_step,
        use=_try_step,
    ),
)
