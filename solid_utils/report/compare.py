"""The shipped run against yours: a row a headline figure, shipped, re-run, allowed range, ok or off.

python -m solid_utils.report.compare           results/ with reference/MACHINE/; exit status 1 if a figure is off
python -m solid_utils.report.compare --ship    make results/ the shipped run of this machine
"""

import argparse
import math
import shutil
from pathlib import Path

import pandas as pd

from solid_utils.core import errors, files, folders, machine, paths
from solid_utils.core.errors import StudyError
from solid_utils.report import ratios, results, terminal
from solid_utils.settings import params

# What may differ. On the same machine type (accelerator.json equal: CPU, units, threads, versions) nothing. Elsewhere a
# figure may differ by ERRORS combined standard errors; by RELATIVE of the shipped value where no error is known; l*,
# a count that a hair's breadth in DD can change, by any number, with a warning.
ERRORS = 3
RELATIVE = 0.10
KEY = ["model", "run", "figure"]
BESIDE = ("grid", "beyond")  # of a machine, but not of its shipped run: attack cells; runs beyond the study


def headline(loaded: results.Results) -> pd.DataFrame:
    """Every figure that is compared: KEY, its value and standard error, and the budget that it belongs to."""
    runs = pd.concat([loaded.victims, loaded.attacks, loaded.customizations], ignore_index=True)
    budgets = runs.sort_values("steps").groupby(["model", "run"]).last()
    budgets = (budgets["tier"] + ", " + budgets["recipe"] + ", steps " + budgets["steps"].astype(str)).rename("budget")
    scores = ratios.outcomes(runs).query("state == 'end' and metric != 'perplexity'")
    scores = scores.join(budgets, on=["model", "run"])
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
    """A row a shipped figure: KEY, shipped, rerun, allowed, status (ok, off, warning, not re-run, other budget)."""
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
        return "", "other budget"
    if same_machine:
        return "equal", "ok" if row.value == row.value_mine else "off"
    if row.run == "search":
        return "equal", "ok" if row.value == row.value_mine else "warning"
    error = ERRORS * math.hypot(row.stderr, row.stderr_mine)
    margin = error if error > 0 else RELATIVE * abs(row.value)  # nan and 0: no error is known
    within = abs(row.value_mine - row.value) <= margin
    return f"{row.value - margin:.4g} to {row.value + margin:.4g}", "ok" if within else "off"


def shipped_run(here: dict[str, str]) -> Path:
    """The shipped run of this machine type, else the first one. Raises StudyError when there is none."""
    folders = sorted(path.parent for path in paths.REFERENCE.glob("*/machine.json"))
    if not folders:
        raise StudyError(
            "reference/: no shipped run there; make one with `python -m solid_utils.report.compare --ship`"
        )
    same = [folder for folder in folders if machine.read(folder / "machine.json") == here]
    return (same or folders)[0]


def compare() -> bool:
    """Print the comparison; returns whether no figure is off."""
    here = machine.describe(params.load().threads)
    folder = shipped_run(here)
    there = machine.read(folder / "machine.json")
    table = judged(headline(results.load(folder)), headline(results.load(paths.RESULTS)), there == here)
    shown = table.assign(**{name: table[name].map("{:.5g}".format) for name in ("shipped", "rerun")})
    print(terminal.grid_of(shown.rename(columns={"rerun": "re-run"}).astype(str)))
    differing = [f"{key} {there.get(key)} / {here.get(key)}" for key in here if there.get(key) != here[key]]
    rule = f"within {ERRORS} combined standard errors, or {RELATIVE:.0%} where none is known"
    print(f"\nshipped: {folder}/")
    print(f"other machine ({'; '.join(differing)}): {rule}" if differing else "same machine type: equal digits")
    counts = table["status"].value_counts()
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return counts.get("off", 0) == 0


def ship() -> Path:
    """Copy the CSV and JSON files of results/ and this machine's description to reference/; returns the folder.

    What lies there and nowhere else (BESIDE) stays, and the older run stays until all of the new one is there.
    """
    results.load(paths.RESULTS)
    here = machine.describe(params.load().threads)
    target = paths.REFERENCE / machine.slug(here)
    with folders.whole(target) as partial:
        for path in sorted(paths.RESULTS.rglob("*")):
            if path.suffix in (".csv", ".json") and ".partial-" not in str(path):  # left by a process that was killed
                files.copy(path, partial / path.relative_to(paths.RESULTS))
        for kept in filter(Path.exists, (target / name for name in BESIDE)):
            shutil.copytree(kept, partial / kept.name)
        files.write_json(here, partial / "machine.json", indent=2)  # last: a folder without it is no shipped run
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare results/ with the shipped run.")
    parser.add_argument("--ship", action="store_true", help="make results/ the shipped run of this machine")
    if parser.parse_args().ship:
        print(f"shipped: {ship()}/")
    elif not compare():
        raise SystemExit(1)


if __name__ == "__main__":
    with errors.one_line():
        main()
