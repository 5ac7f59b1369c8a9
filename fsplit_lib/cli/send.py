"""``fsplit send``: the device's end of the link."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fsplit_lib.cli.photos import DEFAULT, Weights
from fsplit_lib.cli.serve import Token


class As(StrEnum):
    """What travels."""

    packet = "packet"
    jpeg = "jpeg"
    png = "png"
    webp = "webp"
    avif = "avif"


def send(
    photo: Annotated[Path, typer.Argument(help="A photo, or a packet (.fsp).")],
    url: Annotated[str, typer.Option(help="Of the server.")] = "http://127.0.0.1:8000",
    weights: Weights = DEFAULT,
    lmbda: Annotated[float | None, typer.Option(help="Rate weight of a packet: larger means fewer bytes.")] = None,
    as_: Annotated[
        As, typer.Option("--as", help="What to send: the packet, or the same crop as an image.")
    ] = As.packet,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of jpeg, webp and avif.")] = 50,
    token: Token = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until it is given up.")] = 10,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers.")] = 5,
) -> None:
    """Encode a photo here, send it, and print the server's answer with its times."""
    from fsplit_lib.data import center_crop, open_image
    from fsplit_lib.errors import DataError, ParameterError
    from fsplit_lib.offload import Client

    if not photo.is_file():
        raise DataError(f"there is no file {photo}")
    packed = photo.suffix.lower() == ".fsp"
    if packed and as_ is not As.packet:
        raise ParameterError(
            f"{photo} is a packet, of which no {as_.value} can be made: leave out --as, or send the photo"
        )
    if lmbda is not None and (as_ is not As.packet or packed):
        raise ParameterError("--lmbda steers a packet that is made here: leave it out, or leave out --as")
    if packed:
        data, kind = photo.read_bytes(), "packet"
    elif as_ is As.packet:
        from fsplit_lib.data.tensors import photo_tensor
        from fsplit_lib.system import load_codec

        x = photo_tensor(center_crop(open_image(photo), 224))
        data, kind = load_codec(weights).compress(x, lmbda)[0].to_bytes(), "packet"
    else:
        from fsplit_lib.baselines import encode_image, encode_lossless

        crop = center_crop(open_image(photo), 224)
        names = {As.jpeg: "JPEG", As.webp: "WebP", As.avif: "AVIF"}
        data = encode_lossless(crop) if as_ is As.png else encode_image(crop, names[as_], quality)
        kind = "image"
    with Client(url, token, timeout) as client:
        reply = client.send(data, kind, top)
    typer.echo(
        f"{len(data):,} bytes sent, answered in {reply.total_ms:.0f} ms (at the server {reply.server_ms:.0f} ms: "
        f"decode {reply.decode_ms:.1f}, queue {reply.queue_ms:.1f}, tail {reply.tail_ms:.1f})"
    )
    for p, name in zip(reply.probs, reply.classes, strict=True):
        typer.echo(f"  {p:6.1%}  {name}")
