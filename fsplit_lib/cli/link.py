"""``fsplit serve`` and ``fsplit send``: both ends of the link."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from fsplit_lib.baselines import LIVE, encode_image, encode_lossless
from fsplit_lib.cli.photos import DEFAULT, Backbone, Weights
from fsplit_lib.data import center_crop, open_image
from fsplit_lib.errors import DataError, ParameterError

_As = StrEnum("As", ["packet", "jpeg", "png", "webp", "avif"])
Token = Annotated[str | None, Option(envvar="FSPLIT_TOKEN", help="Bearer token; required on any address but loopback.")]


def serve(
    weights: Weights = DEFAULT,
    backbone: Backbone = None,
    host: Annotated[str, Option(help="IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Token = None,
    max_batch: Annotated[int, Option(min=2, help="Photos in one pass.")] = 16,
    batch_wait_ms: Annotated[float, Option(min=0, help="How long a photo waits for others.")] = 2.0,
    workers: Annotated[int, Option(min=1, help="Passes at the same time, a thread each.")] = 1,
    timeout: Annotated[float, Option(min=0.1, help="Seconds to receive a request, and again to answer it.")] = 20,
    stop_on_eof: Annotated[
        bool, Option("--stop-on-eof", help="Stop when standard input ends, with the program that holds it.")
    ] = False,
) -> None:
    """Answer packets, and photos for comparison, over HTTP."""
    from fsplit_lib.backbones import photo_backbone
    from fsplit_lib.offload import server
    from fsplit_lib.system import load_system

    settings = server.Settings(max_batch=max_batch, batch_wait_ms=batch_wait_ms, workers=workers, timeout_s=timeout)
    with server.listen(host, port, token) as listener:  # an impossible address is told before the weights are read
        system = load_system(weights, photo_backbone(backbone) if backbone else None)
        app = server.build_app(system, token, settings)
        shown, number = listener.getsockname()[:2]
        url = f"http://[{shown}]:{number}" if ":" in shown else f"http://{shown}:{number}"
        typer.echo(f"{weights}, codec {system.codec.codec_id.hex()}, for {system.backbone.name}: {url}")
        sys.stdout.flush()
        server.serve(app, listener, settings, sys.stdin.read if stop_on_eof else None)


def send(
    photo: Annotated[Path, Argument(help="A photo, or a packet (.fsp).")],
    url: Annotated[str, Option(help="Of the server.")] = "http://127.0.0.1:8000",
    weights: Weights = DEFAULT,
    lmbda: Annotated[float | None, Option(help="Rate weight of a packet: larger means fewer bytes.")] = None,
    as_: Annotated[_As, Option("--as", help="What to send: the packet, or the same crop as an image.")] = _As.packet,
    quality: Annotated[int, Option(min=1, max=100, help="Of jpeg, webp and avif.")] = 50,
    token: Token = None,
    timeout: Annotated[float, Option(min=0.1, help="Seconds until it is given up.")] = 10,
    top: Annotated[int, Option(min=1, max=1000, help="How many answers.")] = 5,
) -> None:
    """Encode a photo here, send it, and print the server's answer with its times."""
    from fsplit_lib.offload import Client

    if not photo.is_file():
        raise DataError(f"there is no file {photo}")
    packed = photo.suffix.lower() == ".fsp"
    if packed and as_ != "packet":
        raise ParameterError(f"{photo} is a packet, of which no {as_} can be made: leave out --as, or send the photo")
    if lmbda is not None and (as_ != "packet" or packed):
        raise ParameterError("--lmbda steers a packet that is made here: leave it out, or leave out --as")
    if packed:
        data, kind = photo.read_bytes(), "packet"
    elif as_ == "packet":
        from fsplit_lib.data.tensors import photo_tensor
        from fsplit_lib.system import load_codec

        x = photo_tensor(center_crop(open_image(photo), 224))
        data, kind = load_codec(weights).compress(x, lmbda)[0].to_bytes(), "packet"
    else:
        crop, names = center_crop(open_image(photo), 224), {codec.lower(): codec for codec in LIVE}
        data = encode_lossless(crop) if as_ == "png" else encode_image(crop, names[as_], quality)
        kind = "image"
    with Client(url, token, timeout) as client:
        reply = client.send(data, kind, top)
    typer.echo(
        f"{len(data):,} bytes sent, answered in {reply.total_ms:.0f} ms (at the server {reply.server_ms:.0f} ms: "
        f"decode {reply.decode_ms:.1f}, queue {reply.queue_ms:.1f}, tail {reply.tail_ms:.1f})"
    )
    for p, name in zip(reply.probs, reply.classes, strict=True):
        typer.echo(f"  {p:6.1%}  {name}")
