"""The named runs behind `fsplit train`: each makes one of the shipped weights or tables again."""

from fsplit_lib.errors import ParameterError
from fsplit_lib.recipes.caltech import CALTECH_RECIPES
from fsplit_lib.recipes.context import Recipe, RunContext
from fsplit_lib.recipes.cross_backbone import CROSS_RECIPES
from fsplit_lib.recipes.decoder import DECODER_RECIPES
from fsplit_lib.recipes.fashion import FASHION_RECIPES
from fsplit_lib.recipes.prior_work import PRIOR_RECIPES
from fsplit_lib.recipes.speech import SPEECH_RECIPES
from fsplit_lib.recipes.teachers import TEACHER_RECIPES

RECIPES = {
    recipe.name: recipe
    for kind in (TEACHER_RECIPES, FASHION_RECIPES, CROSS_RECIPES, CALTECH_RECIPES,
                 PRIOR_RECIPES, DECODER_RECIPES, SPEECH_RECIPES)
    for recipe in kind
}  # fmt: skip


def run_recipe(name: str, run: RunContext) -> str:
    """Run a recipe to the end, resuming where a killed run stopped; returns one sentence on the result.

    Raises:
        ParameterError: no such recipe, or one that takes no backbone or weights but was given some.
    """
    if name not in RECIPES:
        raise ParameterError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    if (run.backbone or run.weights) and not RECIPES[name].choosable:
        others = ", ".join(recipe.name for recipe in RECIPES.values() if recipe.choosable)
        raise ParameterError(f"{name} is made for its own backbone and weights; only {others} takes others")
    return RECIPES[name].run(run)
