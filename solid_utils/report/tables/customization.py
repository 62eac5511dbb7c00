"""What customers get: domain scores before and after fine-tuning the open part, and the gap to the fully open model."""

import math
from functools import partial

import numpy as np
import pandas as pd

from solid_utils.metrics import metrics, power
from solid_utils.metrics.intervals import covers
from solid_utils.report.ratios import Resampled, ends, outcomes, states, with_ends
from solid_utils.report.results import Results
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.tables import equivalence, published_adapters, trade_off
from solid_utils.report.wording import interval_note, points

# Of domains from packages: likelihoods, which are no shares, and the same answers whatever follows them.
BESIDE = ["cross_entropy", "margin", "unended_match"]
KEYS = ["model", "run", "kinds", "benchmark", "metric", "n"]


def customization_table(context: Context) -> pd.DataFrame:
    """One row a run and kind of problem; "all" pools a run's kinds of one metric, which `kinds` lists.

    The gap's standard error takes the two runs as independent; its interval pairs them by problem.
    """
    results = context.results
    scores = _scores(results)
    before, after = (scores[scores["state"] == state].set_index(KEYS) for state in ("start", "end"))
    table = after[["value", "stderr"]].rename(columns={"value": "after"})
    table["before"], table["before_stderr"] = before["value"], before["stderr"]
    facts = ["model", "run", "deployment", "secured", "recipe"]
    facts = results.customizations.drop_duplicates(["model", "run"])[facts]
    table = _with_gap(facts.merge(table.reset_index(), on=["model", "run"]))
    intervals = [_intervals(row, context.resamples) for row in table.itertuples()]
    columns = [*with_ends("after")[1:], *with_ends("gap_to_fully_open")[1:], "interval_covers"]
    differing = [_differing(row, results.items) for row in table.itertuples()]
    table["detectable"] = power.detectable(table["n"], differing)
    return table.join(pd.DataFrame(intervals, index=table.index, columns=columns))


def _differing(row, items: pd.DataFrame) -> float:
    """Share of a row's problems that one of run and fully open run solved and the other did not; nan without both."""
    kinds = row.kinds.split("+") if row.benchmark == "all" else [row.benchmark]
    ended = states(items[(items["model"] == row.model) & items["run"].isin([row.run, row.run_open])])
    ended = ended[(ended["state"] == "end") & ended["benchmark"].isin(kinds)]
    solved = ended.pivot_table(index=["benchmark", "item"], columns="run", values="value").dropna()
    if solved.shape[1] < 2 or len(solved) != row.n:
        return math.nan
    return float((solved[row.run] - solved[row.run_open]).abs().mean())


def _scores(results: Results) -> pd.DataFrame:
    """Domain scores at the start and the end of each run, of each kind of problem and of all kinds pooled."""
    scores = outcomes(results.customizations)
    scores = scores[(scores["domain"] == "customization") & ~scores["metric"].isin(BESIDE)].astype(
        {"value": float, "stderr": float}
    )
    of_run = scores.groupby(["model", "run", "metric"])["benchmark"]
    scores["kinds"] = of_run.transform(lambda kinds: "+".join(sorted(set(kinds))))
    pooled = [_pool(rows) for _, rows in scores.groupby(["model", "run", "metric", "state"], sort=False)]
    return pd.concat([scores, pd.DataFrame(pooled, columns=scores.columns)], ignore_index=True)


def _pool(rows: pd.DataFrame) -> dict:
    """All kinds of problems together: accuracy and standard error over all n problems."""
    by_kind, total = rows.set_index("benchmark"), rows["n"].sum()
    value = metrics.customization_accuracy(by_kind["value"], by_kind["n"])
    error = np.sqrt(((rows["n"] * rows["stderr"]) ** 2).sum()) / total  # kinds share no problem: independent
    return rows.iloc[0].to_dict() | {"benchmark": "all", "n": total, "value": value, "stderr": error}


def _with_gap(table: pd.DataFrame) -> pd.DataFrame:
    """The table with what a run gained, and its gap to the fully open run of the same kinds of problems."""
    same, is_open = ["model", "kinds", "benchmark", "metric"], table["deployment"] == "fully_open"
    opened = table[is_open].drop_duplicates(same)[[*same, "run", "after", "stderr"]]
    table = table.merge(opened, on=same, how="left", suffixes=("", "_open"))
    table["gain"] = table["after"] - table["before"]
    table["gap_to_fully_open"] = (table["after"] - table.pop("after_open")).mask(is_open)
    table["gap_stderr"] = np.hypot(table["stderr"], table.pop("stderr_open")).mask(is_open)
    return table.assign(run_open=table["run_open"].mask(is_open))


def _intervals(row, resamples: Resampled) -> dict[str, float | str]:
    """Intervals of one row: of its accuracy, and of its gap, paired by problem."""
    kinds = pd.Index(row.kinds.split("+") if row.benchmark == "all" else [row.benchmark])
    own, opened = (resamples.get((row.model, run, "end")) for run in (row.run, row.run_open))
    if own is None or not kinds.isin(own.items.index).all():
        return {}
    accuracy, gap = metrics.customization_accuracy, metrics.gap_to_fully_open
    both = ends("after", partial(accuracy, n=own.items[kinds]), kinds, own)
    both |= ends("gap_to_fully_open", partial(gap, n=own.items[kinds]), kinds, own, opened)
    return both | {"interval_covers": covers(own)}


CUSTOMIZATION_COLUMNS: Columns = {
    "run": ("run", "text"),
    "secured": ("secured", "text"),
    "benchmark": ("problems", "text"),
    "n": ("n", "count"),
    "before": ("before %", "percent"),
    "after": ("after %", "percent"),
    "gain": ("gain", "percent"),
    "gap_to_fully_open": ("gap to fully open", "percent"),
    "detectable": ("smallest gap that would show", "percent"),
    "|": None,
    "stderr": ("after, ± %", "percent"),
    "gap_stderr": ("gap, ±", "percent"),
}


def _power(row: pd.Series) -> str:
    """What so many problems can show; empty where nothing is said of it."""
    if math.isnan(row["detectable"]):
        return ""
    return f" ({row['n']} problems show a gap of {100 * row['detectable']:.0f} points or more in four of five cases)"


def domain(rows: pd.DataFrame) -> pd.Series:
    """Of each row, read off its recipe, whose first word it is."""
    return rows["recipe"].str.split(",").str[0]


def _read_customization(rows: pd.DataFrame) -> str:
    several = domain(rows).nunique() > 1
    pooled = rows[(rows["benchmark"] == "all") & (rows["deployment"] != "fully_open")]
    pooled = pooled.assign(name=pooled["deployment"] + (" on " + domain(pooled) if several else ""))
    gaps = [_read_gap(row) for _, row in pooled.iterrows() if not math.isnan(row["gap_to_fully_open"])]
    return "; ".join(gaps) + "." + interval_note(rows) if gaps else "nothing to compare with fully open."


def _read_gap(row: pd.Series) -> str:
    """How far a run ends from the fully open one; where neither solved anything, no gap is none."""
    if row["after"] == 0 == row["gap_to_fully_open"]:
        return f"{row['name']} solves no problem, and fully open none, which compares nothing"
    gap = points(row, "gap_to_fully_open", "gap_stderr")
    return f"{row['name']} ends {gap} points from fully open{_power(row)}"


SECTION = Section(
    "customization",
    "Customization",
    ("The customer fine-tunes what is open. What SOLID costs is the gap to the fully open deployment.",),
    (
        Table("customization", customization_table, CUSTOMIZATION_COLUMNS, _read_customization, printed=True),
        equivalence.TABLE,
        trade_off.TABLE,
        published_adapters.TABLE,
    ),
)
