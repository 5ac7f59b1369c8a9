"""``fsplit compress``, ``fsplit predict`` and ``fsplit evaluate``: the codec on your own photos."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compress", "evaluate", "predict"]

Weights = Annotated[str, typer.Option(help="Shipped codec, or the folder of your own.")]
DEFAULT = "photo-first"


def compress(
    photo: Annotated[Path, typer.Argument(help="Any photo that Pillow reads.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Packet file; the photo's name with .fsp by default.")
    ] = None,
    weights: Weights = DEFAULT,
) -> None:
    """Compress a photo's features to a packet of a few hundred bytes to a few kilobytes."""
    import torch

    from fsplit_lib.data import center_crop, open_image, to_array, write_atomically
    from fsplit_lib.system import load_codec

    crop = center_crop(open_image(photo), 224)
    codec = load_codec(weights)
    (packet,) = codec.compress(torch.from_numpy(to_array(crop)).unsqueeze(0))
    wire = packet.to_bytes()
    target = out or photo.with_suffix(".fsp")
    write_atomically(target, wire)
    bits = 8 * len(wire) / (packet.height * packet.width)
    typer.echo(
        f"{target}: {len(wire):,} bytes ({bits:.3f} bits per pixel of the {packet.height} x {packet.width} crop)"
    )


def predict(
    file: Annotated[Path, typer.Argument(help="A packet (.fsp) or a photo.")],
    weights: Weights = DEFAULT,
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many answers.")] = 5,
) -> None:
    """Say what is in a packet; of a photo, also what the backbone says without compression."""
    import torch

    from fsplit_lib.data import center_crop, open_image, to_array
    from fsplit_lib.errors import DataError
    from fsplit_lib.packet import MAGIC, Packet
    from fsplit_lib.system import load_system

    if not file.is_file():
        raise DataError(f"there is no file {file}")
    system = load_system(weights)
    data = file.read_bytes()
    if data[:2] == MAGIC or file.suffix == ".fsp":
        answers = {f"packet of {len(data):,} bytes": system.answer([Packet.from_bytes(data)])}
    else:
        x = torch.from_numpy(to_array(center_crop(open_image(file), system.backbone.input_size))).unsqueeze(0)
        packets = system.codec.compress(x)
        with torch.no_grad():
            answers = {"no compression": system.backbone(x)}
        answers[f"packet of {len(packets[0].to_bytes()):,} bytes"] = system.answer(packets)
    for title, logits in answers.items():
        typer.echo(title)
        shares, classes = logits.softmax(1)[0].topk(min(top, logits.shape[1]))
        for share, index in zip(shares.tolist(), classes.tolist(), strict=True):
            typer.echo(f"  {share:6.1%}  {system.backbone.class_names[index]}")


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="Photos: labelled by sub-folder or ImageNet file name, or not at all.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV table.")] = Path("build/photos.csv"),
    weights: Annotated[list[str] | None, typer.Option(help="Codecs; may be given more than once.")] = None,
    image_codecs: Annotated[bool, typer.Option(help="JPEG, WebP and AVIF as well.")] = True,
    name: Annotated[
        str | None, typer.Option(help="What the table calls the photos; the folder's name by default.")
    ] = None,
    card: Annotated[bool, typer.Option(help="Also write the scores into the codecs' cards.")] = False,
) -> None:
    """Bytes, kept decisions and top-1 of every codec on a folder of photos, with 95 % intervals."""
    from dataclasses import asdict

    from tqdm import tqdm

    from fsplit_lib.backbones import load_backbone
    from fsplit_lib.data import image_folder
    from fsplit_lib.evaluation import evaluate_photos, write_table
    from fsplit_lib.system import load_system
    from fsplit_lib.zoo import write_scores

    photos = image_folder(folder, name)
    backbone = load_backbone("tf_efficientnet_lite0")
    systems = {name: load_system(name, backbone) for name in weights or [DEFAULT]}
    qualities = {"JPEG": (1, 5, 10, 20, 40, 80), "WebP": (0, 5, 10, 25, 50, 80), "AVIF": (5, 12, 20, 30, 45, 65)}
    out.parent.mkdir(parents=True, exist_ok=True)  # an impossible one is told before the measuring
    bar = tqdm(total=len(photos), unit="photo", desc=photos.name)
    points = evaluate_photos(
        systems, backbone, photos, qualities if image_codecs else {}, lambda done, _: bar.update(done - bar.n)
    )
    bar.close()
    write_table(out, points)
    if card:
        for weights_name in systems:
            mine = [
                asdict(p)
                for p in points
                if (p.method, p.setting) in (("FrankenSplit", weights_name), ("teacher", "raw"))
            ]
            write_scores(weights_name, mine)
    for point in points:
        top1 = "" if point.top1 is None else f"  top-1 {point.top1:6.1%} [{point.top1_low:.1%}, {point.top1_high:.1%}]"
        typer.echo(
            f"{point.method:13} {point.setting:12} {point.bytes:9,.0f} B  kept {point.kept:6.1%} "
            f"[{point.kept_low:.1%}, {point.kept_high:.1%}]{top1}  n {point.n}"
        )
    typer.echo(f"{out}")
