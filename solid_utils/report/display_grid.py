"""How the attack grid's tables are shown, and the sentences that answer its questions with its own numbers."""

import pandas as pd

from solid_utils.report.wording import percent

PLAIN = 2  # ratio of neighbouring singular values from which on a gap counts as one: noise alone gives 1.2

SHOWN = {
    "grid_recipes": {
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
    },
    "grid_tuned": {
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
    },
    "grid_placement": {
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
    },
    "leaks": {
        "deployment": ("deployment", "text"),
        "queries": ("queries", "count"),
        "positions": ("positions", "count"),
        "width": ("width", "count"),
        "estimated_width": ("width found", "count"),
        "gap": ("by a gap of", "figures"),
        "outside": ("head outside the span", "figures"),
        "agreement": ("top token kept %", "percent"),
        "askings_90": ("askings for 90 %", "count"),
        "askings_99": ("for 99 %", "count"),
    },
    "grid_cells": {
        "groups": ("asked by", "text"),
        "attack": ("attack", "text"),
        "recipe": ("recipe", "text"),
        "secured": ("secured", "text"),
        "planned": ("planned", "count"),
        "run": ("run", "count"),
        "not_reached": ("not reached", "count"),
        "most_queries": ("most queries", "count"),
    },
}


def read_cells(rows: pd.DataFrame) -> str:
    run, planned = rows["run"].sum(), rows["planned"].sum()
    rest = f"; what the other {planned - run} would show is not known" if run < planned else ""
    return f"{run} of {planned} planned cells ran{rest}."


def read_recipes(rows: pd.DataFrame) -> str:
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


def read_tuned(rows: pd.DataFrame) -> str:
    """What choosing among recipes adds, set by set."""
    told = []
    for _, row in rows.iterrows():
        gain = "tuning changes nothing" if row["chosen"] in ("ours", "ft") else f"{percent(row['usual'])} untuned"
        what = f"{percent(row['recovered'])} by {row['chosen']}, the best of {row['tries']} ({gain})"
        told.append(f"{row['attack']} on {row['secured']} with {row['queries']} queries {what}")
    return f"recovered by an attacker who tunes: {'; '.join(told)}."


def read_placement(rows: pd.DataFrame) -> str:
    """Each attack and recipe at most sets, of equal ones at its largest budget."""
    found = []
    for (over, attack, recipe), mine in rows.groupby(["over", "attack", "recipe"], sort=False):
        row = mine.sort_values(["sets", "queries"], kind="stable").iloc[-1]
        low, high = row["spearman_low"], row["spearman_high"]
        known = "undefined" if pd.isna(row["spearman"]) else f"{row['spearman']:.2f}"
        known += "" if pd.isna(low) else f" [{low:.2f}, {high:.2f}]"
        named = attack if recipe in ("ours", "ft", attack) else f"{attack} ({recipe})"
        found.append(f"{named} with {row['queries']:.0f} queries {known} over {row['sets']} {over}")
    return f"Spearman's correlation of DD with the recovered share: {'; '.join(found)} (95 % over sets)."


def read_leaks(rows: pd.DataFrame) -> str:
    """Width, span and most likely token, from clean logits and from noisy ones."""
    told = []
    for _, row in rows.iterrows():
        shown = f"a width of {row['estimated_width']} shows" if row["gap"] > PLAIN else "no width shows"
        span = f"{row['outside']:.1g} of the head's squares lie outside the span of the first {row['width']} directions"
        times = "not a million" if pd.isna(row["askings_99"]) else f"{row['askings_99']:,.0f}"
        noise = f", one noise leaves {percent(row['agreement'])} of the most likely tokens, {times} askings give 99 %"
        told.append(f"{row['deployment']}: {shown}, {span}{noise if row['agreement'] < 1 else ''}")
    return f"from the logits of {rows['queries'].max()} queries, {'; '.join(told)}."


READINGS = {
    "grid_cells": read_cells,
    "grid_recipes": read_recipes,
    "grid_tuned": read_tuned,
    "grid_placement": read_placement,
    "leaks": read_leaks,
}
