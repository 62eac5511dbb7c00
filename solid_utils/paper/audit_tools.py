"""What the points of the audit share: ratios of printed scores, columns side by side, and the one way to fail."""

import pandas as pd

from solid_utils.paper import paper
from solid_utils.paper.paper import ROWS

ADR, DD = "average_distillation_ratio", "distillation_difficulty"
Column = tuple[int, str, str, str]  # table, model, attack, secured


class Resolved(AssertionError):
    """The published numbers no longer contradict one another here."""


def insist(contradicted: bool, what: str) -> None:
    """Raise Resolved where a contradiction that the audit claims is not in the files."""
    if not contradicted:
        raise Resolved(f"{what}: not in the published tables as they lie here")


def ratios(replica: pd.Series, model: str) -> pd.Series:
    """Distillation ratios of the 17 rows in percent (paper's equation 1); nan where the victim scores 0."""
    victim = paper.pretrain(model)
    return 100 * replica / victim.where(victim > 0)


def adr_a(replica: pd.Series, model: str) -> float:
    """Definition A, the text's (5.1): the mean of the rows' ratios."""
    return float(ratios(replica, model).mean())


def adr_b(replica: pd.Series, model: str) -> float:
    """Definition B, that of Tables 26 to 42: the ratio of the mean scores."""
    return float(100 * replica[ROWS].sum() / paper.pretrain(model).sum())


def adr_e(replica: pd.Series, model: str) -> float:
    """A with a slip: BoolQ divided by the victim's ARC-easy score."""
    slipped = ratios(replica, model)
    slipped["BoolQ"] = 100 * replica["BoolQ"] / paper.pretrain(model)["ARC-easy"]
    return float(slipped.mean())


def printed(column: Column, name: str = ADR) -> float:
    """A summary that stands below a column."""
    return float(paper.summary(*column)[name])


def ft_all(table: int, model: str, secured: str) -> pd.Series:
    """The 17 rows of a column under FT-all."""
    return paper.column(table, model, "FT-all", secured)


def differing(first: pd.Series, second: pd.Series, names: tuple[str, str]) -> pd.DataFrame:
    """Rows where two columns of one thing differ."""
    both = pd.DataFrame({names[0]: first, names[1]: second})
    return both[(first - second).abs() > 1e-9]


def above(table: int, model: str, secured: str, whole: tuple[int, str]) -> float:
    """Printed ADR less that of the fully secured model, points."""
    return printed((table, model, "FT-all", secured)) - printed((whole[0], model, "FT-all", whole[1]))
