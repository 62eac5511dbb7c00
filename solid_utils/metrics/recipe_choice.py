"""Which of several tries of a customer's recipe is taken; fixed before the first of them ran (grid/tuning.py)."""

import pandas as pd

from solid_utils.core.errors import StudyError

DOMAIN = "reasoning"  # that the rule decides on
KEPT = 0.9  # of the sums that were right before


def chosen(tries: pd.DataFrame) -> pd.Series:
    """The try whose recipe is taken, of rows of schema.TRIES.

    Of those on `reasoning` that keep nine tenths of the one-digit sums that the untouched model has right, the one of
    lowest cross-entropy on validation problems; where none does, the one that keeps most. Raises StudyError where a
    count is missing, or there is no try.
    """
    mine = tries[tries["trained_on"] == DOMAIN]
    if mine.empty or mine["sums_after"].isna().any():
        raise StudyError(
            "tries: sums_after is missing; no recipe can be chosen: run `python -m solid_utils.grid.tuning`"
        )
    kept = mine["sums_after"] / mine["sums_before"]
    if (kept >= KEPT).any():
        return mine.loc[mine.loc[kept >= KEPT, "validation_cross_entropy"].idxmin()]
    return mine.loc[kept.idxmax()]
