"""One frozen photo encoder, one more backbone at the server: only a decoder is trained, for any timm backbone.

    photo ──► codec of `photo` ──► the same packet ──► decoder for Lite0 ──► Lite0's tail
                                                  └──► decoder for Lite1 ──► Lite1's tail

The decoder begins as that of the backbone which the codec was trained with: its restoration blocks are kept, and
the last layer is fitted to the new backbone's features by least squares. Every phone keeps its encoder, every packet its bytes.
A codec that is itself to learn from other photos is trained on as in :mod:`fsplit_lib.recipes.caltech`:
``load_system``, ``train_system``, ``save_system``; it then needs a new encoder on every phone.
"""

import shlex
from functools import partial
from pathlib import Path

import torch

from fsplit_lib import zoo
from fsplit_lib.backbones import Backbone, photo_backbone
from fsplit_lib.data import ImageFolder, training_folder
from fsplit_lib.decoders import DecoderConfig
from fsplit_lib.errors import ParameterError, WeightsError
from fsplit_lib.recipes.caltech import record_of
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import FrankenSplit, add_decoder, attach_decoder, load_codec
from fsplit_lib.training import Batch, FolderSource, TrainConfig, batches, train_decoder
from fsplit_lib.training.machine import machine

DECODER_RUN = TrainConfig(
    steps=1200, batch=16, learning_rate=1e-3, seed=0, quantiser="straight_through", objective="head_and_tail",
    optimiser="muon", precision="auto",
)  # fmt: skip
CROP = 128  # pixels, except for a Swin, which is built for one size
FIRST = 128  # crops that the last layer begins with
KEPT = ("widen.", "restore.")  # parts of a decoder that no backbone's shape decides


def serve_from(weights: str | Path, backbone: Backbone, first: Batch, seed: int) -> FrankenSplit:
    """Load a stored codec with a decoder for another backbone that begins with the blocks of its own one.

    The last layer is fitted to the photos of ``first``; blocks of the backbone's family are drawn from ``seed``.
    """
    codec, architecture = load_codec(weights), zoo.read_card(weights).architecture
    native, anchors = architecture["backbone"], codec.config.anchors
    system = attach_decoder(codec, backbone, DecoderConfig(**architecture["decoders"][native]), seed)
    stored = zoo.read_weights(weights, f"decoder-{native}.safetensors")
    begun = system.decoder.state_dict() | {name: v for name, v in stored.items() if name.startswith(KEPT)}
    zoo.load_strictly(system.decoder, begun, f"decoder-{native}.safetensors")
    with torch.no_grad():
        lmbda = first.log_uniform(anchors[0], anchors[-1]) if anchors else None
        h, y_hat = backbone.head(first.x), system(first.x, lmbda=lmbda).y_hat
    system.decoder.fit_statistics(h)
    system.decoder.fit_projection(y_hat, h)
    return system


def train_decoder_for(
    run: RunContext, backbone: Backbone, folder: ImageFolder, command: str, config: TrainConfig = DECODER_RUN
) -> None:
    """Train a decoder behind a codec that stays as it is, and store it beside that codec.

    ``run.weights`` names the codec; ``run.out`` is its folder, or becomes a copy of it; the card says the ``command``.
    A killed run resumes from ``run.work``.

    Raises:
        WeightsError: before any training: ``out`` holds another codec, or the weights are not there.
    """
    weights = run.weights or "photo"
    crop = backbone.input_size if backbone.network.pretrained_cfg.get("fixed_input_size") else CROP
    source = FolderSource(folder, crop=crop)
    first = next(batches(source, min(FIRST, len(source)), 0, 1, config.seed))
    system = serve_from(weights, backbone, first, config.seed)
    codec_id = system.codec.codec_id
    fresh = not (run.out / "card.json").is_file()
    if not fresh and (theirs := load_codec(run.out).codec_id) != codec_id:
        raise WeightsError(
            f"{run.out} holds codec {theirs.hex()}, and {weights} is codec {codec_id.hex()}: name another --out"
        )
    checkpoint = run.work / f"{run.out.name}-{backbone.name}-{codec_id.hex()}.ckpt"
    options = run.options(config) | {"checkpoint": checkpoint, "checkpoint_every": 100}
    log = train_decoder(system, source, config, **options)
    if fresh:
        zoo.copy_model(weights, run.out)
    native = backbone.network.pretrained_cfg["input_size"][-1]
    licence = f" ({folder.licence})" if folder.licence else ""
    record = {
        "command": command,
        "data": f"{folder.name}, {len(folder):,} photos{licence}",
        **record_of(config, system, crop, log),
        "codec_id": codec_id.hex(),
        "limits": f"one seed, no labels; answers crops of {backbone.input_size} pixels, its weights are made for {native}",
        "machine": machine(),
    }
    add_decoder(run.out, system, record)


def _recipe(name: str, given: str | None, run: RunContext) -> str:
    photos, given = run.folder_of("photos"), given or run.backbone
    if given is None:
        raise ParameterError("for which backbone? Give timm's name with --backbone, such as resnet50.a1_in1k")
    folder, backbone = training_folder(photos).readable(thorough=False), photo_backbone(given)
    chosen = {"--backbone": run.backbone, "--weights": run.weights}
    command = ["fsplit", "train", name, "--data", "FOLDER", *(w for pair in chosen.items() if pair[1] for w in pair)]
    train_decoder_for(run, backbone, folder, shlex.join(command))
    record = zoo.read_card(run.out).training["decoders"][backbone.name]
    return f"{run.out}: a decoder for {backbone.name}, distortion {record['final_distortion']:.3f}"


DECODER_RECIPES = (
    *(
        Recipe(f"photo-{short}", f"a decoder for {short.title()} behind the codec of photo, on Caltech-101",
               partial(_recipe, f"photo-{short}", f"tf_efficientnet_{short}"))
        for short in ("lite1", "lite2")
    ),
    Recipe("photo-decoder", "a decoder for --backbone behind the codec of --weights, on any photos",
           partial(_recipe, "photo-decoder", None), choosable=True),
)  # fmt: skip
