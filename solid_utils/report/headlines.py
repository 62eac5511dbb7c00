"""Headline figures of a run, and those of two runs beside each other: which differ by more than they may."""

import math

import pandas as pd

from solid_utils.report import ratios, results

# What may differ. On the same machine type (machine.json equal: CPU, units, threads, versions) nothing. Elsewhere a
# figure may differ by ERRORS combined standard errors; by RELATIVE of the shipped value where no error is known; l*,
# a count that a hair's breadth in DD can change, by any number, with a warning.
ERRORS = 3
RELATIVE = 0.10
KEY = ["model", "run", "figure"]


def headline(loaded: results.Results) -> pd.DataFrame:
    """Every figure that is compared: KEY, its value and standard error, and the budget that it belongs to, with the
    version of its benchmark: scores by two definitions are no two measurements."""
    runs = pd.concat([loaded.victims, loaded.attacks, loaded.customizations], ignore_index=True)
    budgets = runs.sort_values("steps").groupby(["model", "run"]).last()
    budgets = (budgets["tier"] + ", " + budgets["recipe"] + ", steps " + budgets["steps"].astype(str)).rename("budget")
    scores = ratios.outcomes(runs).query("state == 'end' and metric != 'perplexity'")
    scores = scores.join(budgets, on=["model", "run"])
    of_one = ["model", "run", "benchmark"]
    versions = runs.astype({"task_version": str}).groupby(of_one)["task_version"].last()
    scores["budget"] += ", version " + scores.join(versions, on=of_one)["task_version"]
    plain = (scores["domain"] == "fidelity") & (scores["benchmark"] == ratios.EVALUATION)
    scores["figure"] = scores["metric"].where(plain, scores["benchmark"] + ", " + scores["metric"])
    difficulty = loaded.difficulty[loaded.difficulty["seed"] == "mean"].rename(columns={"kind": "run", "dd": "value"})
    difficulty["figure"] = "DD, " + difficulty["secured"] + ", " + difficulty["start"]
    difficulty["budget"] = difficulty["tier"] + ", samples " + difficulty["n"].astype(str)
    searches = loaded.searches.rename(columns={"l_star": "value"}).assign(run="search", budget="", stderr=math.nan)
    searches["figure"] = "l*, " + searches["start"]
    columns = [*KEY, "value", "stderr", "budget"]
    together = [part[columns] for part in (scores, difficulty, searches) if len(part)]
    return pd.concat(together, ignore_index=True).dropna(subset="value")


def judged(shipped: pd.DataFrame, mine: pd.DataFrame, same_machine: bool) -> pd.DataFrame:
    """A row a shipped figure: KEY, shipped, rerun, allowed, status (ok, off, warning, not re-run,
    other budget or version)."""
    both = shipped.merge(mine, on=KEY, how="left", suffixes=("", "_mine"), validate="one_to_one")
    rows = []
    for row in both.itertuples():
        allowed, status = judge(row, same_machine)
        facts = {"model": row.model, "run": row.run, "figure": row.figure}
        rows.append(facts | {"shipped": row.value, "rerun": row.value_mine, "allowed": allowed, "status": status})
    return pd.DataFrame(rows)


def judge(row, same_machine: bool) -> tuple[str, str]:
    """(allowed, status) of one figure; the rule stands at the top of this file."""
    if math.isnan(row.value_mine):
        return "", "not re-run"
    if row.budget != row.budget_mine:
        return "", "other budget or version"
    if same_machine:
        return "equal", "ok" if row.value == row.value_mine else "off"
    if row.run == "search":
        return "equal", "ok" if row.value == row.value_mine else "warning"
    error = ERRORS * math.hypot(row.stderr, row.stderr_mine)
    margin = error if error > 0 else RELATIVE * abs(row.value)  # nan and 0: no error is known
    within = abs(row.value_mine - row.value) <= margin
    return f"{row.value - margin:.4g} to {row.value + margin:.4g}", "ok" if within else "off"
