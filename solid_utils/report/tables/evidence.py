"""Every attack that ended, wherever it ran: what the verdicts stand on, one row a run or cell and seed."""

from collections.abc import Callable, Container
from functools import cache

import pandas as pd

from solid_utils.metrics.attack_cost import by_number
from solid_utils.report import floors
from solid_utils.report.results import prefix
from solid_utils.report.table import Columns, Context, Table, in_columns
from solid_utils.report.wording import percent

FACTS = ["deployment", "secured", "share", "depth", "only_layers", "attack", "start", "view", "tier"]
COST = ["seed", "steps", "samples", "queries"]
SCORES = ["agreement", "agreement_apart", "stderr_apart", "start_apart", "floor_apart"]
SCORES += ["above_floor", "above_floor_apart", "kl", "kl_apart"]
EVIDENCE_TABLE = ["model", "source", "name", "recipe", "prefix", *FACTS, *COST, *SCORES]


def evidence_table(context: Context) -> pd.DataFrame:
    """Ends of attacks of the default study, of the grid and beyond both; columns EVIDENCE_TABLE.

    `recipe` is a grid's name of it, elsewhere blank. `agreement`, `kl`: on texts of the attack's own kind; `_apart`:
    on web text and code together. `above_floor` is the share of what public text does not give.
    """
    results = context.results
    sources = {
        "default": results.attacks,
        "grid": results.grid.assign(run=results.grid["cell"]),
        "beyond": results.beyond,
    }
    named = results.planned.drop_duplicates(["model", "cell"]).set_index(["model", "cell"])["recipe"]
    rows = []

    @cache  # a handful of models, tiers and sets, asked for at every run
    def floor(model: str, tier: str, sets: tuple[str, ...]) -> float:
        return floors.floor_on(results.floors, model, tier, sets)

    for source, scores in sources.items():
        fidelity = scores[scores["domain"] == "fidelity"]
        for (model, name, _), mine in fidelity.groupby(["model", "run", "seed"], sort=False):
            row = {"model": model, "source": source, "name": name, "recipe": named.get((model, name))}
            rows.append(row | _end(mine, floor))
    return pd.DataFrame(rows, columns=EVIDENCE_TABLE)


def _end(rows: pd.DataFrame, floor_of: Callable[[str, str, tuple[str, ...]], float]) -> dict:
    """One run's facts and what it came to; `floor_of` a model, tier and sets."""
    first, last = rows[rows["steps"] == 0], rows[rows["steps"] == rows["steps"].max()]
    end = last.iloc[-1]
    found = {name: end[name] for name in [*FACTS, *COST]} | {"prefix": bool(prefix(last.tail(1)).iloc[0])}
    for suffix, sets in (("", floors.OWN), ("_apart", floors.APART)):
        floor = floor_of(end["model"], end["tier"], sets)
        found[f"agreement{suffix}"] = floors.on_sets(last, "agreement", sets)
        found[f"kl{suffix}"] = floors.on_sets(last, "kl", sets)
        found[f"floor{suffix}"] = floor
        found[f"above_floor{suffix}"] = floors.above(found[f"agreement{suffix}"], floor)
    found["start_apart"] = floors.on_sets(first, "agreement", floors.APART)
    found["stderr_apart"] = _stderr(last, floors.APART)
    return found


def _stderr(rows: pd.DataFrame, sets: tuple[str, ...]) -> float:
    """Standard error of the pooled agreement: the sets have no sample in common."""
    mine = rows[(rows["metric"] == "agreement") & rows["benchmark"].isin(sets)]
    weights = mine["n"].astype(float) / mine["n"].sum()
    return float(((weights * mine["stderr"].astype(float)) ** 2).sum(min_count=len(sets)) ** 0.5)


def strongest(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Of each group `by` the row highest above the floor on texts apart; without a floor the one that agrees most."""
    judged = rows["above_floor_apart"].fillna(rows["agreement_apart"]).fillna(rows["agreement"])
    order = rows.assign(judged=judged).sort_values("judged", ascending=False, kind="stable")
    return order.drop_duplicates(by).drop(columns="judged").sort_index()


EVIDENCE_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "attack": ("attack", "text"),
    "queries": ("queries", "count"),
    "name": ("run or cell", "text"),
    "source": ("from", "text"),
    "agreement": ("own kind %", "percent"),
    "agreement_apart": ("other texts %", "percent"),
    "floor_apart": ("floor there %", "percent"),
    "above_floor_apart": ("above floor %", "percent"),
    "kl_apart": ("KL there", "number"),
}


def shown(rows: pd.DataFrame, printed: bool, named: Container[tuple[str, str]] = ()) -> pd.DataFrame:
    """The strongest of each kind of attack at each count of queries, set by set; with them `named`: (model, name)."""
    best = strongest(rows, ["model", "secured", "attack", "queries"])
    asked = [pair in named for pair in zip(rows["model"], rows["name"], strict=True)]
    best = rows.loc[best.index.union(rows.index[asked])]
    best = best.sort_values(["model", "secured", "attack", "queries"], key=by_number, kind="stable")
    return in_columns(best, EVIDENCE_COLUMNS, printed)


def _read_evidence(rows: pd.DataFrame) -> str:
    best = strongest(rows, ["model"]).iloc[0]
    floor = "no floor was counted" if pd.isna(best["floor_apart"]) else f"floor {percent(best['floor_apart'])}"
    return (
        f"{len(rows)} attacks ended; highest on texts apart from the attack's kind: {best['name']}, "
        f"{percent(best['agreement_apart'])} agreement ({floor})."
    )


TABLE = Table(
    "evidence",
    evidence_table,
    EVIDENCE_COLUMNS,
    _read_evidence,
    show=shown,
    introduction="The strongest attack of each kind at each count of queries, and each that a verdict stands on, from "
    "the default study, the grid and beyond. Own kind: held-out prompts like the attack's; other texts: web text and "
    "code; floor: the best of a constant token, bigrams and trigrams counted on public text, without a query.",
    folded="All evidence behind the verdicts",
)


def floor_table(context: Context) -> pd.DataFrame:
    """What public text alone gives: one row a tier, set of texts and predictor; columns FLOOR_TABLE."""
    counted = context.results.floors
    return counted[FLOOR_TABLE].reset_index(drop=True)


FLOOR_TABLE = ["model", "tier", "dtype", "benchmark", "predictor", "agreement", "n"]
FLOOR_COLUMNS: Columns = {
    "benchmark": ("texts", "text"),
    "predictor": ("predictor", "text"),
    "agreement": ("agreement %", "percent"),
    "n": ("answer tokens", "count"),
    "tier": ("tier", "text"),
}


def _read_floors(rows: pd.DataFrame) -> str:
    most = rows[rows["n"] == rows.groupby("benchmark")["n"].transform("max")]
    best = most.groupby("benchmark", sort=False)["agreement"].max()
    told = ", ".join(f"{percent(value)} on {name}" for name, value in best.items())
    return f"without any query, counts over public text agree with the victim on {told}."


FLOORS = Table("floors", floor_table, FLOOR_COLUMNS, _read_floors, folded="What public text alone gives")
