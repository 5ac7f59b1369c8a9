"""Exercises of chapter 05: bits of a latent, the price of a byte, why noise; and the method itself, from encoder to training step."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fsplit_lib.exercises.core import Exercise, Trap, inputs

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from fsplit_lib.system import FrankenSplit

__all__ = ["EXERCISES", "bits", "copy_weights", "straight_through", "training_step"]

P = (0.5, 0.25, 0.125, 0.125)


def _cases() -> list[tuple]:
    """Features, their reconstruction, and a spread for each of three channels."""
    import torch

    generator = torch.Generator().manual_seed(int(inputs(5).integers(2**31)))
    h, h_hat = (torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    return [(h, h_hat, torch.rand(1, 3, 1, 1, generator=generator) + 0.5)]


def _distillation(h: Any, h_hat: Any, spread: Any) -> float:
    from fsplit_lib.objectives import head_distillation

    return head_distillation(h, h_hat, spread).item()


def _generator(seed: int) -> "torch.Generator":
    import torch

    return torch.Generator().manual_seed(int(inputs(seed).integers(2**31)))


def _alike(got: Any, expected: Any) -> bool:
    """Whether two lists of tensors agree in shapes and, to single precision, in values."""
    import torch

    pairs = zip(got, expected, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in pairs)


def copy_weights(mine: "nn.Module", theirs: "nn.Module") -> "nn.Module":
    """Copy the convolutions of one network into another's of the same shapes, in order; returns ``mine``."""
    import torch

    rest = [part for part in theirs.modules() if isinstance(part, torch.nn.Conv2d)]
    for part in mine.modules():
        same = (
            other for other in rest if isinstance(part, torch.nn.Conv2d) and part.weight.shape == other.weight.shape
        )
        if (found := next(same, None)) is not None:
            part.load_state_dict(found.state_dict(), strict=False)
            rest.remove(found)
    return mine


def _block(
    skip: bool = True, inner: bool = True, outer: str = "sum", strides: str = "first"
) -> Callable[..., "nn.Module"]:
    """Make a residual block, or one with a typical mistake."""

    def build(inside: int, outside: int, stride: int, last: bool) -> "nn.Module":
        from torch import nn

        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                first, second = (stride, 1) if strides == "first" else (1, stride)
                self.conv1 = nn.Conv2d(inside, outside, 3, first, padding=1)
                self.conv2 = nn.Conv2d(outside, outside, 3, second, padding=1)
                self.skip = nn.Conv2d(inside, outside, 1, stride) if skip else None

            def forward(self, x: "Tensor") -> "Tensor":
                out = self.conv1(x)
                out = self.conv2(out.relu() if inner else out)
                around = self.skip(x) if skip else 0
                if outer == "branch":
                    return (out if last else out.relu()) + around
                return out + around if last and outer == "sum" else (out + around).relu()

        return Block()

    return build


def _encoder(scale: bool = True, last: tuple[bool, ...] = (False, False, True)) -> Callable[[Any], "nn.Module"]:
    """Make an encoder, or one with a typical mistake."""

    def build(config: Any) -> "nn.Module":
        from torch import nn

        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                sizes = zip((3, *config.widths[:-1]), config.widths, config.strides, last, strict=True)
                self.blocks = nn.Sequential(*(_block()(*size) for size in sizes))

            def forward(self, x: "Tensor") -> "Tensor":
                return self.blocks(2 * x - 1 if scale else x)

        return Encoder()

    return build


def _block_cases() -> list[tuple]:
    import torch

    from fsplit_lib.codec.encoder import ResidualBlock

    generator, found = _generator(6), []
    for inside, outside, stride, last in ((3, 5, 2, False), (4, 6, 2, True), (5, 3, 1, False)):
        theirs = ResidualBlock(inside, outside, stride, "standard", last)
        for parameter in theirs.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 3
        found.append((theirs, torch.randn(2, inside, 8, 8, generator=generator), (inside, outside, stride, last)))
    return found


def _encoder_cases() -> list[tuple]:
    import torch

    from fsplit_lib.codec.encoder import CodecConfig, Encoder

    generator, found = _generator(7), []
    for config in (CodecConfig(), CodecConfig((5, 7, 4), (2, 2, 1))):
        theirs = Encoder(config)
        for parameter in theirs.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
        found.append((theirs, torch.rand(2, 3, 16, 16, generator=generator), (config,)))
    return found


def _built(answer: Any, theirs: "nn.Module", x: "Tensor", asked: tuple) -> list["Tensor"]:
    """The number of parameters of a network built as asked, and its output with the library's weights."""
    import torch

    made = answer(*asked)
    count = torch.tensor(sum(parameter.numel() for parameter in made.parameters()))
    with torch.no_grad():
        return [count, copy_weights(made, theirs)(x)]


def _network(result: list[Any], theirs: "nn.Module", x: "Tensor", asked: tuple) -> str | None:
    import torch

    count, out = int(result[0]), result[1]
    if not isinstance(out, torch.Tensor):
        return f"forward returns a tensor; yours returned {type(out).__name__}."
    expected = sum(parameter.numel() for parameter in theirs.parameters())
    skipless = expected - sum(p.numel() for name, p in theirs.named_parameters() if name.startswith("skip."))
    if count not in (expected, skipless):
        return f"Built with {', '.join(map(str, asked))}, yours has {count:,} parameters, asked are {expected:,}: two 3×3 and one 1×1 convolution a block, all with bias."
    with torch.no_grad():
        shape = tuple(theirs(x).shape)
    if tuple(out.shape) != shape:
        return f"For an input of shape {tuple(x.shape)} yours returned {tuple(out.shape)}, asked is {shape}: mind stride and padding."
    return None


def straight_through(y: "Tensor", noise: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Quantise for training: the rounded latent with the gradient of the identity, and the noisy one of Eq. (5).

    Args:
        y: (B, C, h, w) latent.
        noise: U(-1/2, 1/2) of the same shape.

    Returns:
        What the decoder sees, and what the rate is asked for.
    """
    return y + (y.round() - y).detach(), y + noise


def _quantiser_cases() -> list[tuple]:
    import torch

    generator = _generator(8)
    y, weight = (3 * torch.randn(2, 3, 4, 4, generator=generator) for _ in range(2))
    return [(y, torch.rand(y.shape, generator=generator) - 0.5, weight)]


def _with_gradient(answer: Any, y: "Tensor", noise: "Tensor", weight: "Tensor") -> list["Tensor"]:
    """Both results of a quantiser, and the gradient that each lets through."""
    import torch

    found = []
    for n in range(2):
        leaf = y.clone().requires_grad_()
        part = answer(leaf, noise)[n]
        if part.requires_grad:
            (part * weight).sum().backward()
        found += [part.detach(), torch.zeros_like(y) if leaf.grad is None else leaf.grad]
    return found


def bits(likelihoods: "Tensor") -> "Tensor":
    """Compute the bits of every picture, Eq. (2): likelihoods (B, C, h, w) to (B,)."""
    return -likelihoods.log2().sum(dim=(1, 2, 3))


def _bits_cases() -> list[tuple]:
    import torch

    return [(torch.full((2, 3, 4, 4), 0.5),), (torch.rand(3, 2, 4, 5, generator=_generator(9)) * 0.98 + 0.01,)]


def _bits_and_gradient(answer: Any, p: "Tensor") -> list["Tensor"]:
    import torch

    p.requires_grad_()
    told = torch.as_tensor(answer(p))
    if told.requires_grad:
        told.sum().backward()
    return [told.detach(), torch.zeros_like(p) if p.grad is None else p.grad]


def _one_a_picture(result: list["Tensor"], p: "Tensor") -> str | None:
    if result[0].shape in ((len(p),), ()):
        return None
    return f"Return one number a picture, shape ({len(p)},); yours has shape {tuple(result[0].shape)}."


def training_step(
    system: "FrankenSplit", optimiser: "torch.optim.Optimizer", x: "Tensor", noise: "Tensor", lmbda: float
) -> tuple[float, float]:
    """Train one step: the body of the library's loop; returns distortion and bits per pixel."""
    import torch

    from fsplit_lib.objectives import loss_of

    out = system(x, "straight_through", noise)
    loss = loss_of("head_distillation", system, out, None, lmbda)
    optimiser.zero_grad()
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
    optimiser.step()
    return loss.distortion.item(), loss.rate.item()


def _step(
    zero: bool = True, clip: bool = True, update: bool = True, noisy: bool = False, pixels: int = 1024
) -> Callable:
    """Make a training step with a typical mistake; ``pixels`` of 0 leaves the rate out."""

    def step(system: Any, optimiser: Any, x: Any, noise: Any, lmbda: float) -> tuple[float, float]:
        import torch

        out = system(x, "noise" if noisy else "straight_through", noise)
        distortion = _mean_square(system.backbone.head(x), out.h_hat, system.decoder.spread)
        rate = out.bits.mean() / max(pixels, 1)
        if zero:
            optimiser.zero_grad()
        (distortion + (lmbda * rate if pixels else 0)).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(system.parameters(), 1.0)
        if update:
            optimiser.step()
        return distortion.item(), out.bits_per_pixel.mean().item()

    return step


def _mean_square(h: Any, h_hat: Any, spread: Any) -> Any:
    return (((h - h_hat) / spread) ** 2).mean()


def _step_cases() -> list[tuple]:
    import torch

    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.codec import CodecConfig
    from fsplit_lib.decoders import DecoderConfig
    from fsplit_lib.system import build_system

    generator = _generator(10)
    config = CodecConfig((4, 6, 4), (2, 2, 1))
    small = DecoderConfig(restoration=1, transformation=0, width=8)
    system = build_system(load_backbone("fashion_resnet"), config, small, seed=int(inputs(10).integers(2**31)))
    learned = [p for part in system.trainable().values() for p in part.parameters() if p.requires_grad]
    x = torch.rand(4, 3, 32, 32, generator=generator)
    with torch.no_grad():
        system.decoder.fit_statistics(system.backbone.head(x))
    noise = torch.rand(4, 4, 8, 8, generator=generator) - 0.5
    lmbdas = (10.0, 0.3)  # at the first the gradient is so long that it has to be clipped
    return [(system, torch.optim.SGD(learned, lr=0.5), x, noise, lmbdas)]


def _two_steps(answer: Any, system: Any, optimiser: Any, x: Any, noise: Any, lmbdas: Any) -> list["Tensor"]:
    """What two steps return, and how they move the parameters that learn."""
    import torch

    learned = [p for group in optimiser.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in learned]
    told = [torch.tensor([float(v) for v in answer(system, optimiser, x, noise, lmbda)]) for lmbda in lmbdas]
    return told + [p.detach() - old for p, old in zip(learned, before, strict=True)]


def _two_numbers(result: list["Tensor"], *case: Any) -> str | None:  # noqa: ARG001
    if len(result[0]) == 2:
        return None
    return f"Return two numbers, the distortion and the rate; yours returned {len(result[0])}."


EXERCISES: tuple[Exercise, ...] = (
    Exercise.number(
        "05.1",
        expected=sum(-math.log2(p) for p in P),
        hint="Eq. (2): each symbol costs −log2 of its probability, and costs add up.",
        why="1 + 2 + 3 + 3 = 9 bits. On average four symbols of this source cost 7, since the cheap ones come more often; no coder can do better than that.",
        traps=(
            Trap(sum(-math.log(p) for p in P), "Those are nats (natural logarithm). Bits need log2: divide by ln 2."),
            Trap(sum(-math.log2(p) for p in P) / len(P), "That is the mean per symbol; the packet pays the sum."),
            Trap(
                sum(math.log2(p) for p in P), "A probability is at most 1, so its log is negative: mind the minus sign."
            ),
            Trap(
                sum(-p * math.log2(p) for p in P),
                "That is an entropy, the expected cost of one symbol. These four were sent.",
            ),
        ),
    ),
    Exercise.number(
        "05.2",
        expected=0.3 * 8 / 1024,
        relative=0.03,
        hint="Eq. (4) counts bits per input pixel, and the padded picture has 32 × 32 of them.",
        why="A byte is worth its money if it lowers the distortion by more than 0.0023: this is the exchange rate that lmbda sets.",
        traps=(
            Trap(0.3 / 1024, "That is the price of one bit; a byte has eight."),
            Trap(0.3 * 8 / 784, "Fashion-MNIST has 28 × 28 pixels, but the codec sees the padded 32 × 32."),
            Trap(0.3 * 8 / 64, "64 is the number of latent positions; the rate is counted per input pixel."),
            Trap(0.3 * 8, "Divide by the number of input pixels: the loss counts bits per pixel."),
        ),
    ),
    Exercise.choice(
        "05.3",
        expected="b",
        options={
            "a": "Rounding is as fast as adding noise; speed is not the reason.",
            "c": "The entropy coder codes integers, and in use they are: the packet never sees the noise.",
            "d": "Noise regularises a little, but that is a side effect: dropout would do that too.",
        },
        hint="What is the derivative of a staircase?",
        why="The derivative of rounding is 0 wherever it exists, so no gradient would reach the encoder; noise of the same width "
        "has the same error statistics and a gradient.",
    ),
    Exercise.function(
        "05.4",
        right=_distillation,
        cases=_cases,
        hint="Divide the error by the spread, square it, average over all elements: one line of torch.",
        why="This line is the paper's head distillation, per element and in units of the spread; everything else in training is bookkeeping.",
        traps=(
            Trap(
                lambda h, h_hat, spread: (((h - h_hat) / spread) ** 2).sum(),
                "You summed. The mean over elements makes one lmbda mean the same for every backbone.",
            ),
            Trap(
                lambda h, h_hat, spread: ((h - h_hat) / spread).abs().mean(),
                "That is the mean absolute error; Eq. (3) squares.",
            ),
            Trap(
                lambda h, h_hat, spread: ((h - h_hat) / spread).mean(),
                "Errors of both signs cancel: square before you average.",
            ),
            Trap(
                lambda h, h_hat, _: ((h - h_hat) ** 2).mean(),
                "You left out the spread: channels with large values would drown the others.",
            ),
            Trap(
                lambda h, h_hat, spread: (((h - h_hat) * spread) ** 2).mean(),
                "You multiplied by the spread; divide by it.",
            ),
            Trap(
                lambda h, h_hat, spread: ((h - h_hat) ** 2 / spread).mean(),
                "The spread stands inside the square: divide before you square.",
            ),
        ),
        same=lambda got, expected: math.isclose(float(got), expected, rel_tol=1e-4),  # single precision
    ),
    Exercise.choice(
        "05.5",
        expected="a",
        options={
            "b": "The symbols that arrive are the same, so decoder and tail see what they saw before.",
            "c": "The bytes, yes. But the symbols that arrive are the same, and so is the answer.",
            "d": "Agreement makes the symbols arrive. It does not make them cheap.",
        },
        hint="Which symbols come out of the entropy decoder, and how many bits did they take?",
        why="An entropy model that is wrong on both ends costs bytes; one that differs between them costs the answer.",
    ),
    Exercise.function(
        "05.6",
        right=_block(),
        cases=_block_cases,
        use=_built,
        form=_network,
        same=_alike,
        asked="class",
        hint="forward(x): conv 3×3 with the stride, ReLU, conv 3×3, plus the 1×1 convolution of x; then a ReLU, unless it is the last block.",
        why="Two convolutions and a short cut: three of these blocks are the whole network on the phone.",
        traps=(
            Trap(
                _block(inner=False),
                "There is no activation between your two 3×3 convolutions, so they are one linear map: the slip of the public code.",
            ),
            Trap(
                _block(outer="always"),
                "Your block activates also where last is true: the latent would have no negative values.",
            ),
            Trap(_block(skip=False), "The short cut is missing: a 1×1 convolution of x, with the stride, is added."),
            Trap(_block(outer="branch"), "You activate the branch and then add the short cut: add first."),
            Trap(
                _block(strides="second"), "The stride belongs to the first 3×3 convolution; yours is in the second one."
            ),
        ),
    ),
    Exercise.function(
        "05.7",
        right=_encoder(),
        cases=_encoder_cases,
        use=_built,
        form=_network,
        same=_alike,
        asked="class",
        hint="Block(3, widths[0], strides[0], last=False) and two more; forward maps pixels from 0 … 1 to −1 … 1 first.",
        why="141,696 parameters at the photo codec's widths, and the same output as the library's encoder with the same weights.",
        traps=(
            Trap(_encoder(scale=False), "The blocks expect pixels from −1 to 1: hand them 2x − 1."),
            Trap(_encoder(last=(False, False, False)), "Your last block activates: build it with last=True."),
            Trap(_encoder(last=(True, True, True)), "Only the third block is the last one; the first two activate."),
        ),
    ),
    Exercise.function(
        "05.8",
        right=straight_through,
        cases=_quantiser_cases,
        use=_with_gradient,
        form=lambda result, y, *_: (
            None
            if all(part.shape == y.shape for part in result)
            else f"Return two tensors of y's shape {tuple(y.shape)}."
        ),
        same=_alike,
        hint="y + (rounded − y).detach() has the value of rounded and the gradient of y; the noisy latent is Eq. (5).",
        why="The decoder meets in training what it meets in use, and the rate is asked at every place between two symbols.",
        traps=(
            Trap(
                lambda y, noise: (y.round(), y + noise),
                "The rounded latent passes no gradient: add the difference to y, detached.",
            ),
            Trap(
                lambda y, noise: (y + noise, y + noise),
                "That is the paper's way: the decoder sees noise too. Asked is the rounded latent for it.",
            ),
            Trap(
                lambda y, _: (y + (y.round() - y).detach(),) * 2,
                "Your rate is asked about rounded values only: hand it the noisy latent of Eq. (5).",
            ),
            Trap(
                lambda y, noise: (y.detach() + (y.round() - y), y + noise),
                "You detached y and left the difference free, so the gradient has the wrong sign: detach the difference.",
            ),
            Trap(
                lambda y, noise: (y + noise, y + (y.round() - y).detach()),
                "The two are swapped: first what the decoder sees, then what the rate is asked for.",
            ),
        ),
    ),
    Exercise.function(
        "05.9",
        right=bits,
        cases=_bits_cases,
        use=_bits_and_gradient,
        form=_one_a_picture,
        same=_alike,
        hint="Eq. (2), summed over all but the first dimension: dim=(1, 2, 3).",
        why="This is all of the rate: the entropy model supplies the likelihoods, and their logarithms are the bill.",
        traps=(
            Trap(lambda p: -p.log().sum(dim=(1, 2, 3)), "Those are nats: use log2."),
            Trap(lambda p: p.log2().sum(dim=(1, 2, 3)), "The minus sign is missing."),
            Trap(lambda p: -p.log2().sum(), "You summed over the pictures as well: return one number for each."),
            Trap(lambda p: -p.log2().mean(dim=(1, 2, 3)), "That is the mean per symbol; a picture pays the sum."),
            Trap(
                lambda p: -(p * p.log2()).sum(dim=(1, 2, 3)),
                "That weighs each symbol by its probability, as an entropy does. These symbols were sent.",
            ),
            Trap(
                lambda p: -p.detach().log2().sum(dim=(1, 2, 3)),
                "The values are right, but no gradient comes through: nothing would learn to be cheap.",
            ),
        ),
    ),
    Exercise.function(
        "05.10",
        right=training_step,
        cases=_step_cases,
        use=_two_steps,
        form=_two_numbers,
        same=_alike,
        hint="Latent, two quantised versions, likelihoods, rate, decoded features, distortion, loss; then zero_grad, backward, clip, step.",
        why="Whatever the chapter trains, it trains by these lines; everything else in the library's loop is bookkeeping.",
        traps=(
            Trap(_step(zero=False), "The gradients of the step before are still there: call zero_grad() first."),
            Trap(_step(clip=False), "The gradients are not clipped to a norm of 1 between backward() and step()."),
            Trap(_step(pixels=1), "Your rate is in bits per picture: Eq. (4) counts bits per input pixel."),
            Trap(_step(pixels=0), "The rate does not enter your loss, so nothing makes bits dear."),
            Trap(_step(noisy=True), "Your decoder sees the noisy latent: hand it the rounded one."),
            Trap(_step(update=False), "No parameter has moved: step() is missing."),
        ),
    ),
)
