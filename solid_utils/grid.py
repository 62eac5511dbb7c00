"""Which cells of a grid of attacks fit into the time: counted from measured seconds a step, before anything runs."""

import pandas as pd

CELLS = ["secured", "attack", "steps", "seconds_per_step", "seconds_beside"]
RUNS = "runs"


def plan(cells: pd.DataFrame, cell_limit: float, total_limit: float) -> pd.DataFrame:
    """The cells in their order, each with `seconds`, `ends_at` (seconds from the start of the grid) and `verdict`.

    A cell is one curve: `steps` counts the optimizer steps of all its points and branches, `seconds_beside` what it
    takes beside training (start, scores). Limits are seconds. Order is priority: a cell that is too long, or finds too
    little time left, is left out, and later ones may still fit. What is left out is censored at nothing spent.
    """
    planned, spent = cells.copy(), 0.0
    planned["seconds"] = planned["steps"] * planned["seconds_per_step"] + planned["seconds_beside"]
    verdicts, ends = [], []
    for seconds in planned["seconds"]:
        fits = seconds <= cell_limit and spent + seconds <= total_limit
        spent += seconds if fits else 0.0
        verdicts.append(RUNS if fits else _reason(seconds, cell_limit, total_limit - spent))
        ends.append(spent if fits else float("nan"))
    return planned.assign(ends_at=ends, verdict=verdicts)


def _reason(seconds: float, cell_limit: float, left: float) -> str:
    if seconds > cell_limit:
        return f"not run: {minutes(seconds)} of {minutes(cell_limit)} a cell"
    return f"not run: {minutes(seconds)} of {minutes(left)} left"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def printed(planned: pd.DataFrame) -> str:
    """The plan as a table in plain text, one line a cell, and a last line with the sum."""
    shown = planned[["secured", "attack", "steps", "seconds_per_step"]].copy()
    shown["takes"] = planned["seconds"].map(minutes)
    shown["ends at"] = planned["ends_at"].map(minutes).where(planned["ends_at"].notna(), "")
    shown["verdict"] = planned["verdict"]
    runs = planned[planned["verdict"] == RUNS]
    total = f"{len(runs)} of {len(planned)} cells run, {minutes(runs['seconds'].sum())}"
    rest = "the others are censored at nothing spent"
    return f"{shown.to_string(index=False, float_format='%.3g')}\n{total}; {rest}"
