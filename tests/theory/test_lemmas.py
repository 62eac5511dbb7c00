"""The lemmas against counts made beforehand, and what is said in their place as properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from solid_utils.theory import attention, lemmas

NORMS = (1, 2, 4, 8, 16)
FINITE = st.floats(-100, 100, allow_nan=False, width=64)


@pytest.fixture(scope="module")
def surveys() -> dict[int, dict]:
    return {norm: lemmas.survey(norm, 2000, 0) for norm in NORMS}


def test_column_sums_do_not_double(surveys):
    found = [100 * surveys[norm]["columns_off"] for norm in NORMS]
    assert found == pytest.approx([3, 10, 42, 81, 95], abs=3)


def test_beta_is_not_below_one_for_large_norms(surveys):
    assert surveys[1]["largest_gain"] < 0.1
    assert surveys[16]["largest_gain"] > 1.2
    assert lemmas.critical_alpha(surveys[16]["largest_gain"]) < 0


def test_softmax_sums_its_rows_and_not_its_columns():
    stream = np.random.default_rng(1)
    states = attention.draw_states(stream)
    own = attention.weights(states, attention.draw_matrix(stream, 4.0), attention.draw_matrix(stream, 4.0))
    assert own.sum(axis=1) == pytest.approx(np.ones(8))
    assert np.abs(own.sum(axis=0) - 1).max() > 0.01
    assert lemmas.asymmetry(own) > 0.01


def test_a_symmetric_weight_would_double_the_sums():
    states = np.random.default_rng(2).standard_normal((4, 3))
    assert lemmas.column_factors(states, np.full((4, 4), 0.25)) == pytest.approx([2, 2, 2])
    assert lemmas.asymmetry(np.full((4, 4), 0.25)) == 0


@pytest.mark.parametrize("norm", NORMS)
def test_the_repaired_bound_holds_for_every_draw(norm, surveys):
    assert surveys[norm]["largest_tau"] <= lemmas.contraction_bound(norm)


@settings(max_examples=60, deadline=None)
@given(arrays(float, (5, 5), elements=FINITE), arrays(float, (5, 3), elements=FINITE))
def test_an_average_of_rows_shrinks_the_oscillation_by_tau(scores, states):
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    average = raised / raised.sum(axis=1, keepdims=True)
    bound = lemmas.contraction(average) * lemmas.oscillation(states)
    assert lemmas.oscillation(average @ states) <= bound + 1e-9


def test_critical_alpha_by_hand():
    assert lemmas.critical_alpha(0.0) == 1
    assert lemmas.critical_alpha(1.0) == 0
    assert lemmas.critical_alpha(0.5) == pytest.approx(0.415, abs=1e-3)
