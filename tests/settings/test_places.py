"""Relative places: what they are in models of several depths, and what is refused."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solid_utils.attacks import declared
from solid_utils.core import paths, schema
from solid_utils.grid import cells
from solid_utils.settings import places


@pytest.mark.parametrize(
    ("text", "of_30", "of_28", "of_2"),
    [
        ("place 0", "layers 0", "layers 0", "layers 0"),
        ("place 1/8", "layers 3", "layers 3", "layers 0"),
        ("place 1/2", "layers 14", "layers 13", "layers 0"),
        ("place 1", "layers 29", "layers 27", "layers 1"),
        ("pair 1", "layers 28-29", "layers 26-27", "layers 0-1"),
        ("pair 1/4", "layers 7-8", "layers 6-7", "layers 0-1"),
        ("prefix 1", "layers 0", "layers 0", "layers 0"),
        ("prefix 2", "layers 0-1", "layers 0-1", "layers 0-1"),
        ("prefix 1/2", "layers 0-14", "layers 0-13", "layers 0"),
        ("prefix 1/1", "layers 0-29", "layers 0-27", "layers 0-1"),
        ("layer 0 q,k", "layer 0 q,k", "layer 0 q,k", "layer 0 q,k"),
        ("sap_dp", "sap_dp", "sap_dp", "sap_dp"),
    ],
)
def test_a_place_is_a_layer_of_each_model(text, of_30, of_28, of_2):
    assert [places.concrete(text, depth) for depth in (30, 28, 2)] == [of_30, of_28, of_2]
    assert places.understood(text) == text


@given(st.integers(1, 100), st.fractions(0, 1, max_denominator=64))
def test_every_share_of_the_way_is_a_layer_and_the_ends_are_the_ends(depth, share):
    number = int(places.concrete(f"place {share}", depth).removeprefix("layers "))
    assert 0 <= number < depth
    assert abs(number - share * (depth - 1)) < 1
    assert places.concrete("place 1", depth) == f"layers {depth - 1}"


@pytest.mark.parametrize("text", ["prefix 9", "prefix 3/2", "place 2", "prefix 0", "pair 1"])
def test_a_place_that_a_model_does_not_have_is_refused(text):
    depth = 1 if text == "pair 1" else 8
    with pytest.raises(ValueError, match=f"'{text}': a model of {depth} layers has no such place"):
        places.concrete(text, depth)


@pytest.mark.parametrize("text", ["place", "place x", "place 1/0", "prefix -1", "pair 1/4 k", "somewhere", "place 5/4"])
def test_what_can_be_no_place_is_refused_without_a_model(text):
    with pytest.raises(ValueError, match="(?s)not understood|a share of nothing|no such place"):
        places.understood(text)


def test_the_shipped_grid_by_places_is_the_one_that_ran():
    planned = cells.plan_table(cells.cells(declared.load().grid, 30)).astype(str)
    (path,) = paths.REFERENCE.glob(f"*/grid/smollm2-135m/{paths.PLAN_FILE}")
    ran = schema.read(path, schema.PLAN).astype(str)
    pd.testing.assert_frame_equal(planned.reset_index(drop=True), ran)


@pytest.mark.parametrize("depth", [18, 24, 28, 30])
def test_the_scale_list_has_twenty_sets_for_the_map_on_every_victim(depth):
    listed = cells.cells(declared.load().scale, depth)
    assert len({cell.secured for cell in listed["map"]}) >= 20
    assert len({cell.secured for cell in listed["sem"] + listed["sem_pairs"]}) >= 12
