"""What n items can show: against simulated tests, and the winner's curse against simulated choices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from solid_utils.metrics import power

SHARES = st.floats(0, 1)


def found(n: int, differing: float, difference: float, times: int = 1500) -> float:
    """How often an exact sign test on the items that differ is below LEVEL."""
    stream = np.random.default_rng(0)
    better, worse = (differing + difference) / 2, (differing - difference) / 2
    counts = stream.multinomial(n, [better, worse, 1 - differing], size=times)
    up, down = counts[:, 0], counts[:, 1]
    values = np.minimum(1, 2 * stats.binom.cdf(np.minimum(up, down), up + down, 0.5))
    return float((values <= power.LEVEL).mean())


@pytest.mark.parametrize(("n", "differing"), [(100, 0.3), (400, 0.2), (1000, 0.4), (200, 0.05)])
def test_what_is_detectable_is_found_four_times_of_five(n, differing):
    least = float(power.detectable(n, differing))
    assert 0.7 < found(n, differing, least) < 0.9  # the exact test is a little stricter than the formula's
    assert found(n, differing, least / 2) < 0.5


def test_few_items_that_differ_need_at_least_six_on_one_side():
    least = float(power.detectable(50, 0.0))
    assert least == pytest.approx(7.906 / 50, abs=1e-3)
    assert found(50, least, least) == pytest.approx(0.8, abs=0.05)
    assert np.isnan(power.detectable(7, 0.5)), "seven items show nothing"
    assert np.isnan(power.detectable(0, 0.5)) and np.isnan(power.detectable(50, np.nan))


@settings(deadline=None)
@given(n=st.integers(8, 10_000), differing=SHARES, more=st.integers(1, 1000))
def test_more_items_show_smaller_differences(n, differing, more):
    few, many = power.detectable(n, differing), power.detectable(n + more, differing)
    assert 0 < many <= few <= 1
    assert power.detectable(n, 0) <= few <= power.detectable(n, 1)


@pytest.mark.parametrize("truth", [0.26, 0.33, 0.36, 0.5])
def test_the_lift_is_that_of_simulated_choices(truth):
    """Floor 0.25, standard error 0.04: a benchmark counts beyond 0.33."""
    scores = np.random.default_rng(1).normal(truth, 0.04, 400_000)
    chosen = scores[scores > 0.33]
    assert power.lift(truth, 0.04, 0.25) == pytest.approx(chosen.mean() - truth, abs=1.5e-3)


def test_no_lift_without_chance_and_none_known_without_an_error():
    lifts = power.lift([0.9, 0.5, 0.3], [0.01, 0.0, np.nan], [0.25, 0.25, 0.25])
    assert lifts[0] < 1e-6 and lifts[1] == 0 and np.isnan(lifts[2])
    assert power.lift(0.33, 0.04, 0.25) == pytest.approx(0.04 * np.sqrt(2 / np.pi))  # at the bar
