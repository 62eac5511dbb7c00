"""The attack grid: what ran of the plan, one row a cell that ended, and which cells can be compared."""

import pandas as pd

from solid_utils.core import numbers
from solid_utils.report.ratios import EVALUATION
from solid_utils.report.results import Results
from solid_utils.report.table import Columns, Context, Table


def cell_table(context: Context) -> pd.DataFrame:
    """Cells planned, run and not reached, one row an attack, recipe and secured set; columns CELL_TABLE.

    `most_queries`: the largest budget of which all seeds' cells or some ran; nan where none did. What was not reached
    is unknown: levels of recovery count as not reached with what was spent.
    """
    results = context.results
    ran = set(results.grid[["model", "cell"]].itertuples(index=False, name=None))
    there = [pair in ran for pair in results.planned[["model", "cell"]].itertuples(index=False, name=None)]
    plan, rows = results.planned.assign(there=there), []
    for (model, *what), mine in plan.groupby(["model", "attack", "recipe", "secured"], sort=False):
        groups, cells = ", ".join(mine["group"].unique()), mine.drop_duplicates("cell")  # two groups may ask for one
        done = cells[cells["there"]]
        rows.append([model, groups, *what, len(cells), len(done), len(cells) - len(done), done["queries"].max()])
    return pd.DataFrame(rows, columns=CELL_TABLE)


CELL_TABLE = ["model", "groups", "attack", "recipe", "secured", "planned", "run", "not_reached", "most_queries"]


CELL_COLUMNS: Columns = {
    "groups": ("asked by", "text"),
    "attack": ("attack", "text"),
    "recipe": ("recipe", "text"),
    "secured": ("secured", "text"),
    "planned": ("planned", "count"),
    "run": ("run", "count"),
    "not_reached": ("not reached", "count"),
    "most_queries": ("most queries", "count"),
}


def _read_cells(rows: pd.DataFrame) -> str:
    run, planned = rows["run"].sum(), rows["planned"].sum()
    rest = f"; what the other {planned - run} would show is not known" if run < planned else ""
    return f"{run} of {planned} planned cells ran{rest}."


PLACE = ["depth", "lowest", "highest", "only_layers"]


def ended(results: Results) -> pd.DataFrame:
    """One row a cell that ran: model, cell, secured, attack, recipe (its name), queries (the plan's), seed, PLACE,
    start, steps, asked (queries with repeated ones), tokens, flops, agreement and recovered share on the attack's
    prompts."""
    rows, keys = on_texts(results, EVALUATION, "agreement"), ["model", "cell"]
    before = rows[rows["steps"] == 0].set_index(keys)["value"].rename("before")
    ended_with = [*PLACE, "start", "steps", "queries", "tokens", "flops", "value"]
    end = rows[rows["steps"] > 0].set_index(keys)[ended_with]
    scores = end.rename(columns={"value": "agreement", "queries": "asked"}).join(before).reset_index()
    scores["recovered"] = numbers.recovered_share(scores["agreement"], scores["before"])
    # A cell that two groups ask for counts once.
    return results.planned.drop(columns="group").drop_duplicates(keys).merge(scores, on=keys)


def on_texts(results: Results, benchmark: str, metric: str) -> pd.DataFrame:
    """The grid's rows of one metric on one set of held-out prompts or texts."""
    rows = results.grid[(results.grid["metric"] == metric) & (results.grid["benchmark"] == benchmark)]
    return rows.astype({"value": float, "n": int})


def comparable(cells: pd.DataFrame, what: str) -> pd.DataFrame:
    """Of some seeds' cells those that can be compared: the most of `what` that one seed has, by all seeds that have it.

    A grid fills up over hours; a cell of one more seed must not take another seed's comparison away.
    """
    by_seed = cells.groupby("seed", sort=False)[what].agg(frozenset)
    most = max(by_seed, key=len)
    seeds = [seed for seed, there in by_seed.items() if most <= there]
    return cells[cells["seed"].isin(seeds) & cells[what].isin(most)]


CELLS = Table("grid_cells", cell_table, CELL_COLUMNS, _read_cells, folded="Planned, run and not reached")
