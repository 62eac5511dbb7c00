"""How much of the victim a replica has: one function a metric, over pandas Series indexed by benchmark.

`replica`, `victim` and `chance` are scores of the same benchmarks, all as fractions or all in percent; their order does
not matter. Ratios are plain numbers: 1 means "as good as the victim".

What happens at the edges, the same everywhere:
- no benchmark, a benchmark missing on one side, twice, or without a score: StudyError, as no average may shrink
  silently.
- a ratio whose denominator is zero or below is undefined: nan, never infinity and never 1000 %.
- a replica below chance counts as it is, below zero. Cutting it off at zero would turn the noise of replicas that all
  guess into a positive average.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from solid_utils.errors import StudyError

ADR = Callable[[pd.Series, pd.Series], float]
# Sums of scores carry rounding noise; a denominator below this is zero.
ZERO = 1e-9


def distillation_ratio(replica: pd.Series, victim: pd.Series) -> pd.Series:
    """R(I) = replica / victim, for each benchmark (paper section 3.2, equation 1).

    nan where the victim scores 0: there is nothing to distill (HumanEval and MBPP of OPT-350M, Table 42).
    """
    replica, victim = _aligned(replica, victim)
    return replica / victim.where(victim > 0)


def adr_mean_of_ratios(replica: pd.Series, victim: pd.Series) -> float:
    """ADR by definition A: mean over benchmarks of replica / victim (paper section 5.1; Tables 13 to 15 and 25).

    Benchmarks on which the victim scores 0 are left out; nan if that is all of them.
    """
    return float(distillation_ratio(replica, victim).mean())


def adr_ratio_of_means(replica: pd.Series, victim: pd.Series) -> float:
    """ADR by definition B: mean replica score / mean victim score (not in the text; Tables 26 to 32 and 34 to 42).

    Equals A weighted by the victim's scores, so benchmarks where the victim is strong count more. All benchmarks stay
    in; nan if the victim scores 0 on all of them.
    """
    replica, victim = _aligned(replica, victim)
    return _ratio(replica.sum(), victim.sum())


def delta_adr(replica: pd.Series, fully_secured: pd.Series, victim: pd.Series, adr: ADR = adr_mean_of_ratios) -> float:
    """Delta ADR(I) = ADR(I) - ADR([L]), the gap to the fully secured deployment (paper appendix B).

    Takes scores, not two ADRs, so that both sides use one definition: A and B differ by up to 17 points.
    """
    return adr(replica, victim) - adr(fully_secured, victim)


def has_signal(value: float | pd.Series, stderr: float | pd.Series, chance: float | pd.Series) -> bool | pd.Series:
    """Whether the victim beats chance by more than two standard errors: value - chance > 2 stderr (not in the paper).

    A benchmark without signal says nothing about a replica: show it, and leave it out of the averages. A standard error
    that is unknown (nan) gives False.
    """
    return value - chance > 2 * stderr


def chance_corrected_ratio(replica: pd.Series, victim: pd.Series, chance: pd.Series) -> float:
    """Sum of (replica - chance) / sum of (victim - chance) over benchmarks (not in the paper).

    0 is guessing, 1 the victim; guessing alone has an ADR near 0.23. The ratio of sums keeps a benchmark on which the
    victim barely beats chance from ruling the result, as it would in a mean of ratios. Pass benchmarks with signal
    (`has_signal`). nan when the victim is at or below chance in total. One benchmark is a Series of length one.
    """
    replica, victim, chance = _aligned(replica, victim, chance)
    return _ratio((replica - chance).sum(), (victim - chance).sum())


def recovered_share(agreement: float, start: float) -> float:
    """(a - a0) / (1 - a0): share of the missing agreement with the victim that an attack recovered (not in the paper).

    `agreement` and `start` are fractions, after the attack and before any query. Negative when the attack lost ground;
    nan when the start already agrees everywhere.
    """
    return _ratio(agreement - start, 1 - start)


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean; 0 for a single value, whose spread is unknown."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


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


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > ZERO else math.nan


def _aligned(*scores: pd.Series) -> list[pd.Series]:
    """The Series in the order of the first. Raises StudyError unless all score the same benchmarks, each once."""
    index = scores[0].index
    if index.empty:
        raise StudyError("metrics: the subset of benchmarks is empty; choose at least one, or show no average")
    for other in scores:
        if not other.index.is_unique:
            repeated = sorted(map(str, other.index[other.index.duplicated()].unique()))
            raise StudyError(f"metrics: {', '.join(repeated)} scored twice; keep one metric a benchmark")
        lonely = sorted(map(str, [*index.symmetric_difference(other.index), *other.index[other.isna()]]))
        if lonely:
            raise StudyError(f"metrics: {', '.join(lonely)} not scored on both sides; score them or drop them first")
    return [other.reindex(index) for other in scores]
