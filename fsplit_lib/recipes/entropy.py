"""The recipe of chapter 03: three entropy models of one latent."""

from fsplit_lib import zoo
from fsplit_lib.recipes.caltech import caltech_photos
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.system import load_codec
from fsplit_lib.training import FolderSource, TrainConfig
from fsplit_lib.training.side_information import WIDTH, train_entropy_models


def _side_information(run: RunContext) -> str:
    config = TrainConfig(steps=5000, batch=8, learning_rate=2e-3, seed=0)
    folder, data = caltech_photos(run)
    codec = load_codec("photo-first")
    models, log = train_entropy_models(codec, FolderSource(folder, crop=160), config, **run.options(config))
    training = {key: getattr(config, key) for key in ("steps", "batch", "learning_rate", "seed")}
    training |= {"crops": config.steps * config.batch, "crop_pixels": 160, "minutes": round(log[-1].seconds / 60, 1)}
    card = run.card(
        "entropy models",
        "Factorised prior, scale and mean-scale hyperprior, trained on the latents of photo-first's frozen encoder.",
        "side-information --data FOLDER_OF_CALTECH101", data, training,
        ["the encoder was trained with a factorised prior and did not learn to use side information",
         "one seed, a short training"],
    )  # fmt: skip
    card.architecture = {"codec": "photo-first", "z_channels": WIDTH}
    zoo.write_model(run.out, card, {"models.safetensors": models.state_dict()})
    return f"{run.out}: bytes a crop " + ", ".join(f"{k} {v:.0f}" for k, v in log[-1].values.items() if k != "total")


ENTROPY_RECIPES = (Recipe("side-information", "three entropy models of one latent, for chapter 03", _side_information),)
