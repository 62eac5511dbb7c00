"""Floors pooled by answer tokens, and the shipped figures that conclusions rest on."""

from pathlib import Path

import pandas as pd
import pytest

from solid_utils.core import paths, schema
from solid_utils.report import floors

SHIPPED = next(path.parent for path in sorted(Path("reference").glob("*/grid")))
ROWS = [("evaluation_c4", "trigram", 0.2, 300), ("evaluation_code", "trigram", 0.1, 100)]
ROWS += [("evaluation_c4", "bigram", 0.25, 300), ("evaluation_code", "bigram", 0.0, 100)]


@pytest.fixture
def counted() -> pd.DataFrame:
    identity = {"model": "toy", "revision": "r", "tier": "small", "dtype": "float32"}
    names = ("benchmark", "predictor", "agreement", "n")
    return pd.DataFrame([identity | dict(zip(names, row, strict=True)) for row in ROWS])


def test_the_best_predictor_on_all_sets_together_is_the_floor(counted):
    # trigram (0.2 x 300 + 0.1 x 100) / 400 = 0.175, bigram 0.1875: one predictor for all sets, not the best of each.
    assert floors.floor_on(counted, "toy", "small", floors.APART) == pytest.approx(0.1875)
    assert floors.floor_on(counted, "toy", "small", ("evaluation_code",)) == pytest.approx(0.1)
    assert pd.isna(floors.floor_on(counted, "toy", "small", floors.POOLED)), "own kind was not counted"
    assert pd.isna(floors.floor_on(counted, "toy", "paper", floors.APART))


def test_above_the_floor():
    assert floors.above(0.55, 0.1) == pytest.approx(0.5)
    assert floors.above(0.05, 0.1) < 0


@pytest.mark.parametrize(("texts", "floor"), [("", 0.221), ("_c4", 0.205), ("_code", 0.128)])
def test_shipped_floors(texts, floor):
    path = SHIPPED / "grid" / "smollm2-135m" / paths.FLOOR_FILE
    found = schema.read(path, schema.FLOOR)
    assert floors.floor_on(found, "smollm2-135m", "full", floors.TEXTS[texts]) == pytest.approx(floor, abs=5e-4)


def test_verdicts_of_the_shipped_run_name_their_cells():
    claims = pd.read_csv(SHIPPED / "tables" / "claims.csv").set_index("key")
    assert "stitch-layers_0-stitch-1600-42" in claims.loc["solid_security", "cells"]
    assert "layer0-sem-ft_closed" in claims.loc["ft_closed_at_chance", "cells"]
    assert claims.loc["difficulty_predicts", "cells"].count(",") == 10, "eleven sets"
    assert "11 sets" in claims.loc["difficulty_predicts", "we_measured"]
    assert "1: 9.75, 2: 9.89, 15: 9.62, against a bar of 10.28: none" in claims.loc["epsilon", "we_measured"]


def test_points_hold_every_kind_of_text():
    points = pd.read_csv(SHIPPED / "tables" / "attack_points.csv")
    assert {"agreement", "agreement_c4", "agreement_code", "agreement_pooled", "agreement_apart"} <= set(points)
    assert points["agreement_pooled"].notna().all()
    between = points[["agreement", "agreement_apart"]].agg(["min", "max"], axis=1)
    assert (points["agreement_pooled"] <= between["max"] + 1e-9).all()
    assert (points["agreement_pooled"] >= between["min"] - 1e-9).all()
