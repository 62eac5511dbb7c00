"""Two one-sided tests by bootstrap, against scipy's t-tests and against what was simulated."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from solid_utils.core.errors import StudyError
from solid_utils.metrics import equivalence, intervals


def resamples(differences: np.ndarray, times: int = 4000) -> np.ndarray:
    """(1 + times,) means of items drawn with replacement, by numpy alone."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(differences, (times, len(differences))).mean(axis=1)
    return np.concatenate([[differences.mean()], drawn])


@pytest.mark.parametrize("mean", [-0.06, -0.03, 0.0, 0.02, 0.045])
def test_tests_and_interval_are_scipys(mean):
    differences = np.random.default_rng(1).normal(mean, 0.5, 900)
    found = equivalence.two_one_sided(resamples(differences), 0.04, 900)
    lower = stats.ttest_1samp(differences, -0.04, alternative="greater").pvalue
    upper = stats.ttest_1samp(differences, 0.04, alternative="less").pvalue
    assert found.p == pytest.approx(max(lower, upper), abs=0.02)
    theirs = stats.ttest_1samp(differences, 0.0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)
    if abs(found.p - 0.05) > 0.02:  # of two ways to say the same
        assert (found.verdict == equivalence.EQUIVALENT) == (max(lower, upper) < 0.05)


@given(st.floats(-1, 1), st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_the_verdict_follows_from_the_interval(centre, reach, margin):
    low, high = centre - reach, centre + reach
    said = equivalence.verdict(low, high, margin)
    assert (said == equivalence.EQUIVALENT) == (max(abs(low), abs(high)) < margin)
    assert (said == equivalence.WORSE) == (high <= -margin)
    assert (said == equivalence.BETTER) == (low >= margin)
    mirrored = {equivalence.WORSE: equivalence.BETTER, equivalence.BETTER: equivalence.WORSE}
    assert equivalence.verdict(-high, -low, margin) == mirrored.get(said, said)
    if said == equivalence.EQUIVALENT:
        assert equivalence.could_decide((high - low) / 2, margin)


def test_two_that_differ_by_the_margin_are_seldom_called_equivalent():
    generator, called = np.random.default_rng(2), 0
    for _ in range(200):
        differences = generator.choice([-1.0, 0.0, 1.0], 400, p=[0.12, 0.80, 0.08])  # in the mean -0.04
        drawn = generator.choice(differences, (400, 400)).mean(axis=1)
        values = np.concatenate([[differences.mean()], drawn])
        called += equivalence.two_one_sided(values, 0.04, 400).verdict == equivalence.EQUIVALENT
    assert called <= 20  # 5 % expected, and three standard errors


def test_where_no_item_differs_few_items_decide_nothing():
    same = np.zeros(100)
    few, many = (equivalence.two_one_sided(same, 0.04, n) for n in (50, 1000))
    assert (few.verdict, few.reach) == (equivalence.OPEN, 0.06) and math.isnan(few.p)
    assert (many.verdict, many.reach) == (equivalence.EQUIVALENT, 0.003)


def test_what_is_undefined_decides_nothing():
    found = equivalence.two_one_sided(np.array([0.0, np.nan, 0.0]), 0.04, 10)
    assert found.verdict == equivalence.OPEN and math.isnan(found.reach)
    for margin, values in ((0.0, np.zeros(3)), (0.04, np.zeros(1))):
        with pytest.raises(StudyError, match="equivalence: margin"):
            equivalence.two_one_sided(values, margin, 10)


def test_on_the_resamples_of_the_study():
    """Paired: what is hard for both cancels, so a gap between two good copies is narrow."""
    generator = np.random.default_rng(3)
    hard = generator.random(1200) < 0.5
    rows = []
    for run, flipped in (("own", 0.02), ("open", 0.0)):
        right = hard ^ (generator.random(1200) < flipped)
        for item, value in enumerate(right):
            rows.append({"run": run, "state": "end", "seed": 1, "benchmark": "b", "item": item, "value": float(value)})
    drawn = intervals.resample(pd.DataFrame(rows).assign(weight=1.0))
    gap = (drawn["own", "end"].scores - drawn["open", "end"].scores).loc["b"].to_numpy()
    assert equivalence.two_one_sided(gap, 0.0319, 1200).verdict == equivalence.EQUIVALENT
    assert equivalence.two_one_sided(gap, 0.0319, 1200).reach < 0.01
