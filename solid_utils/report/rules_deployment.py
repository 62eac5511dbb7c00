"""Rules on the search and on the customer's side: each function is a rule; its docstring is printed as it stands."""

import math

import pandas as pd

from solid_utils.metrics import equivalence
from solid_utils.report.evidence import CONTRADICTED, ERRORS, NOT_TESTED, SUPPORTED, Evidence, Finding
from solid_utils.report.tables.customization import domain
from solid_utils.report.wording import percent, points

WITHIN = 0.04  # the paper's own margin for customization: "within 4 %"
FEWEST_PROBLEMS = 500  # of one domain: with 100, half of them never solved, a gap of 4 points cannot be told from none
EPSILONS = (0.05, 0.1, 0.2, 0.3, 0.5)


def solid_customization(found: Evidence) -> Finding:
    """The paper's margin, on point estimates: supported when SOLID ends at most 4 points below fully open,
    contradicted when it ends further below by more than three combined standard errors; else, or when fully open
    itself gains no more than two standard errors, or on fewer than 500 problems, not tested. Where the default run
    decides nothing, customization cells of SOLID's layers on at least 500 items do, by the test of equivalence:
    contradicted when one is worse, else supported when one is equivalent or better."""
    of_the_run = by_the_run(found)
    if of_the_run.verdict != NOT_TESTED or (cells := found.customized_solid(FEWEST_PROBLEMS)).empty:
        return of_the_run
    told = []
    for _, row in cells.iterrows():
        what = f"{row['run']} ({row['model']}, {row['n']:.0f} items, {row['seeds']:.0f} seed(s))"
        told.append(f"{what} {points(row, 'gap', 'gap')} points from fully open, {row['equivalence']}")
    verdict = CONTRADICTED if (cells["equivalence"] == equivalence.WORSE).any() else SUPPORTED
    return Finding(verdict, f"Cells: {'; '.join(told)}. The default run: {of_the_run.measured}", list(cells["run"]))


def by_the_run(found: Evidence) -> Finding:
    """What the default study's own customizations say."""
    scores = found.customization
    if not {"fully_open", "solid"} <= set(scores.index):
        return Finding(NOT_TESTED, "needs a customization of fully_open and one of solid")
    opened, solid = scores.loc["fully_open"], scores.loc["solid"]
    measured = (
        f"{solid['metric']}: fully open {percent(opened['before'])} -> {percent(opened['after'])}, SOLID "
        f"{percent(solid['before'])} -> {percent(solid['after'])}; difference "
        f"{points(solid, 'gap_to_fully_open', 'gap_stderr')} points on {solid['n']:.0f} problems of "
        f"{domain(scores)['solid']}, the largest domain that both ran, one seed."
    )
    names = [opened["run"], solid["run"]]
    if not opened["gain"] > 2 * math.hypot(opened["stderr"], opened["before_stderr"]):
        return Finding(NOT_TESTED, measured + " Fully open gained too little to compare with.", names)
    if solid["gap_to_fully_open"] >= -WITHIN:
        if solid["n"] < FEWEST_PROBLEMS:
            return Finding(NOT_TESTED, measured + f" Fewer than {FEWEST_PROBLEMS} problems decide nothing.", names)
        return Finding(SUPPORTED, measured, names)
    below = -WITHIN - solid["gap_to_fully_open"] > ERRORS * solid["gap_stderr"]
    return Finding(CONTRADICTED if below else NOT_TESTED, measured, names)


def solid_layers(found: Evidence) -> Finding:
    """Supported when the search ends at one or two layers from every start that was tried, else contradicted."""
    if found.search.empty:
        return Finding(NOT_TESTED, "no SOLID search")
    measured = "; ".join(
        f"start {start}: l* = {row['l_star']}, DD {row['dd']:.2f} against {(1 - row['epsilon']) * row['ceiling']:.2f}"
        for start, row in found.search.iterrows()
    )
    return Finding(SUPPORTED if (found.search["l_star"] <= 2).all() else CONTRADICTED, measured + ".")


def epsilon(found: Evidence) -> Finding:
    """Supported, as to "hardly matters", when l* is the same for every tolerance tried and could have differed. Empty,
    so not tested, where DD of the first layer lies above the ceiling: no tolerance can then change anything. That 0.05
    is best is not tested."""
    prefixes = found.dd("prefix")
    if prefixes.empty or prefixes["ceiling"].isna().any():
        return Finding(NOT_TESTED, "no DD by prefix, or no ceiling")
    stops = {value: l_star(prefixes, value) for value in EPSILONS}
    measured = "l* by epsilon, from the DD curve: " + ", ".join(f"{value}: {at}" for value, at in stops.items()) + "."
    first = prefixes.iloc[0]
    if first["dd"] > first["ceiling"]:
        measured += (
            f" Epsilon is empty here: DD of {first['secured']} is {first['dd']:.2f}, above the ceiling of "
            f"{first['ceiling']:.2f}.{calibrated(prefixes)}"
        )
        return Finding(NOT_TESTED, measured)
    return Finding(SUPPORTED if len(set(stops.values())) == 1 else NOT_TESTED, measured)


def calibrated(prefixes: pd.DataFrame) -> str:
    """What is left of DD after each replica's logits were divided by one fitted temperature, as far as it was taken."""
    known = prefixes.dropna(subset="calibrated")
    known = known[known["depth"] < prefixes["depth"].max()]
    if known.empty:
        return ""
    bar = (1 - EPSILONS[0]) * known["ceiling"].iloc[0]
    told = ", ".join(f"{row.depth:.0f}: {row.calibrated:.2f}" for row in known.itertuples())
    passing = known[known["calibrated"] >= bar]
    then = "none of them would pass" if passing.empty else f"{passing.iloc[0]['secured']} would pass"
    return f" With one temperature fitted for each replica DD by layers is {told}, against a bar of {bar:.2f}: {then}."


def l_star(prefixes: pd.DataFrame, tolerance: float) -> int:
    """Smallest prefix with DD >= (1 - tolerance) x ceiling, else the longest (paper 4.2); prefixes in order."""
    passing = prefixes[prefixes["dd"] >= (1 - tolerance) * prefixes["ceiling"]]
    return int((passing if len(passing) else prefixes.tail(1))["depth"].iloc[0])
