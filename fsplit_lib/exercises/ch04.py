"""Exercises of chapter 04: what a map tells, Grad-CAM with its hooks, the weight and its control, Swin's axes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from fsplit_lib.exercises.core import Exercise, Fault, choice, function, inputs, near, number, plain, shaped
from fsplit_lib.objectives import saliency_weight

HOOKS_LEFT = "A hook is still on the layer: it would fire in every later pass. Remove its handle when you are done."


def _map_of(c: int, h: int, w: int) -> Callable[..., str | None]:
    told = f"The map of features {c, h, w} is {{wanted}}, one number a place; yours is {{got}}."
    return shaped(lambda *_: (h, w), told)


def _stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) + 1e-12)


def _cam(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Compute Eq. (1) of activations and gradients (C, h, w)."""
    return (g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0)


def _cases() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = inputs(4)
    a, g = rng.random((5, 6, 7)), rng.normal(size=(5, 6, 7))
    while not _cam(a, g).min() < 0 < _cam(a, g).max():  # else the map is empty, or max(0, ·) changes nothing
        g = rng.normal(size=g.shape)
    return [(a, g), (a, np.abs(g))]  # the second map is above 0 everywhere


def _network_cases() -> list[tuple]:
    """Draw a small frozen network, one of its layers with features (6, 9, 7), a picture, and two of its four classes."""
    rng = inputs(46)
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            first = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Tanh())
            last = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            network = nn.Sequential(first, last, nn.Linear(8, 4)).requires_grad_(False).eval()
            x = torch.rand(1, 3, 18, 14)
        cases = [(network, first, x, target) for target in (0, 3)]
        if all(0.2 < (_by_hooks(*case) > 0).mean() < 0.8 for case in cases):
            return cases


def _by_hooks(network: nn.Module, layer: nn.Module, x: Tensor, target: int) -> np.ndarray:
    """Compute the map of Grad-CAM by hand, at the size of the layer's features."""
    found = {}

    def keep(_: Any, __: Any, h: Tensor) -> None:
        found["a"] = h.detach()[0].numpy()
        h.register_hook(lambda g: found.update(g=g[0].numpy()))

    handle = layer.register_forward_hook(keep)
    network(x.clone().requires_grad_())[0, target].backward()
    handle.remove()
    return _stretched(np.maximum(_cam(found["a"], found["g"]), 0))


def _by_library(network: nn.Module, layer: nn.Module, x: Tensor, target: int) -> np.ndarray:
    """Compute the map of pytorch-grad-cam before it is enlarged to the picture's size."""
    with GradCAM(network, [layer]) as cam:
        cam(x.requires_grad_(), [ClassifierOutputTarget(target)])
        found = cam.activations_and_grads
        a, g = (part[0].numpy() for part in (found.activations, found.gradients))
        return _stretched(np.maximum(cam.get_cam_image(x, layer, [], a, g)[0], 0))


def _hooked(answer: Callable, network: nn.Module, layer: nn.Module, x: Tensor, target: int) -> Any:
    """Return what an answer makes of a case, or that a hook is left."""
    found = plain(answer(network, layer, x, target))
    if layer._forward_hooks or layer._backward_hooks:
        return Fault(HOOKS_LEFT)
    return Fault("Your function returned None. If it calls `my_map`, finish 04.1 first.") if found is None else found


def _weight_cases() -> list[tuple]:
    s = torch.from_numpy(inputs(47).random((2, 1, 4, 5)) * np.array([0.5, 1.0]).reshape(2, 1, 1, 1)).float()
    return [(s, "guided"), (s, "constant")]


def _weight_form(result: Any, s: Tensor, guidance: str) -> str | None:
    if not isinstance(result, Tensor):
        return "Return a torch tensor."
    told = f"Return a weight for each place, {{wanted}} for such a map; for {guidance!r} yours is {{got}}."
    return shaped(lambda: s.shape, told)(result)


EXERCISES: tuple[Exercise, ...] = (
    function(
        "04.1", lambda a, g: _stretched(np.maximum(_cam(a, g), 0)), _cases, same=near(1e-5, 1e-5), form=_map_of(5, 6, 7)
    )(
        "Mean of the gradient over both axes of places, one number a channel; weighted sum of channels; max; stretch.",
        "These are four lines of numpy. The next build fetches the activations and gradients.",
        lambda a, g: _stretched(_cam(a, g)),
        "The max(0, ·) is missing: places that speak against the class would count as dark grey, not as 0.",
        lambda a, g: np.maximum(_cam(a, g), 0),
        "Not stretched yet: the largest place should have 1.",
        lambda a, g: _stretched(np.abs(_cam(a, g))),
        "You took the absolute value; Eq. (2) sets negative sums to 0.",
        lambda a, g: _stretched(np.maximum((g * a).sum(axis=0), 0)),
        "That multiplies place by place before the sum, which is HiResCAM; Eq. (1) first takes the mean.",
        lambda a, g: _stretched(np.maximum(_cam(a, np.abs(g)), 0)),
        "Absolute gradients count channels that speak against the class as if they spoke for it; keep the sign.",
        lambda a, g: _stretched(np.maximum(_cam(g, a), 0)),
        "Those weights are means of the activations; Eq. (1) takes the mean of the gradient.",
        lambda a, g: np.maximum(_cam(a, g), 0) / _cam(a, g).max(),
        "Divided by the maximum alone: Eq. (2) subtracts the minimum first, so that the smallest place has 0.",
        lambda a, g: _stretched(np.maximum(_cam(a, a / a.mean(axis=(1, 2), keepdims=True) * g), 0)),
        "Those are the weights of XGradCAM, the right form of Eq. (1); asked is the left one.",
        lambda a, g: _stretched(np.maximum(g.mean(axis=(1, 2), keepdims=True) * a, 0).sum(axis=0)),
        "The max(0, ·) came before the sum over channels; in Eq. (2) it comes after it.",
    ),
    function(
        "04.2", _by_library, _network_cases, base=_by_hooks, use=_hooked, same=near(1e-5, 1e-4), form=_map_of(6, 9, 7)
    )(
        "layer.register_forward_hook(f) calls f(module, inputs, h) with the layer's features. In f, keep h.detach() and call "
        "h.register_hook(k): the backward pass calls k with the gradient. Then network(x)[0, target].backward(), and remove the handle.",
        "It agrees with pytorch-grad-cam on a network, a layer and classes that you did not choose.",
        ("[0, target]", ".max()"),
        "That explains the network's own first answer; the map was asked for the class `target`.",
        ("[0, target]", ".sum()"),
        "`backward()` was called on all scores together; only that of the class `target` is asked for.",
        ("[0, target]", ".softmax(1)[0, target]"),
        "That is the gradient of a probability, which depends on all the other scores too. Eq. (1) takes the score.",
        ('found["g"]), 0)', 'found["g"]), -np.inf)'),
        "The max(0, ·) of Eq. (2) is missing: what speaks against the class has to be cut off before the stretch.",
        ("handle.remove()", "pass"),
        HOOKS_LEFT,
    ),
    function("04.3", saliency_weight, _weight_cases, same=near(1e-5, 1e-6), form=_weight_form)(
        "Guided: (1 + s) / 2. Constant: the mean of that over the last two axes, one number a photo, at all of its places.",
        "Both variants give a photo the same mean weight, and only the guided one tells its places apart.",
        ("weight.mean(dim=(2, 3), keepdim=True)", "weight.mean()"),
        "The control took one mean over all photos. Each photo keeps its own, as it does in guided training.",
        ("weight.mean(dim", "saliency.mean(dim"),
        "The control is the mean of s; it should be the mean of the weight, (1 + s) / 2.",
        ("weight.mean(dim=(2, 3), keepdim=True)", "(0 * weight + 1)"),
        "A control of weight 1 is the unguided run. The control has the mean weight of the photo's map.",
        ('guidance == "constant"', "False"),
        "For 'constant' your weights still vary from place to place.",
        ("(1 + saliency) / 2", "saliency"),
        "With s itself, a place where s is 0 is ignored entirely. The weight of Eq. (4) stays between ½ and 1.",
        ("(1 + saliency) / 2", "1 + saliency"),
        "The ½ of Eq. (4) is missing: the weight lies between ½ and 1.",
    ),
    choice("04.4", "b")(
        "Eq. (1) weighs a channel by a gradient. What does a gradient of the score tell?",
        "A place is redundant for the answer where changing its features would not move the score.",
        a="That is the edge detector. It asks no network, and the smooth places that it spares may matter.",
        c="Bits tell how hard a place is to predict, not whether the answer needs it. Guidance uses this difference.",
        d="Nobody showed the network an outline. If its answer rests on the background, the map has to say so.",
    ),
    number("04.5", 2 / 1.25)(
        "Eq. (4) gives the mean weight, and Eq. (6) divides lambda by it.",
        "1.6: at this mean every comparison at equal lambda is one between lambda and 1.6 lambda.",
        (0.625, "That is the mean weight; lambda is divided by it."),
        (1.25, "That is 1 + s; the weight is half of it, and lambda is divided by the weight."),
        (0.8, "That is 1 / (1 + s); the ½ of Eq. (4) is missing."),
        (4.0, "That divides lambda by s itself; the weight is (1 + s) / 2."),
        (0.375, "The factor is above 1: a lighter distortion makes bits count for more."),
    ),
    choice("04.6", "c")(
        "You want two losses with the same mean weight of the errors, which differ in the places alone.",
        "The constant map has the same mean weight and treats all places alike. What the guided run gains over it comes from the places.",
        a="Another seed tells how far runs scatter; both runs still differ in how much *and* where.",
        b="The unguided run is what one compares with; its distortion weighs more everywhere.",
        d="A smaller lambda for the guided run helps only if you know how much smaller it has to be, which is the question.",
    ),
    number("04.7", 14)(
        "The mean runs over axes 2 and 3. Which sizes are left of (1, 14, 20, 384)?",
        "14 weights, one a row of the photo. The sum over 'channels' then runs over rows, and channels pose as columns.",
        (384, "That is one a channel, what the reshape would give; without it the channels are averaged away."),
        (280, "That is one a place; the mean runs over two axes, one of them a side of the photo."),
        (7680, "20 × 384 numbers go into each mean; asked is how many means there are."),
        (20, "Those are the columns: the mean runs over columns and channels, and rows are left."),
        (1, "That would be the mean over all three axes; the first of the two sides is left."),
    ),
)
