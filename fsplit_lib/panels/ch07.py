"""Panels of chapter 07: choose the server while the packet stays, and slide the decoder's depth over the table."""

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np

from fsplit_lib.evaluation.cross_backbone import Ablation
from fsplit_lib.panels.base import Choice, LogNumber, Number, Panel
from fsplit_lib.plots.ch07 import ablation_figure, move_ablation, name_of, servers

__all__ = ["ablation_panel", "server_panel"]

Shares = np.ndarray


def server_panel(
    pictures: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    pack: Callable[[int, float], bytes],
    answers: dict[str, Callable[[bytes], Shares]],
    whole: dict[str, Callable[[int], Shares]],
    lmbdas: tuple[float, float],
    lmbda: float,
) -> Panel:
    """One packet, and the answer of whichever server is chosen.

    Args:
        pictures: (N, H, W) uint8.
        labels: (N,) true classes.
        names: of the classes.
        pack: called with a picture's number and lambda; returns the packet's bytes.
        answers: by server; called with a packet's bytes.
        whole: by server; called with a picture's number, its network's answer without compression.
        lmbdas: ends of the codec's range.
        lmbda: first position.
    """
    options = {name_of(server): server for server in answers}
    first = next(iter(options))

    def update(picture: int, lmbda: float, server: str) -> str:
        data = pack(picture, lmbda)
        shares, plain = answers[options[server]](data), whole[options[server]](picture)
        image, *bars, wire = panel.figure.data
        image.z = np.repeat(pictures[picture][:, :, None], 3, axis=2)
        for bar, values in zip(bars, (shares, plain), strict=True):
            bar.y = 100 * values
        wire.z = [list(data)]
        kept = "kept" if shares.argmax() == plain.argmax() else "lost"
        says = f"{server} says {names[shares.argmax()]} ({shares.max():.0%})"
        panel.figure.layout.title.text = f"{server} reads {len(data)} bytes"
        return (
            f"Picture {picture}, {names[labels[picture]]}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:8]}. "
            f"{says}, without compression {names[plain.argmax()]} ({plain.max():.0%}): decision {kept}."
        )

    controls = {
        "picture": Number("picture", 0, len(pictures) - 1, 0, 1),
        "lmbda": LogNumber("lambda", math.log10(lmbdas[0]), math.log10(lmbdas[1]), lmbda),
        "server": Choice("server", tuple(options), first),
    }
    panel = Panel(controls, servers(names, pictures.shape[-1]), update)
    panel.refresh()
    return panel


def ablation_panel(ablation: Ablation, network: str) -> Panel:
    """Slide the number of restoration blocks over the measured table.

    Args:
        ablation: the table.
        network: first backbone.
    """
    networks = {name_of(one): one for one in ablation.networks}
    blocks, widths = (sorted(set(v)) for v in zip(*ablation.curves(network), strict=True))
    start = ablation.smallest(network)

    def update(network: str, restoration: int, width: str) -> str:
        return move_ablation(panel.figure, ablation, networks[network], restoration, int(width))

    controls = {
        "network": Choice("server", tuple(networks), name_of(network)),
        "restoration": Number("restoration blocks", blocks[0], blocks[-1], start[0], 1),
        "width": Choice("width", tuple(map(str, widths)), str(start[1])),
    }
    panel = Panel(controls, ablation_figure(ablation, network, *start), update)
    panel.refresh()
    return panel
