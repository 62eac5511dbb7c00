"""How many decoder layers a model has, as far as results say so: of a set that secures everything, its depth.

Not the highest layer of the sets that are there: with `layers 0-1` alone it would be taken for the top.
"""

import pandas as pd


def depths(difficulty: pd.DataFrame) -> dict[str, int]:
    """Layers by model, from the table `difficulty`; a model whose ceiling is not there is not in it."""
    whole = difficulty[difficulty["secured"] == "all"]
    return {str(model): int(depth) for model, depth in whole.groupby("model")["depth"].max().items()}
