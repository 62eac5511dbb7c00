"""Queries to half and to four fifths, secured sets down and attacks across: what the long table of costs comes to."""

import pandas as pd

from solid_utils.metrics.attack_cost import ORDER, SET
from solid_utils.report.pages.costs import LEVELS, cheapest_of
from solid_utils.report.pages.grid import Grid
from solid_utils.report.pages.study import Block, Study

BEST = "best"
HOW = (
    "Queries to recover half / four fifths of what was missing on web text and code, which no attack asks for: the "
    "first of two consecutive points of a curve past the level, where every point ends its own schedule, of the median "
    "seed, by the attack's cheapest recipe. ≥: not reached with that many, the most that was tried. ≤: the fewest that "
    "were tried sufficed already. With a question mark: that one budget came past the level, and no other was tried, "
    "which neither confirms nor bounds it. Blank: not run."
)


def by_depth(study: Study) -> Block:
    """Bottom layers by their count, the question of the paper."""
    rows = study.costs
    grid = matrix("cost_by_depth", "Queries to 50 / 80 %, by secured bottom layers", rows[rows["prefix"].astype(bool)])
    return Block("on_cost_by_depth", "What depth costs the attacker", (HOW,), [grid])


def by_place(study: Study) -> Block:
    """Single layers by their place."""
    rows = study.costs
    grid = matrix("cost_by_place", "Queries to 50 / 80 %, by the one secured layer", rows[single(rows)])
    return Block("on_cost_by_place", "What place costs the attacker", (HOW,), [grid])


def others(study: Study) -> Block:
    """All that is neither: pairs, noise, single matrices, a whole model."""
    rows = study.costs
    rest = rows[~rows["prefix"].astype(bool) & ~single(rows)]
    grid = matrix("cost_of_others", "Queries to 50 / 80 %, other secured sets", rest)
    return Block("on_cost_of_others", "Other secured sets", (HOW,), [grid])


def single(rows: pd.DataFrame) -> pd.Series:
    """One whole layer: its name says so, "layers 7"."""
    return rows["secured"].str.fullmatch(r"layers \d+")


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
