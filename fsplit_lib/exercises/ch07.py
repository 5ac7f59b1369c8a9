"""Exercises of chapter 07: four numbers, the smallest decoder, three blocks of a decoder from primitives, a step that trains it alone."""

from collections.abc import Callable
from operator import eq
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.func import functional_call

from fsplit_lib.backbones import FeatureSpec
from fsplit_lib.codec import CodecConfig, FeatureCodec
from fsplit_lib.decoders import DecoderConfig, build_decoder
from fsplit_lib.decoders.blocks import NextBlock, RestorationBlock
from fsplit_lib.exercises.core import Exercise, Fault, choice, fits, function, inputs, near, number
from fsplit_lib.objectives import head_distillation

WIDTH = 48
RESNET, NEXT = 2 * 9 * WIDTH**2, 49 * WIDTH + 2 * 4 * WIDTH**2

NAME = fits(
    lambda name, scores, *_: isinstance(name, str) and name in scores,
    "Return a decoder's name: one of the keys of scores.",
)
A, B = {"a": 0.850, "b": 0.846, "c": 0.8455, "d": 0.80}, {"a": 900, "b": 300, "c": 400, "d": 100}
CASES = (
    (A, B, 0.005),
    (A, B, 0.1),
    ({"wide": 0.50, "deep": 0.75, "tiny": 0.5, "odd": 0.74}, {"wide": 70, "deep": 60, "tiny": 5, "odd": 90}, 0.25),
    ({"a": 0.850, "b": 0.8454}, {"a": 900, "b": 300}, 0.005),
    ({"one": 0.9}, {"one": 7}, 0.0),
    ({"a": 0.9, "b": 0.8999, "c": 0.87}, {"a": 900, "b": 300, "c": 100}, 0.05),
)


def _cases() -> list[tuple[dict, dict, float]]:
    """Return made cases with ties and edges, then drawn ones."""
    rng, names = inputs(7), [f"decoder {n}" for n in range(6)]
    drawn = []
    for _ in range(4):
        scores, parameters = rng.uniform(0.8, 0.9, 6).tolist(), (rng.permutation(900)[:6] + 1).tolist()
        drawn.append((dict(zip(names, scores, strict=True)), dict(zip(names, parameters, strict=True)), 0.05))
    return [*CASES, *drawn]


def _smallest(scores: dict, parameters: dict, loss: float) -> str:
    within = [name for name in scores if scores[name] >= max(scores.values()) - loss]
    return min(within, key=parameters.get)


def _try_smallest(answer: Callable, scores: dict, parameters: dict, loss: float) -> str:
    try:
        return answer(scores, parameters, loss)
    except ValueError:  # min() of nothing
        if loss:
            raise
        return Fault("At least: with a loss of 0 the best decoder itself must stay.")


def _filled(module: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Fill a module with drawn parameters: near 1 where a norm scales, small elsewhere."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = 0.3 * rng.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.tensor(drawn + (parameter.ndim == 1 and "norm" in name and "weight" in name)))
    return module


def _normal(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.tensor(rng.standard_normal(shape), dtype=torch.float32)


def _shape_of_x(result: Any, x: Tensor, *_: Any) -> str | None:
    if not isinstance(result, Tensor):
        return f"Return a tensor; your function returned {type(result).__name__}."
    told = f"The shape has to stay {tuple(x.shape)}; yours is {tuple(result.shape)}."
    return None if result.shape == x.shape else told


alike = near(1e-3, 2e-4)  # single precision


def _try_block(answer: Callable, width: int, x: Tensor, values: int) -> tuple:
    """Return the output with drawn parameters, their number, and the constants other than 0 with which they begin."""
    block, rng = answer(width), np.random.default_rng(values)
    parameters = list(block.parameters())
    firsts = [p.flatten()[0].item() for p in parameters if p.numel() > 1 and p.unique().numel() == 1]
    begun = {round(first, 4) for first in firsts} - {0.0}
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(0.3 * _normal(rng, *parameter.shape))
        return block(x), float(sum(p.numel() for p in parameters)), tuple(sorted(begun))


def _block_cases() -> list[tuple]:
    rng = inputs(76)
    return [(width, _normal(rng, 2, width, 5, 6), int(rng.integers(10**6))) for width in (4, 6)]


def _timm_convnext(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Compute timm's ConvNeXt block (B, C, h, w) with the parameters that are handed over."""
    return functional_call(NextBlock(x.shape[1], ls_init_value=1.0), w, x)


def convnext_block(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Compute ConvNeXt's block (B, C, h, w) from primitives and the parameters w of timm's.

    >>> from timm.models.convnext import ConvNeXtBlock
    >>> block, x = ConvNeXtBlock(8).eval(), torch.rand(1, 8, 4, 4)
    >>> torch.allclose(convnext_block(x, dict(block.named_parameters())), block(x), atol=1e-5)
    True
    """
    y = F.conv2d(x, w["conv_dw.weight"], w["conv_dw.bias"], padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
    y = F.layer_norm(y, y.shape[-1:], w["norm.weight"], w["norm.bias"], 1e-6)
    y = F.linear(F.gelu(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"])), w["mlp.fc2.weight"], w["mlp.fc2.bias"])
    return x + (y * w["gamma"]).permute(0, 3, 1, 2)


def _convnext_cases() -> list[tuple]:
    rng = inputs(77)
    blocks = [_filled(NextBlock(width, ls_init_value=1.0), rng) for width in (4, 6)]
    return [(_normal(rng, 2, len(b.gamma), 8, 9), {k: v.detach() for k, v in b.named_parameters()}) for b in blocks]


def _timm_swin(x: Tensor, w: dict[str, Tensor], bias: Tensor, mask: Tensor | None, window: int, shift: int) -> Tensor:  # noqa: ARG001
    """Compute timm's Swin block (B, h, w, C) with the parameters that are handed over, which hold the bias's table too."""
    return functional_call(_swin_block(x.shape[-1], window, shift, len(bias)), w, x)


def _swin_block(width: int, window: int, shift: int, heads: int) -> SwinTransformerBlock:
    return SwinTransformerBlock(
        width, (window, window), heads, window_size=window, shift_size=shift, always_partition=True, dynamic_mask=True
    )


def swin_block(x: Tensor, w: dict, bias: Tensor, mask: Tensor | None, window: int, shift: int) -> Tensor:
    """Compute Swin's block on x (B, h, w, C), made of whole windows, from primitives and the parameters w of timm's.

    The bias (heads, window², window²) is of the relative position, the mask (windows, window², window²) of 0 and −100.
    """
    (b, rows, columns, c), heads, area = x.shape, len(bias), window**2
    y = F.layer_norm(x, (c,), w["norm1.weight"], w["norm1.bias"]).roll((-shift, -shift), (1, 2))
    y = y.view(b, rows // window, window, columns // window, window, c).transpose(2, 3)
    qkv = F.linear(y.reshape(b, -1, area, c), w["attn.qkv.weight"], w["attn.qkv.bias"])
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)
    scores = q @ k.mT * (c // heads) ** -0.5 + bias
    if mask is not None:
        scores = scores + mask[:, None]
    y = (scores.softmax(-1) @ v).transpose(2, 3).reshape(b, rows // window, columns // window, window, window, c)
    y = F.linear(y.transpose(2, 3).reshape(x.shape), w["attn.proj.weight"], w["attn.proj.bias"])
    x = x + y.roll((shift, shift), (1, 2))
    y = F.layer_norm(x, (c,), w["norm2.weight"], w["norm2.bias"])
    y = F.gelu(F.linear(y, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
    return x + F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])


def _swin_cases() -> list[tuple]:
    rng, cases = inputs(78), []
    for width, window, shift, heads in ((8, 2, 0, 2), (8, 4, 2, 2), (6, 2, 1, 3)):
        block = _filled(_swin_block(width, window, shift, heads), rng)
        x = _normal(rng, 2, 2 * window, 4 * window, width)
        bias, mask = block.attn._get_rel_pos_bias()[0].detach(), block.get_attn_mask(x)
        cases.append((x, {k: v.detach() for k, v in block.named_parameters()}, bias, mask, window, shift))
    return cases


def decoder_step(
    codec: FeatureCodec, decoder: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor, h: Tensor, noise: Tensor
) -> float:
    """Train a decoder for one step on pictures x and their features h, the codec as it is; return the distortion before it."""
    with torch.no_grad():
        y_hat, _ = codec.quantise(codec.encoder(x), "straight_through", noise)
    distortion = head_distillation(h, decoder(y_hat), decoder.spread)
    optimiser.zero_grad()
    distortion.backward()
    optimiser.step()
    return distortion.item()


def _try_step(answer: Callable, seed: int) -> tuple:
    """Return both distortions of two steps, the decoder after them, and whether the codec moved."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = FeatureCodec(CodecConfig((4, 4, 4), (2, 2, 1)))
        decoder = build_decoder(4, FeatureSpec("resnet", 6, 4), DecoderConfig(1, 0, 8, "dense"))
    with torch.no_grad():
        for parameter in codec.encoder.parameters():
            parameter.mul_(2)  # latents that round to more than zeros
        decoder.project.weight.copy_(0.3 * _normal(rng, *decoder.project.weight.shape))
        decoder.spread.copy_(torch.tensor(rng.uniform(0.3, 3, (1, 6, 1, 1))))
    before = [p.detach().clone() for p in codec.parameters()]
    optimiser = torch.optim.SGD([*decoder.parameters(), *codec.parameters()], 0.05)
    told = []
    for _ in range(2):
        x = torch.tensor(rng.uniform(size=(3, 3, 16, 16)), dtype=torch.float32)
        noise = _normal(rng, 3, 4, 4, 4).clamp(-2, 2) / 4
        told.append(answer(codec, decoder, optimiser, x, _normal(rng, 3, 6, 4, 4), noise))
    moved = any(not torch.equal(a, b) for a, b in zip(before, codec.parameters(), strict=True))
    return (*told, torch.cat([p.flatten() for p in decoder.parameters()]), float(moved))


def _form_of_step(result: tuple, _: int) -> str | None:
    if all(isinstance(told, float) or (isinstance(told, Tensor) and told.numel() == 1) for told in result[:2]):
        return None
    return f"Return the distortion before the step, a number; your function returned {type(result[0]).__name__}."


EXERCISES: tuple[Exercise, ...] = (
    function(
        "07.1",
        RestorationBlock,
        _block_cases,
        same=lambda a, b: a[1:] == b[1:] and alike(a[0], b[0]),
        form=lambda result, _, x, __: _shape_of_x(result[0], x),
        use=_try_block,
        asked="class",
    )(
        "The branch has five layers, in the order of the formula from the inside: k, W₁, the GELU, W₂ and Affine. Compare each with the text above. forward adds x to what they make of it.",
        "The branch begins at a fifth of its weight, so that a stack of blocks starts close to doing nothing and learns what there is to repair.",
        ("x + self", "self"),
        "The skip is missing: add x to what the branch makes of it.",
        ("Affine(width, BRANCH)", "Affine(width)"),
        "The last scale begins at 1; let it begin at 0.2: Affine(width, 0.2).",
        ("Affine(width, BRANCH)", "nn.Identity()"),
        "Affine(width, 0.2), a scale and a shift for each channel, is missing at the end of the branch.",
        ("nn.GELU()", "nn.Identity()"),
        "Without GELU between them the two 1×1 convolutions are one: the branch is linear.",
        ("nn.GELU()", "nn.ReLU()"),
        "The activation is a ReLU here; the block has a GELU.",
        ("Affine(width, BRANCH)", "Affine(width, BRANCH), nn.GELU()"),
        "There is one activation, between the 1×1 convolutions; what is added to x may be negative.",
        (", groups=width", ""),
        "The 7×7 convolution is depthwise, one filter a channel: groups=width.",
        ("3 * width", "4 * width"),
        "The middle is three times the width, not four.",
        ("nn.Conv2d(width, 3 * width, 1), nn.GELU()", "nn.GELU(), nn.Conv2d(width, 3 * width, 1)"),
        "The GELU comes after W₁.",
        ("x + self.branch(x)", "self.branch[-1](x + self.branch[:-1](x))"),
        "Affine belongs to the branch, not to the sum.",
        ("wide = ", "self.last = Affine(width, 0.2); wide = ", "*layers, Affine(width, BRANCH)", "*layers, self.last"),
        "You define Affine first; define the layers in the order in which they run, as the check fills them.",
        ("3 * width", "width"),
        "The 1×1 convolutions go to three times the width and back.",
    ),
    function("07.2", _timm_convnext, _convnext_cases, base=convnext_block, same=alike, form=_shape_of_x)(
        "F.conv2d with padding=3 and groups=C; permute to (B, h, w, C); F.layer_norm over C with eps 1e-6; F.linear, F.gelu, F.linear; times gamma; permute back; add x.",
        "It is timm's block to the digits that single precision has: a family's bias is these six lines, and nothing is hidden in the library.",
        ("x + (y", "(y"),
        "The skip is missing: add x at the end.",
        (' * w["gamma"]', ""),
        "gamma, the scale of each channel of the branch, is missing.",
        ("F.gelu", "F.relu"),
        "The activation between the two layers is a GELU, not a ReLU.",
        ("y = F.layer_norm", "F.layer_norm"),
        "The LayerNorm between the convolution and the first layer is missing.",
        ("layer_norm(y, y.shape[-1:]", "group_norm(y.permute(0, 3, 1, 2), 1", "1e-6)", "1e-6).permute(0, 2, 3, 1)"),
        "You normalise over the whole map; each position is normalised alone, over its channels.",
        ("F.gelu", ""),
        "Without an activation the two layers are one.",
    ),
    function("07.3", _timm_swin, _swin_cases, base=swin_block, same=alike, form=_shape_of_x)(
        "Windows: view as (B, h/M, M, w/M, M, C), exchange the two axes in the middle, reshape to (B, windows, M², C); the way back is the same in reverse. Heads: unflatten(-1, (3, heads, -1)), then permute, so that q, k and v each are (B, windows, heads, M², C/heads).",
        "It is timm's block to the digits that single precision has. Nothing in it knows the size of the map: windows are merely more of a batch.",
        ("(-shift, -shift)", "(shift, shift)", "y.roll((shift, shift)", "y.roll((-shift, -shift)"),
        "You rolled in the other direction: -shift first, +shift on the way back.",
        ('F.layer_norm(x, (c,), w["norm1.weight"], w["norm1.bias"])', "x"),
        "LayerNorm 1 is missing.",
        ('x + F.linear(y, w["mlp.fc2.weight"], w["mlp.fc2.bias"])', "x"),
        "The second part, z plus the two layers, is missing.",
        ("x = x + y.roll", "x = y.roll"),
        "The skip around the attention is missing.",
        (" * (c // heads) ** -0.5", ""),
        "Divide the products of q and k by the root of the channels in a head.",
        ("(c // heads) ** -0.5", "c**-0.5"),
        "The root is of the channels of one head, not of all.",
        ("-0.5 + bias", "-0.5"),
        "The bias is missing: it says how far apart two positions of a window are.",
        ("if mask is not None", "if False"),
        "The mask is missing: after the roll, a window at the edge holds positions that are not neighbours.",
        ("y.roll((shift, shift), (1, 2))", "y"),
        "You rolled the map and did not roll it back, so the attention is added to other positions.",
    ),
    function(
        "07.4",
        decoder_step,
        lambda: inputs(79).integers(10**6, size=(2, 1)).tolist(),
        same=alike,
        form=_form_of_step,
        use=_try_step,
    )(
        'y_hat comes out of codec.quantise(codec.encoder(x), "straight_through", noise)[0], inside torch.no_grad(). Then the distortion of 05.4, zero_grad, backward, step.',
        "No gradient reaches the codec, so it stays bit for bit although the optimiser holds its parameters, and every packet stays valid.",
        ("torch.no_grad()", "torch.enable_grad()"),
        "The codec moved: its packets are now other ones. Compute y_hat inside torch.no_grad(), or detach it.",
        ("optimiser.zero_grad()", "pass"),
        "Gradients of earlier steps pile up: call optimiser.zero_grad() before backward().",
        ("decoder.spread", "1.0"),
        "Divide the error by decoder.spread before you square it.",
        ("return distortion", "return head_distillation(h, decoder(y_hat), decoder.spread)"),
        "That is the distortion after the step; keep the number from before it.",
        ("head_distillation(h, decoder(y_hat), ", "F.l1_loss(h / decoder.spread, decoder(y_hat) / "),
        "That is the mean absolute error; D is the mean of squares.",
        ("optimiser.step()", "pass"),
        "The decoder stays what it was: optimiser.step() is missing.",
        ('y_hat, _ = codec.quantise(codec.encoder(x), "straight_through", noise)', "y_hat = codec.encoder(x)"),
        "The decoder has to see what a packet holds, the rounded latent, not the encoder's output.",
        ('"straight_through"', '"noise"'),
        'With "noise" the decoder sees y + noise; a packet holds rounded numbers, so take "straight_through".',
    ),
    number("07.5", RESNET / NEXT)(
        "The first has 2 · 9 · 48² weights. In the second, the 7×7 convolution has one filter a channel, and two 1×1 layers follow.",
        "2.00: blueprints of equal depth and width do not weigh the same, so the experiment with foreign blocks compares bias and size at once.",
        (RESNET / (57 * WIDTH**2), "A depthwise convolution has one 7×7 filter a channel: 49 · 48 weights."),
        (RESNET / (49 * WIDTH + 2 * WIDTH**2), "The 1×1 layers go to four times the width and back."),
        (RESNET / 2 / NEXT, "The ResNet block has two 3×3 convolutions."),
        (RESNET / (49 * WIDTH + 4 * WIDTH**2), "There are two 1×1 layers: to four times the width, and back."),
        ((RESNET + 2 * WIDTH) / (NEXT + 6 * WIDTH), "That counts biases too; leave them out."),
        (NEXT / RESNET, "The question is how many times as many the ResNet block has: turn it around."),
    ),
    number("07.6", 40.0)(
        "One packet has to be good enough for both servers. How large is it, and how large are the two others together?",
        "40 %: 72 bytes instead of 120. A foreign codec may be dearer than a native one and still be the cheapest way to ask two servers.",
        (50.0, "The second server needs a fifth more bytes than its own codec would: 72, not 60."),
        (60.0, "That is what is left of the bytes; asked is the saving."),
        (48.0, "Those are bytes; asked is the share of the 120."),
        (45.0, "There is no packet of the average size: the one that is sent has to serve the dearer server."),
        (72.0, "That is the size of the one packet, in bytes; asked is what it saves of the two."),
        (0.4, "That is a share; the answer is asked in per cent."),
        (-40.0, "A saving counts as positive here."),
        (-20.0, "That compares with one native packet; the phone would have to send two."),
    ),
    choice("07.7", "c")(
        "What does the codec id hash, and whose parameters does train_decoder hand to the optimiser?",
        "Nothing: encoder, gains and tables are the codec, and the codec id says that both ends hold the same one.",
        a="The encoder goes from pixels to the latent and runs no part of any network; the server learns to read its packets.",
        b="The tables describe the latent's symbols, and those come from the encoder, which has not changed.",
        d="Mean and spread belong to the decoder, at the server; the phone knows no features.",
    ),
    number("07.8", 9.0)(
        "How does a squared error grow if everything is three times as large? The other term of the loss is in bits, and does not grow.",
        "Nine times: without the division by the spread, every backbone would need a lambda of its own, and one grid of lambdas would compare nothing.",
        (3.0, "The error grows three times; the distortion is its square."),
        (1 / 9, "The distortion grows, so bits have to become dearer, not cheaper, to keep the balance."),
        (1.0, "That is so with the spread divided out, as in our loss; here it is left out."),
        (27.0, "A square, not a cube: D is a mean of squared errors, however many elements there are."),
    ),
    function("07.9", _smallest, _cases, same=eq, form=NAME, use=_try_smallest)(
        "Find the best score, keep the names whose score is at least that minus the loss, return the one of fewest parameters.",
        "This rule chose the star in the panel; mind that it looks at one seed, which is why the winner was trained with two more.",
        ("min(within, key=parameters.get)", "max(scores, key=scores.get)"),
        "That is the best decoder; asked is the smallest one that is nearly as good.",
        ("min(within", "min(scores"),
        "That is the smallest of all: first leave out those that lose too much.",
        ("- loss", "* (1 - loss)"),
        "The loss is no share of the best: best minus loss.",
        ("- loss", "- loss / 100"),
        "Scores and loss are both shares: do not divide by 100.",
        ("- loss", "- 0.005"),
        "The loss is an argument; your function always uses 0.005.",
        ("min(within", "max(within"),
        "You take the largest in reach; take the smallest.",
        ("- loss", "- max(loss - 1e-9, 0)"),
        "Best minus loss itself is still within: use >=.",
        ("key=parameters.get", "key=scores.get"),
        "Among those within the loss you take the one of the lowest score; take the one of fewest parameters.",
    ),
)
