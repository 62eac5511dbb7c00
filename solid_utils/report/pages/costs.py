"""What half and four fifths of each secured set cost each attack: what matrices and the first page stand on."""

import pandas as pd

from solid_utils.metrics.attack_cost import ORDER, SET, by_number, cheapest, costs, judged, middle_seeds

LEVELS = (0.5, 0.8)
NAMES = ("solid", "darknetz")  # of sets: what is secured there is all that they are


def spent(points: pd.DataFrame) -> pd.DataFrame:
    """Costs of both levels from the table `attack_points`: a row a secured set, attack and level (attack_cost.costs).

    Of seeds the median counts, of recipes the cheapest. `unknown`: one budget only, `most`, came past the level, which
    neither confirms nor bounds it.
    """
    points = judged(points)
    found = by_set(middle_seeds(costs(points, LEVELS), "queries"))
    best = cheapest(found, "queries", [*SET, "attack", "level"]).astype({"level": float})  # objects where there is none
    ran = by_set(points[points["queries"] > 0]).groupby([*SET, "attack"], as_index=False).agg(most=("queries", "max"))
    every = ran.merge(pd.DataFrame({"level": LEVELS}), how="cross")
    rows = every.merge(best, on=[*SET, "attack", "level"], how="left")
    rows["unknown"] = rows["queries"].isna()
    return rows.sort_values([*ORDER, "attack", "level"], key=by_number, kind="stable", ignore_index=True)


def by_set(rows: pd.DataFrame) -> pd.DataFrame:
    """Deployments that are another name for a secured set, without noise, under the name of the set."""
    return rows.assign(deployment=rows["secured"].where(rows["deployment"].isin(NAMES), rows["deployment"]))


def cheapest_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The best attacker's rows of one secured set, by level; an unknown one where no known one reached the level."""
    filled = rows.assign(censored=rows["censored"].astype(object).where(~rows["unknown"], True).astype(bool))
    best = cheapest(filled[~filled["unknown"]], "queries", ["level"])
    reached = best[~best["censored"]]
    left = rows[rows["unknown"] & ~rows["level"].isin(reached["level"])]
    alone = left.sort_values("most", kind="stable").drop_duplicates("level")
    short = best[best["censored"] & ~best["level"].isin(alone["level"])]
    return pd.concat([reached, alone, short]).sort_values("level")
