"""For the vendor: separated pieces, two bottoms by turns, and benchmarks through a defence."""

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.report import vendor
from solid_utils.report.table import Columns, Context, Table
from solid_utils.report.wording import percent

TAKEN: Columns = {  # what a thief asked and got
    "queries": ("queries", "count"),
    "agreement": ("agreement %", "percent"),
    "above": ("above the floor %", "percent"),
    "kl": ("KL", "number"),
    "|": None,
    "tokens": ("tokens", "count"),
    "n": ("tokens scored", "count"),
    "machine": ("machine", "text"),
}


def pieces_table(context: Context) -> pd.DataFrame:
    """Separated secured pieces, each fitted by a linear map."""
    rows = vendor.load(paths.PIECES_FILE, schema.PIECES)
    return rows.assign(above=vendor.above(rows, context.results.floors))[vendor.PIECES]


PIECES_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "pieces": ("pieces", "count"),
    "share": ("parameters %", "percent"),
    "adapts": ("adapts", "text"),
    **TAKEN,
}


def best_of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each set the way of fitting that got most."""
    return rows.loc[rows.groupby(vendor.PLACE, sort=False)["agreement"].idxmax()]


def _read_pieces(rows: pd.DataFrame) -> str:
    """What is left of each set, at least."""
    told = [f"{row.secured} {percent(row.above)}" for row in best_of_each(rows).itertuples()]
    return f"taken above the floor on C4, by the better way to fit: {', '.join(told)}."


def turns_table(context: Context) -> pd.DataFrame:
    """Two secret bottoms that answer in turn: vendor.turns."""
    return vendor.turns(vendor.load(paths.TURNS_FILE, schema.TURNS), context.results.floors)


TURNS_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "twin": ("second", "text"),
    "spread": ("spread", "figures"),
    "apart": ("states apart %", "percent"),
    "attack": ("attack", "text"),
    "adapts": ("adapts", "text"),
    "worse": ("perplexity worse %", "percent"),
    "usable": ("usable", "flag"),
    **TAKEN,
}


def _read_turns(rows: pd.DataFrame) -> str:
    """The pair whose states are furthest apart of those that the customer can use, and what its best thief keeps."""
    thieves = rows[rows["attack"] != vendor.NONE]
    usable = thieves[thieves["usable"].astype(bool) & (thieves["spread"] > 0)]
    if usable.empty:
        return "no pair is usable."
    widest = usable[usable["apart"] == usable["apart"].max()]
    best = widest.loc[widest["agreement"].idxmax()]
    one = thieves[thieves["spread"] == 0]["above"].max()
    return (
        f"the widest pair that costs at most {percent(vendor.AT_MOST)} of perplexity, its states "
        f"{percent(best['apart'])} apart, leaves the thief {percent(best['above'])} above the floor on C4, where one "
        f"bottom left {percent(one)}."
    )


def served_table(_: Context) -> pd.DataFrame:
    """Benchmarks through a defence, the mean of each: vendor.served."""
    return vendor.served(vendor.load(paths.SERVED_FILE, schema.SERVED))


SERVED_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "rounding": ("rounding", "text"),
    "noise": ("noise", "figures"),
    "benchmarks": ("benchmarks", "count"),
    "mean": ("mean %", "percent"),
    "change": ("change %", "percent"),
    "change_error": ("its error, at most %", "percent"),
    "|": None,
    "machine": ("machine", "text"),
}


def _read_served(rows: pd.DataFrame) -> str:
    """What each defence costs on average."""
    told = []
    for secured, mine in rows.groupby("secured", sort=False):
        costs = [f"{vendor.named(row)} {percent(row['change'])}" for _, row in mine.iterrows() if vendor.defends(row)]
        told.append(f"with {secured} secured {', '.join(costs)}")
    return f"change of the mean over benchmarks: {'; '.join(told)}."


TABLES = (
    Table(
        "served",
        served_table,
        SERVED_COLUMNS,
        _read_served,
        introduction="The customer's own model through each defence, on the suite's benchmarks. Both sides answer the "
        "same items, so the error of a change is smaller than the one that stands here.",
    ),
    Table(
        "pieces",
        pieces_table,
        PIECES_COLUMNS,
        _read_pieces,
        introduction="The thief sees what enters and what leaves each piece, and fits a linear map for each: on states "
        "as they really enter, or in order, on those that his own replica hands on.",
    ),
    Table(
        "turns",
        turns_table,
        TURNS_COLUMNS,
        _read_turns,
        introduction="Attack none: the customer's model, the mean of both bottoms. A second bottom by noise is the "
        "first with noise on its matrices; a trained one then learned to answer as the victim does. The thief fits on "
        "all answers together; mean: half as many texts, each asked of both; apart: on one's answers alone, if he can.",
    ),
)
