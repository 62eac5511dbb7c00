"""The attack grid's own tables: what ran of the plan, what a recipe's parts do, how DD goes with place and depth."""

import pandas as pd

from solid_utils.core import numbers
from solid_utils.metrics import attack_trends, metrics
from solid_utils.metrics.attack_cost import layers_of
from solid_utils.report.ratios import EVALUATION
from solid_utils.report.results import Results

CELLS = ["model", "groups", "attack", "recipe", "secured", "planned", "run", "not_reached", "most_queries"]
RECIPES = [
    *["model", "secured", "attack", "queries", "asked", "recipe", "start", "dd", "seeds", "agreement", "recovered"],
    *["against", "change", "pairs"],
]
TUNED = [
    *["model", "secured", "attack", "queries", "tries", "seeds", "chosen", "by", "agreement", "recovered", "usual"],
    *["asked", "tokens", "flops"],
]
CHOOSER = "evaluation_c4"  # texts of another kind than those that count
PLACEMENT = [
    *["model", "over", "attack", "recipe", "queries", "seeds", "sets", "spearman", "spearman_low", "spearman_high"],
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
    """One row a cell that ran: model, cell, secured, attack, recipe (its name), queries (the plan's), seed, start,
    steps, asked (queries with repeated ones), tokens, flops, agreement and recovered share on the attack's prompts."""
    rows, keys = _taken(results, EVALUATION, "agreement"), ["model", "cell"]
    before = rows[rows["steps"] == 0].set_index(keys)["value"].rename("before")
    end = rows[rows["steps"] > 0].set_index(keys)[["start", "steps", "queries", "tokens", "flops", "value"]]
    scores = end.rename(columns={"value": "agreement", "queries": "asked"}).join(before).reset_index()
    scores["recovered"] = numbers.recovered_share(scores["agreement"], scores["before"])
    return results.planned.drop(columns="group").drop_duplicates(keys).merge(scores, on=keys)


def _taken(results: Results, benchmark: str, metric: str) -> pd.DataFrame:
    """The grid's rows of one metric on one set of held-out prompts or texts."""
    rows = results.grid[(results.grid["metric"] == metric) & (results.grid["benchmark"] == benchmark)]
    return rows.astype({"value": float, "n": int})


def _block(cells: pd.DataFrame, what: str) -> pd.DataFrame:
    """Of some seeds' cells those that can be compared: the most of `what` that one seed has, by all seeds that have it.

    A grid fills up over hours; a cell of one more seed must not take another seed's comparison away.
    """
    by_seed = cells.groupby("seed", sort=False)[what].agg(frozenset)
    most = max(by_seed, key=len)
    seeds = [seed for seed, found in by_seed.items() if most <= found]
    return cells[cells["seed"].isin(seeds) & cells[what].isin(most)]


def tuned_table(results: Results) -> pd.DataFrame:
    """The attacker who tries every recipe that ran on a set with these queries and takes the best; columns TUNED.

    He chooses by agreement on texts that do not count (CHOOSER), so what he then scores is not the luck of the choice.
    `usual` is what the recipe that the others vary recovers. All tries train on the same answers, so `asked` and
    `tokens` are those of the largest try, and of the choosing texts; `flops` are those of all tries. Means over seeds.
    Not for sap_dp, whose attacker sees no clean answer to choose by.
    """
    chooser, keys = _taken(results, CHOOSER, "agreement"), ["model", "cell"]
    texts = _taken(results, CHOOSER, "kl").drop_duplicates(keys).set_index(keys)["n"].rename("texts")
    chooser = chooser[chooser["steps"] > 0].set_index(keys)[["value", "n"]].join(texts)
    cells = ended(results).join(chooser.rename(columns={"value": "by", "n": "choosing"}), on=keys).dropna(subset="by")
    keys, rows = ["model", "secured", "attack", "queries"], []
    for key, found in cells[cells["secured"] != "sap_dp"].groupby(keys, sort=False):
        whole = _block(found, "recipe")
        tries = whole.groupby("recipe", sort=False)[["by", "agreement", "recovered", "asked", "tokens", "flops"]].mean()
        usual = tries["recovered"].filter(items=["ours", "ft"])
        if len(tries) < 2 or usual.empty:
            continue
        best, (texts, choosing) = tries.loc[tries["by"].idxmax()], whole[["texts", "choosing"]].max()
        counts = [len(tries), whole["seed"].nunique(), best.name]
        cost = [tries["asked"].max() + texts, tries["tokens"].max() + choosing, tries["flops"].sum()]
        rows.append([*key, *counts, best["by"], best["agreement"], best["recovered"], usual.iloc[0], *cost])
    return pd.DataFrame(rows, columns=TUNED)


def recipe_table(results: Results, difficulty: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds where several recipes were given the same queries on the same set; columns RECIPES.

    `dd` is that of the set under the recipe's start, as far as it was scored (tables.difficulty_table).

    `change`: recovered share less that of the recipe named in `against`, mean over the `pairs` seeds that both have.
    That recipe differs in one thing only, "paper" apart: "our_X" is the paper's with our X, "ft_X" ft with X, all
    others ours with what their name says (params.yaml, grid.recipes). `asked` counts repeated queries too.
    """
    keys, tables = ["model", "secured", "attack", "queries"], [pd.DataFrame(columns=RECIPES)]
    scored = difficulty.drop_duplicates(["model", "secured", "start"])[["model", "secured", "start", "dd"]]
    for _, cells in ended(results).groupby(keys, sort=False):
        means = cells.groupby([*keys, "recipe"], sort=False, as_index=False).agg(
            start=("start", "first"),
            seeds=("seed", "nunique"),
            asked=("asked", "mean"),
            agreement=("agreement", "mean"),
            recovered=("recovered", "mean"),
        )
        means = means.merge(scored, on=["model", "secured", "start"], how="left")
        means["against"] = means["recipe"].map(_base)
        by_seed = cells.pivot(index="seed", columns="recipe", values="recovered")
        changes = [by_seed[own] - by_seed.get(base, float("nan")) for own, base in means[["recipe", "against"]].values]
        means["change"], means["pairs"] = [one.mean() for one in changes], [one.count() for one in changes]
        tables += [means] if len(means) > 1 else []
    return pd.concat(tables[1:] or tables, ignore_index=True)[RECIPES]


def _base(recipe: str) -> str | None:
    """The recipe that this one varies; none for those that start a family."""
    known = {"ours": None, "ft": None, "ft_noisy_logits": "ft_logits", "ft_mean_logits": "ft_noisy_logits"}
    family = {"our": "paper", "ft": "ft"}.get(recipe.split("_")[0], "ours")
    return known.get(recipe, family)


def placement_table(results: Results, difficulty: pd.DataFrame) -> pd.DataFrame:
    """How DD goes with the recovered share at equal budget, over single layers and over depths; columns PLACEMENT.

    One row an attack, recipe and budget, over the most sets that a seed ran at: Spearman's correlation (paper Figures 9
    and 10, Table 11) with its 95 % interval over sets, the sets that gave least and most. `difficulty` has one row a
    model and secured set. Below 0: the more difficult the set, the less was recovered.
    """
    cells, rows = ended(results), []
    layers = cells["secured"].map(layers_of)
    families = {"layers": layers.map(len) == 1, "depths": layers.map(lambda found: found[:1] == (0,))}
    for over, mine in families.items():
        for (model, *key), found in cells[mine.astype(bool)].groupby(
            ["model", "attack", "recipe", "queries"], sort=False
        ):
            whole = _block(found, "secured")
            sets = whole.groupby(["model", "secured"], sort=False, as_index=False)["recovered"].mean()
            sets = sets.merge(difficulty[["model", "secured", "dd"]], on=["model", "secured"])
            if len(sets) > 2:
                rows.append([model, over, *key, whole["seed"].nunique(), len(sets), *_spearman(sets), *_ends(sets)])
    return pd.DataFrame(rows, columns=PLACEMENT)


def _spearman(sets: pd.DataFrame) -> tuple[float, float, float]:
    found = metrics.spearman(sets["dd"].astype(float), sets["recovered"])
    return found, *attack_trends.interval(found, len(sets), 1 + found**2 / 2)


def _ends(sets: pd.DataFrame) -> list:
    least, most = sets.loc[sets["recovered"].idxmin()], sets.loc[sets["recovered"].idxmax()]
    return [least["secured"], least["recovered"], most["secured"], most["recovered"]]
