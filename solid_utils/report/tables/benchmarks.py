"""Benchmarks: every run's scores, which benchmarks count, and what share of the victim's each attack keeps."""

import numpy as np
import pandas as pd

from solid_utils.metrics import power
from solid_utils.report.ratios import (
    NOT_BENCHMARKS,
    OVER_BENCHMARKS,
    SIGNAL_RULE,
    benchmark_scores,
    outcomes,
    with_ends,
    yardstick,
)
from solid_utils.report.table import Columns, Context, Section, Table, cell
from solid_utils.report.wording import percent


def benchmark_table(context: Context) -> pd.DataFrame:
    """Every run's score on every benchmark, at the start and at the end, beside victim, chance and floor."""
    rule, results = context.rule, context.results
    scores = outcomes(pd.concat([results.attacks, results.customizations], ignore_index=True))
    scores = scores[~scores["domain"].isin(NOT_BENCHMARKS)][["model", "run", "state", "benchmark", "value", "stderr"]]
    victims = rule.rename(columns={"victim": "value", "victim_stderr": "stderr"}).assign(run="victim", state="end")
    scores = pd.concat([victims[scores.columns], scores], ignore_index=True)
    return rule.merge(scores, on=["model", "benchmark"], how="left")


def _by_run(table: pd.DataFrame, printed: bool) -> pd.DataFrame:
    """Runs down, benchmarks across, in percent with standard errors; an excluded benchmark bears a star."""
    ended = table[table["state"] == "end"]
    rows = []
    for model, scores in ended.groupby("model", sort=False):
        rule = scores.drop_duplicates("benchmark").set_index("benchmark")
        heads = {name: name if counts else f"{name}*" for name, counts in rule["counts"].items()}
        for known in ("chance", "floor"):
            cells = {heads[name]: cell(rule.loc[name, known], "percent") for name in heads}
            rows.append({"run": known, "model": model} | cells)
        for run, values in scores.groupby("run", sort=False):
            cells = {heads[v.benchmark]: f"{100 * v.value:.0f} ±{100 * v.stderr:.0f}" for v in values.itertuples()}
            rows.append({"run": run, "model": model} | cells)
    shown = pd.DataFrame(rows).fillna("")
    return shown.drop(columns="model") if ended["model"].nunique() < 2 else shown


def _read_benchmarks(rows: pd.DataFrame) -> str:
    rule = rows.drop_duplicates("benchmark")
    out = [f"{row.benchmark} ({row.reason})" for row in rule[~rule["counts"]].itertuples()]
    return (
        f"{rule['counts'].sum()} of {len(rule)} benchmarks count; left out of the averages: {'; '.join(out) or 'none'}."
        f"{_curse(rule[rule['counts']])}"
    )


def _curse(counted: pd.DataFrame) -> str:
    """The winner's curse: the same items choose a benchmark and score it."""
    lift = power.lift(counted["victim"], counted["victim_stderr"], counted["floor"])
    if not np.isfinite(lift).any():
        return ""
    return (
        " Chosen on the items that they are scored on, which flatters the victim there by "
        f"{100 * np.nanmean(lift):.1f} points on average, at most {100 * np.nanmax(lift):.1f}."
    )


def ratio_table(context: Context) -> pd.DataFrame:
    """How much of the victim each attack keeps: by domain (benchmark "all") and by benchmark, of those that count.

    Over a single benchmark both ADRs are its distillation ratio.
    """
    rows, scores, resamples = [], outcomes(context.results.attacks), context.resamples
    for (model, run), of_run in scores[scores["state"] == "end"].groupby(["model", "run"], sort=False):
        measure, own, replica = (
            yardstick(model, context.rule, resamples),
            resamples.get((model, run, "end")),
            benchmark_scores(of_run),
        )
        for domain, names in measure.counted.groupby("domain", sort=False).groups.items():
            for label, part in [("all", list(names))] + [(name, [name]) for name in names]:
                facts = {"model": model, "run": run, "domain": domain, "benchmark": label}
                rows.append(facts | measure.of(part).ratios(replica, own, OVER_BENCHMARKS))
    return pd.DataFrame(rows, columns=["model", "run", "domain", "benchmark", *with_ends(*OVER_BENCHMARKS)])


RATIO_COLUMNS: Columns = {
    "run": ("run", "text"),
    "domain": ("domain", "text"),
    "benchmark": ("benchmark", "text"),
    "adr_mean_of_ratios": ("ADR A %", "percent"),
    "adr_ratio_of_means": ("ADR B %", "percent"),
    "chance_corrected_ratio": ("corr. %", "percent"),
}


def _read_ratios(rows: pd.DataFrame) -> str:
    domains = rows[rows["benchmark"] == "all"]
    if domains["chance_corrected_ratio"].notna().sum() == 0:
        return "no benchmark counts."
    best = domains.loc[domains["chance_corrected_ratio"].idxmax()]
    return (
        f"above the floor most is kept in {best['domain']} by {best['run']}: "
        f"{percent(best['chance_corrected_ratio'])}. Rows of one benchmark rest on few items."
    )


SECTION = Section(
    "benchmarks",
    "Benchmarks",
    (
        f"{SIGNAL_RULE} The floor is the higher of guessing and of the best constant answer, as far as it was "
        "measured. Those with a star do not count, and are left out of every ratio. Scores in percent, with "
        "standard errors over items.",
    ),
    (
        Table("benchmarks", benchmark_table, reads=_read_benchmarks, printed=True, show=_by_run),
        Table("ratios", ratio_table, RATIO_COLUMNS, _read_ratios, folded="Ratios by domain and benchmark"),
    ),
)
