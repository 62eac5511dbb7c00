"""Everything that the paper states: listed whole, judged by the rule it prints, with evidence of every source."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from solid_utils.core import readers
from solid_utils.paper import said
from solid_utils.paper.statements import STATEMENTS, Statement
from solid_utils.report import results
from solid_utils.report.evidence import CONTRADICTED, NOT_TESTED, SUPPORTED
from solid_utils.report.pages import statements as page
from solid_utils.report.tables import statements

NAMES = ("attacks", "evidence", "difficulty", "customization", "search", "claims", "hypotheses", "equivalence")


def context(folder: Path, **own: pd.DataFrame) -> SimpleNamespace:
    made = {name: readers.read_csv(folder / "tables" / f"{name}.csv", "run `make tables`") for name in NAMES} | own
    return SimpleNamespace(results=SimpleNamespace(models=["smollm2-135m"], folder=folder), table=made.__getitem__)


@pytest.fixture(scope="module")
def shipped() -> SimpleNamespace:
    return context(results.shipped()[0])


@pytest.fixture(scope="module")
def rows(shipped) -> pd.DataFrame:
    return statements.statement_table(shipped)


def test_all_that_the_paper_states_is_listed():
    keys = [one.key for one in STATEMENTS]
    wanted = ["theorem_1", *(f"contribution_{n}" for n in range(1, 5)), *(f"observation_{n}" for n in range(1, 6))]
    wanted += [*(f"remark_{n}" for n in range(1, 4)), *(f"question_{n}" for n in range(1, 4)), "sensitivity"]
    assert keys == wanted
    asked = set(yaml.safe_load(Path("configs/hypotheses.yaml").read_text())["hypotheses"])
    for one in STATEMENTS:
        assert set(one.claims) <= {claim.key for claim in said.CLAIMS} and set(one.asked) <= asked
        assert set(one.theory) <= set(range(1, 10))


def test_each_has_a_rule_a_verdict_and_rows_that_exist(rows, shipped):
    assert list(dict.fromkeys(rows["statement"])) == [one.key for one in STATEMENTS]
    assert set(rows["verdict"]) <= {SUPPORTED, CONTRADICTED, NOT_TESTED} and rows["rule"].str.endswith(".").all()
    ends = shipped.table("evidence").set_index(["source", "name"])
    attacked = rows.dropna(subset="above_floor_apart")
    assert set(attacked["source"]) == {"default", "grid", "beyond"}
    for row in attacked.itertuples():
        assert (end := ends.loc[(row.source, row.evidence)])["above_floor_apart"] == row.above_floor_apart
        assert row.above_floor_apart_low < row.above_floor_apart < row.above_floor_apart_high
        width = 2 * 1.96 * end["stderr_apart"] / (1 - row.floor_apart)
        assert row.above_floor_apart_high - row.above_floor_apart_low == pytest.approx(width)
    assert set(rows["source"].dropna()) == {"default", "grid", "beyond", "scale", "theory", "customization"}


def test_what_customization_cells_decided_stands_beside_its_statement(rows, shipped):
    cells = shipped.table("equivalence")
    mine = cells[(cells["model"] == "smollm2-135m") & (cells["metric"] == "right") & cells["gap"].notna()]
    found = rows[(rows["statement"] == "observation_5") & (rows["source"] == "customization")]
    assert list(found["outcome"]) == list(mine["gap"]) and len(mine) >= 3
    assert "reasoning-layers_0-tuned: gap to fully open, equivalent" in set(found["evidence"])


def test_evidence_is_the_strongest_of_its_source_and_set(rows, shipped):
    ends = shipped.table("evidence")
    mine = ends[(ends["secured"] == "layers 0") & (ends["source"] == "grid")]
    found = rows[(rows["statement"] == "contribution_1") & (rows["source"] == "grid")]
    assert list(found["above_floor_apart"]) == [mine["above_floor_apart"].max()]
    last = rows[(rows["statement"] == "observation_1")].dropna(subset="secured")
    assert set(last["secured"]) == {"layers 29"}
    elsewhere = rows[(rows["statement"] == "question_2") & (rows["source"] == "grid")]["secured"]
    assert elsewhere.nunique() == 2 and "layers 0" in set(elsewhere)


@pytest.mark.parametrize(
    "judged, verdict",
    [
        ([SUPPORTED, SUPPORTED], SUPPORTED),
        ([SUPPORTED, CONTRADICTED], CONTRADICTED),
        ([SUPPORTED, NOT_TESTED], NOT_TESTED),
    ],
)
def test_a_verdict_is_that_of_its_claims(shipped, judged, verdict):
    claims = pd.DataFrame({"model": "smollm2-135m", "key": ["placement", "size"], "verdict": judged})
    changed = SimpleNamespace(results=shipped.results, table=lambda name: {"claims": claims}[name])
    one = Statement("x", "text", "where", claims=("placement", "size"))
    assert statements.verdict(changed, "smollm2-135m", one) == verdict
    nothing = Statement("x", "text", "where")
    assert statements.verdict(changed, "smollm2-135m", nothing) == NOT_TESTED and "nothing to run" in nothing.rule


def computed(step: int, quantity: str, values: list[float], depths: tuple[float, ...] = (40, 40)) -> pd.DataFrame:
    names = quantity.split()
    return pd.DataFrame(
        {"step": step, "quantity": names * (len(values) // len(names)), "depth": depths, "value": values}
    )


@pytest.mark.parametrize(
    "found, against",
    [
        (computed(3, "log2_ratio_all_layers", [-0.4, -0.4]), True),
        (computed(3, "log2_ratio_all_layers", [-0.4, 0.1]), False),
        (computed(4, "ratio_victim ratio_replica", [1e-12, 1.005e-12]), True),
        (computed(4, "ratio_victim ratio_replica", [0.5, 1e-12]), False),
        (computed(5, "ratio_replica", [0.4, 0.6]), True),
        (computed(5, "ratio_replica", [0.4, 1e-9]), False),
    ],
)
def test_the_theorem_is_judged_by_what_notebook_00_computed(found, against):
    asked = (int(found["step"].iloc[0]),)
    assert statements.by_theory(found, asked) == (CONTRADICTED if against else NOT_TESTED)
    assert statements.by_theory(found, (1, 2)) == NOT_TESTED
    assert len(list(statements.computed(found, asked))) == found["quantity"].nunique()


def test_without_the_theory_run_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert statements.steps(tmp_path, "toy").empty
    assert statements.by_theory(statements.steps(tmp_path, "toy"), (3, 4, 5)) == NOT_TESTED


def test_the_page_shows_the_strongest_attack_with_interval_floor_and_chance():
    facts = dict.fromkeys(statements.STATEMENTS_TABLE) | {"model": "m", "statement": "x", "source": "grid"}
    ratio = statements.RATIO
    weak = facts | {"evidence": "a", "above_floor_apart": 0.2, "floor_apart": 0.1, ratio: 0.9}
    weak |= {f"{ratio}_low": 0.85, f"{ratio}_high": 0.95}
    strong = facts | {"evidence": "b", "above_floor_apart": 0.5, "floor_apart": 0.15}
    strong |= {"above_floor_apart_low": 0.45, "above_floor_apart_high": 0.55}
    nothing = facts | {"statement": "y", "source": None}
    made = pd.DataFrame([weak, strong, nothing], columns=statements.STATEMENTS_TABLE)
    study = SimpleNamespace(tables={"statements": made}, links=lambda _: {})
    shown = page.table(study, "statements", "All")
    columns = ["strongest attack", "above floor %", "floor %", "above chance %", "evidence"]
    assert shown.rows[columns].values.tolist() == [
        ["b", "50.0 [45.0, 55.0]", "15.0", "90.0 [85.0, 95.0]", "a; b"],
        ["", "", "", "", ""],
    ]
    assert shown.places == [1, 3], "rows of the file, where each one's pieces begin"
