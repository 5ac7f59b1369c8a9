"""Exercises of chapter 04: what a map tells, Grad-CAM with its hooks, the weight and its control, Swin's axes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fsplit_lib.exercises.core import Exercise, Trap, inputs

__all__ = ["EXERCISES"]


def _stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (np.ptp(values) + 1e-12)


def _cam(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    return (g.mean(axis=(1, 2))[:, None, None] * a).sum(axis=0)


def _cases() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = inputs(4)
    a, g = rng.random((5, 6, 7)), rng.normal(size=(5, 6, 7))
    while not _cam(a, g).min() < 0 < _cam(a, g).max():  # else the map is empty, or max(0, ·) changes nothing
        g = rng.normal(size=g.shape)
    return [(a, g)]


def _shape(result: Any, a: np.ndarray, g: np.ndarray) -> str | None:
    shape = np.asarray(result, dtype=float).shape
    if shape == a.shape[1:]:
        return None
    return f"The map of features {a.shape} is {g.shape[1:]}, one number a place; yours is {shape}."


HOOKS_LEFT = "A hook is still on the layer: it would fire in every later pass. Remove its handle when you are done."


def _network_cases() -> list[tuple]:
    """A small frozen network, one of its layers with features (6, 9, 7), a picture, and two of its four classes."""
    import torch
    from torch import nn

    rng = inputs(46)
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            first = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Tanh())
            last = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            network = nn.Sequential(first, last, nn.Linear(8, 4)).requires_grad_(False).eval()
            x = torch.rand(1, 3, 18, 14)
        cases = [(network, first, x, target) for target in (0, 3)]
        if all(0.2 < (_hooked(_two_hooks, *case) > 0).mean() < 0.8 for case in cases):
            return cases


def _two_hooks(
    network: Any,
    layer: Any,
    x: Any,
    target: int,
    score: Callable = lambda z, c: z[0, c],
    cut: float = 0.0,
    remove: bool = True,
) -> np.ndarray:
    """Grad-CAM by hand; ``score``, ``cut`` and ``remove`` are what the typical mistakes change."""
    found = {}

    def keep(module: Any, args: Any, h: Any) -> None:  # noqa: ARG001
        found["a"] = h.detach()[0].numpy()
        h.register_hook(lambda g: found.update(g=g[0].numpy()))

    handle = layer.register_forward_hook(keep)
    score(network(x.clone().requires_grad_()), target).backward()
    if remove:
        handle.remove()
    return _stretched(np.maximum(_cam(found["a"], found["g"]), cut))


def _by_library(network: Any, layer: Any, x: Any, target: int) -> np.ndarray:
    """The map of pytorch-grad-cam before it is enlarged to the picture's size."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(network, [layer]) as cam:
        cam(x.requires_grad_(), [ClassifierOutputTarget(target)])
        a, g = (
            part[0].numpy() for part in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        return _stretched(np.maximum(cam.get_cam_image(x, layer, [], a, g)[0], 0))


def _hooked(answer: Callable, network: Any, layer: Any, x: Any, target: int) -> Any:
    """What an answer returns for a case, as an array if it is a tensor; or that a hook is left."""
    found = answer(network, layer, x, target)
    left = layer._forward_hooks or layer._backward_hooks
    return HOOKS_LEFT if left else found.detach().numpy() if hasattr(found, "detach") else found


def _weight_cases() -> list[tuple]:
    import torch

    s = torch.from_numpy(inputs(47).random((2, 1, 4, 5)) * np.array([0.5, 1.0]).reshape(2, 1, 1, 1)).float()
    return [(s, "guided"), (s, "constant")]


def _weight_by_library(s: Any, guidance: str) -> Any:
    from fsplit_lib.objectives import saliency_weight

    return saliency_weight(s, guidance)


def _weights_shape(result: Any, s: Any, guidance: str) -> str | None:
    shape = np.asarray(result, dtype=float).shape
    if shape == s.shape:
        return None
    return f"Return a weight for each place, {tuple(s.shape)} for such a map; for {guidance!r} yours is {shape}."


def _weight(guided: Callable, constant: Callable) -> Callable:
    """A weight function made of one for each guidance; the constant one is spread over all places."""
    return lambda s, guidance: guided(s) if guidance == "guided" else constant(s) + 0 * s


def _plain(answer: Callable, s: Any, guidance: str) -> Any:
    found = answer(s, guidance)
    return found.detach().numpy() if hasattr(found, "detach") else found


def _half(s: Any) -> Any:
    return (1 + s) / 2


def _even(s: Any) -> Any:
    return _half(s).mean(dim=(2, 3), keepdim=True)


EXERCISES: tuple[Exercise, ...] = (
    Exercise.choice(
        "04.1",
        expected="b",
        options={
            "a": "That is the edge detector. It asks no network, and the smooth places that it spares may matter.",
            "c": "Bits tell how hard a place is to predict, not whether the answer needs it. Guidance lives on the gap.",
            "d": "Nobody showed the network an outline. If its answer rests on the background, the map has to say so.",
        },
        hint="Eq. (1) weighs a channel by a gradient. What does a gradient of the score tell?",
        why="A place is redundant for the answer where changing its features would not move the score.",
    ),
    Exercise.function(
        "04.2",
        right=lambda a, g: _stretched(np.maximum(_cam(a, g), 0)),
        cases=_cases,
        hint="Mean of the gradient over both axes of places, one number a channel; weighted sum of channels; max; stretch.",
        why="Four lines of numpy. Everything else in a CAM library is hooks that fetch activations and gradients.",
        traps=(
            Trap(
                lambda a, g: _stretched(_cam(a, g)),
                "The max(0, ·) is missing: places that speak against the class would count as dark grey, not as 0.",
            ),
            Trap(lambda a, g: np.maximum(_cam(a, g), 0), "Not stretched yet: the largest place should have 1."),
            Trap(
                lambda a, g: _stretched(np.maximum((g * a).sum(axis=0), 0)),
                "That multiplies place by place before the sum, which is HiResCAM; Eq. (1) first takes the mean.",
            ),
            Trap(
                lambda a, g: _stretched(np.maximum(_cam(a, np.abs(g)), 0)),
                "Absolute gradients count against-votes as votes; keep the sign until the sum is made.",
            ),
            Trap(
                lambda a, g: _stretched(np.maximum(_cam(g, a), 0)),
                "Those weights are means of the activations; Eq. (1) takes the mean of the gradient.",
            ),
        ),
        same=lambda got, expected: np.allclose(got, expected, atol=1e-5),
        form=_shape,
    ),
    Exercise.number(
        "04.3",
        expected=2 / 1.25,
        hint="Eq. (4) gives the mean weight, and Eq. (6) divides lambda by it.",
        why="1.6: at this mean every comparison at equal lambda is one between lambda and 1.6 lambda.",
        traps=(
            Trap(0.625, "That is the mean weight; lambda is divided by it."),
            Trap(1.25, "That is 1 + s; the weight is half of it, and lambda is divided by the weight."),
            Trap(0.8, "That is 1 / (1 + s); the ½ of Eq. (4) is missing."),
            Trap(4.0, "That divides lambda by s itself; the weight is (1 + s) / 2."),
            Trap(0.375, "The factor is above 1: a lighter distortion makes bits count for more."),
        ),
    ),
    Exercise.choice(
        "04.4",
        expected="c",
        options={
            "a": "Another seed tells how far runs scatter; both arms still differ in how much *and* where.",
            "b": "The unguided run is what one compares with; its distortion weighs more everywhere.",
            "d": "A smaller lambda for the guided run is a remedy only if you know how much smaller: that is the question.",
        },
        hint="You want two losses that charge the same for distortion on average, and differ in the places alone.",
        why="The constant map pays the same and knows no place. What the guided run gains over it comes from where.",
    ),
    Exercise.number(
        "04.5",
        expected=14,
        hint="The mean runs over axes 2 and 3. Which sizes are left of (1, 14, 20, 384)?",
        why="14 weights, one a row of the photo. The sum over 'channels' then runs over rows, and channels pose as columns.",
        traps=(
            Trap(384, "That is one a channel, what the reshape would give; without it the channels are averaged away."),
            Trap(280, "That is one a place; the mean runs over two axes, one of them a side of the photo."),
            Trap(7680, "20 × 384 numbers go into each mean; asked is how many means there are."),
            Trap(20, "Those are the columns: the mean runs over columns and channels, and rows are left."),
            Trap(1, "That would be the mean over all three axes; the first of the two sides is left."),
        ),
    ),
    Exercise.function(
        "04.6",
        right=_by_library,
        cases=_network_cases,
        use=_hooked,
        hint="layer.register_forward_hook(f) calls f(module, inputs, h) with the layer's features. In f, keep h.detach() and call "
        "h.register_hook(k): the backward pass calls k with the gradient. Then network(x)[0, target].backward(), and remove the handle.",
        why="It agrees with pytorch-grad-cam on a network, layers and classes that you did not choose: the rest of that library is convenience.",
        traps=(
            Trap(
                partial(_two_hooks, score=lambda z, _: z.max()),
                "That explains the network's own first answer; the map was asked for the class `target`.",
            ),
            Trap(
                partial(_two_hooks, score=lambda z, _: z.sum()),
                "Backward went out from all scores together; only that of the class `target` is asked.",
            ),
            Trap(
                partial(_two_hooks, score=lambda z, c: z.softmax(1)[0, c]),
                "That is the gradient of a probability, which all the other scores have a part in. Eq. (1) takes the score.",
            ),
            Trap(
                partial(_two_hooks, cut=-np.inf),
                "The max(0, ·) of Eq. (2) is missing: what speaks against the class has to be cut off before the stretch.",
            ),
            Trap(partial(_two_hooks, remove=False), HOOKS_LEFT),
        ),
        same=lambda got, expected: not isinstance(expected, str) and np.allclose(got, expected, atol=1e-4),
        form=lambda found, *_: (
            found if found is HOOKS_LEFT else _shape(found, np.empty((6, 9, 7)), np.empty((6, 9, 7)))
        ),
    ),
    Exercise.function(
        "04.7",
        right=_weight_by_library,
        cases=_weight_cases,
        use=_plain,
        hint="Guided: (1 + s) / 2. Constant: the mean of that over the last two axes, one number a photo, at all of its places.",
        why="Both arms charge each photo the same for its errors on average, and only one of them knows a place.",
        traps=(
            Trap(
                _weight(_half, lambda s: _half(s).mean()),
                "The control took one mean over all photos. Each photo keeps its own, else photos would be charged differently.",
            ),
            Trap(
                _weight(_half, lambda s: s.mean(dim=(2, 3), keepdim=True)),
                "The control is the mean of s; it should be the mean of the weight, (1 + s) / 2.",
            ),
            Trap(
                _weight(_half, lambda _: 1.0),
                "A control of weight 1 is the unguided run. It has to charge as little as the map does: its mean weight.",
            ),
            Trap(
                _weight(lambda s: s, lambda s: s.mean(dim=(2, 3), keepdim=True)),
                "With s itself, a place where s is 0 is ignored entirely. The weight of Eq. (4) stays between ½ and 1.",
            ),
            Trap(
                _weight(lambda s: 1 + s, lambda s: 2 * _even(s)),
                "The ½ of Eq. (4) is missing: the weight lies between ½ and 1.",
            ),
        ),
        same=lambda got, expected: np.allclose(got, expected, atol=1e-6),
        form=_weights_shape,
    ),
)
