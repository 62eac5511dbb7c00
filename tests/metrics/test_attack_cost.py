"""The attacker's cost: levels, budgets, the censored fit and the figures, by hand, by brute force and against SciPy."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from solid_utils.core import numbers
from solid_utils.core.errors import StudyError
from solid_utils.metrics import attack_cost, attack_trends, censored
from solid_utils.metrics.attack_cost import LEVELS
from solid_utils.report import figures_attacks

examples = settings(deadline=None, max_examples=25)
SHARES = st.lists(st.floats(-0.2, 1), min_size=1, max_size=8)
DEPTHS = (1, 2, 4, 8, 15, 30)
SEEDS = (20, 42, 1234)


def curve(shares, start=0.2, deployment="layers 0", secured="layers 0", depth=1, attack="sem", seed=42, first=100):
    """Points whose recovered shares are the given ones; queries double from point to point."""
    what = {"model": "toy", "deployment": deployment, "secured": secured, "depth": depth, "attack": attack}
    what |= {"prefix": secured == prefix(depth)}
    rows = []
    for place, share in enumerate(shares):
        queries = first * 2**place
        cost = {"steps": queries // 4, "queries": queries, "tokens": 128 * queries, "flops": 1e9 * queries * depth}
        agreement = {"agreement": start + share * (1 - start), "start_agreement": start}
        rows.append(what | {"recipe": "adamw", "seed": seed} | cost | agreement)
    return rows


def prefix(depth: int) -> str:
    return "layers 0" if depth == 1 else f"layers 0-{depth - 1}"


def study(points=8, half=lambda depth: 100 * 10 ** (0.1 * depth)) -> pd.DataFrame:
    """Two attacks on the prefixes of DEPTHS, and two other sets; SEM's share is q / (q + half), FT-all's far lower."""
    rows, queries = [], 100 * 2.0 ** np.arange(points)
    for seed, depth in itertools.product(SEEDS, DEPTHS):
        name, scatter = prefix(depth), np.random.default_rng([seed, depth]).normal(0, 0.1)
        for attack, factor in (("sem", 1), ("ft_all", 40)):
            shares = queries / (queries + factor * half(depth) * 10**scatter)
            rows += curve(shares, deployment=name, secured=name, depth=depth, attack=attack, seed=seed)
    for seed in SEEDS:
        rows += curve(queries / (queries + 250), 0.6, "darknetz", "layers 29", attack="ft_all", seed=seed)
        rows += curve(queries / (queries + 1e6), 0.0, "fully_secured", "all", 30, attack="ft_all", seed=seed)
    return pd.DataFrame(rows)


def reached(shares, level=0.5) -> pd.Series:
    return attack_cost.costs(pd.DataFrame(curve(shares, start=0.0)), [level]).iloc[0]


# --- cost of a level


@pytest.mark.parametrize(
    "shares, queries, is_censored",
    [
        ([0.1, 0.6, 0.7, 0.8], 200, False),
        ([0.1, 0.6, 0.4, 0.8, 0.9], 800, False),  # one point past is luck, not a level
        ([0.5, 0.5], 100, False),  # at the level is past it
        ([0.1, 0.2, 0.9], 400, True),  # the last alone does not count
        ([0.1, 0.2, 0.3], 400, True),
        ([0.1], 100, True),
        ([0.9, 0.9, 0.1], 100, False),  # the attacker keeps what he had
    ],
)
def test_cost_is_the_first_of_two_consecutive_points(shares, queries, is_censored):
    found = reached(shares)
    assert (found["queries"], found["tokens"], found["flops"]) == (queries, 128 * queries, 1e9 * queries)
    assert found["censored"] == is_censored


def test_one_budget_past_a_level_says_nothing_of_it():
    """Neither reached, which takes a second point, nor a lower bound, which it was not."""
    one_budget = pd.DataFrame(curve([0.0, 0.6], start=0.2))
    one_budget.loc[0, ["steps", "queries", "tokens", "flops"]] = 0
    assert attack_cost.costs(one_budget, [0.5, 0.8])["level"].tolist() == [0.8]
    assert attack_cost.costs(pd.DataFrame(curve([0.6])), [0.5]).empty


@examples
@given(shares=SHARES, order=st.randoms())
def test_cost_by_brute_force_whatever_the_order_of_the_rows(shares, order):
    rows = curve(shares)
    recovered = [numbers.recovered_share(row["agreement"], row["start_agreement"]) for row in rows]
    order.shuffle(shuffled := list(rows))
    for cost in attack_cost.costs(pd.DataFrame(shuffled)).to_dict("records"):
        level, pairs = cost["level"], itertools.pairwise(zip(rows, recovered, strict=True))
        past = [row for (row, share), (_, following) in pairs if min(share, following) >= level]
        assert cost["queries"] == (past or rows[-1:])[0]["queries"]
        assert cost["censored"] == (not past)
        assert cost["at_most"] == (bool(past) and past[0] is rows[0])


@examples
@given(shares=SHARES)
def test_a_higher_level_never_costs_less(shares):
    found = attack_cost.costs(pd.DataFrame(curve(shares)), LEVELS)
    assert found["queries"].is_monotonic_increasing and found["censored"].is_monotonic_increasing


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda points: points.drop(columns="flops"), "no column flops"),
        (lambda points: points.assign(recipe=None), "blank recipe"),
        (lambda points: points.assign(steps=7), "equal steps"),
        (lambda points: points.assign(start_agreement=[0.1, 0.2, 0.2]), "more than one start"),
        (lambda points: points.assign(start_agreement=1.0), "undefined"),
        (lambda points: points.assign(agreement=[0.1, math.nan, 0.2]), "undefined"),
        (lambda points: points.assign(tokens=[3, 1, 2]), "tokens fall"),
    ],
)
def test_points_that_are_no_curve_are_one_line(change, message):
    with pytest.raises(StudyError, match=message) as error:
        attack_cost.costs(change(pd.DataFrame(curve([0.1, 0.2, 0.3]))))
    assert "\n" not in str(error.value)


def test_cost_table_takes_the_median_seed_and_the_cheapest_attack():
    rows = []
    for seed, shares in zip(SEEDS, ([0.6, 0.6, 0.6], [0.1, 0.6, 0.6], [0.1, 0.1, 0.1]), strict=True):
        rows += curve(shares, seed=seed)  # 100, 200, not reached
        rows += curve([0.1, 0.1, 0.6, 0.6], seed=seed, attack="ft_all")  # 400
        rows += curve([0.1] * 3, seed=seed, deployment="fully_secured", secured="all", depth=30)
        rows += curve([0.1] * 5, seed=seed, deployment="fully_secured", secured="all", depth=30, attack="ft_all")
    found = attack_cost.cost_table(attack_cost.costs(pd.DataFrame(rows), [0.5])).query("measure == 'queries'")
    assert found["deployment"].tolist() == ["layers 0", "fully_secured"]
    assert found["attack"].tolist() == ["sem", "ft_all"]
    assert found["cost"].tolist() == [200, 1600]  # of attacks that failed the one that spent most
    assert found["censored"].tolist() == [False, True]
    assert found["seeds"].tolist() == [3, 3]
    assert found["of_legitimate"].tolist() == pytest.approx([200 / 62_000, 1600 / 62_000])


def test_of_an_even_number_of_seeds_the_dearer_counts():
    rows = curve([0.6, 0.6], seed=1) + curve([0.1, 0.1], seed=2)
    assert attack_cost.cost_table(attack_cost.costs(pd.DataFrame(rows), [0.5]))["censored"].all()


# --- share at a budget


def test_share_at_a_budget_is_a_step_function():
    points = pd.DataFrame(curve([0.1, 0.5, 0.4], seed=1) + curve([0.3, 0.3, 0.6], seed=2))  # at 100, 200, 400
    found = attack_cost.at_budgets(points, "queries", [0, 99, 100, 399, 400, 401]).set_index("budget")
    assert found["recovered"].tolist() == pytest.approx([0, 0, 0.2, 0.4, 0.55, 0.55])
    assert found["lowest"].tolist() == pytest.approx([0, 0, 0.1, 0.3, 0.5, 0.5])
    assert found["highest"].tolist() == pytest.approx([0, 0, 0.3, 0.5, 0.6, 0.6])
    assert found["beyond"].tolist() == [False] * 5 + [True]
    assert set(found["seeds"]) == {2}


def test_a_seed_without_a_point_at_a_budget_is_no_failed_attack():
    late = pd.DataFrame(curve([0.8], seed=2, first=900))
    points = pd.concat([pd.DataFrame(curve([0.5], seed=1)), late])  # at 100, and at 900
    found = attack_cost.at_budgets(points, "queries", [50, 100, 900]).set_index("budget")
    assert found["recovered"].tolist() == pytest.approx([0, 0.5, 0.65]) and found["seeds"].tolist() == [2, 1, 2]


def test_an_attack_that_loses_ground_leaves_the_start():
    found = attack_cost.at_budgets(pd.DataFrame(curve([-0.1, -0.2])), "queries", [400])
    assert found["recovered"].tolist() == [0]


@examples
@given(shares=SHARES, budgets=st.lists(st.floats(0, 1e5), min_size=2, max_size=5, unique=True))
def test_more_budget_never_recovers_less(shares, budgets):
    found = attack_cost.at_budgets(pd.DataFrame(curve(shares)), "tokens", budgets).sort_values("budget")["recovered"]
    assert found.is_monotonic_increasing
    assert found.between(0, max(0, *shares) + 1e-9).all()


def test_the_best_attack_depends_on_what_is_scarce():
    thrifty = pd.DataFrame(curve([0.5, 0.9])).assign(flops=[1e12, 2e12])  # few queries, much training
    rows = pd.concat([thrifty, pd.DataFrame(curve([0.1, 0.7], attack="ft_all"))])
    best = {}
    for measure, budgets in (("queries", [50, 200]), ("flops", [1e8, 1e12])):
        found = attack_cost.best_attacks(attack_cost.at_budgets(rows, measure, budgets))
        best[measure] = found["attack"].tolist()
    assert best == {"queries": ["none", "sem"], "flops": ["none", "ft_all"]}


def test_legitimate_queries_are_the_papers():
    found = attack_cost.legitimate_queries()
    assert (found.min(), found.max(), found["Code"]) == (62_000, 262_000, 156_000 + 20_000)


@pytest.mark.parametrize(
    "queries, is_censored, told",
    [
        (1524, False, "Reached with 1.52k queries; a legitimate customization makes 62k to 262k an epoch: a cap below"),
        (1524, True, "Not reached with 1.52k queries"),
        (1524, False, "a cap below that forbids the product."),
        (100_000, False, "a cap below 100k forbids the larger"),
        (3_100_000, False, "a cap between these and 3.1M stops this attack"),
    ],
)
def test_cap_sentence(queries, is_censored, told):
    assert told in attack_cost.cap_sentence(queries, is_censored)


# --- the censored fit

X = np.repeat(DEPTHS, 3).astype(float)
NONE = np.zeros(len(X), bool)


def noisy(seed: int, slope=0.1) -> np.ndarray:
    return 3 + slope * X + np.random.default_rng(seed).normal(0, 0.3, len(X))


@pytest.mark.parametrize("seed", range(3))
def test_uncensored_fit_is_least_squares_with_students_intervals(seed):
    y = noisy(seed)
    line, expected = censored.fit(X, y, NONE), stats.linregress(X, y)
    reach = stats.t.ppf(0.975, len(X) - 2)
    for found, value, error in (
        (line.slope, expected.slope, expected.stderr),
        (line.intercept, expected.intercept, expected.intercept_stderr),
    ):
        assert found == pytest.approx((value, value - reach * error, value + reach * error), abs=1e-6)
    rest = y - expected.intercept - expected.slope * X
    assert line.sigma.value == pytest.approx(np.sqrt(np.mean(rest**2)), rel=1e-6)
    assert line.note == ""


def test_fit_is_that_of_lifelines():
    """lifelines 0.30.3, LogNormalAFTFitter on exp(y): coefficients, sigma and log-likelihood of y."""
    x = np.repeat([1.0, 2, 4, 8, 15], 3)
    y = np.array([2.9, 3.2, 3.1, 3.3, 3.6, 3.1, 3.7, 3.9, 3.4, 4.2, 4.5, 4.4, 4.5, 4.4, 4.5])
    bound = np.isin(np.arange(15), [10, 12, 13, 14])
    line = censored.fit(x, y, bound)
    assert line.intercept.value == pytest.approx(2.916861, abs=1e-5)
    assert line.slope.value == pytest.approx(0.187048, abs=1e-5)
    assert line.sigma.value == pytest.approx(0.184169, abs=1e-5)
    best = np.array([line.intercept.value, line.slope.value, math.log(line.sigma.value)])
    assert censored.Points(x, y, bound.astype(int)).loss(best)[0] == pytest.approx(-2.1231993925, abs=1e-8)


def test_without_a_slope_it_is_scipys_censored_normal():
    y, bound = np.minimum(noisy(0), 4.0), noisy(0) > 4
    line, _ = censored.Points(X, y, bound.astype(int)).best(np.array([3.0, 0.0, 0.0]), fixed=1)
    mean, sigma = stats.norm.fit(stats.CensoredData(uncensored=y[~bound], right=y[bound]))
    assert (line[0], math.exp(line[2])) == pytest.approx((mean, sigma), rel=1e-3)  # SciPy's own search is that coarse


def test_gradient_is_that_of_finite_differences():
    y = noisy(0)
    points = censored.Points(X, np.clip(y, 3.2, 4.0), (y > 4).astype(int) - (y < 3.2))
    assert set(points.side) == {-1, 0, 1}
    for at in ([3.0, 0.1, -1.0], [0.0, 0.5, 1.0], [5.0, -0.1, -0.5]):
        estimate = optimize.approx_fprime(np.array(at), lambda line: points.loss(line)[0])
        assert points.loss(np.array(at))[1] == pytest.approx(estimate, rel=1e-4, abs=1e-3)


def test_ignoring_the_censoring_is_biased_and_the_fit_is_not():
    """Attacks stopped at 10^4: the truth is 0.1 decades a layer. Taking bounds for costs makes depth look cheap."""
    covered, slopes, naive = 0, [], []
    for seed in range(12):
        y = noisy(seed)
        line = censored.fit(X, np.minimum(y, 4), y > 4)
        covered += line.slope.low <= 0.1 <= line.slope.high
        slopes.append(line.slope.value)
        naive.append(stats.linregress(X, np.minimum(y, 4)).slope)
    assert covered >= 10
    assert np.median(slopes) == pytest.approx(0.1, abs=0.02)
    assert max(naive) < 0.05


def test_upper_bounds_count_as_such():
    """Cheap levels are met by the smallest budget, 10^3.4: taken for costs they make the bottom look dear, depth cheap.

    The truth is 0.1 decades a layer, from 10^3; the largest budget is 10^5.
    """
    covered, slopes, naive = 0, [], []
    for seed in range(12):
        y = noisy(seed)
        met, spent = y < 3.4, y > 5
        line = censored.fit(X, np.clip(y, 3.4, 5), spent, met)
        covered += line.slope.low <= 0.1 <= line.slope.high
        slopes.append(line.slope.value)
        naive.append(censored.fit(X, np.clip(y, 3.4, 5), spent).slope.value)
    assert covered >= 10
    assert np.median(slopes) == pytest.approx(0.1, abs=0.01)
    assert max(naive) < 0.1, "always too flat"


def test_two_sided_fit_is_the_maximum_of_scipys_own_likelihood():
    """Minus the log-likelihood written with scipy.stats, minimised without gradients."""
    y = noisy(1)
    met, spent = y < 3.4, y > 5
    seen = np.clip(y, 3.4, 5)

    def loss(line):
        normal = stats.norm(line[0] + line[1] * X, math.exp(line[2]))
        parts = np.where(spent, normal.logsf(seen), np.where(met, normal.logcdf(seen), normal.logpdf(seen)))
        return -parts.sum()

    best = optimize.minimize(loss, [3.0, 0.1, -1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
    line = censored.fit(X, seen, spent, met)
    assert (line.intercept.value, line.slope.value) == pytest.approx(tuple(best.x[:2]), abs=1e-5)
    assert line.sigma.value == pytest.approx(math.exp(best.x[2]), abs=1e-5)
    low = line.slope.low  # on the profile's edge twice the loss is the cut-off above its minimum
    edge = optimize.minimize(lambda rest: loss([rest[0], low, rest[1]]), [3.0, -1.0], method="Nelder-Mead")
    count = int((~met & ~spent).sum())
    cut = count * math.log1p(stats.t.ppf(0.975, count - 2) ** 2 / (count - 2))
    assert 2 * (edge.fun - best.fun) == pytest.approx(cut, abs=1e-3)


def test_a_sides_mirror_image_is_the_other_side():
    y = noisy(2)
    right = censored.fit(X, np.minimum(y, 4), y > 4)
    left = censored.fit(X, -np.minimum(y, 4), NONE, y > 4)
    assert left.slope.value == pytest.approx(-right.slope.value, abs=1e-6)
    assert (left.slope.low, left.slope.high) == pytest.approx((-right.slope.high, -right.slope.low), abs=1e-6)


@examples
@given(seed=st.integers(0, 1000), shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
def test_fit_follows_a_change_of_units(seed, shift, scale):
    y, bound = np.minimum(noisy(seed), 4.5), noisy(seed) > 4.5
    side = bound.astype(int)
    points, moved = censored.Points(X, y, side), censored.Points(X, shift + scale * y, side)
    line, _ = points.best(np.array([3.0, 0.1, -1.0]))
    other, _ = moved.best(np.array([shift, 0.0, math.log(scale)]))
    assert other == pytest.approx([shift + scale * line[0], scale * line[1], line[2] + math.log(scale)], abs=1e-3)


@pytest.mark.parametrize(
    "x, y, bound, note",
    [
        ([1, 2, 4], [3, 3, 3], [1, 1, 1], "no line: 0 of 3 points uncensored, at 0 place(s) of x"),
        ([1, 1, 2, 4], [3, 3.1, 4, 4], [0, 0, 1, 1], "no line: 2 of 4 points uncensored, at 1 place(s) of x"),
        ([2, 2, 2], [3, 3.1, 3.2], [0, 0, 0], "no line: 3 of 3 points uncensored, at 1 place(s) of x"),
        ([], [], [], "no line: 0 of 0 points uncensored, at 0 place(s) of x"),
        ([1, 2, 4], [3, 3, 3], [0, 0, 0], "no intervals: no scatter about the line"),
        ([1, 2, 4], [3, 4, 5], [0, 0, 1], "no intervals: no scatter about the line"),
        ([1, 2, 4], [3, 4, 9], [0, 0, 1], "no intervals: 2 of 3 points uncensored"),
    ],
)
def test_what_cannot_be_fitted_says_so(x, y, bound, note):
    line = censored.fit(x, y, bound)
    assert line.note == note
    assert math.isnan(line.slope.value) == note.startswith("no line")
    assert all(math.isnan(end) for found in (line.slope, line.sigma) for end in found[1:])


def test_fit_is_deterministic():
    y = noisy(3)
    assert censored.fit(X, np.minimum(y, 4), y > 4) == censored.fit(X, np.minimum(y, 4), y > 4)


# --- depth and difficulty


def test_depth_fits_find_the_slope_of_the_best_attacker_on_prefixes():
    found = attack_cost.costs(study(points=11), [0.5])
    fits = attack_trends.depth_fits(found).set_index("measure")
    queries = fits.loc["queries"]
    assert (queries["points"], queries["depths"]) == (18, 6)  # darknetz and fully_secured are no prefixes
    assert queries["slope_low"] < 0.1 < queries["slope_high"]
    assert 0 < queries["censored"] < 6
    assert fits.loc["tokens", "slope"] == pytest.approx(queries["slope"], abs=1e-5)
    assert fits.loc["flops", "slope"] > queries["slope"]  # each query of a deeper set trains more


def test_a_cell_that_was_never_run_is_no_point_of_the_fit():
    never = pd.DataFrame(curve([0.0], deployment="layers 0-20", secured="layers 0-20", depth=21))
    points = pd.concat([study(), never.assign(steps=0, queries=0, tokens=0, flops=0)])
    found = attack_cost.costs(points, [0.5])
    assert attack_cost.cost_table(found).query("depth == 21")["censored"].all()
    assert attack_trends.depth_fits(found).set_index("measure").loc["queries", "points"] == 18


def test_seeds_that_only_dearer_attacks_have_are_no_points_of_the_fit():
    """A closed form has one seed; the other seeds' best would else be another attack."""
    first = {"deployment": "layers 0", "secured": "layers 0", "depth": 1}
    stitch = pd.DataFrame(curve([0.9, 0.9], attack="stitch", seed=SEEDS[0], **first))
    found = attack_cost.costs(pd.concat([study(), stitch]), [0.5])
    fit = attack_trends.depth_fits(found, ["queries"]).iloc[0]
    assert fit["points"] == 18 - len(SEEDS) + 1


def difficulty(table: pd.DataFrame, **scores) -> pd.DataFrame:
    sets = table[["model", "secured"]].drop_duplicates().reset_index(drop=True)
    return sets.assign(**{name: values[: len(sets)] for name, values in scores.items()})


def ranks(costs_of: dict, dd: list, calibrated: list) -> pd.DataFrame:
    """`costs_of`: secured set -> cost, censored (or "at most")."""
    base = {"model": "toy", "level": 0.5, "measure": "queries"}
    sides = {True: {"censored": True, "at_most": False}, False: {"censored": False, "at_most": False}}
    sides["at most"] = {"censored": False, "at_most": True}
    rows = [base | {"secured": name, "cost": cost} | sides[side] for name, (cost, side) in costs_of.items()]
    table = pd.DataFrame(rows)
    return attack_trends.difficulty_ranks(table, difficulty(table, dd=dd, calibrated=calibrated)).set_index("score")


def test_censored_costs_tie_at_the_top():
    sets = {"a": (10, False), "b": (100, False), "c": (300, True), "d": (1000, True), "e": (200, False)}
    sets["f"] = (50, True)  # given up before b and e were reached: nobody knows its place
    found = ranks(sets, [1.0, 2.0, 4.0, 5.0, 3.0, 0.0], [5.0, 4.0, math.nan, math.nan, 3.0, math.nan])
    top = pd.Series([1.0, 2, 4.5, 4.5, 3])  # by hand: c was given up earlier, and still ranks with d
    assert found.loc["dd", "spearman"] == pytest.approx(stats.spearmanr([1, 2, 4, 5, 3], top).statistic)
    logs = np.log10([10, 100, 1000, 1000, 200])
    expected = stats.pearsonr([1, 2, 4, 5, 3], logs)
    assert found.loc["dd", "pearson"] == pytest.approx(expected.statistic)
    interval = tuple(found.loc["dd", ["pearson_low", "pearson_high"]])
    assert interval == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-6)
    assert found["sets"].to_dict() == {"dd": 5, "calibrated": 3}
    assert found["censored"].to_dict() == {"dd": 2, "calibrated": 0}
    assert found.loc["calibrated", "spearman"] == pytest.approx(-1)
    assert math.isnan(found.loc["calibrated", "spearman_low"])  # three sets have no interval


def test_upper_bounds_tie_at_the_bottom():
    sets = {"a": (100, "at most"), "b": (50, "at most"), "c": (400, False), "d": (200, False), "e": (1000, True)}
    sets["f"] = (300, "at most")  # first tried with more than d cost: nobody knows its place
    found = ranks(sets, [1.0, 2.0, 3.0, 4.0, 5.0, 0.0], [math.nan] * 6).loc["dd"]
    assert (found["sets"], found["censored"], found["at_most"]) == (5, 1, 2)
    assert found["spearman"] == pytest.approx(stats.spearmanr([1, 2, 3, 4, 5], [1.5, 1.5, 4, 3, 5]).statistic)
    logs = np.log10([50, 50, 400, 200, 1000])
    assert found["pearson"] == pytest.approx(stats.pearsonr([1, 2, 3, 4, 5], logs).statistic)


def test_nothing_to_rank_is_nan_and_two_difficulties_are_refused():
    sets = {"a": (10, True), "b": (100, True), "c": (50, True), "d": (50, True)}
    found = ranks(sets, [1.0, 2, 3, 4], [math.nan] * 4).loc["dd"]
    assert math.isnan(found["spearman"]) and found["sets"] == found["censored"] == 4
    few = ranks(sets | {"a": (10, False), "b": (20, False)}, [1.0, 2, 3, 4], [math.nan] * 4).loc["dd"]
    assert math.isnan(few["spearman"]) and few["sets"] == 4, "two costs make no order"
    table = attack_cost.cost_table(attack_cost.costs(study()))
    twice = pd.concat([difficulty(table, dd=range(99), calibrated=range(99))] * 2)
    with pytest.raises(StudyError, match="occurs twice"):
        attack_trends.difficulty_ranks(table, twice)


# --- figures


def test_recovered_figure_has_a_panel_a_deployment_and_a_line_an_attack():
    points = study()
    figure, sentence = figures_attacks.recovered_by_queries({"attack_points": points})
    assert len(figure.axes) == points["deployment"].nunique() == 8
    for axes in figure.axes:
        name = axes.get_title().split("\n")[0].split(" (")[0]
        lines = [line for line in axes.lines if not line.get_label().startswith("_")]
        assert {line.get_label() for line in lines} == set(points[points["deployment"] == name]["attack"])
        assert all((line.get_xdata()[0], line.get_ydata()[0]) == (0, 0) for line in lines)  # no query, nothing
        left, right = axes.get_xlim()
        assert left == 0 and right > 262_000
    assert figure.axes[0].get_title() == "darknetz (layers 29)\nagreement at the start 60 %"
    assert "from 6 of 8 deployments, for the least from layers 0 by sem. Reached with 200 queries" in sentence


def test_depth_figure_has_a_panel_a_level_and_an_arrow_where_none_reached_it():
    figure, sentence = figures_attacks.cost_by_depth({"attack_points": study()})
    assert [axes.get_title() for axes in figure.axes] == ["50 % recovered", "80 % recovered", "90 % recovered"]
    arrows = [len(axes.texts) for axes in figure.axes]
    assert arrows == sorted(arrows) and 0 < arrows[0] <= 2 * len(DEPTHS)
    fit = attack_trends.depth_fits(attack_cost.costs(study(), [0.5]), ["queries"]).iloc[0]
    assert f"multiplies the oracle queries by {10 ** fit['slope']:.2f} (95 %" in sentence
    assert f"At {fit['censored']} of 18 depths and seeds no attack reached 50 %" in sentence


def test_figures_say_what_they_cannot_show():
    nothing = {"attack_points": study().head(0)}
    assert figures_attacks.recovered_by_queries(nothing) is None
    assert figures_attacks.cost_by_depth(nothing) is None
    hopeless = {"attack_points": study(half=lambda depth: 1e9)}
    assert "no line: 0 of 18 points uncensored" in figures_attacks.cost_by_depth(hopeless)[1]
    hopeless["attack_points"] = hopeless["attack_points"].query("deployment != 'darknetz'")
    assert "from 0 of 7 deployments. Not reached with 12.8k" in figures_attacks.recovered_by_queries(hopeless)[1]
