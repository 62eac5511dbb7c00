"""Every table and figure of the paper and what stands beside it here; below it the paper's figures, redrawn."""

import pandas as pd

from solid_utils.paper import registry
from solid_utils.paper.registry import Item
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.tables.statements import STATEMENTS_OF_THE_PAPER

PUBLISHED = ["model", "item", "state", "shows", "counterpart", "found", "spent", "claims", "verdict"]
PUBLISHED += ["audit", "remark", "needs"]
SPENT = ("queries", "steps", "samples", "n")  # columns that say what a counterpart's rows took, as far as it has them


def published_table(context: Context) -> pd.DataFrame:
    """The registry for every model: states and remarks as written there, rows, budgets and verdicts from our tables."""
    items = registry.load()
    rows = [_row(context, model, key, item) for model in context.results.models for key, item in items.items()]
    return pd.DataFrame(rows, columns=PUBLISHED)


def _row(context: Context, model: str, key: str, item: Item) -> dict:
    found = counterpart(context.table(item.table), model, item) if item.table else None
    return {
        "model": model,
        "item": key,
        "state": item.state,
        "shows": item.shows,
        "counterpart": " ".join(places(model, item)),
        "found": None if found is None else len(found),
        "spent": "" if found is None else spent(found),
        "claims": " ".join(item.claims),
        "verdict": "; ".join(verdicts(context, model, item)),
        "audit": " ".join(map(str, item.audit)),
        "remark": item.remark,
        "needs": item.needs,
    }


def places(model: str, item: Item) -> list[str]:
    """Where our counterpart lies: files of the results folder, or one of this repository."""
    named = [f"tables/{item.table}.csv"] if item.table else []
    named += [f"figures/paper/{model}-{item.figure}.png"] if item.figure else []
    return named + ([item.file] if item.file else [])


def counterpart(table: pd.DataFrame, model: str, item: Item) -> pd.DataFrame:
    """The rows of our table that the registry chooses. Raises KeyError where it has no such column."""
    rows = table[table["model"] == model]
    for column, values in item.rows.items():
        kept = [bool(value) if isinstance(value, bool) else value for value in values]
        rows = rows[rows[column].isin(kept)]
    return rows


def spent(rows: pd.DataFrame) -> str:
    """From the least to the most that these rows took: "264 to 1,524 queries, 30 to 200 steps"."""
    told = []
    for name in SPENT:
        values = rows[name].dropna() if name in rows.columns else rows.index[:0]
        if len(values):
            ends = dict.fromkeys([f"{values.min():,.0f}", f"{values.max():,.0f}"])
            told.append(f"{' to '.join(ends)} {'items' if name == 'n' else name}")
    return ", ".join(told)


def verdicts(context: Context, model: str, item: Item) -> list[str]:
    """What the table of claims says of each claim that rests on this item; nothing of an item that did not run here."""
    if not item.ran:
        return []  # the claim's verdict is of other sets and victims
    claims = context.table("claims")
    by_key = claims[claims["model"] == model].set_index("key")["verdict"]
    return [f"{key}: {by_key[key]}" for key in item.claims]


PUBLISHED_COLUMNS: Columns = {
    "item": ("paper's", "text"),
    "shows": ("what it shows", "text"),
    "state": ("state", "text"),
    "counterpart": ("beside it here", "text"),
    "spent": ("budget here", "text"),
    "verdict": ("verdict", "text"),
    "audit": ("audit", "text"),
    "remark": ("before its numbers are used", "text"),
    "needs": ("not run here: needs", "text"),
}


def _read_published(rows: pd.DataFrame) -> str:
    counts = rows["state"].value_counts()
    told = ", ".join(
        f"{counts[state]} {state}" for state in ("here", "partly", "needs_gpu", "needs_hub") if state in counts
    )
    doubted = (rows["audit"] != "").sum()
    return f"{len(rows)} tables and figures of the paper: {told}. Points of the audit concern {doubted} of them."


SECTION = Section(
    "published",
    "The paper's tables and figures",
    (
        "What each of the paper's tables and figures shows, and what stands beside it here. Nothing of it was run on "
        "the paper's models: here and partly mean our victims at our budgets. Numbers under audit are the points of "
        "the audit of the published numbers (notebook 05). The tables themselves lie in tables/paper/; "
        "all that the paper states, with all evidence, in tables/statements.csv.",
        "Below it the paper's figures, redrawn from its published tables, beside ours. A panel without numbers says "
        "what it needs.",
    ),
    (
        Table(
            "published",
            published_table,
            PUBLISHED_COLUMNS,
            _read_published,
            folded="Every table and figure of the paper",
        ),
        STATEMENTS_OF_THE_PAPER,
    ),
)
