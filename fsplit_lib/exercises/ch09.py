"""Exercises of chapter 09: a contrastive loss, a dynamic saliency weight, chance, cost and a control."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fsplit_lib.exercises.core import Exercise, Fault, choice, function, inputs, near, number, shaped
from fsplit_lib.objectives import info_nce
from fsplit_lib.training.dynamic import DynamicWeight

ALL = shaped(lambda edges, hertz: (len(edges) - 2, len(hertz)), "All triangles are {wanted}; yours is {got}.")
WEIGHTS = shaped(
    lambda *_: (2, 1, 5, 7), "Return one weight a place, {wanted} for features (2, 6, 5, 7); yours is {got}.", part=0
)
COSINES = "F.normalize(z, eps=0.01) @ F.normalize(z_hat, eps=0.01).T"  # of info_nce
BOTH = "F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)"
OTHERS = "m.masked_fill(torch.eye(len(z)) > 0, -torch.inf)"
NO_GRADIENT = "The features may come without a gradient. Make a copy first: h = h_hat.detach().requires_grad_()."
GRADIENT_LEFT = (
    "Your weight still carries a gradient, so training would change the map in order to lower the loss. "
    "Make the map from h_hat.detach(), and detach the finished weight."
)


def _vectors() -> list[tuple]:
    """Random vectors of different lengths, and orthogonal ones, for which there is a closed form."""
    rng = inputs(90)
    z = rng.normal(size=(5, 8)) * np.array([[0.5], [1.0], [2.0], [0.7], [3.0]])
    z_hat = (z + rng.normal(size=z.shape)) * rng.uniform(0.5, 3, (5, 1))
    pairs = [(z, z_hat, 0.3), (3 * np.eye(4, 6), 2 * np.eye(4, 6), 0.5)]
    return [(torch.tensor(a).float(), torch.tensor(b).float(), temperature) for a, b, temperature in pairs]


def _with_gradient(answer: Callable, z: Any, z_hat: Any, temperature: float) -> Any:
    """The loss, and its gradient with respect to z behind it, as one array."""
    z = z.clone().requires_grad_()
    loss = answer(z, z_hat, temperature)
    if not hasattr(loss, "detach"):
        return loss
    if loss.ndim or not loss.requires_grad:
        return loss.detach().numpy()
    loss.backward()
    return np.concatenate([[loss.item()], z.grad.numpy().ravel()])


def _loss_shape(result: Any, z: Any, *_: Any) -> str | None:
    found = np.asarray(result, dtype=float)
    if found.shape == (1 + z.numel(),):
        return None
    if found.ndim == 0 and result is not None:
        return "Your loss has no gradient. Compute it from the tensors, without .item(), .detach() or numpy."
    return f"Return one number, the mean over the batch, as a tensor; yours has the shape {found.shape}."


def _frames() -> list[tuple]:
    """A small frozen tail, decoded features of two pictures at six steps, and how often to refresh."""
    rng = inputs(91)
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            pooled = nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            tail = nn.Sequential(*pooled, nn.Linear(8, 4)).requires_grad_(False).eval()
            scale = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
            frames = [scale * torch.randn(2, 6, 5, 7) for _ in range(6)]
        maps = [DynamicWeight(tail, 1)(0, h) for h in frames]
        if all((one > 0.5).float().mean(dim=(1, 2, 3)).min() > 0.2 for one in maps):
            return [(tail, frames, every) for every in (2, 3)]


def _followed(answer: Callable, tail: Any, frames: list, every: int) -> Any:
    """The weights at all steps as one array, or that one carries a gradient, or that none is made of features without one."""
    made = answer(tail, every)
    found = [made(step, h.clone().requires_grad_() * 1.0) for step, h in enumerate(frames)]
    if any(getattr(one, "requires_grad", False) for one in found):
        return Fault(GRADIENT_LEFT)
    try:
        answer(tail, every)(0, frames[0].clone())
    except RuntimeError:
        return Fault(NO_GRADIENT)
    return np.stack([one.numpy() if hasattr(one, "numpy") else np.asarray(one, dtype=float) for one in found])


def _triangle_cases() -> list[tuple]:
    rng = inputs(9)
    edges = np.cumsum(rng.uniform(60, 500, 9))  # uneven, as on the mel scale
    return [(edges, np.linspace(0, edges[-1] + 200, 200))]


def triangles(edges: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """Weigh frequencies (F,) by the triangles between edges (n + 2,): (n, F), 1 at the centre of each.

    >>> triangles(np.array([0.0, 2.0, 4.0]), np.arange(5.0))
    array([[0. , 0.5, 1. , 0.5, 0. ]])
    """
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre)).clip(0)


EXERCISES: tuple[Exercise, ...] = (
    function("09.1", info_nce, _vectors, use=_with_gradient, form=_loss_shape, same=near(1e-4, 1e-5))(
        "Divide each row by its length. logits = z @ z_hat.T / temperature. The partner of row i is column i: take "
        "F.cross_entropy(logits, torch.arange(len(z))), the same for logits.T, and their mean.",
        "This loss compares no feature with a feature of the same place. It asks only that each picture of the batch can be told from the others.",
        (COSINES, "z @ z_hat.T"),
        "The vectors are not divided by their lengths: long ones would win whatever their direction.",
        (" / temperature ", " "),
        "The temperature is missing: divide the cosines by it before the softmax.",
        (" / temperature ", " * temperature "),
        "You multiplied by the temperature; divide the cosines by it.",
        (COSINES, "F.normalize(z, dim=0) @ F.normalize(z_hat, dim=0).T"),
        "You normalised over the batch; divide each row by its own length (dim=1).",
        (") / 2", ")"),
        "That is the sum of both directions; Eq. (2) takes their mean.",
        (") / 2", ") / 2 * len(z)"),
        "That is the sum over the batch; Eq. (2) takes the mean, or a larger batch would weigh more.",
        (BOTH, f"sum(({OTHERS}.logsumexp(1) - m.diagonal()).mean() for m in (logits, logits.T))"),
        "Your denominator leaves the partner out. The sum runs over all rows of the batch, the partner included.",
        ("F.cross_entropy(logits.T, partner)", "F.cross_entropy(logits, partner)"),
        "That asks each row of z for its partner. The other direction is missing: Eq. (2) is the mean of both.",
        ("F.cross_entropy(logits, partner)", "F.cross_entropy(logits.T, partner)"),
        "Your softmax runs over the rows of z alone. Eq. (2) is the mean of that and of the other direction.",
    ),
    function("09.2", DynamicWeight, _frames, use=_followed, form=WEIGHTS, same=near(1e-5, 1e-4), asked="class")(
        "At step % every == 0: h = h_hat.detach().requires_grad_(), torch.autograd.grad of the sum of each picture's "
        "largest logit, the mean over places for each channel, Eq. (4), stretch with amin and amax over dims 2 and 3, ((1 + s) / 2).detach().",
        "The map costs one more pass through the tail, forward and back, and only at every k-th step.",
        (" or step % self.every == 0", ""),
        "The weight of the first step stays for ever. Make new maps whenever step is a multiple of every.",
        ("step % self.every == 0", "True"),
        "You make new maps at every call; between two refreshes the old weight is to be returned.",
        ("end(dim=(2, 3), keepdim=True) for", "end(dim=(0, 2, 3), keepdim=True) for"),
        "The stretch took the largest value of the whole batch: each picture's map has its own 0 and 1.",
        ('saliency_weight(self.map(h_hat), "guided")', "self.map(h_hat)"),
        "That is the map itself. The weight is (1 + s) / 2, so that no place is ignored.",
        (".clamp_min(0)", ""),
        "max(0, ·) is missing: negative places of the map become 0 before the stretch.",
        ("slope.mean(dim=(2, 3), keepdim=True)", "slope"),
        "You weigh every place by its own gradient. The weight of a channel is the mean of its gradient over the places.",
        ("self.tail(h).amax", "self.tail(h).softmax(1).amax"),
        "You took the gradient of the largest probability. The score g is what the tail gives, before any softmax.",
        (".amax(dim=1).sum()", ".amax()"),
        "That is the largest score of the whole batch. Take the largest score of each picture, and their sum.",
        (".amax(dim=1).sum()", ".sum()"),
        "Backward went out from all scores together. Take each picture's largest one, its own first answer.",
        ("h_hat.detach().requires_grad_()", "h_hat", "h.detach()", "h"),
        GRADIENT_LEFT,
    ),
    function("09.3", triangles, _triangle_cases, same=near(1e-5, 1e-9), form=ALL)(
        "Two slopes of shape (n, F), by np.minimum the smaller of them, and .clip(0).",
        "Between two centres the two weights add up to 1: no energy is counted twice, and none is lost.",
        (".clip(0)", ""),
        "Outside its two ends a triangle is 0; yours goes on falling below it.",
        (".clip(0)", " >= 0"),
        "Those are boxes: every frequency between the ends counts fully. The weight has to rise and fall.",
        ("np.minimum", "np.maximum"),
        "You took the larger slope; the smaller of the two counts.",
        lambda e, hertz: (1 - 2 * np.abs(hertz - e[1:-1, None]) / (e[2:] - e[:-2])[:, None]).clip(0),
        "Left and right slopes differ, because the edges are not evenly spaced.",
        ("(right - hertz) / (right - centre)", "(2 * centre - left - hertz) / (centre - left)"),
        "Your right side falls as steeply as the left one rises. The ends lie at different distances from the centre.",
        (".clip(0)", ".clip(0) * 2 / (right - left)"),
        "Your triangles have equal areas, as some libraries have it. Here each is 1 at its centre.",
    ),
    number("09.4", math.log(64))(
        "If nothing tells the partner from the others, each of the 64 gets the same share of the softmax.",
        "ln 64 = 4.16 nats, whatever the temperature. The chapter calls this chance, ln B for B pictures.",
        (6.0, "That is in bits; InfoNCE counts nats, the natural logarithm."),
        (1 / 64, "That is the share of each; the loss is minus its logarithm."),
        (-math.log(64), "The sign: the logarithm of a share is negative, and the loss is minus that."),
        (2 * math.log(64), "The two directions are averaged, not added."),
    ),
    number("09.5", 4.0)(
        "Spread the refresh over its 16 steps first, then take its share of what a step costs with it.",
        "4 %: refreshed every 16 steps, a dynamic map costs next to nothing. Refreshed at every step it would take 40 %.",
        (40.0, "That is a refresh at every step; here it comes once in 16."),
        (100 * 1.25 / 30, "That is the share of the step without maps; asked is the share of the whole training."),
        (0.04, "In percent, please."),
        (200 / 3, "That is a refresh against a plain step; spread it over 16 steps, and count it in the whole."),
    ),
    choice("09.6", "b")(
        "You want to know what a map scores that has nothing to do with the photo, and is a map all the same.",
        "Objects stand in the middle of photos, so maps of any two photos agree a little. Only what lies above that comes from the packet.",
        a="A flat map has correlation 0 by definition. Maps of two unrelated photos do not, because objects stand in the middle.",
        c="That compares two ways of sending. Both could score well because all maps look alike.",
        d="The map after the finest packet is what is tested; it says nothing of what a wrong map would score.",
    ),
)
