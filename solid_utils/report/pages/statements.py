"""All that the paper states as its own, a row each; the evidence behind it lies in the CSV file."""

import pandas as pd

from solid_utils.report.pages.grid import Grid, as_text
from solid_utils.report.pages.study import Block, Study
from solid_utils.report.table import CSV_ROW, in_columns
from solid_utils.report.tables.statements import RATIO

HEADS = {"statement": "statement", "claim": "in words of our own", "stands_in": "where", "verdict": "verdict"}
HEADS |= {"strongest": "strongest attack", "above": "above floor %", "floor": "floor %", "chance": "above chance %"}
HEADS |= {"evidence": "evidence", "rests_on": "rests on", "rule": "rule"}
# From which column, how written, and of which piece of evidence: that with the most of the last.
STRONGEST = {
    "strongest": ("evidence", "text", "above_floor_apart"),
    "above": ("above_floor_apart", "percent", "above_floor_apart"),
    "floor": ("floor_apart", "percent", "above_floor_apart"),
    "chance": (RATIO, "percent", RATIO),
}


def made(study: Study) -> Block:
    grid = table(study, "statements", "All that the paper states")
    said = (
        "Theorem, contributions, observations, remarks, questions. Above the floor of public text stands the strongest "
        "attack of all evidence, above chance the run that keeps most of the victim on benchmarks, each with its 95 % "
        "interval. The file has a row a piece of evidence."
    )
    return Block("on_statements", "All that the paper states", (said,), [grid] if len(grid.rows) else [])


def table(study: Study, name: str, caption: str, only: str = "") -> Grid:
    """A row a model and statement; `only` those whose key begins so."""
    rows = study.tables["statements"].reset_index(drop=True)
    rows = rows[rows["statement"].str.startswith(only)]
    pieces = rows.groupby(["model", "statement"], sort=False)
    shown = rows.drop_duplicates(["model", "statement"]).assign(evidence=pieces["evidence"].agg(listed).to_numpy())
    shown = shown.assign(**strongest([mine for _, mine in pieces]))
    several = ["model"] if shown["model"].nunique() > 1 else []
    words = as_text(shown[[*several, *HEADS]]).rename(columns=HEADS)
    words.index.name = CSV_ROW  # of the first piece
    return Grid(name, caption, words, "tables/statements.csv", links=study.links("statements"))


def strongest(statements: list[pd.DataFrame]) -> dict[str, list[str]]:
    """The columns STRONGEST, a cell a statement; blank where no attack is evidence."""
    made: dict[str, list[str]] = {name: [] for name in STRONGEST}
    for pieces in statements:
        for name, (column, kind, most) in STRONGEST.items():
            best = pieces.astype({most: float}).dropna(subset=most).nlargest(1, most)
            made[name] += list(in_columns(best, {column: (name, kind)})[name]) or [""]
    return made


def listed(pieces: pd.Series) -> str:
    """Each once: an attack may be the strongest on two sets of a statement."""
    return "; ".join(dict.fromkeys(pieces.dropna()))
