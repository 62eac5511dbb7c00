"""Does a deployment customize as well as the fully open one, within the paper's own margin, and what is forgotten?"""

import math

import numpy as np
import pandas as pd

from solid_utils.metrics import equivalence, intervals, metrics
from solid_utils.paper import margin
from solid_utils.report import customers
from solid_utils.report.ratios import states
from solid_utils.report.table import Columns, Context, Table
from solid_utils.report.wording import percent
from solid_utils.settings import params

OPEN = "fully_open"
KINDS = {"likelihood": "_likelihood", "unended": "_unended"}  # kind of score -> ending of its benchmarks
# Sums by version 1.0 wanted the end of the line after the number, which who ends his answers does not write: no loss of
# skill. Cells that were scored so leave them out of what is forgotten (tasks/sums_1digit.yaml).
SUMS, ENDED = "sums_", "1.0"
GAINS_NOTHING = "fully open gains nothing"
# Of pairs: the paper's margin is one of accuracy, and how often one of two is likelier is none.
WIDTH_ALONE = "no verdict"
PREFERRED = "preferred"  # the metric of pairs
COLUMNS = ["model", "machine", "run", "deployment", "trained_on", "recipe", "metric", "n", "seeds", "before", "after"]
COLUMNS += ["open_gain", "open_gain_low", "open_gain_high", "gap", "gap_low", "gap_high", "reach", "margin", "p"]
COLUMNS += ["equivalence", "forgotten", "forgotten_low", "forgotten_high", "forgettable", "worst", "worst_change"]
COLUMNS += ["interval_covers"]


def equivalence_table(_: Context) -> pd.DataFrame:
    """One row a run of customization cells and kind of score; fully open runs have no gap. See `made`."""
    return made(customers.load())


def made(cells: customers.Cells) -> pd.DataFrame:
    """The table from its cells; `metric`: "right" (accuracy), "unended" (the same, whatever follows the answer),
    "likelihood" (nats a token; of pairs the margin), or "taught" and "untaught": right, of the subjects that the domain
    trains on and of those that it only tests."""
    rows: list[dict] = []
    same = ["model", "machine", "trained_on", "named"]
    for _, group in cells.items.groupby(same, sort=False):
        opened = group[group["deployment"] == OPEN]
        for _, mine in group.groupby("run", sort=False):
            rows += rows_of(mine, opened, cells.scores)
    return pd.DataFrame(rows, columns=COLUMNS)


def rows_of(mine: pd.DataFrame, opened: pd.DataFrame, scores: pd.DataFrame) -> list[dict]:
    """A run's rows. Seeds that the fully open run has, too, are compared; all of them where it has none."""
    first = mine.iloc[0]
    shared = sorted(set(mine["seed"]) & set(opened["seed"])) or sorted(set(mine["seed"]))
    both = pd.concat([mine, opened]).drop_duplicates(["run", "seed", "steps", "benchmark", "item"])
    both = states(both[both["seed"].isin(shared)])
    drawn = intervals.resample(both)
    own, before = drawn[first["run"], "end"], drawn[first["run"], "start"]
    other = drawn.get((opened["run"].iloc[0], "end")) if len(opened) else None
    recipe = of_run(mine, scores)["recipe"].iloc[-1]
    facts = {name: first[name] for name in ("model", "machine", "run", "deployment", "trained_on")} | {"recipe": recipe}
    facts |= {"seeds": len(shared), "interval_covers": intervals.covers(own)} | forgotten(own, before, mine, scores)
    found = domain_benchmarks(mine, scores)
    kinds = {"right": found[~found.str.endswith(tuple(KINDS.values()))]}
    kinds |= {kind: found[found.str.endswith(ending)] for kind, ending in KINDS.items()}
    kinds |= halves(first["trained_on"], kinds["right"])
    rows = []
    for metric, names in kinds.items():
        if other is not None:  # cells of an older release have no scores of some kinds, or of no later benchmark
            names = names.intersection(other.scores.index)
        if len(names):
            sides = [None if one is None else pooled(one, names) for one in (own, before, other)]
            items = int(own.items[names].sum())
            gap = first["deployment"] != OPEN and metric != "likelihood"
            judged = compared(*sides, items if gap else None, of_pairs(mine, scores))
            rows.append(facts | {"metric": metric, "n": items} | judged)
            if first["deployment"] == OPEN:
                rows[-1] |= dict.fromkeys(["gap", "gap_low", "gap_high"], math.nan)
    return rows


def halves(domain: str, names: pd.Index) -> dict[str, pd.Index]:
    """Of a domain with subjects that are only tested: its benchmarks by whether it trains on them; else nothing."""
    wanted = params.load().domains.get(domain)
    tested = {subject.replace(" ", "_") for subject in getattr(wanted, "tested", [])}
    there = names.isin(tested)
    return {"taught": names[~there], "untaught": names[there]} if there.any() else {}


def of_run(mine: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of the scores of the run whose items these are."""
    where = ["model", "machine", "run"]
    return scores[(scores[where] == mine[where].iloc[0]).all(axis=1)]


def domain_scores(mine: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Those of them on the domain's own test items."""
    rows = of_run(mine, scores)
    return rows[rows["domain"] == "customization"]


def domain_benchmarks(mine: pd.DataFrame, scores: pd.DataFrame) -> pd.Index:
    """Their names."""
    return pd.Index(sorted(set(domain_scores(mine, scores)["benchmark"])))


def of_pairs(mine: pd.DataFrame, scores: pd.DataFrame) -> bool:
    """Is the domain one of a better and a worse answer each?"""
    return bool((domain_scores(mine, scores)["metric"] == PREFERRED).any())


def pooled(one: intervals.Resamples, names: pd.Index) -> np.ndarray:
    """(1 + times,) scores on all items of these benchmarks together; the sample itself first."""
    return metrics.customization_accuracy(one.scores.loc[names], one.items[names]).to_numpy(float)


def compared(
    after: np.ndarray, before: np.ndarray, opened: np.ndarray | None, items: int | None, pairs: bool
) -> dict[str, float | str]:
    """Columns from `before` to `equivalence` of one row; `items`: behind an accuracy whose gap is to be judged, of
    `pairs` by its width alone."""
    row: dict[str, float | str] = {"before": float(before[0]), "after": float(after[0]), "equivalence": ""}
    if opened is None:
        return row
    row |= with_interval("open_gain", opened - before) | with_interval("gap", after - opened)
    if items is not None:
        bound = margin.margin()
        found = equivalence.two_one_sided(after - opened, bound, items)
        row |= {"reach": found.reach} | ({} if pairs else {"margin": bound, "p": found.p})
        said = WIDTH_ALONE if pairs else found.verdict
        row["equivalence"] = said if row["open_gain_low"] > 0 else GAINS_NOTHING
    return row


def with_interval(name: str, values: np.ndarray) -> dict[str, float]:
    """An estimate and its 95 % interval, from (1 + times,) values."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def forgotten(own, before, mine: pd.DataFrame, scores: pd.DataFrame) -> dict[str, float | str]:
    """What other benchmarks lost: the mean over them of before less after, its interval, and the one that lost most."""
    others = own.scores.index.intersection(forgettable(mine, scores))
    if others.empty:
        return {"forgotten": math.nan, "forgettable": 0, "worst": ""}
    change = own.scores.loc[others] - before.scores.loc[others]
    worst = change[0].idxmin() if 0 in change else change.iloc[:, 0].idxmin()
    row = with_interval("forgotten", 0.0 - change.mean().to_numpy(float))
    return row | {"forgettable": len(others), "worst": worst, "worst_change": float(change.loc[worst].iloc[0])}


def forgettable(mine: pd.DataFrame, scores: pd.DataFrame) -> pd.Index:
    """Benchmarks that can be forgotten: not the domain's own, and no skill that it trains, by name (its kind `sums` and
    `sums_1digit`), scored rightly, and by ratios.SIGNAL_RULE above their floor before: who guesses has nothing to
    lose."""
    rows, own = of_run(mine, scores), domain_benchmarks(mine, scores)
    named = rows["benchmark"]
    trained = named.isin(own) | named.str.startswith(tuple(f"{kind}_" for kind in own))
    ended = named.str.startswith(SUMS) & (rows["task_version"].astype(str) == ENDED)
    floor = rows["floor"].astype(float).fillna(rows["chance"].astype(float)).fillna(0)
    before = rows[rows["steps"] == 0]
    signal = before["value"] - 2 * before["stderr"].astype(float).fillna(0)
    above = before[signal > floor[before.index]]["benchmark"]
    return pd.Index(sorted(set(above) - set(named[trained | ended])))


EQUIVALENCE_COLUMNS: Columns = {
    "run": ("run", "text"),
    "metric": ("score", "text"),
    "n": ("n", "count"),
    "seeds": ("seeds", "count"),
    "before": ("before", "number"),
    "after": ("after", "number"),
    "gap": ("gap to fully open", "figures"),
    "equivalence": ("verdict", "text"),
    "forgotten": ("forgotten", "figures"),
    "|": None,
    "open_gain": ("fully open gains", "figures"),
    "reach": ("width reached, ±", "figures"),
    "margin": ("margin", "figures"),
    "forgettable": ("of benchmarks", "count"),
    "worst": ("lost most", "text"),
}


def _read(rows: pd.DataFrame) -> str:
    told = []
    for _, row in rows[(rows["metric"] == "right") & rows["gap"].notna()].iterrows():
        line = f"{row['run']} {row['equivalence']} ({100 * row['gap']:+.1f} points, {row['interval_covers']}"
        if row["equivalence"] == equivalence.OPEN and not equivalence.could_decide(row["reach"], row["margin"]):
            line += f"; {row['n']} items reach ± {percent(row['reach'])}, the margin is {percent(row['margin'])}"
        elif row["equivalence"] == WIDTH_ALONE:
            line += f"; {row['n']} items reach ± {percent(row['reach'])}"
        told.append(line + ")")
    return "; ".join(told) + "." if told else "no deployment stands beside a fully open one yet."


TABLE = Table(
    "equivalence",
    equivalence_table,
    EQUIVALENCE_COLUMNS,
    _read,
    introduction="Customization cells (configs/customization.yaml). The gap to fully open is paired by item and seed. "
    "Equivalent: two one-sided tests keep it within the largest shortfall that Tables 17 to 21 call as good. "
    "Where fully open gains nothing there is nothing to compare; of pairs there is a width alone. "
    "Forgotten: what other benchmarks, two standard errors above their floor before, lost on average.",
)
