"""The attack grid's own tables: what ran of the plan, what a recipe's parts do, and how DD goes with placement."""

import pandas as pd

from solid_utils import attack_trends, metrics
from solid_utils.ratios import EVALUATION
from solid_utils.results import Results, layers_of

CELLS = ["model", "groups", "attack", "recipe", "secured", "planned", "run", "not_reached", "most_queries"]
RECIPES = ["model", "secured", "attack", "queries", "recipe", "seeds", "agreement", "recovered", "against", "change"]
TUNED = [
    *["model", "secured", "attack", "queries", "tries", "seeds", "chosen", "by", "agreement", "recovered", "usual"],
    *["tokens", "flops"],
]
CHOOSER = "evaluation_c4"  # texts of another kind than those that count
PLACEMENT = [
    *["model", "attack", "recipe", "queries", "seeds", "sets", "spearman", "spearman_low", "spearman_high"],
    *["least", "least_recovered", "most", "most_recovered"],
]


def cell_table(results: Results) -> pd.DataFrame:
    """Cells planned, run and not reached, one row an attack, recipe and secured set; columns CELLS.

    `most_queries`: the largest budget of which all seeds' cells or some ran; nan where none did. What was not reached
    is unknown: levels of recovery count as not reached with what was spent.
    """
    ran = set(results.grid[["model", "cell"]].itertuples(index=False, name=None))
    there = [pair in ran for pair in results.planned[["model", "cell"]].itertuples(index=False, name=None)]
    plan, rows = results.planned.assign(there=there), []
    for (model, *what), found in plan.groupby(["model", "attack", "recipe", "secured"], sort=False):
        groups, cells = ", ".join(found["group"].unique()), found.drop_duplicates("cell")
        done = cells[cells["there"]]
        rows.append([model, groups, *what, len(cells), len(done), len(cells) - len(done), done["queries"].max()])
    return pd.DataFrame(rows, columns=CELLS)


def ended(results: Results) -> pd.DataFrame:
    """One row a cell that ran: model, cell, secured, attack, recipe (its name), queries (the plan's), seed, steps,
    agreement and recovered share on held-out prompts of the attack's kind."""
    rows, keys = _agreement(results, EVALUATION), ["model", "cell"]
    start = rows[rows["steps"] == 0].set_index(keys)["value"].rename("start")
    end = rows[rows["steps"] > 0].set_index(keys)[["steps", "tokens", "flops", "value"]]
    scores = end.rename(columns={"value": "agreement"}).join(start).reset_index()
    scores["recovered"] = metrics.recovered_share(scores["agreement"], scores["start"])
    return results.planned.drop(columns="group").drop_duplicates(keys).merge(scores, on=keys)


def _agreement(results: Results, benchmark: str) -> pd.DataFrame:
    """Rows of the grid's agreement on one set of held-out prompts or texts."""
    rows = results.grid[(results.grid["metric"] == "agreement") & (results.grid["benchmark"] == benchmark)]
    return rows.astype({"value": float, "n": int})


def tuned_table(results: Results) -> pd.DataFrame:
    """The attacker who tries every recipe that ran on a set with these queries and takes the best; columns TUNED.

    He chooses by agreement on texts that do not count (CHOOSER), so what he then scores is not the luck of the choice.
    `usual` is what the recipe that the others vary recovers. His queries are those of one try, as all train on the
    same answers; `tokens` has the choosing texts in it, `flops` all tries. Means over the seeds that all tries have.
    """
    chooser = _agreement(results, CHOOSER)
    chooser = chooser[chooser["steps"] > 0].set_index(["model", "cell"])[["value", "n"]]
    cells = ended(results).join(chooser.rename(columns={"value": "by", "n": "choosing"}), on=["model", "cell"])
    keys, rows = ["model", "secured", "attack", "queries"], []
    for key, found in cells.dropna(subset="by").groupby(keys, sort=False):
        whole = found[found.groupby("seed")["recipe"].transform("size") == found["recipe"].nunique()]
        if whole["recipe"].nunique() < 2 or not {"ours", "ft"} & set(whole["recipe"]):
            continue
        tries = whole.groupby("recipe", sort=False)[["by", "agreement", "recovered", "tokens", "flops"]].mean()
        best = tries.loc[tries["by"].idxmax()]
        usual = tries["recovered"].filter(items=["ours", "ft"]).iloc[0]
        counts = [len(tries), whole["seed"].nunique(), best.name]
        cost = [tries["tokens"].max() + whole["choosing"].max(), tries["flops"].sum()]
        rows.append([*key, *counts, best["by"], best["agreement"], best["recovered"], usual, *cost])
    return pd.DataFrame(rows, columns=TUNED)


def recipe_table(results: Results) -> pd.DataFrame:
    """Means over seeds where several recipes spent the same queries on the same set; columns RECIPES.

    `change`: recovered share less that of the recipe named in `against`, from which it differs in one thing only,
    "paper" apart: "our_X" is the paper's with our X, "ft_X" ft with X, all others ours with what their name says
    (params.yaml, grid.recipes).
    """
    keys, tables = ["model", "secured", "attack", "queries"], [pd.DataFrame(columns=RECIPES)]
    for _, cells in ended(results).groupby(keys, sort=False):
        means = cells.groupby([*keys, "recipe"], sort=False, as_index=False).agg(
            seeds=("seed", "nunique"), agreement=("agreement", "mean"), recovered=("recovered", "mean")
        )
        known = means.set_index("recipe")["recovered"]
        means["against"] = means["recipe"].map(_base)
        means["change"] = means["recovered"] - means["against"].map(known)
        tables += [means] if len(means) > 1 else []
    return pd.concat(tables[1:] or tables, ignore_index=True)[RECIPES]


def _base(recipe: str) -> str | None:
    """The recipe that this one varies; none for those that start a family."""
    if recipe in ("ours", "ft"):
        return None
    return {"our": "paper", "ft": "ft"}.get(recipe.split("_")[0], "ours")


def placement_table(results: Results, difficulty: pd.DataFrame) -> pd.DataFrame:
    """How DD goes with the recovered share over single layers at equal budget; columns PLACEMENT.

    One row an attack, recipe and budget, over the layers at which all its seeds ran: Spearman's correlation (paper
    Figures 9 and 10, Table 11) with its 95 % interval over layers, the layers that gave least and most. `difficulty`
    has one row a model and secured set. Below 0: the more difficult the layer, the less was recovered.
    """
    cells = ended(results)
    single = cells[cells["secured"].map(layers_of).map(len) == 1]
    rows = []
    for key, found in single.groupby(["model", "attack", "recipe", "queries"], sort=False):
        seeds = found["seed"].nunique()
        whole = found.groupby("secured", sort=False).filter(lambda one, most=seeds: len(one) == most)
        sets = whole.groupby(["model", "secured"], sort=False, as_index=False)["recovered"].mean()
        sets = sets.merge(difficulty[["model", "secured", "dd"]], on=["model", "secured"])
        if len(sets) > 1:
            rows.append([*key, seeds, len(sets), *_spearman(sets), *_ends(sets)])
    return pd.DataFrame(rows, columns=PLACEMENT)


def _spearman(sets: pd.DataFrame) -> tuple[float, float, float]:
    found = metrics.spearman(sets["dd"].astype(float), sets["recovered"])
    return found, *attack_trends.interval(found, len(sets), 1 + found**2 / 2)


def _ends(sets: pd.DataFrame) -> list:
    least, most = sets.loc[sets["recovered"].idxmin()], sets.loc[sets["recovered"].idxmax()]
    return [least["secured"], least["recovered"], most["secured"], most["recovered"]]
