"""Every item of one run of the headline table, a page a run: before the attack, after it, and by the victim."""

import pandas as pd

from solid_utils.report.pages.grid import Grid
from solid_utils.report.pages.study import Block, Study, item_page
from solid_utils.report.ratios import states

MOST = 5000  # items of a page; of more the summary alone is shown
KEYS = ["benchmark", "item"]
STATES = {"start": "before", "end": "after"}


def pages(study: Study) -> dict[str, list[Block]]:
    """Blocks by file, of every attack run with items."""
    items = study.results.items
    if items.empty:
        return {}
    runs = study.tables["attacks"].dropna(subset="recovered_share")
    found = {}
    for model, run in runs[["model", "run"]].itertuples(index=False, name=None):
        mine = items[(items["model"] == model) & (items["run"] == run)]
        if len(mine):
            victim = items[(items["model"] == model) & (items["run"] == "victim")]
            found[item_page(model, run)] = blocks(model, run, by_item(mine, victim))
    return found


def by_item(mine: pd.DataFrame, victim: pd.DataFrame) -> pd.DataFrame:
    """One row an item: KEYS, weight, before, after (means over seeds), victim. nan where one of them lacks it."""
    both = states(mine)
    values = both.assign(value=share(both)).pivot_table(
        index=KEYS, columns="state", values="value", aggfunc="mean", sort=False
    )
    rows = values.rename(columns=STATES).reindex(columns=list(STATES.values()))
    rows.insert(0, "weight", both.drop_duplicates(KEYS).set_index(KEYS)["weight"])
    rows["victim"] = share(victim.drop_duplicates(KEYS).set_index(KEYS))
    return rows.reset_index()


def share(items: pd.DataFrame) -> pd.Series:
    """Values of items as shares: of a text's tokens, `weight` of them, so many agree."""
    return items["value"].astype(float) / items["weight"].astype(float)


def blocks(model: str, run: str, rows: pd.DataFrame) -> list[Block]:
    csv = item_page(model, run).replace("pages/", "pages/csv/").replace(".html", ".csv")
    summary = Grid("by_benchmark", f"{run} by benchmark", by_benchmark(rows), csv)
    said = "Of texts that agreement is taken on an item's value is a share of tokens; of benchmarks, right or wrong."
    found = [Block("on_benchmarks", "By benchmark", (said,), [summary])]
    if len(rows) <= MOST:
        every = Grid("i", f"Items of {run}", rows.map(written), csv, data=rows)
        return [*found, Block("on_items", "Every item", (), [every])]
    note = f"More than {MOST} items; they lie in items.csv beside the run's scores."
    return [*found, Block("on_items", "Every item", (note,))]


def by_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Means by benchmark, each item by its weight, and how many items changed."""
    lines = []
    for name, mine in rows.groupby("benchmark", sort=False):
        weight = mine["weight"].astype(float)
        line = {"benchmark": name, "items": str(len(mine))}
        for column in (*STATES.values(), "victim"):
            known = mine[column].notna()
            mean = (mine[column] * weight)[known].sum() / weight[known].sum() if known.any() else float("nan")
            line[f"{column} %"] = written(100 * mean)
        change = mine["after"] - mine["before"]
        line |= {"gained": str((change > 0).sum()), "lost": str((change < 0).sum())}
        lines.append(line)
    return pd.DataFrame(lines)


def written(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3g}"
    return str(value)
