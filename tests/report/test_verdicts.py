"""Which domain of customization a verdict is about."""

import pandas as pd

from solid_utils.report import verdicts


def rows(*named: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(named, columns=["deployment", "kinds", "n"])


def test_a_verdict_is_of_the_largest_domain_that_fully_open_and_solid_share():
    math = [("fully_open", "sums", 100), ("solid", "sums", 100)]
    reasoning = [("fully_open", "gcd+sums", 210), ("solid", "gcd+sums", 210)]
    found = verdicts.decisive(rows(*math, *reasoning, ("fully_open", "bodies", 900)))
    assert found.values.tolist() == [list(row) for row in reasoning]
    assert verdicts.decisive(rows(*math, math[0])).values.tolist() == [list(row) for row in math]
    assert verdicts.decisive(rows()).empty
    assert verdicts.decisive(rows(("darknetz", "sums", 5)))["deployment"].tolist() == ["darknetz"]
