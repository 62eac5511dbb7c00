"""A training recipe in words, as result files name it."""

from solid_utils.settings.attack_params import Recipe


def recipe_text(recipe: Recipe) -> str:
    """A training recipe in one line."""
    length = f" x {recipe.length} tokens" if recipe.length else ""
    loss = f", {recipe.loss}" if recipe.loss else ""
    optimizer = f"{recipe.optimizer} {recipe.learning_rate:g}, decay {recipe.weight_decay:g}, {recipe.schedule}"
    return f"{optimizer}, batch {recipe.batch}{length}{loss}"
