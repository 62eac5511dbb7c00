"""Exercises of notebook 05: a ratio by hand, and which verdicts hang on a threshold."""

from collections.abc import Iterable, Mapping

import pandas as pd

from solid_utils.checks.verdict import OPEN, RIGHT, mistaken, number


def corrected(answer: float | None, benchmarks: pd.DataFrame, model: str, run: str) -> str:
    """`answer`: the chance-corrected ratio of a run, from rows of the table `benchmarks`.

    Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    rows = benchmarks[(benchmarks["model"] == model) & (benchmarks["run"] == run)]
    if not (rows["state"] == "end").any():
        raise mistaken("corrected ratio", f"the table has no run '{run}' of {model}")
    every = rows[rows["state"] == "end"]
    ended = every[every["counts"]]
    begun = rows[(rows["state"] == "start") & rows["counts"]]
    mistakes = {
        "you averaged over benchmarks with a star too; they do not count": of_sums(every),
        "that is the ratio of the start; take the rows whose state is end": of_sums(begun),
        "the floor was not taken away, from the victim either": ended["value"].sum() / ended["victim"].sum(),
        "a mean of ratios; take the ratio of sums": (
            (ended["value"] - ended["floor"]) / (ended["victim"] - ended["floor"])
        ).mean(),
        "chance was taken away; take away the floor, which a constant answer may lift": of_sums(ended, "chance"),
    }
    return number("corrected ratio", answer, of_sums(ended), mistakes)


def named(claims: object) -> set[str]:
    """Claims by name. Raises StudyError where it is no list of texts."""
    names = list(claims) if isinstance(claims, Iterable) else [claims]
    if not all(isinstance(one, str) for one in names):
        raise mistaken("verdicts", "names of claims are asked, as a set of texts, set() for none")
    return set(names)


def of_sums(rows: pd.DataFrame, floor: str = "floor") -> float:
    """Sum of (replica - floor) over sum of (victim - floor)."""
    gone = (rows["victim"] - rows[floor]).sum()
    return float((rows["value"] - rows[floor]).sum() / gone) if gone > 0 else float("nan")


def turned(answer: Iterable[str] | None, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """`answer`: the claims whose verdict you predict to turn; `before`, `after`: verdict by claim.

    Raises StudyError that names the likely mistake.
    """
    if answer is None:
        return OPEN
    predicted = {answer} if isinstance(answer, str) else named(answer)
    if unknown := sorted(predicted - set(before)):
        raise mistaken("verdicts", f"no claim '{unknown[0]}'; the column `key` of study.tables['claims'] names them")
    changed = {claim for claim in before if before[claim] != after.get(claim)}
    if missed := sorted(changed - predicted):
        raise mistaken("verdicts", f"'{missed[0]}' turned as well: its rule reads the same threshold")
    if extra := sorted(predicted - changed):
        raise mistaken("verdicts", f"'{extra[0]}' did not turn: its numbers lie on one side of both thresholds")
    return RIGHT
