"""The ablation: rows that change one thing, and channel weights by hand."""

from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch

from fsplit_lib.codec import Encoder
from fsplit_lib.errors import ParameterError
from fsplit_lib.objectives import channel_sensitivity
from fsplit_lib.recipes import RECIPES
from fsplit_lib.recipes.caltech import ABLATION, REGULARISERS
from fsplit_lib.training import TrainConfig


def test_every_row_is_a_recipe_and_none_repeats_another():
    made = {name: (row.train, row.codec, row.decoder, row.crop, row.strong) for name, row in ABLATION.items()}
    assert all(f"ablation-{name}" in RECIPES for name in made)
    base = made.pop("base")
    changed = {name: sum(a != b for a, b in zip(row, base, strict=True)) for name, row in made.items()}
    assert {n for n, count in changed.items() if count != 1} == {
        "one-0.3",
        "lean",
        "lean-1",
        "tiny",
        "both",
        "both-1",
        "augment-1",
    }  # lmbda in two places; encoders before "light"'s decoder; two changes together, or from another seed
    assert len({repr(row) for row in (base, *made.values())}) == len(ABLATION)
    made["base"] = base
    crops = {name: config.steps * config.batch for name, (config, *_) in made.items()}
    assert {n for n, c in crops.items() if c != crops["base"]} == {"quarter"}  # equal budget, in crops


def test_a_regulariser_changes_one_thing_and_has_as_many_crops():
    changed = {}
    for seed in (0, 1):
        base = ABLATION["base-1" if seed else "base"]
        for name in ("attention", "dropout", "decay", "guided", "constant", "decoded"):
            row = REGULARISERS[f"regulariser-{name}-{seed}"]
            assert f"regulariser-{name}-{seed}" in RECIPES and (row.decoder, row.crop) == (base.decoder, base.crop)
            before, after = (asdict(one.train) | asdict(one.codec) for one in (base, row))
            changed[name] = {key for key in after if after[key] != before[key]}
            encoder = Encoder(row.codec)
            assert sum(p.numel() for p in encoder.parameters()) == 141_696 + 1_096 * (name == "attention")
    places = {"guidance", "maps"}
    assert changed == {"attention": {"kind"}, "dropout": {"dropout"}, "decay": {"weight_decay"}} | dict.fromkeys(
        ("guided", "constant", "decoded"), places
    )


def test_channel_weights_are_the_fisher_diagonal():
    """A linear tail: the gradient of ln p_k is w_k - sum p_j w_j, squared, in units of the spread."""
    torch.manual_seed(0)
    weight, x, spread = torch.randn(5, 3), torch.randn(40, 3, 1, 1), torch.tensor([0.5, 1.0, 2.0]).view(1, 3, 1, 1)
    backbone = SimpleNamespace(head=torch.clone, tail=lambda h: h.flatten(1) @ weight.T)
    p = (x.flatten(1) @ weight.T).softmax(1)
    drawn = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(0))[:, 0]
    fisher = (((weight[drawn] - p @ weight) * spread.flatten()) ** 2).mean(0)
    found = channel_sensitivity(backbone, x, spread).flatten()
    assert found == pytest.approx((fisher / fisher.mean()).tolist(), rel=1e-4) and found.mean() == pytest.approx(1)


@pytest.mark.parametrize("wrong", [{"channels": "loud"}, {"precision": "int4"}, {"gains_rate": 0.0}], ids=str)
def test_illegal_settings_are_refused(wrong):
    with pytest.raises(ParameterError):
        TrainConfig(steps=1, **wrong)
    assert asdict(TrainConfig(steps=1))["precision"] == "32-true"
