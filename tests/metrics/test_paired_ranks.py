"""Rank correlations of resampled sets are scipy's; what one score gains on another is paired, block by block."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from solid_utils.metrics import paired_ranks


def block(seed: int, noise: float, count: int = 15) -> pd.DataFrame:
    stream = np.random.default_rng(seed)
    end = stream.standard_normal(count)
    good = -end + 0.1 * stream.standard_normal(count)  # which way it ranks does not matter
    return pd.DataFrame({"end": end, "good": good, "poor": end + noise * stream.standard_normal(count)})


def test_each_row_is_scipys():
    stream = np.random.default_rng(3)
    x, y = stream.integers(5, size=(20, 12)).astype(float), stream.standard_normal((20, 12))
    x[0] = 1.0
    found = paired_ranks.spearman(x, y)
    assert found[0] == 0
    assert found[1:] == pytest.approx([stats.spearmanr(a, b).statistic for a, b in zip(x[1:], y[1:], strict=True)])


def test_the_same_sets_are_drawn_for_every_score():
    made = paired_ranks.strengths([block(1, 2.0).assign(twin=lambda rows: 3 * rows["good"])], ["good", "twin"], "end")
    assert (made["good"] == made["twin"]).all() and made["good"].std() > 0


def test_the_order_of_rows_changes_nothing():
    one = block(4, 2.0)
    shuffled = one.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        paired_ranks.strengths([one], ["good", "poor"], "end"),
        paired_ranks.strengths([shuffled], ["good", "poor"], "end"),
    )


def test_blocks_count_alike_and_never_mix():
    """Each block ranks perfectly by itself; over both together the order would be lost."""
    low = pd.DataFrame({"end": np.arange(12.0), "score": np.arange(12.0)})
    high = pd.DataFrame({"end": np.arange(30.0), "score": -1000 + np.arange(30.0)})
    assert paired_ranks.strengths([low, high], ["score"], "end")["score"][0] == pytest.approx(1)
    one, two = block(1, 2.0), block(2, 2.0, 40)
    apart = [paired_ranks.strengths([each], ["poor"], "end")["poor"][0] for each in (one, two)]
    assert paired_ranks.strengths([one, two], ["poor"], "end")["poor"][0] == pytest.approx(np.mean(apart))
    against = high.assign(score=-high["score"])
    found = paired_ranks.signed([low, against], ["score"], "end")
    assert [one["score"][0] for one in found] == pytest.approx([1, -1]), "the sign is kept"


def test_p_of_nothing_is_small_as_often_as_it_says():
    """The estimate chooses its side: one tail alone is at most 0.05 in one draw of ten."""
    stream = np.random.default_rng(11)
    estimates = stream.standard_normal(2000)
    found = np.array([paired_ranks.turned(np.append(one, one + stream.standard_normal(400))) for one in estimates])
    assert 0.03 < (found <= 0.05).mean() < 0.07 and found.max() <= 1


def test_a_clear_gain_has_an_interval_above_zero_and_none_has_not():
    made = paired_ranks.strengths([block(5, 3.0, 20)], ["good", "poor"], "end")
    gain = (made["good"] - made["poor"]).to_numpy()
    low, high = paired_ranks.interval(gain)
    assert 0 < low < gain[0] < high and paired_ranks.turned(gain) < 0.05
    low, high = paired_ranks.interval(-gain)
    assert high < 0 and paired_ranks.turned(-gain) == paired_ranks.turned(gain)


def test_holm_is_by_hand():
    p = pd.Series([0.01, 0.04, None, 0.03, 0.2])
    found = paired_ranks.holm(p)
    assert found.dropna().tolist() == pytest.approx([0.04, 0.09, 0.09, 0.2]) and np.isnan(found[2])
