"""From scores to ratios: which benchmarks count, what knowing nothing scores, how much of the victim a run keeps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from solid_utils.metrics import intervals, metrics
from solid_utils.metrics.intervals import Resamples
from solid_utils.report.results import Results

NOT_BENCHMARKS = ("fidelity", "customization")  # domains whose rows are other measures
EVALUATION = "evaluation"  # fidelity on held-out prompts of the attack's kind: what "agreement" alone means
SIGNAL_RULE = "A benchmark counts where the victim's score exceeds the floor by more than two standard errors."
OVER_BENCHMARKS = ("adr_mean_of_ratios", "adr_ratio_of_means", "chance_corrected_ratio")
OVER_DOMAINS = ("adr_domains_mean_of_ratios", "adr_domains_ratio_of_means")  # definitions C and D
NAN = float("nan")
Resampled = dict[tuple[str, str, str], Resamples]  # by model, run and state


@dataclass(frozen=True)
class Yardstick:
    """What one model's replicas are measured by: its benchmarks that count, and its victim's resampled scores.

    counted: rows of benchmark_rule, indexed by benchmark. victim: None where the victim has no items.
    """

    model: str
    counted: pd.DataFrame
    victim: Resamples | None

    def of(self, benchmarks: list[str]) -> "Yardstick":
        """The same for some of the benchmarks."""
        return replace(self, counted=self.counted.loc[benchmarks])

    def ratios(self, replica: pd.Series, own: Resamples | None = None, names: tuple[str, ...] = ()) -> dict[str, float]:
        """The ratios `names` (by default all) of scores indexed by benchmark, each with NAME_low and NAME_high.

        nan without a benchmark that counts; the interval also without the items (`own`) of every one. Raises
        StudyError when a benchmark that counts was not scored: an average must not shrink silently.
        """
        values, known = {}, not (self.counted.empty or replica.empty)
        replica = replica[replica.index.isin(self.counted.index)]
        for name in names or OVER_BENCHMARKS + OVER_DOMAINS:
            metric = self._metric(name)
            values[name] = metric(replica, self.counted["victim"]) if known else NAN
            values |= ends(name, metric, self.counted.index, own, self.victim)
        return values

    def delta_adr(
        self, replica: pd.Series, secured: pd.Series, own: Resamples | None, theirs: Resamples | None
    ) -> dict:
        """Delta ADR by definition A against the fully secured deployment's scores, with its interval."""
        names = self.counted.index
        known = not (self.counted.empty or replica.empty or secured.empty)
        mine = [scores[scores.index.isin(names)] for scores in (replica, secured)]
        value = metrics.delta_adr(*mine, self.counted["victim"]) if known else NAN
        return {"delta_adr": value} | ends("delta_adr", metrics.delta_adr, names, own, theirs, self.victim)

    def _metric(self, name: str) -> Callable[..., metrics.Metric]:
        if name == "chance_corrected_ratio":
            return partial(metrics.chance_corrected_ratio, floor=self.counted["floor"])
        adr = metrics.adr_mean_of_ratios if name.endswith("mean_of_ratios") else metrics.adr_ratio_of_means
        if name in OVER_DOMAINS:
            return partial(metrics.adr_over_domains, domains=self.counted["domain"], adr=adr)
        return adr


def ends(name: str, metric: Callable, benchmarks: pd.Index, *sides: Resamples | None) -> dict[str, float]:
    """{NAME_low, NAME_high} of a metric over resampled scores; nan where one side lacks the items of a benchmark."""
    low = high = NAN
    if len(benchmarks) and all(one is not None and benchmarks.isin(one.scores.index).all() for one in sides):
        interval = intervals.interval(metric, *[one.of(benchmarks) for one in sides])
        low, high = interval.low, interval.high
    return {f"{name}_low": low, f"{name}_high": high}


def with_ends(*names: str) -> list[str]:
    """Columns of estimates and of the ends of their intervals."""
    return [column for name in names for column in (name, f"{name}_low", f"{name}_high")]


def resampled(results: Results) -> Resampled:
    """{(model, run, state): Resamples} of every run that has items; all runs of a model on the same resamples."""
    made = {}
    for model, items in states(results.items).groupby("model"):
        made |= {(model, *key): one for key, one in intervals.resample(items).items()}
    return made


def states(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows before any step (`state` "start") and after the last one ("end"); the victim's are both."""
    last = rows.groupby(["model", "run", "seed"])["steps"].transform("max")
    return pd.concat([rows[rows["steps"] == 0].assign(state="start"), rows[rows["steps"] == last].assign(state="end")])


def benchmark_scores(scores: pd.DataFrame) -> pd.Series:
    """Values by benchmark, of rows of one run in one state."""
    return scores[~scores["domain"].isin(NOT_BENCHMARKS)].set_index("benchmark")["value"].astype(float)


def outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores before any step (`state` "start") and after the last one ("end"), one row a benchmark and metric.

    Seeds are averaged; the standard error adds that of the items, which all seeds share, and that of the seeds.
    """
    keys = ["model", "run", "state", "benchmark", "domain", "shots", "metric", "n", "chance"]
    pooled = (
        states(scores)
        .groupby(keys, sort=False, dropna=False)
        .agg(
            value=("value", "mean"),
            items=("stderr", "mean"),
            between=("value", "sem"),
            seeds=("seed", "nunique"),
            constant=("floor", "max"),
        )
    )
    pooled["stderr"] = np.hypot(pooled.pop("items").astype(float), pooled.pop("between").fillna(0).astype(float))
    return pooled.reset_index()


def benchmark_rule(results: Results) -> pd.DataFrame:
    """The victim's benchmarks: does each count (SIGNAL_RULE), and if not, why; one row a model and benchmark.

    `floor`, what knowing nothing scores: the higher of chance and of the best constant answer (as scored), as far as it
    was measured; `random`, a wholly random replica (the start of the fully secured deployment), stands beside it. A
    victim's standard error that is unknown is taken to be as large as it can be, see metrics.known_error.
    """
    table = outcomes(results.victims)
    table = table[(table["state"] == "end") & ~table["domain"].isin(NOT_BENCHMARKS)]
    table = table.rename(columns={"value": "victim", "stderr": "victim_stderr"}).reset_index(drop=True)
    numbers = ["victim", "victim_stderr", "chance", "constant"]
    table[numbers] = table[numbers].astype(float)
    hidden = results.attacks[(results.attacks["deployment"] == "fully_secured") & (results.attacks["steps"] == 0)]
    random = hidden.groupby(["model", "benchmark"])["value"].mean().rename("random").astype(float)
    table = table.join(random, on=["model", "benchmark"])
    table["floor"] = metrics.empirical_floor(table["chance"], table["constant"])
    error = metrics.known_error(table["victim"], table["victim_stderr"], table["n"].astype(float))
    table["counts"] = metrics.has_signal(table["victim"], error, table["floor"]).astype(bool)
    table["reason"] = [_reason(row) for row in table.assign(error=error).itertuples()]
    return table.drop(columns=["run", "state", "seeds"])


def yardstick(model: str, rule: pd.DataFrame, resamples: Resampled) -> Yardstick:
    """One model's part of benchmark_rule and of resampled."""
    counted = rule[(rule["model"] == model) & rule["counts"]].set_index("benchmark")
    return Yardstick(model, counted, resamples.get((model, "victim", "end")))


def _reason(row) -> str:
    if row.counts:
        return ""
    what = f"victim {row.victim:.3f}, floor {row.floor:.3f} (chance {row.chance:.3f})"
    if np.isnan(row.error):
        return f"{what}, standard error unknown"
    most = ", at most" if np.isnan(row.victim_stderr) else ""
    return f"{what}, two standard errors {2 * row.error:.3f}{most}"
