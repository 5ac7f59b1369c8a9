"""``fsplit compress`` and ``fsplit predict``: the codec on your own photos."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from fsplit_lib.data import center_crop, open_image, write_atomically
from fsplit_lib.errors import DataError, ParameterError

Weights = Annotated[str, Option(help="Shipped codec, or the folder of your own.")]
Backbone = Annotated[
    str | None,
    Option(help="Network that answers: a timm name, or NAME=FILE of its weights; the codec's own by default."),
]
DEFAULT = "photo"


def compress(
    photo: Annotated[Path, Argument(help="Any photo that Pillow reads.")],
    out: Annotated[
        Path | None, Option("--out", "-o", help="Packet file; the photo's name with .fsp by default.")
    ] = None,
    weights: Weights = DEFAULT,
    lmbda: Annotated[
        float | None, Option(help="Rate weight for a codec of continuous rate: larger means fewer bytes.")
    ] = None,
) -> None:
    """Compress a photo's features to a packet of a few hundred bytes to a few kilobytes."""
    from fsplit_lib.data.tensors import photo_tensor
    from fsplit_lib.system import load_codec

    crop = center_crop(open_image(photo), 224)
    target = out or photo.with_suffix(".fsp")
    if target.exists() and target.samefile(photo):
        raise ParameterError(f"the packet would take the place of the photo {photo}: give another file with --out")
    codec = load_codec(weights)
    (packet,) = codec.compress(photo_tensor(crop), lmbda)
    wire = packet.to_bytes()
    write_atomically(target, wire)
    bits = 8 * len(wire) / (packet.height * packet.width)
    typer.echo(
        f"{target}: {len(wire):,} bytes ({bits:.3f} bits per pixel of the {packet.height} x {packet.width} crop)"
    )


def predict(
    file: Annotated[Path, Argument(help="A packet (.fsp) or a photo.")],
    weights: Weights = DEFAULT,
    backbone: Backbone = None,
    top: Annotated[int, Option(min=1, max=1000, help="How many answers.")] = 5,
) -> None:
    """Say what is in a packet; of a photo, also what the backbone says without compression."""
    import torch

    from fsplit_lib.backbones import photo_backbone
    from fsplit_lib.data.tensors import photo_tensor
    from fsplit_lib.packet import MAGIC, Packet
    from fsplit_lib.system import load_system

    if not file.is_file():
        raise DataError(f"there is no file {file}")
    system = load_system(weights, photo_backbone(backbone) if backbone else None)
    data = file.read_bytes()
    if data[:2] == MAGIC or file.suffix.lower() == ".fsp":
        answers = {f"packet of {len(data):,} bytes": system.answer([Packet.from_bytes(data)])}
    else:
        x = photo_tensor(center_crop(open_image(file), system.backbone.input_size))
        packets = system.codec.compress(x)
        with torch.no_grad():
            answers = {"no compression": system.backbone(x)}
        answers[f"packet of {len(packets[0].to_bytes()):,} bytes"] = system.answer(packets)
    for title, logits in answers.items():
        typer.echo(title)
        probs, classes = logits.softmax(1)[0].topk(min(top, logits.shape[1]))
        for p, index in zip(probs.tolist(), classes.tolist(), strict=True):
            typer.echo(f"  {p:6.1%}  {system.backbone.class_names[index]}")
