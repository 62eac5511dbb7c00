"""Links from the shipped verdicts: each run, cell, hypothesis and step that one names has its row on a page."""

import pytest

from solid_utils.core import readers
from solid_utils.report import results
from solid_utils.report.pages.standing import PAGES, Standing, of
from solid_utils.report.tables.statements import numbered, steps

MODEL = "smollm2-135m"


@pytest.fixture(scope="module")
def shipped() -> Standing:
    folder = results.shipped()[0]
    names = {*PAGES, "statements"} - {"theory_summary"}
    tables = {name: readers.read_csv(folder / "tables" / f"{name}.csv", "run `make tables`") for name in names}
    tables["claims"] = tables["claims"].fillna({"cells": ""})
    return Standing(tables, numbered(steps(folder, MODEL)))


def test_every_cell_that_claims_name_has_its_row(shipped):
    named = [name for text in shipped.tables["claims"]["cells"] for name in of(text)]
    assert len(named) > 15 and [name for name in named if (MODEL, name) not in shipped.runs] == []
    weak = "sem-layers_0-ours-400-42"  # others got more with as many queries
    page, _, row = shipped.runs[MODEL, weak].rpartition("-")
    assert page == "attacks.html#evidence" and shipped.tables["evidence"]["name"][int(row) - 1] == weak


def test_every_piece_of_evidence_has_its_row(shipped):
    pieces = set(shipped.tables["statements"]["evidence"].dropna())
    assert len(pieces) > 20 and [text for text in pieces if not shipped.piece(MODEL, text)] == []
    page, _, row = shipped.piece(MODEL, "H5 smollm2-135m speaks against").rpartition("-")
    asked = shipped.tables["hypotheses"].iloc[int(row) - 1]
    assert page == "scale.html#hypotheses" and (asked["hypothesis"], asked["model"]) == ("H5", MODEL)


def test_what_names_no_run_links_to_its_table(shipped):
    keys = list(shipped.tables["claims"]["key"])
    place = keys.index("solid_layers") + 1
    assert shipped.to_cells("", place) == '<a href="difficulty.html#search-1">search</a>'
    assert shipped.to_cells("", keys.index("size") + 1) == '<a href="attacks.html#evidence">evidence</a>'
    assert shipped.to_cells("gone", place) == "gone"
