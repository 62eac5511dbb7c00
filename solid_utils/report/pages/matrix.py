"""Queries to half and to four fifths, secured sets down and attacks across: what the long table of costs comes to."""

import pandas as pd

from solid_utils.metrics.attack_cost import ORDER, SET, by_number, cheapest, costs, judged, middle_seeds
from solid_utils.report.pages.grid import Grid
from solid_utils.report.pages.study import Block, Study

LEVELS = (0.5, 0.8)
BEST = "best"
NAMES = ("solid", "darknetz")  # of sets: what is secured there is all that they are
HOW = (
    "Queries to recover half / four fifths of what was missing on web text and code, which no attack asks for: the "
    "first of two consecutive points of a curve past the level, where every point ends its own schedule, of the median "
    "seed, by the attack's cheapest recipe. ≥: not reached with that many, the most that was tried. ≤: the fewest that "
    "were tried sufficed already. With a question mark: that one budget came past the level, and no other was tried, "
    "which neither confirms nor bounds it. Blank: not run."
)


def by_depth(study: Study) -> Block:
    """Bottom layers by their count, the question of the paper."""
    rows = spent(study)
    grid = matrix("cost_by_depth", "Queries to 50 / 80 %, by secured bottom layers", rows[rows["prefix"].astype(bool)])
    return Block("on_cost_by_depth", "What depth costs the attacker", (HOW,), [grid])


def by_place(study: Study) -> Block:
    """Single layers by their place."""
    rows = spent(study)
    grid = matrix("cost_by_place", "Queries to 50 / 80 %, by the one secured layer", rows[single(rows)])
    return Block("on_cost_by_place", "What place costs the attacker", (HOW,), [grid])


def others(study: Study) -> Block:
    """All that is neither: pairs, noise, single matrices, a whole model."""
    rows = spent(study)
    rest = rows[~rows["prefix"].astype(bool) & ~single(rows)]
    grid = matrix("cost_of_others", "Queries to 50 / 80 %, other secured sets", rest)
    return Block("on_cost_of_others", "Other secured sets", (HOW,), [grid])


def single(rows: pd.DataFrame) -> pd.Series:
    """One whole layer: its name says so, "layers 7"."""
    return rows["secured"].str.fullmatch(r"layers \d+")


def spent(study: Study) -> pd.DataFrame:
    """metrics.attack_cost.costs of both levels, the median seed of each attack's cheapest recipe; a row a secured set,
    attack and level. `unknown`: one budget only, `most`, came past the level, which neither confirms nor bounds it."""
    points = judged(study.tables["attack_points"])
    found = by_set(middle_seeds(costs(points, LEVELS), "queries"))
    best = cheapest(found, "queries", [*SET, "attack", "level"])
    ran = by_set(points[points["queries"] > 0]).groupby([*SET, "attack"], as_index=False).agg(most=("queries", "max"))
    every = ran.merge(pd.DataFrame({"level": LEVELS}), how="cross")
    rows = every.merge(best, on=[*SET, "attack", "level"], how="left")
    rows["unknown"] = rows["queries"].isna()
    return rows.sort_values([*ORDER, "attack", "level"], key=by_number, kind="stable", ignore_index=True)


def by_set(rows: pd.DataFrame) -> pd.DataFrame:
    """Deployments that are another name for a secured set, without noise, under the name of the set."""
    return rows.assign(deployment=rows["secured"].where(rows["deployment"].isin(NAMES), rows["deployment"]))


def matrix(name: str, caption: str, rows: pd.DataFrame) -> Grid:
    """One row a secured set; its CSV file holds one a set, attack and level."""
    csv = f"pages/csv/{name}.csv"
    if rows.empty:
        return Grid(name, caption, pd.DataFrame(), csv, "No such attack has run.")
    attacks = sorted(rows["attack"].unique())
    lines = []
    for (model, _, deployment, secured), mine in rows.groupby(ORDER, sort=False):
        line = {"model": model} if rows["model"].nunique() > 1 else {}
        line |= {"secured": secured, "deployment": "" if deployment == secured else deployment}
        for attack in attacks:
            line[attack] = both(mine[mine["attack"] == attack])
        line[BEST] = both(cheapest_of(mine))
        lines.append(line)
    shown = pd.DataFrame(lines)
    if not shown["deployment"].any():
        shown = shown.drop(columns="deployment")
    return Grid(name, caption, shown, csv, data=rows[CSV])


CSV = [*SET, "attack", "level", "queries", "censored", "at_most", "unknown", "most", "recipe", "seeds", "recovered"]


def cheapest_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The best attacker's rows of one secured set, by level; an unknown one where no known one reached the level."""
    filled = rows.assign(censored=rows["censored"].astype(object).where(~rows["unknown"], True).astype(bool))
    best = cheapest(filled[~filled["unknown"]], "queries", ["level"])
    reached = best[~best["censored"]]
    left = rows[rows["unknown"] & ~rows["level"].isin(reached["level"])]
    alone = left.sort_values("most", kind="stable").drop_duplicates("level")
    short = best[best["censored"] & ~best["level"].isin(alone["level"])]
    return pd.concat([reached, alone, short]).sort_values("level")


def both(rows: pd.DataFrame) -> str:
    """ "≤ 100 / ≥ 6,400": the costs of both levels; nothing where the attack did not run."""
    if rows.empty:
        return ""
    by_level = rows.set_index("level")
    return " / ".join(cost(by_level.loc[level]) for level in LEVELS)


def cost(row: pd.Series) -> str:
    """Queries in words, with what is known of them."""
    if row["unknown"]:
        return f"{row['most']:,.0f} ?"
    sign = "≥ " if row["censored"] else "≤ " if row["at_most"] else ""
    return f"{sign}{row['queries']:,.0f}"
