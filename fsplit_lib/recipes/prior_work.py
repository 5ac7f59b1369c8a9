"""Prior split computing and learned image codecs, trained like the ablation's base, so that only the method differs.

All see the same 25,008 crops of 96 x 96 pixels from Caltech-101, the same teacher and the same decoder. Rows that end
in "tail" go on from another row: its codec stays, and decoder and a copy of the tail learn the teacher's answers on
12,512 crops more, as the second stage of the Entropic Student and of BottleFit does.

`fsplit evaluate photos FOLDER --weights build/weights/ablation-base --weights build/weights/prior-student ...` measures
them in one run; none of these weights are shipped.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fsplit_lib.codec import CodecConfig
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.entropy.models import frequencies_of
from fsplit_lib.recipes.caltech import ANY_RATE, CaltechRun, recipes_of, short_run
from fsplit_lib.system import FrankenSplit

STUDENT = replace(ANY_RATE, widths=(96, 48, 24), strides=(2, 2, 1), kind="gdn")
PATCHES = {
    blocks: replace(ANY_RATE, widths=(128, 64, 64), strides=(8, 1, 1), kind=f"patch-{blocks}") for blocks in (0, 4)
}
HYPERPRIOR = replace(ANY_RATE, side_information=32)
IMAGES = replace(ANY_RATE, widths=(128, 128, 192), strides=(4, 2, 2), kind="compressai")  # CompressAI's smallest size
PIXELS = DecoderConfig(0, 0, 128, "compressai")
REDUCTION = CodecConfig(widths=(64, 64, 3), kind="reduction")
PRIOR_ENCODERS = {
    "Entropic Student": STUDENT,
    "patch, 0 blocks": PATCHES[0],
    "patch, 4 blocks": PATCHES[4],
    "channel reduction": REDUCTION,
    "CompressAI": IMAGES,
}
SIDE_INFORMATION = {"FrankenSplit": HYPERPRIOR, "CompressAI": replace(IMAGES, side_information=128)}
SECOND_STAGE = {"steps": 782, "objective": "tail_distillation", "optimiser": "adamw", "learning_rate": 3e-4}
CHANNELS = (1, 3, 6)  # of the latent, in channel reduction: each is one point of its curve


@torch.no_grad()
def fit_eight_bits(system: FrankenSplit, y: Tensor) -> None:
    """Give a system without entropy model 8 bits per value, and tables that count how often each value occurs.

    The step is a 255th of the range of ``y`` (N, C, h, w), latents of training photos; it goes into the encoder's last
    convolution and the decoder's first, so that rounding to integers is the 8-bit quantiser.
    """
    low, high = y.aminmax()
    step = (high - low) / 255
    last, first, prior = system.codec.encoder.blocks[-1], system.decoder.widen, system.codec.prior
    last.weight /= step
    last.bias /= step
    first.weight *= step
    symbols = (y / step).round().int().transpose(0, 1).flatten(1)
    offsets = symbols.amin(1)
    counts = [torch.bincount(channel - offset) for channel, offset in zip(symbols, offsets, strict=True)]
    entries = torch.tensor([len(count) for count in counts], dtype=torch.int32)
    pmf = torch.nn.utils.rnn.pad_sequence([(count + 1) / (count + 1).sum() for count in counts], batch_first=True)
    prior.medians.zero_()
    prior.frequencies, prior.lengths, prior.offsets = frequencies_of(pmf, entries), entries + 1, offsets


def _reduction(channels: int, seed: int = 0) -> CaltechRun:
    return short_run(
        f"channel reduction to {channels}, 8 bits per value, from seed {seed}",
        {"lmbda": 0.0, "quantiser": "none", "rate_warmup": 0.0, "seed": seed},
        codec=replace(REDUCTION, widths=(64, 64, channels)),
        finish=fit_eight_bits,
    )


def _with_tail(name: str, start: str, seed: int = 0) -> CaltechRun:
    train = SECOND_STAGE | {"seed": seed}
    return short_run(f"{name}, then decoder and tail fine-tuned", train, start=start, behind=True)


PRIOR = {
    "student": short_run("the Entropic Student's encoder by the base's recipe", codec=STUDENT),
    "direct": short_run("the answer alone: distillation at the logits, from scratch", {"objective": "tail_distillation"}),
    "patch-4": short_run("an 8 x 8 convolution and four residual blocks", codec=PATCHES[4]),
    "student-tail": _with_tail("the Entropic Student's encoder", "prior-student"),
    "base-tail": _with_tail("the base", "ablation-base"),
    **{f"reduction-{channels}": _reduction(channels) for channels in CHANNELS},
    **{f"reduction-{channels}-1": _reduction(channels, seed=1) for channels in CHANNELS},
    **{f"bottlefit-{channels}": _with_tail(f"channel reduction to {channels}", f"prior-reduction-{channels}")
       for channels in CHANNELS},
    "patch-4-tail": _with_tail("an 8 x 8 convolution and four residual blocks", "prior-patch-4"),
    "pixels": short_run("a learned image codec: the same encoder and decoder, for pixels", pixels=True),
    "hyperprior": short_run("side information: a scale and a mean for every symbol", codec=HYPERPRIOR),
    "pixels-hyperprior": short_run("the same encoder for pixels, with side information", codec=HYPERPRIOR, pixels=True),
    "compressai": short_run(
        "CompressAI's factorised prior at its smallest size, for pixels", codec=IMAGES, decoder=PIXELS, pixels=True
    ),
    "compressai-hyperprior": short_run(
        "CompressAI's mean-scale hyperprior at its smallest size, for pixels",
        codec=SIDE_INFORMATION["CompressAI"], decoder=PIXELS, pixels=True,
    ),
    "student-1": short_run("the Entropic Student's encoder once more, from another seed", {"seed": 1}, codec=STUDENT),
    "patch-4-1": short_run("the patches and blocks once more, from another seed", {"seed": 1}, codec=PATCHES[4]),
    "patch-0": short_run("an 8 x 8 convolution alone", codec=PATCHES[0]),
    "pixels-1": short_run("the learned image codec once more, from another seed", {"seed": 1}, pixels=True),
    "hyperprior-1": short_run("side information once more, from another seed", {"seed": 1}, codec=HYPERPRIOR),
    "pixels-hyperprior-1": short_run(
        "pixels with side information once more, from another seed", {"seed": 1}, codec=HYPERPRIOR, pixels=True
    ),
    "compressai-1": short_run(
        "CompressAI's factorised prior once more, from another seed", {"seed": 1},
        codec=IMAGES, decoder=PIXELS, pixels=True,
    ),
    "base-tail-1": _with_tail("the base from another seed", "ablation-base-1", seed=1),
    "bottlefit-3-1": _with_tail("channel reduction to 3 from another seed", "prior-reduction-3-1", seed=1),
    "student-own": short_run(
        "the Entropic Student by its own recipe: generalised head distillation, noise, Adam",
        {"objective": "generalised_head_distillation", "quantiser": "noise", "optimiser": "adamw",
         "learning_rate": 1e-3, "gains_rate": 3.0},
        codec=STUDENT,
    ),
}  # fmt: skip
PRIOR_RECIPES = recipes_of({f"prior-{name}": plan for name, plan in PRIOR.items()})
