"""How much of the victim a replica has: one function a metric, over pandas Series indexed by benchmark.

`replica`, `victim` and `floor` are scores of the same benchmarks, all as fractions or all in percent; their order does
not matter. Ratios are plain numbers: 1 means "as good as the victim". In place of a Series any argument may be a
DataFrame, benchmarks down and resamples across: the metric is then a Series over resamples (see `intervals`).

What happens at the edges, the same everywhere:
- no benchmark, a benchmark missing on one side, twice, or without a score: StudyError, as no average may shrink
  silently.
- a ratio whose denominator is zero or below is undefined: nan, never infinity and never 1000 %.
- a replica below the floor counts as it is, below zero. Cutting it off at zero would turn the noise of replicas that
  all guess into a positive average.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from solid_utils.core.errors import StudyError
from solid_utils.core.numbers import Metric, ratio

Scores = pd.Series | pd.DataFrame  # (benchmarks,) or (benchmarks, resamples)
ADR = Callable[[Scores, Scores], Metric]


def distillation_ratio(replica: Scores, victim: Scores) -> Scores:
    """R(I) = replica / victim, for each benchmark (paper section 3.2, equation 1).

    nan where the victim scores 0: there is nothing to distill (HumanEval and MBPP of OPT-350M, Table 42).
    """
    replica, victim = _aligned(replica, victim)
    # Division by zero would give infinity, which a mean keeps; a mean leaves nan out.
    return replica / victim.where(victim > 0)


def adr_mean_of_ratios(replica: Scores, victim: Scores) -> Metric:
    """ADR by definition A: mean over benchmarks of replica / victim (paper section 5.1; Tables 13 to 15 and 25).

    Benchmarks on which the victim scores 0 are left out; nan if that is all of them.
    """
    return _plain(distillation_ratio(replica, victim).mean())


def adr_ratio_of_means(replica: Scores, victim: Scores) -> Metric:
    """ADR by definition B: mean replica score / mean victim score (not in the text; Tables 26 to 32 and 34 to 42).

    Equals A weighted by the victim's scores, so benchmarks where the victim is strong count more. All benchmarks stay
    in; nan if the victim scores 0 on all of them.
    """
    replica, victim = _aligned(replica, victim)
    return ratio(replica.sum(), victim.sum())


def ratio_by_domain(replica: Scores, victim: Scores, domains: pd.Series, adr: ADR = adr_mean_of_ratios) -> Scores:
    """The ADR within each capability domain (paper section 5.1; Tables 1 and 2 print such ratios), domains down.

    `domains` names the domain of every benchmark. nan for a domain in which the victim scores 0 everywhere.
    """
    replica, victim = _aligned(replica, victim)
    # groupby drops rows without a group in silence, so a benchmark of no domain would be in no average.
    homeless = sorted(map(str, replica.index.difference(domains.dropna().index)))
    if homeless:
        raise StudyError(f"metrics: {', '.join(homeless)} belongs to no domain; name one for every benchmark")
    # Unsorted: domains stay in the order in which the benchmarks name them.
    groups = domains[replica.index].groupby(domains[replica.index], sort=False).groups
    ratios = {domain: adr(replica.loc[rows], victim.loc[rows]) for domain, rows in groups.items()}
    return pd.DataFrame(ratios).T if replica.ndim == 2 else pd.Series(ratios, dtype=float)


def adr_over_domains(replica: Scores, victim: Scores, domains: pd.Series, adr: ADR = adr_mean_of_ratios) -> Metric:
    """Mean over domains of the ADR within each: definition C from A, definition D from B (not in the paper).

    Every domain counts alike, however many benchmarks it has. No printed ADR follows from it. Domains in which the
    victim scores 0 everywhere are left out; nan if that is all of them.
    """
    return _plain(ratio_by_domain(replica, victim, domains, adr).mean())


def delta_adr(replica: Scores, fully_secured: Scores, victim: Scores, adr: ADR = adr_mean_of_ratios) -> Metric:
    """Delta ADR(I) = ADR(I) - ADR([L]), the gap to the fully secured deployment (paper appendix B).

    Takes scores, not two ADRs, so that both sides use one definition: A and B differ by up to 17 points.
    """
    return adr(replica, victim) - adr(fully_secured, victim)


def has_signal(value: float | pd.Series, stderr: float | pd.Series, floor: float | pd.Series) -> bool | pd.Series:
    """Whether the victim beats the floor by more than two standard errors: value - floor > 2 stderr (not in the paper).

    `floor`: what knowing nothing scores (`empirical_floor`), which may lie far above chance: always "yes" is right on
    62 % of BoolQ. A benchmark without signal says nothing about a replica: show it, and leave it out of the averages. A
    standard error that is unknown (nan) gives False; see `known_error`.
    """
    return value - floor > 2 * stderr


def known_error(value: pd.Series, stderr: pd.Series, n: pd.Series) -> pd.Series:
    """The standard error, and where it is unknown (nan) the largest that a mean of n scores in [0, 1] can have.

    That is sqrt(value (1 - value) / (n - 1)), reached where every score is 0 or 1. Not in the paper. nan for one item,
    which says nothing of its error, and for a value outside [0, 1], such as a rating.
    """
    spread = (value * (1 - value)).where(value.between(0, 1))
    return stderr.fillna((spread / (n - 1).where(n > 1)) ** 0.5)


def chance_corrected_ratio(replica: Scores, victim: Scores, floor: pd.Series) -> Metric:
    """Sum of (replica - floor) / sum of (victim - floor) over benchmarks (not in the paper).

    0 is knowing nothing, 1 the victim; guessing alone has an ADR near 0.23. `floor`: chance, or what was measured of
    it (`empirical_floor`). The ratio of sums keeps a benchmark on which the victim barely beats the floor from ruling
    the result, as it would in a mean of ratios. Pass benchmarks with signal (`has_signal`). nan when the victim is at
    or below the floor in total. One benchmark is a Series of length one.
    """
    replica, victim, floor = _aligned(replica, victim, floor)
    return ratio((replica - floor).sum(), (victim - floor).sum())


def empirical_floor(chance: pd.Series, constant: pd.Series) -> pd.Series:
    """What knowing nothing scores: the higher of chance and of the best constant answer on the very items.

    Not in the paper. nan in `constant` is "not measured", and ignored. A random replica's score is no part of it: it is
    one draw, its luck would lift the floor, and a higher floor makes every deployment look safer than it is.
    """
    return pd.concat([chance, constant.reindex(chance.index)], axis=1).max(axis=1)


def pooled_fidelity(fidelity: Scores, n: pd.Series) -> Metric:
    """Sum of n f / sum of n over sets of prompts: fidelity to the victim (paper section 3.1) on all of them together.

    n is what a set's figure is a mean over: answer tokens for agreement, samples for KL and cross-entropy.
    """
    return _weighted(fidelity, n)


def customization_accuracy(accuracy: Scores, n: pd.Series) -> Metric:
    """Sum of n a / sum of n over a domain's benchmarks or kinds of problems: the accuracy on all n problems.

    Paper sections 3.1 and B.5 (Tables 12 and 17 to 21). With equal n it is the plain mean, the paper's own for Code.
    """
    return _weighted(accuracy, n)


def gap_to_fully_open(accuracy: Scores, fully_open: Scores, n: pd.Series) -> Metric:
    """customization_accuracy(deployment) - customization_accuracy(fully open): what securing costs the customer.

    Paper Observation 5 ("within 4 %"); negative where the deployment ends below the fully open one.
    """
    accuracy, fully_open, n = _aligned(accuracy, fully_open, n)
    return customization_accuracy(accuracy, n) - customization_accuracy(fully_open, n)


def pearson(x: pd.Series, y: pd.Series) -> float:
    """Pearson correlation, e.g. of distillation difficulty and ADR over secured sets (paper B.9, Table 11).

    x and y share an index. nan for fewer than three points (two always correlate perfectly) or a constant side.
    """
    return _correlation(x, y, "pearson")


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Spearman rank correlation; ties share their mean rank. Otherwise as `pearson` (paper B.9, Table 11)."""
    return _correlation(x, y, "spearman")


def _correlation(x: pd.Series, y: pd.Series, method: str) -> float:
    x, y = _aligned(x, y)
    if len(x) < 3 or x.nunique() == 1 or y.nunique() == 1:
        return math.nan
    return float(x.corr(y, method=method))


def _weighted(values: Scores, n: pd.Series) -> Metric:
    values, n = _aligned(values, n)
    return ratio((n * values).sum(), n.sum())


def _plain(mean: Metric) -> Metric:
    return mean if isinstance(mean, pd.Series) else float(mean)


def _aligned(*scores: Scores) -> list[Scores]:
    """The scores in the first one's order of benchmarks, all DataFrames where one is.

    Raises StudyError unless all score the same benchmarks, each once.
    """
    index = scores[0].index
    if index.empty:
        raise StudyError("metrics: the subset of benchmarks is empty; choose at least one, or show no average")
    for other in scores:
        if not other.index.is_unique:
            repeated = sorted(map(str, other.index[other.index.duplicated()].unique()))
            raise StudyError(f"metrics: {', '.join(repeated)} scored twice; keep one metric a benchmark")
        lonely = [] if index.equals(other.index) else [*index.symmetric_difference(other.index)]
        unscored = np.isnan(other.to_numpy(float)).reshape(len(other), -1).any(axis=1)
        if lonely or unscored.any():
            lonely = sorted(map(str, [*lonely, *other.index[unscored]]))
            raise StudyError(f"metrics: {', '.join(lonely)} not scored on both sides; score them or drop them first")
    resamples = next((other.columns for other in scores if other.ndim == 2), None)
    return [_across(other.reindex(index), resamples) for other in scores]


def _across(scores: Scores, resamples: pd.Index | None) -> Scores:
    """A Series repeated for each resample."""
    if resamples is None or scores.ndim == 2:
        return scores
    repeated = np.broadcast_to(scores.to_numpy(float)[:, None], (len(scores), len(resamples)))
    return pd.DataFrame(repeated, index=scores.index, columns=resamples)
