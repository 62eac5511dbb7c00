"""The margin is the paper's: the largest shortfall in the printed tables, found again by hand."""

import pytest

from solid_utils.paper import margin
from solid_utils.paper.paper import result_table


def test_the_margin_is_mistrals_on_law():
    table = result_table(19)
    printed = {row.secured: row.value for row in table[table["row"] == "Law"].itertuples()}
    assert (printed["Fully-Open"], printed["SOLID"]) == (88.13, 84.94)
    assert margin.margin() == pytest.approx((88.13 - 84.94) / 100)


def test_five_models_and_five_domains_in_percent():
    found = margin.shortfalls()
    assert found.shape == (5, 5) and "Alignment" not in found
    assert found.loc["Llama2-70B", "Math"] == pytest.approx(64.06 - 62.40)
    assert found.loc["Mistral-7B", "Math"] < 0  # SOLID is ahead
