"""The attacker's cost from a results folder: points of attack curves, the cost table, and how DD ranks it."""

import pandas as pd

from solid_utils.metrics import attack_cost, attack_trends
from solid_utils.metrics.attack_cost import at_budgets, best_attacks, layers_of
from solid_utils.report.ratios import EVALUATION, states
from solid_utils.report.results import Results

KEYS = ["model", "deployment", "secured", "attack", "recipe", "seed", "steps", *attack_cost.MEASURES]
BUDGETS = {"queries": (100, 400, 1600, 6400), "flops": (1e13, 1e14)}  # at which attacks are compared


def point_table(results: Results) -> pd.DataFrame:
    """Every attack run before any query and at its end, columns attack_cost.POINTS: only an end ends its schedule.

    Cells of the attack grid that share all but queries and seed are one run with several ends. Start and view stand in
    `recipe`, so that attacks that differ in them are different attacks.
    """
    scores = pd.concat([part for part in (states(results.attacks), results.grid) if len(part)] or [results.grid])
    rows = scores[(scores["metric"] == "agreement") & (scores["benchmark"] == EVALUATION)]
    rows = rows.drop_duplicates(["model", "run", "seed", "steps"])  # each cell of a curve has its start
    rows["agreement"] = rows["value"].astype(float)
    rows["recipe"] = (
        rows["recipe"] + ", start " + rows["start"] + ", sees " + rows["view"].groupby(rows["run"]).transform("last")
    )
    first = rows[rows["steps"] == 0].set_index(["model", "run", "seed"])["agreement"].rename("start_agreement")
    rows = rows.join(first, on=first.index.names)
    rows["depth"] = [
        depth(results, model, secured) for model, secured in rows[["model", "secured"]].itertuples(index=False)
    ]
    return rows[attack_cost.POINTS].reset_index(drop=True)


def budget_table(points: pd.DataFrame) -> pd.DataFrame:
    """The most recovered from each deployment at equal budgets, by whichever attack; attack_cost.best_attacks."""
    return pd.concat([best_attacks(at_budgets(points, *pair)) for pair in BUDGETS.items()], ignore_index=True)


def depth(results: Results, model: str, secured: str) -> int:
    """How many decoder layers a secured set holds whole."""
    if secured == "all":
        prefixes = results.difficulty[(results.difficulty["model"] == model) & (results.difficulty["kind"] == "prefix")]
        return int(prefixes["layers"].max()) if len(prefixes) else 0
    return len(layers_of(secured))


def rank_table(costs: pd.DataFrame, difficulty: pd.DataFrame) -> pd.DataFrame:
    """attack_trends.difficulty_ranks, under the first start that was scored for most sets."""
    return attack_trends.difficulty_ranks(costs, of_one_start(difficulty))


def of_one_start(difficulty: pd.DataFrame) -> pd.DataFrame:
    """Rows of tables.difficulty_table under the first start that was scored for most sets, one a secured set."""
    scored = difficulty[difficulty["start"] == difficulty["start"].mode().get(0)]
    return scored.drop_duplicates(["model", "secured"])
