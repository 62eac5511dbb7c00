"""The paper's trade-off against its own tables, read by hand."""

import pytest

from solid_utils.paper import trade_off
from solid_utils.paper.paper import result_table


def test_a_gap_is_the_mean_over_the_five_models():
    by_hand = []
    for table in (17, 18, 19, 20, 21):
        rows = result_table(table).set_index(["row", "secured"])["value"]
        by_hand.append(rows["Math", "SAP-DP"] - rows["Math", "Fully-Open"])
    assert trade_off.gaps("SAP-DP")["Math"] == pytest.approx(sum(by_hand) / 5 / 100)
    assert list(trade_off.gaps("SOLID").index) == ["Code", "Finance", "Law", "Math", "Medical"]


def test_three_deployments_resist_alike_and_one_costs_the_customer_little():
    points = trade_off.points().set_index("deployment")
    assert points.ratio.max() - points.ratio.min() < 1
    assert points.gap["SOLID"] > -1 > -10 > points.gap["SAP-DP"] > points.gap["Fully-Secure"]


def test_gap_and_ratio_of_a_point_are_of_the_same_three_models():
    gaps = []
    for table in (17, 18, 19):
        rows = result_table(table).set_index(["row", "secured"])["value"]
        domains = ["Code", "Finance", "Law", "Math", "Medical"]
        gaps += [rows[domain, "SAP-DP"] - rows[domain, "Fully-Open"] for domain in domains]
    points = trade_off.points().set_index("deployment")
    assert points.gap["SAP-DP"] == pytest.approx(sum(gaps) / 15)
