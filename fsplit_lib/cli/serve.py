"""``fsplit serve``: the server's end of the link."""

from typing import Annotated

import typer

from fsplit_lib.cli.photos import DEFAULT, Backbone, Weights

Token = Annotated[
    str | None, typer.Option(envvar="FSPLIT_TOKEN", help="Bearer token; required on any address but loopback.")
]


def serve(
    weights: Weights = DEFAULT,
    backbone: Backbone = None,
    host: Annotated[str, typer.Option(help="IP address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Token = None,
    max_batch: Annotated[int, typer.Option(min=2, help="Photos in one pass.")] = 16,
    batch_wait_ms: Annotated[float, typer.Option(min=0, help="How long a photo waits for others.")] = 2.0,
    workers: Annotated[int, typer.Option(min=1, help="Passes at the same time, a thread each.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to receive a request, and again to answer it.")] = 20,
    stop_on_eof: Annotated[
        bool, typer.Option("--stop-on-eof", help="Stop when standard input ends, with the program that holds it.")
    ] = False,
) -> None:
    """Answer packets, and photos for comparison, over HTTP."""
    import sys

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
