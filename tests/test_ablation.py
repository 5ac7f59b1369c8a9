"""The ablation: rows that change one thing, channel weights by hand, and figures that say what they show."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch

from fsplit_lib.errors import ParameterError
from fsplit_lib.evaluation import BDRate, RatePoint
from fsplit_lib.objectives import channel_sensitivity
from fsplit_lib.plots import caption
from fsplit_lib.plots.ablation import ablation, continuity, kept_at, kept_over_crops
from fsplit_lib.recipes import RECIPES
from fsplit_lib.recipes.ablation import ABLATION_ROWS, BASE, CODEC, DECODER
from fsplit_lib.training import TrainConfig


def test_every_row_is_a_recipe_and_none_repeats_another():
    made = {
        name: (replace(BASE, **row.train), replace(CODEC, **row.codec), replace(DECODER, **row.decoder), row.crop)
        for name, row in ABLATION_ROWS.items()
    }
    assert all(f"ablation-{name}" in RECIPES for name in made)
    assert made["base"] == (BASE, CODEC, DECODER, 96) and len({repr(m) for m in made.values()}) == len(made)
    crops = {name: config.steps * config.batch for name, (config, *_) in made.items()}
    assert {n for n, c in crops.items() if c != crops["base"]} == {"quarter"}  # equal budget, in crops


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


def points(curve, rows):
    return [RatePoint("d", "FrankenSplit", f"{curve}, lmbda {b}", b, k, k, k, None, None, None, 9) for b, k in rows]


def test_shares_are_read_between_measured_sizes_and_not_beyond():
    table = points("a", [(400.0, 0.4), (1600.0, 0.8)])
    assert kept_at(table, "a", 800) == pytest.approx(0.6)  # half way on a log axis
    assert kept_at(table, "a", 300) is None and kept_at(table, "a", 2000) is None


def test_figures_say_what_they_show():
    deltas = [BDRate("d", "x", "base", -12.0, -20.0, -5.0, 0.4, 0.8, 9), BDRate("d", "y", "base", 3.0, -4.0, 9.0, 0.4, 0.8, 9),
              BDRate("d", "x", "y", 7.0, 1.0, 9.0, 0.4, 0.8, 9), BDRate("d", "z", "base", 1.0, 0.0, 2.0, 0.4, 0.8, 9)]  # fmt: skip
    figure = ablation(deltas, "base", {"x": "Muon", "y": "large crops"})
    assert [(t.y[0], t.x[0], t.marker.symbol) for t in figure.data] == [
        ("large crops", 3.0, "circle-open"),  # its interval holds zero
        ("Muon", -12.0, "circle"),
    ]
    assert "Muon -12 % (-20 to -5)" in caption(figure)
    table = points("few", [(500.0, 0.3), (2000.0, 0.5)]) + points("many", [(500.0, 0.5), (2000.0, 0.9)])
    figure = kept_over_crops(table, {"many": 4000, "few": 1000}, (1000,))
    assert list(figure.data[0].x) == [1000, 4000] and list(figure.data[0].y) == pytest.approx([40, 70])
    assert "from 40 % after 1,000 crops to 70 % after 4,000" in caption(figure) and figure.layout.xaxis.type == "log"


def test_codecs_of_one_rate_are_held_against_the_curve_at_their_own_bytes():
    table = (
        points("base", [(400.0, 0.4), (1600.0, 0.8)]) + points("alone", [(800.0, 0.7)]) + points("far", [(9000.0, 0.9)])
    )
    table = [replace(p, kept_low=p.kept - 0.1, kept_high=p.kept + 0.1) for p in table]
    figure = continuity(table, "base", {"alone": "one rate", "far": "another"})
    assert [list(t.x) for t in figure.data] == [[400, 1600], [800], [9000]]
    assert "one rate keeps 70 % (60 to 80) at 800 bytes, the codec of continuous rate 60 %" in caption(figure)
    assert "another keeps 90 % (80 to 100) at 9,000 bytes, the codec of continuous rate out of its range" in caption(
        figure
    )
