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
    """One metric of one replica, rows of schema.SCORES, pooled over sets by n; nan where a set was not scored, or
    twice."""
    values: dict[str, float] = {}
    counts: dict[str, float] = {}
    # A plain loop: thousands of replicas have forty rows each, and a mask over forty columns took a sixth of a report.
    for name, benchmark, value, n in zip(rows["metric"], rows["benchmark"], rows["value"], rows["n"], strict=True):
        if name != metric or benchmark not in sets:
            continue
        if benchmark in values:
            return NAN
        values[benchmark] = float(value)
        counts[benchmark] = float(n)
    if set(values) != set(sets):
        return NAN
    return metrics.pooled_fidelity(pd.Series(values), pd.Series(counts))
