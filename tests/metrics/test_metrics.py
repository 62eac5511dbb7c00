"""Properties and edges of the metrics. That they give the paper's own numbers is tested in test_paper.py."""

import math

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from solid_utils.core import numbers
from solid_utils.core.errors import StudyError
from solid_utils.evaluation import evaluation
from solid_utils.metrics import metrics

BENCHMARKS = ["HellaSwag", "LAMBADA", "TriviaQA", "HumanEval", "GSM8K"]
DOMAIN_OF = pd.Series(["Rsn", "Read", "Knl", "C&M", "C&M"], index=BENCHMARKS)
ADRS = [metrics.adr_mean_of_ratios, metrics.adr_ratio_of_means]
# A test machine may be busy: no deadline for one example.
examples = settings(deadline=None, max_examples=40)


def scores(low: float = 0.0, high: float = 1.0) -> st.SearchStrategy[pd.Series]:
    values = st.lists(st.floats(low, high), min_size=len(BENCHMARKS), max_size=len(BENCHMARKS))
    return values.map(lambda found: pd.Series(found, index=BENCHMARKS))


def series(**values: float) -> pd.Series:
    return pd.Series(values, dtype=float)


@pytest.mark.parametrize("adr", ADRS)
@examples
@given(victim=scores(low=0.01))
def test_adr_of_the_victim_is_one(adr, victim):
    assert adr(victim, victim) == pytest.approx(1)
    assert adr(victim / 2, victim) == pytest.approx(0.5)


@pytest.mark.parametrize("adr", ADRS)
@examples
@given(replica=scores(), victim=scores(low=0.01), order=st.permutations(BENCHMARKS))
def test_order_and_unit_do_not_matter(adr, replica, victim, order):
    expected = adr(replica, victim)
    assert adr(replica[order], victim) == pytest.approx(expected)
    assert adr(replica, victim[order]) == pytest.approx(expected)
    assert adr(100 * replica, 100 * victim) == pytest.approx(expected)
    assert list(metrics.distillation_ratio(replica[order], victim).index) == list(order)


@examples
@given(replica=scores(), score=st.floats(0.01, 1))
def test_definitions_agree_when_the_victim_scores_are_equal(replica, score):
    victim = pd.Series(score, index=BENCHMARKS)
    mean_of_ratios, ratio_of_means = (adr(replica, victim) for adr in ADRS)
    assert mean_of_ratios == pytest.approx(ratio_of_means)


@examples
@given(replica=scores(), victim=scores(low=0.01))
def test_ratio_of_means_is_the_mean_of_ratios_weighted_by_the_victim(replica, victim):
    ratios = metrics.distillation_ratio(replica, victim)
    weighted = (ratios * victim).sum() / victim.sum()
    assert metrics.adr_ratio_of_means(replica, victim) == pytest.approx(weighted)


@pytest.mark.parametrize("adr", ADRS)
@examples
@given(replica=scores(), better=scores(), victim=scores(low=0.01))
def test_adr_lies_between_the_ratios_and_grows_with_the_scores(adr, replica, better, victim):
    ratios = metrics.distillation_ratio(replica, victim)
    assert ratios.min() - 1e-9 <= adr(replica, victim) <= ratios.max() + 1e-9
    assert adr(replica + better, victim) >= adr(replica, victim)


def test_definitions_differ_by_hand():
    replica, victim = series(strong=0.4, weak=0.1), series(strong=0.8, weak=0.1)
    assert metrics.adr_mean_of_ratios(replica, victim) == pytest.approx((0.5 + 1) / 2)
    assert metrics.adr_ratio_of_means(replica, victim) == pytest.approx(0.5 / 0.9)


def test_victim_score_zero_is_left_out_of_a_and_kept_in_b():
    replica, victim = series(HellaSwag=0.3, HumanEval=0.1), series(HellaSwag=0.6, HumanEval=0.0)
    assert math.isnan(metrics.distillation_ratio(replica, victim)["HumanEval"])
    assert metrics.adr_mean_of_ratios(replica, victim) == pytest.approx(0.5)
    assert metrics.adr_ratio_of_means(replica, victim) == pytest.approx(0.4 / 0.6)
    for adr in ADRS:
        assert math.isnan(adr(replica[["HumanEval"]], victim[["HumanEval"]]))


@pytest.mark.parametrize("adr", ADRS)
@examples
@given(replica=scores(), other=scores(), victim=scores(low=0.01))
def test_delta_adr_is_zero_for_fully_secured_and_antisymmetric(adr, replica, other, victim):
    assert metrics.delta_adr(replica, replica, victim, adr) == 0
    forth, back = metrics.delta_adr(replica, other, victim, adr), metrics.delta_adr(other, replica, victim, adr)
    assert forth == pytest.approx(-back)
    assert forth == pytest.approx(adr(replica, victim) - adr(other, victim))


@examples
@given(victim=scores(low=0.3), chance=scores(high=0.25), share=st.floats(-0.5, 1.5))
def test_chance_corrected_ratio_is_the_share_of_the_way_from_chance_to_the_victim(victim, chance, share):
    replica = chance + share * (victim - chance)
    assert metrics.chance_corrected_ratio(replica, victim, chance) == pytest.approx(share, abs=1e-9)


def test_chance_corrected_ratio_is_a_ratio_of_sums():
    chance = series(HellaSwag=0.25, TriviaQA=0.0)
    replica, victim = series(HellaSwag=0.35, TriviaQA=0.1), series(HellaSwag=0.45, TriviaQA=0.6)
    assert metrics.chance_corrected_ratio(replica, victim, chance) == pytest.approx((0.1 + 0.1) / (0.2 + 0.6))


@pytest.mark.parametrize(
    ("value", "stderr", "n", "expected"),
    [
        (0.45, 0.02, 100, 0.02),
        (0.5, math.nan, 101, 0.05),
        (1.0, math.nan, 10, 0.0),
        (0.5, math.nan, 1, math.nan),  # one item says nothing of its error
        (7.5, math.nan, 80, math.nan),  # a rating
    ],
)
def test_an_unknown_standard_error_is_the_largest_that_there_can_be(value, stderr, n, expected):
    found = metrics.known_error(series(task=value), series(task=stderr), series(task=n))
    assert found["task"] == pytest.approx(expected, nan_ok=True)


def test_replica_below_chance_counts_below_zero():
    chance = series(HellaSwag=0.25, TriviaQA=0.0)
    replica, victim = series(HellaSwag=0.20, TriviaQA=0.0), series(HellaSwag=0.50, TriviaQA=0.25)
    assert metrics.chance_corrected_ratio(replica, victim, chance) == pytest.approx(-0.1)


@pytest.mark.parametrize("victim", [series(a=0.25, b=0.25), series(a=0.24, b=0.25), series(a=0.1 + 0.2, b=0.2)])
def test_victim_at_chance_has_no_ratio(victim):
    chance = pd.Series(0.25, index=victim.index)  # the last victim is above it by rounding noise alone
    assert math.isnan(metrics.chance_corrected_ratio(pd.Series(0.5, index=victim.index), victim, chance))


@pytest.mark.parametrize(
    "value, stderr, chance, expected",
    [
        (0.39, 0.049, 0.25, True),  # HellaSwag, 100 items
        (0.23, 0.020, 0.25, False),  # MMLU by letter, below chance
        (0.75, 0.25, 0.25, False),  # exactly two standard errors
        (0.0, 0.0, 0.0, False),  # no item solved, no chance to
        (1.0, 0.0, 0.25, True),
        (0.9, math.nan, 0.25, False),
    ],
)
def test_has_signal(value, stderr, chance, expected):
    assert metrics.has_signal(value, stderr, chance) == expected
    found = metrics.has_signal(series(task=value), series(task=stderr), series(task=chance))
    assert found.tolist() == [expected]


@pytest.mark.parametrize("adr", ADRS)
@examples
@given(replica=scores(), victim=scores(low=0.01), order=st.permutations(BENCHMARKS))
def test_adr_over_domains_is_the_mean_of_the_adrs_within_them(adr, replica, victim, order):
    found = metrics.ratio_by_domain(replica, victim, DOMAIN_OF[order], adr)
    expected = {
        domain: adr(replica[list(names)], victim[list(names)])
        for domain, names in {"Rsn": BENCHMARKS[:1], "Read": BENCHMARKS[1:2], "Knl": BENCHMARKS[2:3]}.items()
    }
    expected |= {"C&M": adr(replica[BENCHMARKS[3:]], victim[BENCHMARKS[3:]])}
    assert found.to_dict() == pytest.approx(expected)
    over = metrics.adr_over_domains(replica, victim, DOMAIN_OF, adr)
    assert over == pytest.approx(sum(expected.values()) / 4)
    assert metrics.adr_over_domains(victim, victim, DOMAIN_OF, adr) == pytest.approx(1)
    of_its_own = pd.Series(BENCHMARKS, index=BENCHMARKS)
    assert metrics.adr_over_domains(replica, victim, of_its_own, adr) == pytest.approx(ADRS[0](replica, victim))


def test_domains_by_hand():
    domains = pd.Series({"a": "Rsn", "b": "Rsn", "c": "Math"})
    replica, victim = series(a=0.4, b=0.1, c=0.3), series(a=0.8, b=0.1, c=0.4)
    assert metrics.adr_over_domains(replica, victim, domains) == pytest.approx((0.75 + 0.75) / 2)  # C
    assert metrics.adr_over_domains(replica, victim, domains, ADRS[1]) == pytest.approx((0.5 / 0.9 + 0.75) / 2)  # D
    nothing = series(a=0.8, b=0.1, c=0.0)  # no Math in the victim: the domain is left out
    assert metrics.adr_over_domains(replica, nothing, domains) == pytest.approx(0.75)
    assert math.isnan(metrics.ratio_by_domain(replica, nothing, domains)["Math"])
    with pytest.raises(StudyError, match="c belongs to no domain"):
        metrics.adr_over_domains(replica, victim, domains[["a", "b"]])


@examples
@given(labels=st.lists(st.sampled_from("ABCD"), min_size=1, max_size=40), order=st.randoms())
def test_constant_answer_floor_is_the_best_constant_answer(labels, order):
    best = max(sum(label == constant for label in labels) for constant in "ABCD") / len(labels)
    assert evaluation.constant_answer_floor(labels) == pytest.approx(best)
    assert evaluation.constant_answer_floor(labels) >= 1 / len(set(labels)) - 1e-9
    order.shuffle(labels)
    assert evaluation.constant_answer_floor(labels) == pytest.approx(best)


def test_constant_answer_floor_of_boolq_and_of_no_labels():
    assert evaluation.constant_answer_floor([True] * 2033 + [False] * 1237) == pytest.approx(0.62, abs=0.005)
    for labels in ([], ["A", None]):
        with pytest.raises(StudyError, match="without a label"):
            evaluation.constant_answer_floor(labels)


@examples
@given(chance=scores(), constant=scores())
def test_empirical_floor_is_the_higher_that_was_measured(chance, constant):
    found = metrics.empirical_floor(chance, constant)
    assert (found >= chance).all() and (found >= constant).all()
    assert ((found == chance) | (found == constant)).all()
    unknown = pd.Series(math.nan, index=BENCHMARKS)
    assert metrics.empirical_floor(chance, unknown).equals(chance)
    assert metrics.empirical_floor(chance, constant[BENCHMARKS[::-1]])["LAMBADA"] == max(
        chance["LAMBADA"], constant["LAMBADA"]
    )


WEIGHTED = [metrics.pooled_fidelity, metrics.customization_accuracy]


@pytest.mark.parametrize("pooled", WEIGHTED)
@examples
@given(values=scores(), n=scores(low=1, high=500), order=st.permutations(BENCHMARKS))
def test_pooling_is_the_mean_over_all_items(pooled, values, n, order):
    n = n.round()
    items = [value for name in BENCHMARKS for value in [values[name]] * int(n[name])]
    assert pooled(values, n[order]) == pytest.approx(sum(items) / len(items))
    assert pooled(values, pd.Series(7, index=BENCHMARKS)) == pytest.approx(values.mean())


@examples
@given(one=scores(), other=scores(), n=scores(low=1, high=500))
def test_gap_to_fully_open_is_a_difference_of_accuracies(one, other, n):
    gap = metrics.gap_to_fully_open(one, other, n)
    assert gap == pytest.approx(-metrics.gap_to_fully_open(other, one, n), abs=1e-12)
    assert gap == pytest.approx(WEIGHTED[1](one, n) - WEIGHTED[1](other, n), abs=1e-12)
    assert metrics.gap_to_fully_open(one, one, n) == 0


METRICS = {  # on scores of a run, then of the victim
    "A": ADRS[0],
    "B": ADRS[1],
    "C": lambda r, v: metrics.adr_over_domains(r, v, DOMAIN_OF),
    "D": lambda r, v: metrics.adr_over_domains(r, v, DOMAIN_OF, ADRS[1]),
    "delta": lambda r, v: metrics.delta_adr(r, v / 2, v),
    "corrected": lambda r, v: metrics.chance_corrected_ratio(r, v, pd.Series(0.1, index=BENCHMARKS)),
    "gap": lambda r, v: metrics.gap_to_fully_open(r, v, pd.Series([1.0, 2, 3, 4, 5], index=BENCHMARKS)),
    "recovered": lambda r, v: numbers.recovered_share(r.loc["LAMBADA"], v.loc["LAMBADA"]),
}


@pytest.mark.parametrize("name", METRICS)
@examples
@given(runs=st.lists(scores(), min_size=2, max_size=4), victims=st.lists(scores(), min_size=4, max_size=4))
def test_a_table_of_resamples_gives_each_resamples_own_metric(name, runs, victims):
    """Benchmarks down, resamples across; victims that score 0 included."""
    victims = victims[: len(runs)]
    victims[0] = victims[0] * 0
    found = METRICS[name](pd.concat(runs, axis=1, ignore_index=True), pd.concat(victims, axis=1, ignore_index=True))
    expected = [METRICS[name](run, victim) for run, victim in zip(runs, victims, strict=True)]
    assert found.tolist() == pytest.approx(expected, nan_ok=True)


@examples
@given(start=st.floats(0, 0.99), share=st.floats(-1, 1))
def test_recovered_share(start, share):
    assert numbers.recovered_share(start + share * (1 - start), start) == pytest.approx(share, abs=1e-9)


def test_recovered_share_of_nothing_missing_is_undefined():
    assert math.isnan(numbers.recovered_share(1.0, 1.0))


@pytest.mark.parametrize("correlation", [metrics.pearson, metrics.spearman])
@examples
@given(x=scores(), y=scores(), order=st.permutations(BENCHMARKS))
def test_correlation_is_symmetric_bounded_and_blind_to_order(correlation, x, y, order):
    assume(x.std() > 1e-6 and y.std() > 1e-6)
    found = correlation(x, y)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    assert correlation(y, x) == pytest.approx(found)
    assert correlation(x[order], y) == pytest.approx(found)
    assert correlation(x, x) == pytest.approx(1)
    assert correlation(x, -x) == pytest.approx(-1)


def test_spearman_looks_at_ranks_only():
    x, y = pd.Series([1.0, 2, 3, 4]), pd.Series([1.0, 10, 100, 1000])
    assert metrics.spearman(x, y) == pytest.approx(1)
    assert metrics.pearson(x, y) < 0.9
    # ties share their mean rank: ranks 1, 2.5, 2.5, 4
    assert metrics.spearman(x, pd.Series([1.0, 5, 5, 9])) == pytest.approx(3 / math.sqrt(10))


@pytest.mark.parametrize("correlation", [metrics.pearson, metrics.spearman])
def test_correlation_that_means_nothing_is_undefined(correlation):
    assert math.isnan(correlation(pd.Series([1.0, 2]), pd.Series([3.0, 5])))
    assert math.isnan(correlation(pd.Series([1.0, 2, 3]), pd.Series([4.0, 4, 4])))


@pytest.mark.parametrize("metric", [*ADRS, *WEIGHTED, metrics.distillation_ratio, metrics.pearson, metrics.spearman])
@pytest.mark.parametrize(
    "left, right, message",
    [
        (series(), series(), "empty"),
        (series(a=1, b=1), series(a=1), "b not scored"),
        (series(a=1), series(a=1, b=1), "b not scored"),
        (series(a=1, b=math.nan), series(a=1, b=1), "b not scored"),
        (pd.Series([1.0, 2.0], index=["a", "a"]), series(a=1), "a scored twice"),
    ],
)
def test_what_cannot_be_aligned_is_one_line(metric, left, right, message):
    with pytest.raises(StudyError, match=message) as error:
        metric(left, right)
    assert "\n" not in str(error.value)


def test_chance_is_needed_for_every_benchmark():
    with pytest.raises(StudyError, match="LAMBADA not scored"):
        metrics.chance_corrected_ratio(*[pd.Series(0.5, index=BENCHMARKS)] * 2, pd.Series(0, index=BENCHMARKS[2:]))
