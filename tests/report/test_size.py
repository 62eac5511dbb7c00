"""Queries to half by size and depth, on cells whose shares are known."""

import pandas as pd
import pytest

from solid_utils.report import figures, figures_scale, scale, size
from tests.report.test_scale import FLOOR, NEW, TEXTS, write_cell, write_model

HALF = FLOOR + (1 - FLOOR) / 2


@pytest.fixture(scope="module")
def costs(tmp_path_factory) -> pd.DataFrame:
    """Layer 0 gives half to 100 queries of the map and 400 of SEM; layers 0-1 to nobody; layer 3 is no bottom set."""
    reference = tmp_path_factory.mktemp("reference")
    shares = {"layers 0": HALF + 0.2, "layers 0-1": HALF - 0.1, "layers 3": 0.99}
    folder = write_model(reference, NEW, {"layers 0": 1.0, "layers 0-1": 2.0, "layers 3": 0.1}, shares, noted=False)
    for queries, share in ((10, HALF - 0.01), (100, HALF + 0.01), (1600, HALF + 0.1)):
        write_cell(folder, "layers 0", "stitch", queries, 42, [1.0] * TEXTS, share)
    small = write_model(reference, "smollm2-135m", {"layers 0": 1.0}, {"layers 0": 0.9}, noted=False)
    for path in small.glob("sem-*.csv"):
        if not path.name.endswith("items.csv"):
            table = pd.read_csv(path, keep_default_na=False)
            table.assign(share=4 * table["share"].astype(float)).to_csv(path, index=False)  # a quarter of the size
    return size.costs(scale.load(reference).cells)


def test_half_costs_the_fewest_queries_of_any_attack(costs):
    one = costs[(costs["model"] == NEW) & (costs["depth"] == 1)].iloc[0]
    assert (one["queries_c4"], one["attack_c4"], one["reached_c4"], one["at_most_c4"]) == (100, "stitch", True, False)
    assert one["most_c4"] == pytest.approx(0.75), "the most, by SEM"
    assert size.half(one, "c4") == "100"


def test_a_set_that_holds_is_said_to_hold_against_the_most_that_was_tried(costs):
    one = costs[costs["secured"] == "layers 0-1"].iloc[0]
    assert not one["reached_own"] and one["queries_own"] == 400 and size.half(one, "own") == "> 400"


def test_a_weaker_attacks_queries_are_not_those_of_the_strongest(tmp_path):
    """A map that failed at 1,600 texts stood for one that had got more from 100, and was given no more."""
    folder = write_model(tmp_path, NEW, {"layers 0-1": 2.0}, {"layers 0-1": HALF - 0.1}, noted=False)
    write_cell(folder, "layers 0-1", "stitch", 1600, 42, [1.0] * TEXTS, FLOOR)
    (one,) = size.costs(scale.load(tmp_path).cells).to_dict("records")
    assert (one["attack_c4"], one["reached_c4"], one["queries_c4"]) == ("sem", False, 400)


def test_where_the_fewest_sufficed_less_may_too(costs):
    one = costs[costs["model"] == "smollm2-135m"].iloc[0]
    assert one["at_most_c4"] and size.half(one, "c4") == "<= 400"


def test_only_bottom_sets_count_and_the_smallest_victim_stands_first(costs):
    assert costs["secured"].tolist() == ["layers 0", "layers 0", "layers 0-1"]
    assert costs["model"].tolist() == ["smollm2-135m", NEW, NEW]
    assert costs["model_parameters"].is_monotonic_increasing


def test_nothing_ran_is_an_empty_table():
    assert list(size.costs(pd.DataFrame(columns=["model"])).columns) == size.TABLE


def test_the_papers_attack_sets_are_those_of_its_table_25():
    assert size.papers_queries() == (51_000, 500_000)


def test_one_figure_holds_all_victims(costs):
    found = figures.picture("scale_cost", {"scale_cost": costs}, figures.ALL)
    assert (
        found.file == "all-scale_cost.png" and f"of {NEW} layer 0 gave half to 100 queries (stitch)" in found.sentence
    )
    assert "of smollm2-135m layer 0 gave half to 400 queries (sem)" in found.sentence
    assert figures.picture("scale_cost", {"scale_cost": costs[:0]}, figures.ALL) is None


def test_a_fifth_victim_is_drawn(costs):
    """There were four marks, and the line of a fifth was left out without a word."""
    one = costs[costs["depth"] == 1].head(1)
    names = [f"victim {number}" for number in range(7)]
    rows = pd.concat([one.assign(model=name) for name in names])
    figure, _ = figures_scale.scale_cost({"scale_cost": rows})
    handles, labels = figure.axes[0].get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    victims = [handle for label, handle in shown.items() if label.startswith("victim")]
    looks = {(str(one.get_paths()[0].vertices.tolist()), tuple(one.get_facecolor()[0])) for one in victims}
    assert len(victims) == 7 and len(looks) == 7, "each has a look of its own"
