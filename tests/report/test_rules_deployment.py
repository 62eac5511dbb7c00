"""The rule on customization: what cells on SOLID's layers decide where the default run decides nothing."""

import pandas as pd
import pytest

from solid_utils.report import evidence, rules_deployment, verdicts
from solid_utils.report.evidence import CONTRADICTED, NOT_TESTED, SUPPORTED, Evidence

NONE = pd.DataFrame()


def found(cells: list[dict], l_star: int = 1, n: int = 210) -> Evidence:
    runs = {"before": 0.0, "after": 0.12, "stderr": 0.02, "before_stderr": 0.0, "n": n, "metric": "right"}
    runs |= {
        "gain": 0.12,
        "kinds": "sums",
        "recipe": "reasoning, lora",
        "gap_stderr": 0.01,
        "gap_to_fully_open_low": -0.01,
    }
    runs |= {"gap_to_fully_open": 0.0, "gap_to_fully_open_high": 0.01}
    customization = pd.DataFrame([runs | {"run": f"{name}-reasoning"} for name in ("fully_open", "solid")])
    customization.index = ["fully_open", "solid"]
    search = pd.DataFrame({"l_star": [l_star]}, index=["xavier"])
    rows = pd.DataFrame(cells or None, columns=["deployment", "equivalence", "n", "run", "model", "seeds", "gap",
                                                "gap_low", "gap_high"])  # fmt: skip
    return Evidence(NONE, NONE, NONE, search, customization, rows)


def cell(equivalence: str, deployment: str = "layers 0", n: int = 1050) -> dict:
    gap = {"gap": -0.001, "gap_low": -0.008, "gap_high": 0.006}
    return {
        "deployment": deployment,
        "equivalence": equivalence,
        "n": n,
        "run": "mine",
        "model": "tiny",
        "seeds": 1,
    } | gap


@pytest.mark.parametrize(
    "cells, expected",
    [
        ([], NOT_TESTED),
        ([cell("equivalent")], SUPPORTED),
        ([cell("equivalent"), cell("worse")], CONTRADICTED),
        ([cell("better")], SUPPORTED),
        ([cell("equivalent"), cell("not decided")], SUPPORTED),
        ([cell("not decided")], NOT_TESTED),
        ([cell("fully open gains nothing")], NOT_TESTED),
        ([cell("equivalent", n=499)], NOT_TESTED),
        ([cell("worse", deployment="layers 29")], NOT_TESTED),
        ([cell("equivalent", deployment="layers 0-1")], NOT_TESTED),
    ],
)
def test_cells_decide_where_the_default_run_does_not(cells, expected):
    finding = rules_deployment.solid_customization(found(cells))
    assert finding.verdict == expected
    if expected != NOT_TESTED:
        assert finding.measured.startswith("Cells: mine (tiny, 1050 items, 1 seed(s)) -0.1 [-0.8, +0.6] points")
        assert "The default run: right:" in finding.measured and set(finding.cells) == {"mine"}


def test_cells_reach_the_rule_through_the_tables_by_right_answers_alone():
    model = {"model": ["one", "one", "other"]}
    made = {"equivalence": pd.DataFrame(model | {"metric": ["right", "likelihood", "right"]})}
    made |= {"attacks": pd.DataFrame({"model": ["one"], "recovered_share": [0.5]})}
    made |= {"search": pd.DataFrame({"model": ["one"], "start": ["xavier"], "l_star": [1]})}
    made |= {name: pd.DataFrame({"model": []}) for name in ("evidence", "difficulty")}
    made |= {"customization": pd.DataFrame(columns=["model", "benchmark", "kinds", "deployment", "n"])}
    assert verdicts.evidence(made, "one").cells.to_dict("records") == [{"model": "one", "metric": "right"}]


def test_a_default_run_that_decides_needs_no_cell():
    assert rules_deployment.solid_customization(found([cell("worse")], n=500)).verdict == SUPPORTED


def test_solid_of_two_layers_is_judged_by_cells_on_two_layers():
    two = found([cell("worse"), cell("equivalent", deployment="layers 0-1")], l_star=2)
    assert rules_deployment.solid_customization(two).verdict == SUPPORTED
    assert evidence.bottom(1) == "layers 0" and evidence.bottom(4) == "layers 0-3"
