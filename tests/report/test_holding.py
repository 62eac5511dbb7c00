"""Which sets hold, on cells whose shares are known."""

from types import SimpleNamespace

import pandas as pd
import pytest

from solid_utils.core import schema
from solid_utils.report import catalogue, figures, holding, scale
from tests.report.test_scale import FLOOR, NEW, TEXTS, write_cell, write_model

TABLE = catalogue.TABLES["holding"]


def at(above: float) -> float:
    """The agreement that stands so far above the floor."""
    return FLOOR + (1 - FLOOR) * above


def none_ran() -> pd.DataFrame:
    return pd.DataFrame(columns=[*schema.SCORES, "run", "cell"])


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> pd.DataFrame:
    """A map that fails on layers 0-3 though it takes a fifth of the larger layers 0-7; nothing of layers 0-9."""
    reference = tmp_path_factory.mktemp("reference")
    shares = {"layers 0": at(0.6), "layers 2": at(0.4), "layers 0-3": at(0.01), "layers 0-7": at(0.2)}
    folder = write_model(reference, NEW, dict.fromkeys(shares, 1.0), shares, noted=False)
    write_cell(folder, "layers 0-9", "stitch", 1600, 42, [1.0] * TEXTS, at(-0.1))
    write_cell(folder, "layers 0", "stitch", 100, 42, [1.0] * TEXTS, at(0.55))
    write_cell(folder, "layers 0-7", "sem", 12800, 42, [1.0] * TEXTS, at(0.9))
    found = SimpleNamespace(grid=none_ran(), attacks=none_ran(), floors=None)
    return holding.cells(found, scale.load(reference))


@pytest.fixture(scope="module")
def table(attacked) -> pd.DataFrame:
    return holding.table(attacked)


def test_no_set_counts_for_less_than_a_larger_one_around_it(table):
    rows = table.set_index("secured")
    assert rows["c4_above"].to_dict() == pytest.approx(
        {"layers 0": 0.6, "layers 2": 0.4, "layers 0-3": 0.01, "layers 0-7": 0.2, "layers 0-9": -0.1}
    )
    assert rows["taken"].to_dict() == pytest.approx(
        {"layers 0": 0.6, "layers 2": 0.4, "layers 0-3": 0.2, "layers 0-7": 0.2, "layers 0-9": 0}
    )
    assert rows["through"]["layers 0-3"] == "layers 0-7" and rows["through"]["layers 2"] == "layers 2"
    assert rows["holds"].to_dict() == {name: name == "layers 0-9" for name in rows.index}
    assert table["share"].is_monotonic_increasing


def test_more_queries_than_a_thief_may_ask_do_not_count(attacked, table):
    assert attacked["queries"].max() == 1600 and holding.MOST < 12800
    assert table.set_index("secured")["most_queries"]["layers 0-7"] == 400


def test_half_is_the_fewest_queries_and_blank_where_nobody_came_there(table):
    rows = table.set_index("secured")
    assert (rows["queries_half"]["layers 0"], rows["reached"]["layers 0"]) == (100, True)
    assert pd.isna(rows["queries_half"]["layers 0-7"]) and not rows["reached"]["layers 0-7"]


def test_everything_secured_is_the_yardstick_and_never_below_the_floor(attacked):
    row = attacked.iloc[[0]].assign(secured=holding.WHOLE, share=1.0, lowest=0, highest=9, depth=10)
    for above, whole in ((-0.2, 0), (0.17, 0.17)):
        found = holding.table(pd.concat([attacked, row.assign(c4_above=above)])).set_index("secured")
        assert found["whole"].unique() == pytest.approx([whole]) and found["off"]["layers 0"] == pytest.approx(
            0.6 - whole
        )
        assert found["holds"]["layers 0-7"] == (whole > 0), "three points off"


def test_what_is_said_of_it_and_nothing_where_nothing_ran(table):
    said = TABLE.sentence(table)
    assert "the smallest that holds is layers 0-9" in said and "at most 1,600 queries" in said
    found = SimpleNamespace(grid=none_ran(), attacks=none_ran(), floors=None)
    empty = holding.table(holding.cells(found, scale.Scale(*[pd.DataFrame()] * 7)))
    assert list(empty.columns) == holding.TABLE and TABLE.sentence(empty) == "Nothing there to show."


def test_one_figure_for_all_victims(table):
    found = figures.picture("holding_sets", {"holding": table}, figures.ALL)
    assert found.file == "all-holding_sets.png" and f"of {NEW} the smallest that holds has" in found.sentence
    assert figures.picture("holding_sets", {"holding": table[:0]}, figures.ALL) is None
