"""The shipped run against yours: a row a headline figure, shipped, re-run, allowed range, ok or off.

python -m solid_utils.report.compare           results/ with reference/MACHINE/; exit status 1 if a figure is off
python -m solid_utils.report.compare --ship    make results/ the shipped run of this machine
"""

import argparse
import shutil
from pathlib import Path

from solid_utils.core import errors, files, folders, machine, paths
from solid_utils.core.errors import StudyError
from solid_utils.report import results, terminal
from solid_utils.report.headlines import ERRORS, RELATIVE, headline, judged
from solid_utils.settings import params

# What is made anew. All else in a machine's folder (cells of grids, runs beyond the study) cost hours and stays; a list
# of what stays had forgotten four kinds of cells.
OF_A_RUN = ("machine.json", "metrics.json", "runs", "tables")


def shipped_run(here: dict[str, str]) -> Path:
    """The shipped run of this machine type, else the first one. Raises StudyError when there is none."""
    found = results.shipped()
    if not found:
        raise StudyError(
            "reference/: no shipped run there; make one with `python -m solid_utils.report.compare --ship`"
        )
    same = [folder for folder in found if machine.read(folder / "machine.json") == here]
    return (same or found)[0]


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

    What else lies there stays, and the older run stays until all of the new one is there. Raises StudyError where a
    run has no scores, and as results.load.
    """
    results.load(paths.RESULTS)
    for name in results.SCORED:
        for run in sorted(paths.RESULTS.glob(f"runs/*/{name}")):
            if not (run / "scores.csv").exists():
                raise StudyError(f"{run}: no scores.csv, so it did not end; run `dvc repro` first")
    here = machine.describe(params.load().threads)
    target = paths.REFERENCE / machine.slug(here)
    with folders.whole(target) as partial:
        for path in sorted(paths.RESULTS.rglob("*")):
            if paths.PAGES in path.relative_to(paths.RESULTS).parts:
                continue  # pages and what they show are made from the rest
            if path.suffix in (".csv", ".json") and ".partial-" not in str(path):  # left by a process that was killed
                files.copy(path, partial / path.relative_to(paths.RESULTS))
        for kept in sorted(target.glob("*")):
            if kept.name not in OF_A_RUN:
                (shutil.copytree if kept.is_dir() else files.copy)(kept, partial / kept.name)
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
