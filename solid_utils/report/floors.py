"""The floor of agreement by held-out set, and what stands above it; the sets by name."""

import pandas as pd

from solid_utils.core import numbers
from solid_utils.metrics import metrics

OWN = ("evaluation",)  # held-out prompts of the attack's own kind
APART = ("evaluation_c4", "evaluation_code")  # texts apart from it: conclusions are drawn from these
POOLED = OWN + APART
TEXTS = {"": OWN, "_c4": APART[:1], "_code": APART[1:], "_pooled": POOLED, "_apart": APART}  # suffix -> sets
NAN = float("nan")


def floor_on(floors: pd.DataFrame, model: str, tier: str, sets: tuple[str, ...]) -> float:
    """The best of the predictors on these sets together, by answer tokens; nan where it was not counted on all."""
    mine = floors[(floors["model"] == model) & (floors["tier"] == tier) & floors["benchmark"].isin(sets)]
    mine = mine.reset_index(drop=True)
    best = NAN
    for _, rows in mine.groupby("predictor"):
        if set(rows["benchmark"]) == set(sets):
            pooled = metrics.pooled_fidelity(rows["agreement"].astype(float), rows["n"].astype(float))
            best = max(pooled, best) if best == best else pooled
    return best


def above(agreement: float, floor: float) -> float:
    """Share of what public text does not give that a replica has: (a - floor) / (1 - floor); negative below it."""
    return numbers.recovered_share(agreement, floor)


def on_sets(rows: pd.DataFrame, metric: str, sets: tuple[str, ...]) -> float:
    """One metric of one replica, rows of schema.SCORES, pooled over sets by n; nan where a set was not scored."""
    rows = rows[["benchmark", "metric", "value", "n"]]  # of forty columns, which would all be copied
    mine = rows[(rows["metric"] == metric) & rows["benchmark"].isin(sets)].reset_index(drop=True)
    if set(mine["benchmark"]) != set(sets) or mine["benchmark"].duplicated().any():
        return NAN
    return metrics.pooled_fidelity(mine["value"].astype(float), mine["n"].astype(float))
