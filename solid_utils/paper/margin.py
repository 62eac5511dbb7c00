"""How far from fully open the paper calls as good: its own margin, read off its tables (5.3, Observation 5)."""

import pandas as pd

from solid_utils.paper.paper import result_table
from solid_utils.paper.said import CUSTOMIZED

RATED = "Alignment"  # MT-Bench, a rating from 1 to 10 and no percentage


def shortfalls(name: str = "SOLID") -> pd.DataFrame:
    """Fully open less a deployment in points, models x five domains (Tables 17 to 21); negative where that is ahead."""
    rows = {}
    for model, number in CUSTOMIZED.items():
        table = result_table(number)
        scores = table[table["row"] != RATED].pivot(index="row", columns="secured", values="value")
        rows[model] = scores["Fully-Open"] - scores[name]
    return pd.DataFrame.from_dict(rows, orient="index")


def margin() -> float:
    """The largest shortfall that the paper still calls as good as fully open, as a share: 1 is 100 points.

    It is Mistral-7B's on Law, so a difference that is smaller cannot contradict the paper's words. (They say "within
    4 %", which is this rounded up; the tables' own is stricter.)
    """
    return float(shortfalls().to_numpy().max()) / 100
