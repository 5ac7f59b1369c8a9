"""Exercises of chapter 05: bits of a latent, the price of a byte, why noise; and the method itself, from encoder to training step."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fsplit_lib.backbones import load_backbone
from fsplit_lib.codec import CodecConfig
from fsplit_lib.codec.encoder import Encoder, ResidualBlock
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.exercises.core import Exercise, Fault, choice, fits, function, inputs, near, number, shaped
from fsplit_lib.objectives import head_distillation, loss_of
from fsplit_lib.system import FrankenSplit, build_system

P = (0.5, 0.25, 0.125, 0.125)
BITS = sum(-math.log2(p) for p in P)
TENSORS = fits(
    lambda parts, y, *_: {part.shape for part in parts} == {y.shape}, "Return two tensors of y's shape (2, 3, 4, 4)."
)
ONE_MEAN = shaped(
    lambda *_: (), "Return a tensor with a single number, the mean over all pictures; yours has shape {got}.", part=0
)
LISTED = " Torch finds blocks only in nn.Sequential or nn.ModuleList, not in a list."
alike = near(1e-3, 1e-5)  # single precision


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(inputs(seed).integers(2**31)))


def _feature_cases() -> list[tuple]:
    """Draw features, their reconstruction, and a standard deviation for each of three channels."""
    generator = _generator(5)
    h, h_hat = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    return [(h, h_hat, torch.rand(1, 3, 1, 1, generator=generator) + 0.5)]


def copy_weights(mine: nn.Module, theirs: nn.Module) -> nn.Module:
    """Copy the convolutions of one network into another's of the same shapes, in order; returns ``mine``.

    >>> mine, theirs = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
    >>> torch.equal(copy_weights(mine, theirs).weight, theirs.weight)
    True
    """
    mine_convs, rest = ([part for part in net.modules() if isinstance(part, nn.Conv2d)] for net in (mine, theirs))
    for part in mine_convs:
        found = next((other for other in rest if other.weight.shape == part.weight.shape), None)
        if found is not None:
            part.load_state_dict(found.state_dict(), strict=False)
            rest.remove(found)
    return mine


def _drawn(theirs: nn.Module, shape: tuple[int, ...], asked: tuple, generator: torch.Generator) -> tuple:
    """Return a network of the library's with drawn weights, an input, and what its like is built with."""
    for parameter in theirs.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
    return theirs, torch.rand(shape, generator=generator), asked


def _block_cases() -> list[tuple]:
    generator, sizes = _generator(6), ((3, 5, 2, False), (4, 6, 2, True), (5, 3, 1, False))
    return [_drawn(ResidualBlock(*size), (2, size[0], 8, 8), size, generator) for size in sizes]


def _encoder_cases() -> list[tuple]:
    generator, configs = _generator(7), (CodecConfig(), CodecConfig((5, 7, 4), (2, 2, 1)))
    return [_drawn(Encoder(config), (2, 3, 16, 16), (config,), generator) for config in configs]


def _built(answer: Any, theirs: nn.Module, x: Tensor, asked: tuple) -> list:
    """Return the number of parameters of a network built as asked, and its output with the library's weights."""
    made = answer(*asked)
    with torch.no_grad():
        return [sum(parameter.numel() for parameter in made.parameters()), copy_weights(made, theirs)(x)]


def _network(result: list, theirs: nn.Module, x: Tensor, asked: tuple) -> str | None:
    count, out = result
    if not isinstance(out, Tensor):
        return f"forward returns a tensor; yours returned {type(out).__name__}."
    expected = sum(parameter.numel() for parameter in theirs.parameters())
    skipless = expected - sum(p.numel() for name, p in theirs.named_parameters() if name.startswith("skip."))
    if count not in (expected, skipless):
        return f"Built with {', '.join(map(str, asked))}, yours has {count:,} parameters, asked are {expected:,}: two 3×3 and one 1×1 convolution a block, all with bias.{'' if count else LISTED}"
    with torch.no_grad():
        shape = tuple(theirs(x).shape)
    if tuple(out.shape) != shape:
        return f"For an input of shape {tuple(x.shape)} yours returned {tuple(out.shape)}, asked is {shape}: mind stride and padding."
    return None


def straight_through(y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise a latent (B, C, h, w) by noise from U(-1/2, 1/2): what the decoder sees, and what the rate is asked for.

    That is the rounded latent with the gradient of the identity, and the noisy one of Eq. (5).

    >>> y = torch.tensor([0.25, 1.75], requires_grad=True)
    >>> rounded, noisy = straight_through(y, torch.tensor([0.25, -0.25]))
    >>> rounded.tolist(), noisy.tolist(), torch.autograd.grad(rounded.sum(), y)[0].tolist()
    ([0.0, 2.0], [0.5, 1.5], [1.0, 1.0])
    """
    return y + (y.round() - y).detach(), y + noise


def _quantiser_cases() -> list[tuple]:
    generator = _generator(8)
    y, weight = (3 * torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    return [(y, torch.rand(y.shape, generator=generator) - 0.5, weight)]


def _with_gradient(answer: Any, y: Tensor, noise: Tensor, weight: Tensor) -> list[Tensor]:
    """Return both results of a quantiser, and the gradient that each lets through."""
    found = []
    for n in range(2):
        leaf = y.clone().requires_grad_()
        found += _passed(answer(leaf, noise)[n], leaf, weight)
    return found


def _passed(result: Tensor, leaf: Tensor, weight: Tensor | float = 1.0) -> list[Tensor]:
    """Return a result and the gradient that it lets through, 0 where it lets through none."""
    if result.requires_grad:
        (result * weight).sum().backward()
    return [result.detach(), torch.zeros_like(leaf) if leaf.grad is None else leaf.grad]


def bits(likelihoods: Tensor) -> Tensor:
    """Compute the bits of every picture, Eq. (2): likelihoods (B, C, h, w) to (B,).

    >>> bits(torch.full((2, 3, 4, 4), 0.5)).tolist()
    [48.0, 48.0]
    """
    return -likelihoods.log2().sum(dim=(1, 2, 3))


def _distortion(answer: Callable, h: Tensor, h_hat: Tensor, std: Tensor) -> list[Tensor]:
    leaf = h_hat.clone().requires_grad_()
    return _passed(torch.as_tensor(answer(h, leaf, std)), leaf)


def _one_a_picture(result: list[Tensor], p: Tensor) -> str | None:
    if result[0].shape in ((len(p),), ()):
        return None
    return f"Return one number a picture, shape ({len(p)},); yours has shape {tuple(result[0].shape)}."


def training_step(
    system: FrankenSplit, optimiser: torch.optim.Optimizer, x: Tensor, noise: Tensor, lmbda: float
) -> tuple[float, float]:
    """Train one step: the body of the library's loop; returns distortion and bits per pixel."""
    out = system(x, "straight_through", noise)
    loss = loss_of("head_distillation", system, out, None, lmbda)
    optimiser.zero_grad()
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    optimiser.step()
    return loss.distortion.item(), loss.rate.item()


def _step_cases() -> list[tuple]:
    generator = _generator(10)
    config = CodecConfig((4, 6, 4), (2, 2, 1))
    small = DecoderConfig(restoration=1, transformation=0, width=8)
    system = build_system(load_backbone("fashion_resnet"), config, small, seed=int(inputs(10).integers(2**31)))
    learned = ([p for p in part.parameters() if p.requires_grad] for part in system.trainable().values())
    groups = [{"params": some} for some in learned]
    x = torch.rand(4, 3, 32, 32, generator=generator)
    with torch.no_grad():
        system.decoder.fit_statistics(system.backbone.head(x))
    noise = torch.rand(4, 4, 8, 8, generator=generator) - 0.5
    lmbdas = (10.0, 0.3)  # at the first the gradient is so long that it has to be clipped
    return [(system, torch.optim.SGD(groups, lr=0.5), x, noise, lmbdas)]


def _two_steps(answer: Callable, system: Any, optimiser: Any, x: Any, noise: Any, lmbdas: Any) -> list[Tensor] | Fault:
    """Return what two steps tell, and how they move the parameters that learn."""
    learned = [p for group in optimiser.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in learned]
    told = [answer(system, optimiser, x, noise, lmbda) for lmbda in lmbdas]
    if not all(isinstance(one, tuple | list) for one in told):
        return Fault("Return two numbers, the distortion and the rate.")
    numbers = [torch.tensor([float(torch.as_tensor(v).detach()) for v in one]) for one in told]
    return numbers + [p.detach() - old for p, old in zip(learned, before, strict=True)]


def _two_numbers(result: list[Tensor], *_: Any) -> str | None:
    told = f"Return two numbers, the distortion and the rate; yours returned {len(result[0])}."
    return None if len(result[0]) == 2 else told


EXERCISES: tuple[Exercise, ...] = (
    function("05.1", ResidualBlock, _block_cases, use=_built, form=_network, same=alike, asked="class")(
        "forward(x): conv 3×3 with the stride, ReLU, conv 3×3, plus the 1×1 convolution of x; then a ReLU, unless it is the last block.",
        "Two convolutions and a short cut: three of these blocks are the whole network on the phone.",
        ("self.conv2(torch.relu(self.conv1(x)))", "self.conv2(self.conv1(x))"),
        "There is no activation between your two 3×3 convolutions, so they are one linear map. (The paper's public code has the same slip.)",
        ("out if self.last else torch.relu(out)", "torch.relu(out)"),
        "Your block activates also where last is true: the latent would have no negative values.",
        ("out if self.last else torch.relu(out)", "out"),
        "Your block has no activation at its end where last is false.",
        ("nn.Conv2d(inside, outside, 1, stride)", "None", " + self.skip(x)", ""),
        "The short cut is missing: a 1×1 convolution of x, with the stride, is added.",
        (" + self.skip(x)", ""),
        "The 1 × 1 convolution of x is not added.",
        (" + self.skip(x)", "", "return out", "return self.skip(x) + out", "else torch", "else self.skip(x) + torch"),
        "You activate the branch and then add the short cut: add first.",
        ("outside, 3, stride", "outside, 3", "(outside, outside, 3", "(outside, outside, 3, stride"),
        "The stride belongs to the first 3×3 convolution; yours is in the second one.",
    ),
    function("05.2", Encoder, _encoder_cases, use=_built, form=_network, same=alike, asked="class")(
        "Block(3, widths[0], strides[0], last=False) and two more; forward maps pixels from 0 … 1 to −1 … 1 first.",
        "141,696 parameters at the photo codec's widths, and the same output as the library's encoder with the same weights.",
        ("2 * x - 1", "x"),
        "The blocks expect pixels from −1 to 1: hand them 2x − 1.",
        ("2 * x - 1", "x - 0.5"),
        "Pixels from 0 to 1 must become −1 to 1; yours reach only −0.5 to 0.5.",
        ("last=n == 2", "last=False"),
        "Your last block activates: build it with last=True.",
        ("last=n == 2", "last=True"),
        "Only the third block is the last one; the first two activate.",
    ),
    function(
        "05.3",
        bits,
        lambda: [(torch.full((2, 3, 4, 4), 0.5),), (torch.rand(3, 2, 4, 5, generator=_generator(9)) * 0.98 + 0.01,)],
        use=lambda answer, p: _passed(torch.as_tensor(answer(p.requires_grad_())), p),
        form=_one_a_picture,
        same=alike,
    )(
        "Eq. (2), summed over all but the first dimension: dim=(1, 2, 3).",
        "This is the whole rate: the entropy model gives the likelihoods, and their negative logarithms are the bits.",
        ("log2()", "log()"),
        "Those are nats: use log2.",
        ("-likelihoods", "likelihoods"),
        "The minus sign is missing.",
        ("sum(dim=(1, 2, 3))", "sum()"),
        "You summed over the pictures as well: return one number for each.",
        ("sum(dim", "mean(dim"),
        "That is the mean per symbol; a picture pays the sum.",
        ("-likelihoods.log2()", "-(likelihoods * likelihoods.log2())"),
        "That weighs each symbol by its probability, as an entropy does. These symbols were sent.",
        ("-likelihoods", "-likelihoods.detach()"),
        "The values are right, but no gradient comes through, so training could not lower the rate.",
    ),
    function("05.4", head_distillation, _feature_cases, use=_distortion, form=ONE_MEAN, same=near(1e-4))(
        "Divide the error by the spread, square it, average over all elements: one line of torch.",
        "This line is the paper's head distillation, as a mean over the elements and in units of each channel's standard deviation.",
        lambda h, h_hat, std: (((h - h_hat) / std) ** 2).sum(),
        "You summed. The mean over elements makes one lmbda mean the same for every backbone.",
        lambda h, h_hat, std: ((h - h_hat) / std).abs().mean(),
        "That is the mean absolute error; Eq. (3) squares.",
        lambda h, h_hat, std: ((h - h_hat) / std).mean(),
        "Errors of both signs cancel: square before you average.",
        lambda h, h_hat, _: ((h - h_hat) ** 2).mean(),
        "You left out the spread: channels with large values would drown the others.",
        lambda h, h_hat, std: (((h - h_hat) * std) ** 2).mean(),
        "You multiplied by the spread; divide by it.",
        lambda h, h_hat, std: ((h - h_hat) ** 2 / std).mean(),
        "The spread stands inside the square: divide before you square.",
        lambda h, h_hat, std: head_distillation(h, h_hat.detach(), std),
        "The value is right, but no gradient comes through, so training could not lower the distortion. "
        "Return the tensor itself, without .item() or .detach().",
    ),
    function("05.5", straight_through, _quantiser_cases, use=_with_gradient, form=TENSORS, same=alike)(
        "y + (rounded − y).detach() has the value of rounded and the gradient of y; the noisy latent is Eq. (5).",
        "The decoder has the same input in training as in use, and the rate is learned between whole numbers too.",
        lambda y, noise: (y.round(), y + noise),
        "The rounded latent passes no gradient: add the difference to y, detached.",
        lambda y, noise: (y + noise, y + noise),
        "That is the paper's way: the decoder sees noise too. Asked is the rounded latent for it.",
        lambda y, _: (y + (y.round() - y).detach(),) * 2,
        "Your second result, the one for the rate, is rounded too: return the noisy latent of Eq. (5) there.",
        lambda y, noise: (y.detach() + (y.round() - y), y + noise),
        "You detached y and left the difference free, so the gradient has the wrong sign: detach the difference.",
        lambda y, noise: (y + noise, y + (y.round() - y).detach()),
        "The two are swapped: first the latent for the decoder, then the one for the rate.",
        lambda y, noise: (y + ((y + noise).round() - y).detach(), y + noise),
        "The first tensor is not round(y).",
        lambda y, noise: (y + (y.floor() - y).detach(), y + noise),
        "The first tensor is floor(y); rounding takes the nearest whole number.",
        lambda y, noise: (y + (y.round() - y).detach(), y.detach() + noise),
        "No gradient comes through the noisy latent.",
    ),
    function("05.6", training_step, _step_cases, use=_two_steps, form=_two_numbers, same=alike)(
        "Latent, two quantised versions, likelihoods, rate, decoded features, distortion, loss; then zero_grad, backward, clip, step.",
        "The chapter trains with these lines. The rest of the library's loop serves long runs: several processes, checkpoints and a log.",
        ("optimiser.zero_grad()", "pass"),
        "The gradients of the step before are still there: call zero_grad() first.",
        ("], 1.0)", "], math.inf)"),
        "The gradients are not clipped to a norm of 1 between backward() and step().",
        (
            'torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)',
            '[torch.nn.utils.clip_grad_norm_(group["params"], 1.0) for group in optimiser.param_groups]',
        ),
        "You clipped each group of parameters alone; take all of them together.",
        ("loss.total", "(loss.distortion + lmbda * out.bits.mean())"),
        "Your rate is in bits per picture: Eq. (4) counts bits per input pixel.",
        ("loss.total", "loss.distortion"),
        "The rate does not enter your loss, so training would not save bits.",
        ('"straight_through"', '"noise"'),
        "Your decoder sees the noisy latent: hand it the rounded one.",
        ("optimiser.step()", "pass"),
        "No parameter has moved: step() is missing.",
        ("loss.total", "(loss.distortion + loss.rate)"),
        "The numbers that you return are right, but the parameters moved differently: lambda multiplies the rate in Eq. (4).",
        ("loss.total", "(lmbda * loss.distortion + loss.rate)"),
        "You put lambda on the distortion; it multiplies the rate in Eq. (4).",
        ("out, None", "type(out)(x, out.y_hat, system.codec.prior.likelihood(out.y_hat), out.h_hat), None"),
        "Your rate comes from the rounded latent; the rate needs the noisy one, the second result of `quantise`.",
        ("loss.total", "(loss.distortion + lmbda * out.bits.mean())", "loss.rate.item()", "out.bits.mean().item()"),
        "Your rate is H · W = 1,024 times too large: Eq. (4) counts bits per input pixel.",
        ("loss.total", "(loss.distortion + lmbda * len(x) * loss.rate)", "loss.rate.item()", "len(x) * loss.rate"),
        "Your rate is the sum over the pictures; take their mean.",
        ("loss.distortion.item(), loss.rate.item()", "loss.rate.item(), loss.distortion.item()"),
        "The two numbers are swapped: first the distortion, then the rate.",
        ("loss.rate.item()", "lmbda * loss.rate.item()"),
        "The second number is the rate itself, without lambda.",
    ),
    number("05.7", BITS)(
        "Eq. (2): each symbol costs −log2 of its probability, and costs add up.",
        "1 + 2 + 3 + 3 = 9 bits. On average four symbols of this source cost 7, since the cheap ones come more often; no coder can do better than that.",
        (BITS * math.log(2), "Those are nats (natural logarithm). Bits need log2: divide by ln 2."),
        (BITS / len(P), "That is the mean per symbol; the packet pays the sum."),
        (-BITS, "A probability is at most 1, so its log is negative: mind the minus sign."),
        (1.75, "That is an entropy, the expected cost of one symbol. These four were sent."),
    ),
    number("05.8", 0.3 * 8 / 1024, relative=0.03)(
        "Eq. (4) counts bits per input pixel, and the padded picture has 32 × 32 of them.",
        "A byte pays for itself if it lowers the distortion by more than 0.0023. lmbda sets this exchange rate.",
        (0.3 / 1024, "That is the price of one bit; a byte has eight."),
        (0.3 * 8 / 784, "Fashion-MNIST has 28 × 28 pixels, but the codec sees the padded 32 × 32."),
        (0.3 * 8 / 64, "64 is the number of latent positions; the rate is counted per input pixel."),
        (0.3 * 8, "Divide by the number of input pixels: the loss counts bits per pixel."),
        (-0.3 * 8 / 1024, "The size is right; the question asks by how much D falls, so give a positive number."),
    ),
    choice("05.9", "b")(
        "What is the derivative of a staircase?",
        "The derivative of rounding is 0 wherever it exists, so no gradient would reach the encoder; noise of the same width "
        "has the same error statistics and a gradient.",
        a="Rounding is as fast as adding noise; speed is not the reason.",
        c="The entropy coder codes integers, and in use they are: the packet never sees the noise.",
        d="Noise regularises a little, but that is a side effect: dropout would do that too.",
    ),
    choice("05.10", "a")(
        "Which symbols come out of the entropy decoder, and how many bits did they take?",
        "An entropy model that is wrong on both ends costs bytes; one that differs between them costs the answer.",
        b="The symbols that arrive are the same, so decoder and tail see what they saw before.",
        c="The bytes, yes. But the symbols that arrive are the same, and so is the answer.",
        d="Because the tables are the same, the symbols arrive. But these tables give them more bits.",
    ),
)
