"""All that the paper states as its own, a row each; the evidence behind it lies in the CSV file."""

import pandas as pd

from solid_utils.report.pages.grid import Grid, as_text
from solid_utils.report.pages.study import Block, Study
from solid_utils.report.table import CSV_ROW

HEADS = {"statement": "statement", "claim": "in words of our own", "stands_in": "where", "verdict": "verdict"}
HEADS |= {"evidence": "evidence", "rests_on": "rests on", "rule": "rule"}


def made(study: Study) -> Block:
    grid = table(study, "statements", "All that the paper states")
    said = "Theorem, contributions, observations, remarks, questions. The file has a row a piece of evidence."
    return Block("on_statements", "All that the paper states", (said,), [grid] if len(grid.rows) else [])


def table(study: Study, name: str, caption: str, only: str = "") -> Grid:
    """A row a model and statement; `only` those whose key begins so."""
    rows = study.tables["statements"].reset_index(drop=True)
    rows = rows[rows["statement"].str.startswith(only)]
    pieces = rows.groupby(["model", "statement"], sort=False)["evidence"].agg(listed)
    shown = rows.drop_duplicates(["model", "statement"]).assign(evidence=pieces.to_numpy())
    several = ["model"] if shown["model"].nunique() > 1 else []
    words = as_text(shown[[*several, *HEADS]]).rename(columns=HEADS)
    words.index.name = CSV_ROW  # of the first piece
    return Grid(name, caption, words, "tables/statements.csv", links=study.links("statements"))


def listed(pieces: pd.Series) -> str:
    """Each once: an attack may be the strongest on two sets of a statement."""
    return "; ".join(dict.fromkeys(pieces.dropna()))
