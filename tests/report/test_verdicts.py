"""Which domain of customization a verdict is about, and the page's first screen."""

from types import SimpleNamespace

import pandas as pd

from solid_utils.report import verdicts
from solid_utils.report.pages import home
from solid_utils.report.tables import customization

DEPLOYMENTS = ("fully_open", "solid")


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


def test_the_first_screen_speaks_of_the_same_domain():
    """Not of the first in the table: on that nobody solved anything, and all were equal."""
    made = rows(*[(deployment, kinds, n) for kinds, n in (("bodies", 100), ("gcd", 210)) for deployment in DEPLOYMENTS])
    made = made.assign(model="toy", benchmark="all", secured="layers 0", after=[0.0, 0.0, 0.12, 0.14], after_low=0.0)
    made = made.assign(after_high=0.2, gap_to_fully_open=[None, 0.0, None, 0.02], gap_stderr=0.01)
    made = made.assign(gap_to_fully_open_low=0.0, gap_to_fully_open_high=0.1, interval_covers="items only")
    made = made.assign(recipe=["code, lora", "code, lora", "reasoning, lora", "reasoning, lora"])
    said = home.customer(SimpleNamespace(tables={"customization": made}), "toy")
    assert "14.0 %" in said and "of 210 problems of reasoning, +2.0" in said
    assert "customization.html#customization-4" in said


def test_no_gap_where_nobody_solved_anything_is_no_gap():
    facts = {"benchmark": "all", "recipe": "code, lora", "n": 100, "gap_stderr": 0.01, "detectable": 0.08}
    facts |= {"gap_to_fully_open_low": 0.0, "gap_to_fully_open_high": 0.0, "interval_covers": "items only"}
    ends = [("fully_open", 0.0, None), ("solid", 0.0, 0.0), ("sap", 0.0, -0.1), ("darknetz", 0.1, 0.0)]
    made = [facts | {"deployment": name, "after": after, "gap_to_fully_open": gap} for name, after, gap in ends]
    said = customization.SECTION.tables[0].reads(pd.DataFrame(made))
    assert "solid solves no problem, and fully open none, which compares nothing" in said
    assert "sap ends -10.0" in said and "darknetz ends +0.0" in said
