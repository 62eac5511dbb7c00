"""Defences with their utility, rotation, monitor and counted ends as tables, from files whose numbers are known."""

import pandas as pd
import pytest

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import catalogue, figures, vendor
from solid_utils.report.lookups import Lookups
from solid_utils.report.lookups_vendor import VendorLookups

FACTS = {"model": "m", "revision": "r", "tier": "full", "dtype": "float32", "secured": "layers 0", "parameters": 10}
FACTS |= {"share": 0.1, "depth": 1, "lowest": 0, "highest": 0, "only_layers": True, "seed": 42}
SCORED = {"benchmark": "evaluation_c4", "stderr": 0.01, "kl": 1.0, "n": 100}
FLOOR = {"model": "m", "revision": "r", "tier": "full", "dtype": "float32", "predictor": "trigram", "n": 100}
FLOORS = pd.DataFrame([FLOOR | {"benchmark": "evaluation_c4", "agreement": 0.2}])


def priced(rounding: str, noise: float, attack: str, adapts: str, agreement: float, perplexity: float) -> dict:
    """A row of boundaries.csv."""
    own = {"rounding": rounding, "noise": noise, "attack": attack, "adapts": adapts, "agreement": agreement}
    return FACTS | SCORED | own | {"texts": 9, "askings": 1, "queries": 9, "tokens": 90, "perplexity": perplexity}


@pytest.fixture
def made(tmp_path) -> pd.DataFrame:
    rows = [priced("none", 0.0, "none", "no", 1.0, 20.0), priced("none", 0.0, "linear map", "no", 0.68, 40.0)]
    rows += [priced("int4", 0.0, "none", "no", 0.9, 20.3), priced("int4", 0.0, "linear map", "no", 0.6, 50.0)]
    rows += [priced("int4", 0.0, "linear map", "cells", 0.64, 45.0)]
    rows += [priced("none", 1.0, "none", "no", 0.5, 30.0), priced("none", 1.0, "linear map", "mean", 0.3, 90.0)]
    folder = tmp_path / "some-machine" / paths.VENDOR / "m"
    schema.write(rows, schema.BOUNDARIES, folder / paths.BOUNDARIES_FILE)
    return vendor.boundaries(vendor.load(paths.BOUNDARIES_FILE, schema.BOUNDARIES, tmp_path), FLOORS)


def test_a_defence_costs_the_customer_perplexity_and_leaves_to_the_strongest_thief(made):
    assert list(made.columns) == vendor.BOUNDARIES and made["machine"].unique() == ["some-machine"]
    customers = made[made["attack"] == "none"].set_index(["rounding", "noise"])
    assert customers["worse"].to_dict() == pytest.approx({("none", 0): 0, ("int4", 0): 0.015, ("none", 1): 0.5})
    assert customers["usable"].to_dict() == {("none", 0): True, ("int4", 0): True, ("none", 1): False}
    thieves = made[made["strongest"]].set_index(["rounding", "noise"])
    assert thieves["above"].to_dict() == pytest.approx({("none", 0): 0.6, ("int4", 0): 0.55, ("none", 1): 0.125})
    assert thieves["adapts"]["int4", 0] == "cells" and not made[made["attack"] == "none"]["strongest"].any()
    said = catalogue.TABLES["boundaries"].sentence(made)
    assert "is int4: the thief keeps 55.0 % above the floor on C4, where 60.0 % stood" in said, "noise costs too much"
    costly = made.assign(usable=made["rounding"] == "none")[made["noise"] == 0]
    assert catalogue.TABLES["boundaries"].sentence(costly) == "m: no defence is usable."


def test_no_file_is_an_empty_table(tmp_path):
    nothing = vendor.load(paths.BOUNDARIES_FILE, schema.BOUNDARIES, tmp_path)
    assert list(vendor.boundaries(nothing, FLOORS).columns) == vendor.BOUNDARIES


def test_where_no_floor_was_counted_it_says_unknown(made):
    rows = vendor.boundaries(made[[*schema.BOUNDARIES, "machine"]], FLOORS[:0])
    assert rows["above"].isna().all() and rows["strongest"].tolist() == made["strongest"].tolist()
    assert "is int4: the thief keeps unknown above the floor" in catalogue.TABLES["boundaries"].sentence(rows)


def turned(spread: float, attack: str, adapts: str, agreement: float, perplexity: float, twin: str = "noise") -> dict:
    """A row of turns.csv."""
    own = {"twin": twin, "spread": spread, "apart": spread / 2, "attack": attack, "adapts": adapts}
    own |= {"agreement": agreement, "perplexity": perplexity}
    return FACTS | SCORED | own | {"queries": 9, "tokens": 90}


def test_a_pair_by_turns_is_measured_against_one_bottom(tmp_path):
    rows = [turned(0.0, "none", "no", 1.0, 20.0), turned(0.0, "linear map", "no", 0.6, 40.0)]
    rows += [turned(0.1, "none", "no", 0.9, 20.2), turned(0.1, "linear map", "no", 0.52, 41.0)]
    rows += [turned(0.1, "linear map", "apart", 0.56, 41.0)]
    rows += [turned(0.5, "none", "no", 0.4, 90.0), turned(0.5, "linear map", "no", 0.2, 99.0)]
    rows += [turned(0.3, "none", "no", 0.9, 20.3, "trained"), turned(0.3, "linear map", "no", 0.5, 41.0, "trained")]
    folder = tmp_path / "some-machine" / paths.VENDOR / "m"
    schema.write(rows, schema.TURNS, folder / paths.TURNS_FILE)
    made = vendor.turns(vendor.load(paths.TURNS_FILE, schema.TURNS, tmp_path), FLOORS)
    customers = made[made["attack"] == "none"].set_index("spread")
    assert customers["worse"].to_dict() == pytest.approx({0.0: 0, 0.1: 0.01, 0.5: 3.5, 0.3: 0.015})
    assert customers["usable"].to_dict() == {0.0: True, 0.1: True, 0.5: False, 0.3: True}
    said = catalogue.TABLES["turns"].sentence(made[made["twin"] == "noise"])
    assert "5.0 % apart, leaves the thief 45.0 % above the floor on C4, where one bottom left 50.0 %" in said
    assert "15.0 % apart, leaves the thief 37.5 %" in catalogue.TABLES["turns"].sentence(made)
    costly = made.assign(usable=made["spread"] == 0)
    assert catalogue.TABLES["turns"].sentence(costly) == "m: no pair is usable."
    assert list(vendor.turns(vendor.load(paths.TURNS_FILE, schema.TURNS, tmp_path / "no"), FLOORS)) == vendor.TURNS


def test_a_distance_that_is_no_number_is_one_line(tmp_path):
    folder = tmp_path / "some-machine" / paths.VENDOR / "m"
    schema.write([turned(0.1, "none", "no", 1.0, 20.0)], schema.TURNS, folder / paths.TURNS_FILE)
    path = folder / paths.TURNS_FILE
    path.write_text(path.read_text().replace(",0.05,", ",nan,"))
    with pytest.raises(StudyError, match="apart is 'nan', not a number of 0 or more"):
        vendor.load(paths.TURNS_FILE, schema.TURNS, tmp_path)


def test_what_defences_and_pairs_cost_and_leave_is_one_figure(made, tmp_path):
    rows = [turned(0.0, "none", "no", 1.0, 20.0), turned(0.0, "linear map", "no", 0.6, 40.0)]
    rows += [turned(0.1, "none", "no", 0.9, 20.2), turned(0.1, "linear map", "no", 0.5, 41.0)]
    pairs = vendor.turns(pd.DataFrame(rows).assign(machine="some-machine"), FLOORS)
    tables = {"boundaries": made, "turns": pairs}
    found = figures.picture("defences", tables, figures.ALL)
    assert found.file == "all-defences.png"
    assert found.sentence == (
        "Of web text a thief has: with layers 0 secured the usable one that takes most (noise 0.1) leaves 37.5 %, none "
        "60.0 %."
    )
    nothing = {name: table[:0] for name, table in tables.items()}
    assert figures.picture("defences", nothing, figures.ALL) is None
    unknown = {name: table.assign(above=float("nan")) for name, table in tables.items()}
    assert figures.picture("defences", unknown, figures.ALL) is None, "no floor was counted"


def test_benchmarks_through_a_defence_are_set_beside_those_without():
    row = FACTS | {"machine": "some-machine", "n": 50, "chance": 0.25, "shots": 0, "task_version": 1}
    values = {("none", 0.0): (0.5, 0.7), ("int4", 0.0): (0.4, 0.7), ("none", 1.0): (0.3, 0.3)}
    rows = [
        row | {"rounding": rounding, "noise": noise, "benchmark": name, "metric": "accuracy", "value": value}
        for (rounding, noise), pair in values.items()
        for name, value in zip(("one", "two"), pair, strict=True)
    ]
    made = vendor.served(pd.DataFrame(rows).assign(stderr=0.03)).set_index(["rounding", "noise"])
    changes = {("none", 0.0): 0, ("int4", 0.0): -0.05, ("none", 1.0): -0.3}
    assert made["change"].to_dict() == pytest.approx(changes) and (made["benchmarks"] == 2).all()
    assert made["change_error"].to_list() == pytest.approx([0.03] * 3), "two changes of 0.03 * sqrt(2) each"
    said = catalogue.TABLES["served"].sentence(made.reset_index())
    assert "with layers 0 secured int4 -5.0 %, noise 1 -30.0 %" in said
    alone = vendor.served(pd.DataFrame([row for row in rows if row["rounding"] == "int4"]).assign(stderr=0.03))
    assert alone[["change", "change_error"]].isna().all(axis=None), "without a bare row nothing is known of a change"
    assert vendor.served(pd.DataFrame(columns=[*schema.SERVED, "machine"])).columns.tolist() == vendor.SERVED


def test_of_separated_pieces_the_better_way_to_fit_is_told(tmp_path):
    rows = [
        FACTS | SCORED | {"secured": secured, "pieces": count, "attack": "linear map", "adapts": adapts}
        | {"queries": 9, "tokens": 90, "agreement": agreement, "perplexity": 30.0}
        for secured, count, adapts, agreement in
        [("layers 0", 1, "no", 0.6), ("layers 0,14", 2, "no", 0.4), ("layers 0,14", 2, "in order", 0.52)]
    ]  # fmt: skip
    folder = tmp_path / "some-machine" / paths.VENDOR / "m"
    schema.write(
        [{name: row[name] for name in schema.PIECES} for row in rows], schema.PIECES, folder / paths.PIECES_FILE
    )
    made = vendor.load(paths.PIECES_FILE, schema.PIECES, tmp_path)
    made = made.assign(above=vendor.above(made, FLOORS))
    assert "layers 0 50.0 %, layers 0,14 40.0 %" in catalogue.TABLES["pieces"].sentence(made)


def test_a_page_is_told_of_one_model_and_of_ways_that_did_not_run(tmp_path):
    """A second model's rows neither take the first one's places nor stand among them."""
    (tmp_path / "tables").mkdir()
    both = [FACTS, FACTS | {"model": "other"}]
    turns = [
        own | {"machine": "box", "twin": "noise", "spread": spread, "attack": attack, "adapts": "no", "above": above}
        for own in both
        for spread, attack, above in [
            (0.0, "none", 1),
            (0.0, "linear map", 0.5),
            (0.0, "sem_linear", 0.3),
            (0.1, "none", 1),
        ]
    ]
    pieces = [
        own | {"machine": "box", "pieces": 1, "adapts": "no", "agreement": value, "above": value}
        for own, value in zip(both, (0.3, 0.6), strict=True)
    ]
    served = [
        own | {"machine": "box", "rounding": name, "noise": noise, "mean": value}
        for own, value in zip(both, (0.4, 0.9), strict=True)
        for name, noise in (("none", 0.0), ("none", 0.3))
    ]
    for name, rows in (("turns", turns), ("pieces", pieces), ("served", served)):
        pd.DataFrame(rows).to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
    lookups = Lookups(tmp_path, tmp_path / "tables")
    told = lookups.turns()
    assert [(one["model"], one["spread"]) for one in told] == [("m", 0), ("m", 0.1), ("other", 0), ("other", 0.1)]
    thieves = told[0]["thieves"]
    assert (thieves["no"]["above"], thieves["sem_linear"]["above"], thieves["mean"]) == (0.5, 0.3, None)
    assert told[1]["thieves"] == {"no": None, "mean": None, "apart": None, "sem_linear": None}
    assert [(one["model"], one["above"]) for one in lookups.pieces()] == [("m", 0.3), ("other", 0.6)]
    assert {name: one["mean"] for name, one in lookups.served("layers 0").items()} == {"none": 0.4, "noise 0.3": 0.4}
    assert lookups.served("layers 7") == {}


def test_ends_are_shares_and_a_tied_head_counts_once():
    rows = [
        {
            "shape": "small",
            "model_parameters": 100,
            "layers": 4,
            "embeddings": 20,
            "head": 0,
            "layer": 19,
            "tied": True,
        },
        {
            "shape": "large",
            "model_parameters": 1000,
            "layers": 9,
            "embeddings": 40,
            "head": 40,
            "layer": 25,
            "tied": False,
        },
    ]
    found = vendor.ends(pd.DataFrame(rows)).set_index("shape")
    assert found["share_both"].to_dict() == pytest.approx({"small": 0.39, "large": 0.065})
    assert pd.isna(found["bottom_layers"]["small"]) and found["bottom_layers"]["large"] == 2
    said = catalogue.TABLES["ends"].sentence(found.reset_index())
    assert "at most a tenth first in large, 6.5 %." in said


def test_rotation_and_monitor_are_said_in_a_sentence():
    turned = [("none", 1.0), ("base copied", 0.01), ("base turned", 0.7), ("linear map", 0.6)]
    rows = pd.DataFrame([FACTS | SCORED | {"exported": "rotated", "attack": a, "agreement": v} for a, v in turned])
    said = catalogue.TABLES["rotation"].sentence(rows)
    assert said == "m: agreement with the product, rotated: base copied 1.0 %, base turned 70.0 %, linear map 60.0 %."
    told = [
        (10, "known domain", 0.5),
        (100, "known domain", 0.01),
        (100, "known domain", 0.02),
        (100, "new domain", 1.0),
        (100, vendor.HIDDEN[0], 0.4),
        (100, vendor.HIDDEN[0], 0.3),
    ]
    rows = pd.DataFrame([{"model": "m", "window": w, "traffic": t, "alarms": a} for w, t, a in told])
    said = catalogue.TABLES["monitor"].sentence(rows)
    assert said == (
        "m: of windows of 100 queries it calls strange: known domain 2.0 %, new domain 100.0 %, attack texts, "
        "legitimate ones behind 30.0 %."
    )


def test_pairs_of_layers_are_compared_at_equal_queries(monkeypatch):
    """The bottom was asked more often: by all that was asked it would seem to keep less."""
    points = [("layers 0-1", 0, 100, 0.3), ("layers 0-1", 0, 100, 0.4), ("layers 0-1", 0, 1600, 0.6)]
    points += [("layers 2-3", 2, 100, 0.5), ("layers 4-5", 4, 10, 0.7), ("layers 2,4", 2, 100, 0.1)]
    rows = [
        {"model": "m", "secured": name, "lowest": low, "highest": low + 1 + (name == "layers 2,4"), "depth": 2}
        | {"only_layers": True, "queries": queries, "c4_above": above}
        for name, low, queries, above in points
    ]
    monkeypatch.setattr(VendorLookups, "table", lambda *_: pd.DataFrame(rows), raising=False)
    (one,) = VendorLookups().other_places(100)
    assert (one["bottom"]["c4_above"], one["least"]["secured"], one["bottom_keeps"]) == (0.4, "layers 2-3", True)
    (one,) = VendorLookups().other_places(1600)
    assert (one["bottom"]["c4_above"], one["bottom_keeps"]) == (0.6, False)


def test_a_monitor_of_an_older_version_is_one_line(monkeypatch):
    """It knows no thief who knows of a query's length."""
    told = [("known domain", 0.2), ("known domain", 0.4), (vendor.HIDDEN[0], 1.0), (vendor.HIDDEN[1], 0.1)]
    rows = pd.DataFrame([{"window": 10, "traffic": traffic, "alarms": alarms} for traffic, alarms in told])
    monkeypatch.setattr(VendorLookups, "table", lambda *_: rows, raising=False)
    (one,) = VendorLookups().monitored()
    assert one["mean_known"] == pytest.approx(0.3) and one["known domain"] == 0.4
    monkeypatch.setattr(VendorLookups, "table", lambda *_: rows[:3], raising=False)
    with pytest.raises(
        StudyError, match="monitor.csv: no traffic 'few tokens of attack texts, legitimate ones behind'"
    ):
        VendorLookups().monitored()
