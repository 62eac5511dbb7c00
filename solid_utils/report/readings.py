"""One sentence that reads each table with its own numbers."""

import math

import pandas as pd

from solid_utils.metrics import attack_cost
from solid_utils.report import display_grid, verdicts
from solid_utils.report.ratios import EVALUATION
from solid_utils.report.wording import interval_note, percent, points


def sentence(name: str, table: pd.DataFrame) -> str:
    """One sentence a model that reads a table with its own numbers."""
    parts = [f"{model}: {READINGS[name](rows)}" for model, rows in table.groupby("model", sort=False)]
    return " ".join(parts) or "Nothing there to show."


def _read_claims(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    found = [f"{counts.get(v, 0)} {v}" for v in (verdicts.SUPPORTED, verdicts.CONTRADICTED, verdicts.NOT_TESTED)]
    return f"{', '.join(found)}. Budget behind every line: {rows['budget'].iloc[0]}."


def _read_attacks(rows: pd.DataFrame) -> str:
    runs = rows[rows["recovered_share"].notna()]
    if runs.empty:
        return "no attack has run."
    low, high = runs.loc[runs["recovered_share"].idxmin()], runs.loc[runs["recovered_share"].idxmax()]
    most, least = percent(high["recovered_share"]), percent(low["recovered_share"])
    found = f"of the agreement that was missing, {high['run']} recovered most ({most}), {low['run']} least ({least})."
    return found + interval_note(rows)


def _read_fidelity(rows: pd.DataFrame) -> str:
    sets = rows[rows["prompts"] != "all"].groupby("prompts")["tokens"].max()
    listed = ", ".join(f"{name} ({count:.0f} answer tokens)" for name, count in sets.items())
    return f"agreement on held-out texts: {listed}; only {EVALUATION} is of the attack's kind."


def _read_ratios(rows: pd.DataFrame) -> str:
    domains = rows[rows["benchmark"] == "all"]
    if domains["chance_corrected_ratio"].notna().sum() == 0:
        return "no benchmark counts."
    best = domains.loc[domains["chance_corrected_ratio"].idxmax()]
    return (
        f"above chance most is kept in {best['domain']} by {best['run']}: "
        f"{percent(best['chance_corrected_ratio'])}. Rows of one benchmark rest on few items."
    )


def _read_benchmarks(rows: pd.DataFrame) -> str:
    rule = rows.drop_duplicates("benchmark")
    out = [f"{row.benchmark} ({row.reason})" for row in rule[~rule["counts"]].itertuples()]
    return (
        f"{rule['counts'].sum()} of {len(rule)} benchmarks count; left out of the averages: {'; '.join(out) or 'none'}."
    )


def _read_attack_cost(rows: pd.DataFrame) -> str:
    queries = rows[(rows["measure"] == "queries") & (rows["level"] == rows["level"].min())]
    if queries.empty:
        return "no attack has run."
    reached = queries[~queries["censored"]]
    level, most = percent(queries["level"].iloc[0]), queries["cost"].max()
    lead = (
        f"{level} of what was missing was recovered, twice in a row, from {len(reached)} of {len(queries)} deployments"
    )
    return f"{lead}. {attack_cost.cap_sentence(reached['cost'].min() if len(reached) else most, reached.empty)}"


def _read_attack_budgets(rows: pd.DataFrame) -> str:
    """The deployments that give most and least at the largest budget of queries that every one of them was given."""
    given = rows[(rows["measure"] == "queries") & (rows["attack"] != "none")]
    if given.empty:
        return "no attack has run."
    sets = given.groupby("budget")["secured"].nunique()
    budget = sets[sets == sets.max()].index.min()
    at = given[given["budget"] == budget]
    most, least = at.loc[at["recovered"].idxmax()], at.loc[at["recovered"].idxmin()]
    ends = [f"{percent(row['recovered'])} of {row['secured']} (by {row['attack']})" for row in (most, least)]
    return f"with {attack_cost.compact(budget)} queries attacks recovered from {ends[1]} to {ends[0]}."


def _read_difficulty_ranks(rows: pd.DataFrame) -> str:
    known = rows.dropna(subset="spearman")
    if known.empty:
        return f"no correlation: {rows['censored'].max()} of at most {rows['sets'].max()} sets never reached the level."
    best = known.loc[known["spearman"].abs().idxmax()]
    found = f"{best['spearman']:.2f} over {best['sets']} secured sets"
    return f"{best['score']} ranks the cost in {best['measure']} best: {found}."


def _read_search(rows: pd.DataFrame) -> str:
    found = [
        f"start {row.start}: l* = {row.l_star}, DD {row.dd:.2f} against {(1 - row.epsilon) * row.ceiling:.2f} asked"
        for row in rows.itertuples()
    ]
    return "; ".join(found) + "."


def _read_difficulty(rows: pd.DataFrame) -> str:
    sets = rows[rows["kind"].isin(["prefix", "single"])]
    if sets.empty:
        return "no secured set was scored."
    low, high = sets.loc[sets["dd"].idxmin()], sets.loc[sets["dd"].idxmax()]
    reach = f"DD goes from {low['dd']:.2f} ({low['secured']}) to {high['dd']:.2f} ({high['secured']})"
    return f"{reach}; the victim has {low['victim']:.2f}."


def _read_customization(rows: pd.DataFrame) -> str:
    pooled = rows[(rows["benchmark"] == "all") & (rows["deployment"] != "fully_open")]
    gaps = [
        f"{row['deployment']} ends {points(row, 'gap_to_fully_open', 'gap_stderr')} points from fully open"
        for _, row in pooled.iterrows()
        if not math.isnan(row["gap_to_fully_open"])
    ]
    return "; ".join(gaps) + "." + interval_note(rows) if gaps else "nothing to compare with fully open."


READINGS = {
    "claims": _read_claims,
    "attacks": _read_attacks,
    "fidelity": _read_fidelity,
    "benchmarks": _read_benchmarks,
    "ratios": _read_ratios,
    "attack_cost": _read_attack_cost,
    "attack_budgets": _read_attack_budgets,
    "difficulty_ranks": _read_difficulty_ranks,
    "search": _read_search,
    "difficulty": _read_difficulty,
    "customization": _read_customization,
} | display_grid.READINGS
