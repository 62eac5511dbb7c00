"""What it costs to recover a share of the victim: attack curves -> cost of a level, and share at a budget.

A curve is one attack with one recipe and seed on one deployment. Each of its points ends its own schedule, so points
differ in budget and in nothing else. Costs are taken as given, validation queries with them where the run made any.
Nothing is interpolated: a cost is that of a point that was run, so it is an upper bound, by one step of the grid; where
the smallest budget reached the level already, by an unknown factor (`at_most`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from solid_utils.core import numbers
from solid_utils.core.errors import StudyError
from solid_utils.paper import paper

# depth: decoder layers that are wholly secret; prefix: are they the bottom ones, and nothing else is secret?
SET = ["model", "deployment", "secured", "depth", "prefix"]
ORDER = ["model", "depth", "deployment", "secured"]  # of tables
ATTACK = [*SET, "attack", "recipe"]
CURVE = [*ATTACK, "seed"]
MEASURES = ["queries", "tokens", "flops"]  # oracle sequences, oracle tokens, training FLOPs
POINTS = [*CURVE, "steps", *MEASURES, "agreement", "start_agreement"]
LEVELS = (0.5, 0.8, 0.9)  # recovered shares


def judged(points: pd.DataFrame) -> pd.DataFrame:
    """Points whose agreement is that on texts apart from the attack's kind (`agreement_apart`, `start_apart`).

    Where no point has been scored on such texts, as they are: on the attack's own kind.
    """
    if "agreement_apart" not in points or points["agreement_apart"].isna().all():
        return points
    return points.assign(agreement=points["agreement_apart"], start_agreement=points["start_apart"])


def curves(points: pd.DataFrame) -> pd.DataFrame:
    """Points (columns POINTS) in order of steps, with `recovered`, each one's numbers.recovered_share.

    Raises StudyError for a missing column, a blank in CURVE, and a curve that is none: two starts, two points of equal
    steps, a cost that falls while the steps rise, a share that is undefined.
    """
    if missing := [column for column in POINTS if column not in points]:
        raise StudyError(f"attack points: no column {', '.join(missing)}; the columns are attack_cost.POINTS")
    if blank := [column for column in CURVE if points[column].isna().any()]:
        raise StudyError(f"attack points: blank {', '.join(blank)}; a curve needs all of attack_cost.CURVE")
    ordered = points[POINTS].sort_values([*CURVE, "steps"], kind="stable", ignore_index=True)
    pairs = zip(ordered["agreement"], ordered["start_agreement"], strict=True)
    ordered["recovered"] = [numbers.recovered_share(agreement, start) for agreement, start in pairs]
    if _doubtful(ordered):  # tables and figures ask a dozen times, and each curve by itself took seconds of a report
        for key, curve in ordered.groupby(CURVE, sort=False):
            if flaw := _flaw(curve):
                raise StudyError(f"attack points of {', '.join(map(str, key))}: {flaw}")
    return ordered


def _doubtful(ordered: pd.DataFrame) -> bool:
    """May one of these curves have a flaw? All at once; `_flaw` says which."""
    by_curve = ordered.groupby(CURVE, sort=False)
    return bool(
        ordered.duplicated([*CURVE, "steps"]).any()
        or (by_curve["start_agreement"].nunique() != 1).any()
        or ordered[["recovered", *MEASURES]].isna().any(axis=None)
        or (by_curve[MEASURES].diff() < 0).any(axis=None)
    )


def _flaw(curve: pd.DataFrame) -> str:
    """Why these points, in order of steps, are not one curve; empty when they are."""
    if curve["steps"].duplicated().any():
        return "two points with equal steps; name what differs in `recipe`"
    if curve["start_agreement"].nunique() != 1:
        return "more than one start agreement; name the start in `recipe`"
    if curve["recovered"].isna().any():
        return "recovered share undefined: an agreement is missing, or the start agrees everywhere; drop the curve"
    falling = [measure for measure in MEASURES if not curve[measure].is_monotonic_increasing]
    return f"{falling[0]} fall while steps rise; name what differs in `recipe`" if falling else ""


def costs(points: pd.DataFrame, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
    """Cost of each level on each curve: at the first of two consecutive points at or past it; a row a curve and level.

    One point past the level may be luck, so it does not count alone, not even the last. A level not reached is
    right-censored: `censored` is True and the costs are the largest spent, a lower bound. A level that the smallest
    budget reached is left-censored: `at_most` is True, as less might have done. A curve of one budget that is past a
    level says nothing of it, as it can neither confirm it nor bound it, so that level has no row.
    Columns: CURVE, level, steps, MEASURES, recovered (at that point), censored, at_most. Raises StudyError as `curves`
    does.
    """
    rows = []
    for _, curve in curves(points).groupby(CURVE, sort=False):
        smallest = curve.loc[curve["steps"] > 0, "steps"].min()
        for level in levels:
            past = curve["recovered"].to_numpy() >= level
            if past.sum() == 1 and (curve["steps"] > 0).sum() == 1:
                continue
            confirmed = np.flatnonzero(past[:-1] & past[1:])
            point = curve.iloc[confirmed[0] if confirmed.size else -1]
            sides = {"censored": not confirmed.size, "at_most": bool(confirmed.size and point["steps"] <= smallest)}
            rows.append(point.to_dict() | {"level": level} | sides)
    return pd.DataFrame(rows, columns=[*CURVE, "level", "steps", *MEASURES, "recovered", "censored", "at_most"])


def cheapest(found: pd.DataFrame, measure: str, by: list[str]) -> pd.DataFrame:
    """The best attacker's row for each group `by`, from `costs`: the lowest cost that reached the level.

    Where none did, the row that spent the most: what was tried at the least without success, still censored. Of equal
    ones the first.
    """
    key = found[measure].where(~found["censored"], -found[measure])
    order = found.assign(key=key).sort_values(["censored", "key"], kind="stable")
    return order.drop_duplicates(by).drop(columns="key").sort_index()


def middle_seeds(found: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Of each attack and level, from `costs`, the row of the median seed, with how many `seeds` there are.

    Censored ones rank last; of an even number of seeds the dearer. Those that recovered most come first.
    """
    ranked = found.sort_values(["censored", measure], kind="stable")
    groups = [seeds for _, seeds in ranked.groupby([*ATTACK, "level"], sort=False)]
    rows = [seeds.iloc[len(seeds) // 2].to_dict() | {"seeds": len(seeds)} for seeds in groups]
    middle = pd.DataFrame(rows, columns=[*found, "seeds"])
    return middle.sort_values("recovered", ascending=False, kind="stable")


def cost_table(found: pd.DataFrame) -> pd.DataFrame:
    """What each level of each deployment costs its best attacker, from `costs`; one row a set, level and measure.

    Of an attack's seeds the median counts (`middle_seeds`), of the attacks the cheapest, in hindsight: what it
    takes to find that recipe is no part of it (see tables_grid.tuned_table). `cost` is the most that one of them
    spent where none reached the level (`censored`), of those that spent it the one that recovered most; `at_most`:
    it is the smallest budget that this attack was given.
    `of_legitimate`, of queries only: cost over the queries of the smallest legitimate customization in one epoch
    (paper Table 8).
    """
    columns = [*SET, "level", "measure", "attack", "recipe", "seeds", "cost", "censored", "at_most", "of_legitimate"]
    if found.empty:
        return pd.DataFrame(columns=columns)
    tables = []
    for measure in MEASURES:
        best = cheapest(middle_seeds(found, measure), measure, [*SET, "level"])
        tables.append(best.assign(measure=measure, cost=best[measure]))
    table = pd.concat(tables).sort_values([*ORDER, "level"], key=by_number, kind="stable", ignore_index=True)
    table["of_legitimate"] = (table["cost"] / legitimate_queries().min()).where(table["measure"] == "queries")
    return table[columns]


def by_number(column: pd.Series) -> pd.Series:
    """A sort key by which "layers 3" comes before "layers 14"."""
    if column.dtype.kind in "iuf":
        return column
    return column.str.replace(r"\d+", lambda digits: digits[0].zfill(6), regex=True)


def at_budgets(points: pd.DataFrame, measure: str, budgets: Sequence[float]) -> pd.DataFrame:
    """Best recovered share within each budget of `measure` (one of MEASURES); one row an attack and budget.

    A step function: the best point that the budget pays for, and 0, the start, before the first. `recovered` is the
    mean over the seeds that have a point by then, `lowest` and `highest` their range; `beyond` is True where the budget
    pays for more than a seed spent, so that the share is a lower bound. Raises StudyError as `curves` does.
    """
    grid = curves(points).merge(pd.DataFrame({"budget": budgets}), how="cross")
    paid = (grid[measure] <= grid["budget"]) & (grid["steps"] > 0)
    others = paid.groupby([grid[column] for column in [*ATTACK, "budget"]]).transform("any")
    mine = paid.groupby([grid[column] for column in [*CURVE, "budget"]]).transform("any")
    grid["recovered"] = grid["recovered"].where(paid, 0.0).clip(lower=0.0)
    grid = grid[mine | ~others]  # a seed that ran other budgets only says nothing of this one
    best = grid.groupby([*CURVE, "budget"], as_index=False).agg(recovered=("recovered", "max"), most=(measure, "max"))
    best["beyond"] = best["budget"] > best["most"]
    shares = best.groupby([*ATTACK, "budget"], as_index=False).agg(
        recovered=("recovered", "mean"),
        lowest=("recovered", "min"),
        highest=("recovered", "max"),
        seeds=("seed", "nunique"),
        beyond=("beyond", "any"),
    )
    return shares.assign(measure=measure)


def best_attacks(shares: pd.DataFrame) -> pd.DataFrame:
    """The attack that recovers most within each budget, from `at_budgets`; attack "none" where no attack beats the
    start."""
    best = shares.loc[shares.groupby([*SET, "measure", "budget"], sort=False)["recovered"].idxmax()].copy()
    best.loc[best["recovered"] == 0, ["attack", "recipe"]] = "none"
    return best.reset_index(drop=True)


def legitimate_queries() -> pd.Series:
    """Samples that one epoch of a legitimate customization runs through the product, by domain (paper Table 8)."""
    table = paper.published_table(8)
    return table["size"].str.rstrip("kK").astype(int).mul(1000).groupby(table["domain"]).sum()


def compact(value: float) -> str:
    """A count in three digits: 940, 1.52k, 62k, 3.1M, 2.4e+15."""
    for size, unit in ((1e9, ""), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value:.2g}" if size == 1e9 else f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def cap_sentence(queries: float, censored: bool) -> str:
    """What a cap on queries could do against an attack of this cost, beside a legitimate customization's (Table 8)."""
    least, most = legitimate_queries().min(), legitimate_queries().max()
    spent = f"{'Not reached' if censored else 'Reached'} with {compact(queries)} queries"
    product = f"a legitimate customization makes {compact(least)} to {compact(most)} an epoch"
    if queries < least:
        return f"{spent}; {product}: a cap below that forbids the product."
    if queries < most:
        return f"{spent}; {product}: a cap below {compact(queries)} forbids the larger of these customizations."
    return f"{spent}; {product}: a cap between these and {compact(queries)} stops this attack and leaves them an epoch."
