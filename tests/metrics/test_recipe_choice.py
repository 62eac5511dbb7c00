"""The rule by which a customer's recipe is taken."""

import pandas as pd
import pytest

from solid_utils.core.errors import StudyError
from solid_utils.metrics.recipe_choice import chosen


def tries(*rows: tuple) -> pd.DataFrame:
    names = ["trained_on", "learning_rate", "validation_cross_entropy", "sums_before", "sums_after"]
    return pd.DataFrame(rows, columns=names)


def test_of_those_that_keep_nine_tenths_the_lowest_cross_entropy():
    table = tries(
        ("code", 1.0, 0.1, 0.5, 0.5),
        ("reasoning", 2.0, 0.5, 0.5, 0.4),
        ("reasoning", 3.0, 0.9, 0.5, 0.5),
        ("reasoning", 4.0, 0.8, 0.5, 0.45),
    )
    assert chosen(table)["learning_rate"] == 4


def test_where_none_keeps_so_many_the_one_that_keeps_most():
    table = tries(("code", 1.0, 0.1, 0.5, 0.5), ("reasoning", 2.0, 0.5, 0.5, 0.1), ("reasoning", 3.0, 0.9, 0.5, 0.2))
    assert chosen(table)["learning_rate"] == 3


@pytest.mark.parametrize("rows", [[("code", 1.0, 0.1, 0.5, 0.5)], [("reasoning", 1.0, 0.1, 0.5, None)]])
def test_without_counts_none_is_taken(rows):
    with pytest.raises(StudyError, match="sums_after is missing"):
        chosen(tries(*rows))
