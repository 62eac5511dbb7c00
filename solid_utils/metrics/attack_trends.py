"""What goes with the attacker's cost: the depth of the secured set, and its distillation difficulty."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from solid_utils.core.errors import StudyError
from solid_utils.metrics import censored, intervals
from solid_utils.metrics.attack_cost import ATTACK, MEASURES, cheapest, middle_seeds

ENDS = ("", "_low", "_high")
LINE = [name + end for name in ("intercept", "slope", "sigma") for end in ENDS]
DEPTH_FITS = ["model", "level", "measure", "points", "censored", "at_most", "depths", *LINE, "note"]
CORRELATIONS = [name + end for name in ("spearman", "pearson") for end in ENDS]
REACHED = 3  # secured sets with a cost that a correlation needs
DIFFICULTY_RANKS = ["model", "level", "measure", "score", "sets", "censored", "at_most", *CORRELATIONS]


def prefixes(found: pd.DataFrame) -> pd.DataFrame:
    """Rows whose secured set is the bottom `depth` decoder layers and nothing else, as a fit over depth needs."""
    return found[found["prefix"].astype(bool)]


def depth_fits(found: pd.DataFrame, measures: Sequence[str] = MEASURES) -> pd.DataFrame:
    """log10(cost) = intercept + slope x depth over prefix sets, from `attack_cost.costs`, fitted by `censored.fit`.

    One row a model, level and measure, columns DEPTH_FITS. Points are the seeds of each depth's best attack, that of
    the cheapest median seed, so the same attacks should have been tried at every depth; for a single attack pass its
    rows only. Each further layer multiplies the cost by 10^slope. A cost of 0 says nothing: a cell that was never run
    is left out.
    """
    rows = []
    for (model, level), group in prefixes(found).groupby(["model", "level"], sort=False):
        for measure in measures:
            run = group[group[measure] > 0]
            best = run.merge(cheapest(middle_seeds(run, measure), measure, ["depth"])[ATTACK], on=ATTACK)
            line = censored.fit(best["depth"], np.log10(best[measure]), best["censored"], best["at_most"])
            counts = [len(best), int(best["censored"].sum()), int(best["at_most"].sum()), best["depth"].nunique()]
            rows.append([model, level, measure, *counts, *line.intercept, *line.slope, *line.sigma, line.note])
    return pd.DataFrame(rows, columns=DEPTH_FITS)


def difficulty_ranks(table: pd.DataFrame, difficulty: pd.DataFrame) -> pd.DataFrame:
    """How well DD, and DD after fitting one temperature (`calibrated`), order secured sets by the attacker's cost.

    `table` is attack_cost.cost_table; `difficulty` has model, secured, dd and calibrated, one row a secured set (one
    start of tables.difficulty_table). Deployments that secure the same set count once, with the cheapest attack.
    One row a model, level, measure and score, columns DIFFICULTY_RANKS: correlations with log10(cost), above 0 where
    more difficulty goes with more cost, with 95 % intervals over sets (intervals.spearman).
    Censored costs tie at the top, as no order among them is known: for Spearman they share the highest rank, for
    Pearson they take the largest cost of the group, reached or spent. So do those that the smallest budget reached
    (`at_most`) at the bottom. A set that was given up at less than others cost, or that was first tried with more than
    others cost, has no place among them and is left out, as are sets without the score; nan as in `metrics`, and where
    fewer than REACHED sets have a cost. Raises StudyError for a secured set with two difficulties.
    """
    if difficulty.duplicated(["model", "secured"]).any():
        raise StudyError("difficulty: a secured set occurs twice; pass the rows of one start")
    rows = []
    for key, group in table.groupby(["model", "level", "measure"], sort=False):
        spent = group[group["cost"] > 0]  # a cost of 0: a cell that was never run
        sets = cheapest(spent, "cost", ["secured"]).merge(difficulty, on=["model", "secured"])
        sets = placed(sets)
        for score in ("dd", "calibrated"):
            scored = sets.dropna(subset=score)
            counts = [len(scored), int(scored["censored"].sum()), int(scored["at_most"].sum())]
            rows.append([*key, score, *counts, *_correlations(scored, score)])
    return pd.DataFrame(rows, columns=DIFFICULTY_RANKS)


def placed(sets: pd.DataFrame) -> pd.DataFrame:
    """The sets whose costs have an order: a lower bound must not lie below a cost, nor an upper bound above one."""
    known = sets.loc[~sets["censored"] & ~sets["at_most"], "cost"]
    low, high = known.min(), sets.loc[~sets["censored"], "cost"].max()  # an upper bound may be the cost itself
    return sets[~(sets["censored"] & (sets["cost"] < high)) & ~(sets["at_most"] & (sets["cost"] > low))]


def _correlations(sets: pd.DataFrame, score: str) -> list[float]:
    if (~sets["censored"]).sum() < REACHED:
        return [math.nan] * len(CORRELATIONS)
    ranks = sets["cost"].mask(sets["censored"], math.inf).mask(sets["at_most"], 0.0).rank()
    cost = sets["cost"].mask(sets["censored"], sets["cost"].max()).mask(sets["at_most"], sets["cost"].min())
    logs = np.log10(cost)
    spearman, pearson = intervals.spearman(sets[score], ranks), intervals.pearson(sets[score], logs)
    return [spearman.estimate, spearman.low, spearman.high, pearson.estimate, pearson.low, pearson.high]
