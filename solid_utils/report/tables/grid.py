"""What the attack grid shows: what a recipe's parts do, what tuning adds, how DD goes with place and depth."""

import pandas as pd

from solid_utils.metrics import intervals
from solid_utils.report.results import prefix
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.tables.cost import of_one_start
from solid_utils.report.tables.grid_cells import CELLS, comparable, ended, on_texts
from solid_utils.report.tables.leaks import LEAKS
from solid_utils.report.wording import percent

RECIPE_TABLE = [
    *["model", "secured", "attack", "queries", "asked", "recipe", "start", "dd", "seeds", "agreement", "recovered"],
    *["against", "change", "pairs"],
]
TUNED_TABLE = [
    *["model", "secured", "attack", "queries", "tries", "seeds", "chosen", "by", "agreement", "recovered", "usual"],
    *["asked", "tokens", "flops"],
]
CHOOSER = "evaluation_c4"  # texts of another kind than those that count
PLACEMENT_TABLE = [
    *["model", "over", "attack", "recipe", "queries", "seeds", "sets", "spearman", "spearman_low", "spearman_high"],
    *["least", "least_recovered", "most", "most_recovered"],
]


def recipe_table(context: Context) -> pd.DataFrame:
    """Means over seeds where several recipes were given the same queries on the same set; columns RECIPE_TABLE.

    `dd` is that of the set under the recipe's start, as far as it was scored (the table `difficulty`).

    `change`: recovered share less that of the recipe named in `against`, mean over the `pairs` seeds that both have.
    That recipe differs in one thing only, "paper" apart: "our_X" is the paper's with our X, "ft_X" ft with X, all
    others ours with what their name says (params.yaml, grid.recipes). `asked` counts repeated queries too.
    """
    keys, tables = ["model", "secured", "attack", "queries"], [pd.DataFrame(columns=RECIPE_TABLE)]
    difficulty = context.table("difficulty")
    scored = difficulty.drop_duplicates(["model", "secured", "start"])[["model", "secured", "start", "dd"]]
    for _, cells in ended(context.results).groupby(keys, sort=False):
        means = cells.groupby([*keys, "recipe"], sort=False, as_index=False).agg(
            start=("start", "first"),
            seeds=("seed", "nunique"),
            asked=("asked", "mean"),
            agreement=("agreement", "mean"),
            recovered=("recovered", "mean"),
        )
        means = means.merge(scored, on=["model", "secured", "start"], how="left")
        means["against"] = means["recipe"].map(_base)
        # Seed by seed: recipes were first compared over whatever ran, with other seeds on either side.
        by_seed = cells.pivot(index="seed", columns="recipe", values="recovered")
        changes = [by_seed[own] - by_seed.get(base, float("nan")) for own, base in means[["recipe", "against"]].values]
        means["change"], means["pairs"] = [one.mean() for one in changes], [one.count() for one in changes]
        tables += [means] if len(means) > 1 else []
    return pd.concat(tables[1:] or tables, ignore_index=True)[RECIPE_TABLE]


def _base(recipe: str) -> str | None:
    """The recipe that this one varies; none for those that start a family."""
    known = {"ours": None, "ft": None, "ft_noisy_logits": "ft_logits", "ft_mean_logits": "ft_noisy_logits"}
    family = {"our": "paper", "ft": "ft"}.get(recipe.split("_")[0], "ours")
    return known.get(recipe, family)


RECIPE_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "attack": ("attack", "text"),
    "asked": ("queries", "count"),
    "recipe": ("recipe", "text"),
    "dd": ("DD of its start", "number"),
    "agreement": ("after %", "percent"),
    "recovered": ("recov. %", "percent"),
    "seeds": ("seeds", "count"),
    "change": ("change", "percent"),
    "against": ("against", "text"),
    "pairs": ("both, seeds", "count"),
}


def _read_recipes(rows: pd.DataFrame) -> str:
    """The ends, then what each part does alone, from either end, where the paper's own recipe had most queries."""
    keys = ["secured", "attack", "queries"]
    papers = rows[rows["recipe"] == "paper"].sort_values("queries", kind="stable")[keys].tail(1)
    rows = rows.merge(papers, on=keys).drop_duplicates("recipe").set_index("recipe")
    if rows.empty:
        return "the paper's own recipe did not run."
    where = f"{rows['attack'].iloc[0]} on {rows['secured'].iloc[0]} with {rows['queries'].iloc[0]} queries"
    told = [f"{name} {percent(rows.loc[name, 'recovered'])}" for name in ("ours", "paper") if name in rows.index]
    parts = [_parts(rows, "paper_", "ours with the paper's"), _parts(rows, "our_", "the paper's with our")]
    return "; ".join([f"recovered by {where}: {', '.join(told)}", *filter(None, parts)]) + "."


def _parts(rows: pd.DataFrame, prefix: str, lead: str) -> str:
    """Changes of one part at a time, the largest first."""
    alone = rows[rows.index.str.startswith(prefix)].dropna(subset="change")
    alone = alone.sort_values("change", key=abs, ascending=False, kind="stable")
    told = [f"{name.removeprefix(prefix)} {100 * change:+.1f}" for name, change in alone["change"].items()]
    most = f": the {told[0].split()[0]} moves most" if len(told) > 1 else ""
    return f"{lead} {', '.join(told)} points{most}" if told else ""


def tuned_table(context: Context) -> pd.DataFrame:
    """The attacker who tries every recipe that ran on a set with these queries and takes the best; columns TUNED_TABLE.

    He chooses by agreement on texts that do not count (CHOOSER), so what he then scores is not the luck of the choice.
    `usual` is what the recipe that the others vary recovers. All tries train on the same answers, so `asked` and
    `tokens` are those of the largest try, and of the choosing texts; `flops` are those of all tries. Means over seeds.
    Not for sap_dp, whose attacker sees no clean answer to choose by.
    """
    results = context.results
    chooser, keys = on_texts(results, CHOOSER, "agreement"), ["model", "cell"]
    texts = on_texts(results, CHOOSER, "kl").drop_duplicates(keys).set_index(keys)["n"].rename("texts")
    chooser = chooser[chooser["steps"] > 0].set_index(keys)[["value", "n"]].join(texts)
    cells = ended(results).join(chooser.rename(columns={"value": "by", "n": "choosing"}), on=keys).dropna(subset="by")
    keys, rows = ["model", "secured", "attack", "queries"], []
    for key, mine in cells[cells["secured"] != "sap_dp"].groupby(keys, sort=False):
        whole = comparable(mine, "recipe")
        tries = whole.groupby("recipe", sort=False)[["by", "agreement", "recovered", "asked", "tokens", "flops"]].mean()
        usual = tries["recovered"].filter(items=["ours", "ft"])
        if len(tries) < 2 or usual.empty:
            continue
        # By the texts that do not count; chosen by `recovered`, the best of many tries would be partly luck.
        best, (texts, choosing) = tries.loc[tries["by"].idxmax()], whole[["texts", "choosing"]].max()
        counts = [len(tries), whole["seed"].nunique(), best.name]
        cost = [tries["asked"].max() + texts, tries["tokens"].max() + choosing, tries["flops"].sum()]
        rows.append([*key, *counts, best["by"], best["agreement"], best["recovered"], usual.iloc[0], *cost])
    return pd.DataFrame(rows, columns=TUNED_TABLE)


TUNED_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "attack": ("attack", "text"),
    "queries": ("queries a try", "count"),
    "tries": ("tries", "count"),
    "chosen": ("chosen", "text"),
    "by": ("by C4 %", "percent"),
    "agreement": ("after %", "percent"),
    "recovered": ("recov. %", "percent"),
    "usual": ("untuned %", "percent"),
    "asked": ("queries in all", "count"),
    "tokens": ("tokens", "count"),
    "flops": ("FLOPs", "figures"),
    "seeds": ("seeds", "count"),
}


def _read_tuned(rows: pd.DataFrame) -> str:
    """What choosing among recipes adds, set by set."""
    told = []
    for _, row in rows.iterrows():
        gain = "tuning changes nothing" if row["chosen"] in ("ours", "ft") else f"{percent(row['usual'])} untuned"
        what = f"{percent(row['recovered'])} by {row['chosen']}, the best of {row['tries']} ({gain})"
        told.append(f"{row['attack']} on {row['secured']} with {row['queries']} queries {what}")
    return f"recovered by an attacker who tunes: {'; '.join(told)}."


def placement_table(context: Context) -> pd.DataFrame:
    """How DD goes with the recovered share at equal budget, over single layers and depths; columns PLACEMENT_TABLE.

    One row an attack, recipe and budget, over the most sets that a seed ran at: Spearman's correlation (paper Figures 9
    and 10, Table 11) with its 95 % interval over sets, the sets that gave least and most. DD is that
    under the start that was scored for most sets. Below 0: the more difficult the set, the less was recovered.
    """
    cells, rows = ended(context.results), []
    difficulty = of_one_start(context.table("difficulty"))
    families = {"layers": cells["only_layers"].astype(bool) & (cells["depth"] == 1), "depths": prefix(cells)}
    for over, mine in families.items():
        for (model, *key), family in cells[mine.astype(bool)].groupby(
            ["model", "attack", "recipe", "queries"], sort=False
        ):
            whole = comparable(family, "secured")
            sets = whole.groupby(["model", "secured"], sort=False, as_index=False)["recovered"].mean()
            sets = sets.merge(difficulty[["model", "secured", "dd"]], on=["model", "secured"])
            if len(sets) > 2:  # two always correlate perfectly
                rows.append([model, over, *key, whole["seed"].nunique(), len(sets), *_spearman(sets), *_ends(sets)])
    return pd.DataFrame(rows, columns=PLACEMENT_TABLE)


def _spearman(sets: pd.DataFrame) -> tuple[float, float, float]:
    rho = intervals.spearman(sets["dd"].astype(float), sets["recovered"])
    return rho.estimate, rho.low, rho.high


def _ends(sets: pd.DataFrame) -> list:
    least, most = sets.loc[sets["recovered"].idxmin()], sets.loc[sets["recovered"].idxmax()]
    return [least["secured"], least["recovered"], most["secured"], most["recovered"]]


PLACEMENT_COLUMNS: Columns = {
    "attack": ("attack", "text"),
    "recipe": ("recipe", "text"),
    "queries": ("queries", "count"),
    "over": ("over", "text"),
    "sets": ("sets", "count"),
    "seeds": ("seeds", "count"),
    "spearman": ("Spearman, DD and recovered", "number"),
    "least": ("least from", "text"),
    "least_recovered": ("recov. %", "percent"),
    "most": ("most from", "text"),
    "most_recovered": ("of that %", "percent"),
}


def _read_placement(rows: pd.DataFrame) -> str:
    """Each attack and recipe at most sets, of equal ones at its largest budget."""
    told = []
    for (over, attack, recipe), mine in rows.groupby(["over", "attack", "recipe"], sort=False):
        row = mine.sort_values(["sets", "queries"], kind="stable").iloc[-1]
        low, high = row["spearman_low"], row["spearman_high"]
        known = "undefined" if pd.isna(row["spearman"]) else f"{row['spearman']:.2f}"
        known += "" if pd.isna(low) else f" [{low:.2f}, {high:.2f}]"
        named = attack if recipe in ("ours", "ft", attack) else f"{attack} ({recipe})"
        told.append(f"{named} with {row['queries']:.0f} queries {known} over {row['sets']} {over}")
    return f"Spearman's correlation of DD with the recovered share: {'; '.join(told)} (95 % over sets)."


SECTION = Section(
    "grid",
    "The attack grid",
    (
        "Cells of one attack run each, on agreement alone, which the points above include. One seed more is one row of "
        "numbers more, so what a single seed shows may be its luck.",
    ),
    (
        Table("grid_recipes", recipe_table, RECIPE_COLUMNS, _read_recipes),
        Table("grid_tuned", tuned_table, TUNED_COLUMNS, _read_tuned),
        Table("grid_placement", placement_table, PLACEMENT_COLUMNS, _read_placement),
        CELLS,
        LEAKS,
    ),
    level=3,
)
