"""Distillation difficulty: DD of every secured set, and the search for the smallest that SOLID secures."""

import pandas as pd

from solid_utils.report.table import Columns, Context, Section, Table

NAN = float("nan")


def search_table(context: Context) -> pd.DataFrame:
    """Where the search for l* ended from each start, as results.load reads it."""
    return context.results.searches


SEARCH_COLUMNS: Columns = {
    "start": ("start", "text"),
    "l_star": ("l*", "count"),
    "secured": ("secured", "text"),
    "epsilon": ("epsilon", "number"),
    "dd": ("DD", "number"),
    "ceiling": ("ceiling", "number"),
    "evaluations": ("evaluations", "count"),
    "saved": ("saved", "count"),
}


def _read_search(rows: pd.DataFrame) -> str:
    told = [
        f"start {row.start}: l* = {row.l_star}, DD {row.dd:.2f} against {(1 - row.epsilon) * row.ceiling:.2f} asked"
        for row in rows.itertuples()
    ]
    return "; ".join(told) + "."


def difficulty_table(context: Context) -> pd.DataFrame:
    """DD of every secured set, mean over seeds, beside the victim's loss and the ceiling; one row a set and start."""
    rows = context.results.difficulty.drop_duplicates(["model", "kind", "secured", "start", "seed"])
    seeds = (
        rows[rows["seed"] != "mean"].groupby(["model", "kind", "secured", "start"])["seed"].nunique().rename("seeds")
    )
    table = rows[rows["seed"] == "mean"].merge(seeds.reset_index(), on=seeds.index.names, how="left")
    ceilings = table[table["kind"] == "all"].set_index(["model", "start"])["dd"]
    victims = table[table["kind"] == "empty"].groupby("model")["dd"].first()
    table["victim"] = [float(victims.get(model, NAN)) for model in table["model"]]
    table["ceiling"] = [float(ceilings.get(key, NAN)) for key in zip(table["model"], table["start"], strict=True)]
    table["share_of_ceiling"] = table["dd"].astype(float) / table["ceiling"]
    chosen = set(context.results.searches[["model", "start", "l_star"]].itertuples(index=False, name=None))
    table["is_solid"] = [
        row.kind == "prefix" and (row.model, row.start, row.depth) in chosen for row in table.itertuples()
    ]
    table = table.sort_values(["model", "start", "kind", "depth", "lowest"], kind="stable")
    return table.drop(columns="seed").reset_index(drop=True)


DIFFICULTY_COLUMNS: Columns = {
    "kind": ("kind", "text"),
    "secured": ("secured", "text"),
    "share": ("share %", "percent"),
    "start": ("start", "text"),
    "dd": ("DD", "number"),
    "stderr": ("±", "number"),
    "share_of_ceiling": ("of ceiling %", "percent"),
    "victim": ("victim", "number"),
    "ceiling": ("ceiling", "number"),
    "is_solid": ("SOLID", "flag"),
}


def _read_difficulty(rows: pd.DataFrame) -> str:
    sets = rows[rows["kind"].isin(["prefix", "single"])]
    if sets.empty:
        return "no secured set was scored."
    low, high = sets.loc[sets["dd"].idxmin()], sets.loc[sets["dd"].idxmax()]
    reach = f"DD goes from {low['dd']:.2f} ({low['secured']}) to {high['dd']:.2f} ({high['secured']})"
    return f"{reach}; the victim has {low['victim']:.2f}."


SECTION = Section(
    "difficulty",
    "Distillation difficulty",
    (
        "DD is the loss, in nats, after the secured part is replaced by fresh random weights. SOLID secures the "
        "smallest prefix whose DD reaches (1 - epsilon) of the ceiling, the DD with every parameter replaced.",
    ),
    (
        Table("search", search_table, SEARCH_COLUMNS, _read_search, printed=True),
        Table("difficulty", difficulty_table, DIFFICULTY_COLUMNS, _read_difficulty, folded="All secured sets"),
    ),
)
