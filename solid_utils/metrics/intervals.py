"""95 % intervals: a paired bootstrap over items and seeds for scores, Fisher's z for correlations (not in the paper).

Items are drawn with replacement within each benchmark, seeds with replacement across a run; the interval holds the
middle 95 % of a metric over TIMES such resamples (Efron and Tibshirani 1993, chapters 10 and 13). Paired: victim, start
and every replica of a model meet the same resamples, so what makes an item hard for all cancels in their ratio or
difference. The draws come from SEED, the benchmark's name and its number of items, never from the order of rows.

What happens at the edges:
- one seed: only items are drawn, and `covers` says "items only"; another seed may well end outside the interval.
- few seeds: their spread is understated, as in any bootstrap, by the factor (seeds - 1) / seeds in the variance. Where
  seeds differed much in a simulation, 95 % intervals held the truth in 95 % of cases with eight seeds, in 84 % with
  three, and in 57 % with one.
- a single item in a benchmark: its spread is unknown, so every interval that uses it is nan to nan.
- a resample that leaves the metric undefined (the victim falls to chance) counts below the low and above the high end;
  where these are more than 2.5 %, so that an end would be undefined, the interval is nan to nan.
- equal scores on all items (none of 30 solved) do not vary, so the interval has zero width; that is the bootstrap's
  limit, not certainty. The usual bound for none of n is 3 / n.
- no items, other items for another run, an item twice or without a positive weight: StudyError.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from solid_utils.core import numbers
from solid_utils.core.errors import StudyError
from solid_utils.metrics import metrics

LEVEL = 0.95
TIMES = 2000
RULE = (
    f"Brackets hold 95 % intervals: {TIMES:,} paired bootstrap draws of items, the same for victim, start and replica, "
    'and of attack seeds where there are several. With one seed they cover "items only": what other items would have '
    "changed, not what another seed would. Scores without items of their own (items.csv) have none."
)
SEED = 20240301
ROOM = 2_000_000  # items drawn at a time: a benchmark of 14,000 items would take 225 MB at once
NAN = math.nan


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval; `covers` names what was drawn: see `covers`."""

    estimate: float
    low: float
    high: float
    covers: str


@dataclass(frozen=True)
class Resamples:
    """Scores of one run in one state, seeds averaged.

    scores: (benchmarks, 1 + times); column 0 is the sample itself, the others are resamples. items: how many items a
    benchmark has. seeds: how many seeds were averaged.
    """

    scores: pd.DataFrame
    items: pd.Series
    seeds: int

    def of(self, benchmarks: pd.Index) -> "Resamples":
        """These benchmarks only. Raises StudyError when one has no items."""
        lacking = sorted(map(str, benchmarks.difference(self.scores.index)))
        if lacking:
            raise StudyError(f"intervals: no items of {', '.join(lacking)}; score them item by item, or drop them")
        return Resamples(self.scores.loc[benchmarks], self.items[benchmarks], self.seeds)


def resample(items: pd.DataFrame, times: int = TIMES) -> dict[tuple[str, str], Resamples]:
    """The items of one model's runs -> {(run, state): Resamples}, all on the same resamples.

    items: an item a row, with run, state, seed, benchmark, item, value and weight. A score is sum of values / sum of
    weights over items (for agreement: agreeing tokens / tokens, so tokens are pooled and samples are the clusters).
    """
    if items.empty:
        raise StudyError("intervals: there are no items to draw from; show no interval")
    means = {name: _means(name, rows, times) for name, rows in items.groupby("benchmark")}
    made = {}
    for key, rows in items.groupby(["run", "state"], sort=False):
        counts = rows.groupby("benchmark")["item"].nunique()
        scores = pd.DataFrame({name: means[name][key] for name in counts.index}).T
        made[key] = Resamples(scores, counts, rows["seed"].nunique())
    return made


def interval(metric: Callable[..., pd.Series], *sides: Resamples) -> Interval:
    """A metric of `metrics` with its interval; `metric` takes the scores (benchmarks, resamples) of each of `sides`."""
    values = metric(*[one.scores for one in sides]).to_numpy(float)
    unknown = any((one.items < 2).any() for one in sides)
    low, high = (NAN, NAN) if unknown or math.isnan(values[0]) else _middle(values[1:])
    return Interval(float(values[0]), low, high, covers(*sides))


def covers(*sides: Resamples) -> str:
    """What was drawn, and so what an interval allows for: "items only" with one seed, else "items and N seeds"."""
    seeds = max(one.seeds for one in sides)
    return "items only" if seeds == 1 else f"items and {seeds} seeds"


def pearson(x: pd.Series, y: pd.Series) -> Interval:
    """metrics.pearson with its interval by Fisher's z, over secured sets.

    Not by bootstrap: among few sets many resamples hold two or three different ones, which correlate by themselves, and
    the interval comes out too narrow or undefined. Assumes that both sides are near normal; nan to nan below four sets
    and for a perfect correlation.
    """
    return _by_fisher(metrics.pearson(x, y), len(x), 1.0)


def spearman(x: pd.Series, y: pd.Series) -> Interval:
    """metrics.spearman with its interval by Fisher's z; otherwise as `pearson`.

    The variance of z is (1 + rho^2 / 2) / (n - 3), as ranks vary more (Bonett and Wright 2000, equation 4).
    """
    rho = metrics.spearman(x, y)
    return _by_fisher(rho, len(x), 1 + rho**2 / 2)


def _by_fisher(correlation: float, n: int, spread: float) -> Interval:
    low = high = NAN
    if n > 3 and abs(correlation) < 1 - numbers.ZERO:  # false for nan
        reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(spread / (n - 3))
        low, high = (math.tanh(math.atanh(correlation) + shift) for shift in (-reach, reach))
    return Interval(correlation, low, high, f"{n} sets")


def _middle(values: np.ndarray) -> tuple[float, float]:
    """The ends of the middle LEVEL of (times,) values; an undefined one lies beyond either end."""
    tail = (1 - LEVEL) / 2
    with np.errstate(invalid="ignore"):
        low = np.quantile(np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf), tail)
        high = np.quantile(np.nan_to_num(values, nan=np.inf, posinf=np.inf, neginf=-np.inf), 1 - tail)
    return (float(low), float(high)) if np.isfinite([low, high]).all() else (NAN, NAN)


def _means(benchmark: str, rows: pd.DataFrame, times: int) -> dict[tuple[str, str], np.ndarray]:
    """{(run, state): (1 + times,) scores on one benchmark, seeds averaged}."""
    if rows.duplicated(["run", "state", "seed", "item"]).any() or not (rows["weight"] > 0).all():
        raise StudyError(f"intervals: {benchmark}: an item twice, or without a weight above 0; mend its items.csv")
    wide = rows.pivot(index="item", columns=["run", "state", "seed"], values=["value", "weight"])
    wide = wide.sort_index().sort_index(axis=1)  # draws go by place: items and seeds in the same order everywhere
    if wide.isna().any(axis=None):
        runs = ", ".join(sorted(set(wide.columns[wide.isna().any()].get_level_values("run"))))
        raise StudyError(f"intervals: {benchmark}: {runs} lacks items that other runs have; score all on the same ones")
    values, weights = wide["value"].to_numpy(float), wide["weight"].to_numpy(float)  # (items, runs x states x seeds)
    scores = [(counts @ values) / (counts @ weights) for counts in _counts(benchmark, len(wide), times)]
    scores = pd.DataFrame(np.concatenate(scores), columns=wide["value"].columns)
    return {key: _over_seeds(part.to_numpy()) for key, part in scores.T.groupby(level=["run", "state"])}


def _counts(name: str, n: int, times: int) -> Iterator[np.ndarray]:
    """How often each of n things stands in the sample (1, n), all once, and in the resamples (rows, n)."""
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    yield np.ones((1, n))
    for first in range(0, times, block := max(1, ROOM // n)):
        rows = min(block, times - first)
        places = (
            generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        )  # six times faster than multinomial
        yield np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def _over_seeds(scores: np.ndarray) -> np.ndarray:
    """(seeds, 1 + times) scores -> (1 + times,): their mean, the seeds drawn too."""
    seeds, columns = scores.shape
    counts = np.concatenate(list(_counts("seeds", seeds, columns - 1)))  # (1 + times, seeds)
    return (counts.T * scores).sum(axis=0) / seeds
