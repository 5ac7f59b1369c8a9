"""The recipe of chapter 03: three entropy models of one latent."""

from fsplit_lib import zoo
from fsplit_lib.data import caltech101
from fsplit_lib.errors import DataError
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import load_codec
from fsplit_lib.training.config import TrainConfig
from fsplit_lib.training.machine import machine
from fsplit_lib.training.side_information import WIDTH, train_entropy_models
from fsplit_lib.training.sources import FolderSource


def _side_information(run: RunContext) -> str:
    if run.data is None:
        raise DataError("this recipe trains on Caltech-101: give its folder with --data")
    config = TrainConfig(steps=5000, batch=8, learning_rate=2e-3, seed=0)
    folder, codec = caltech101(run.data).readable(thorough=False), load_codec("photo-first")
    models, log = train_entropy_models(codec, FolderSource(folder, crop=160), config, **run.options(config))
    card = zoo.Card(
        name=run.out.name,
        kind="entropy models",
        summary="Factorised prior, scale and mean-scale hyperprior, trained on the latents of photo-first's frozen encoder.",
        command="fsplit train side-information --data FOLDER_OF_CALTECH101",
        data=f"Caltech-101 without its background class, {len(folder):,} photos ({folder.licence})",
        training={
            **{key: getattr(config, key) for key in ("steps", "batch", "learning_rate", "seed")},
            "crops": config.steps * config.batch,
            "crop_pixels": 160,
            "minutes": round(log[-1].seconds / 60, 1),
        },
        architecture={"codec": "photo-first", "z_channels": WIDTH},
        limits=[
            "the encoder was trained with a factorised prior and did not learn to use side information",
            "one seed, a short training",
        ],
        machine=machine(),
    )
    zoo.write_model(run.out, card, {"models.safetensors": models.state_dict()})
    return f"{run.out}: bytes a crop " + ", ".join(f"{k} {v:.0f}" for k, v in log[-1].values.items() if k != "total")


ENTROPY_RECIPES = (Recipe("side-information", "three entropy models of one latent, for chapter 03", _side_information),)
