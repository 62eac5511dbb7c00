"""Scores without training against DD: which of them ranks secured sets by where an attack ended."""

import pandas as pd

from solid_utils.report import forecasts, scale
from solid_utils.report.table import Columns, Context, Table
from solid_utils.settings import params


def forecast_table(_: Context) -> pd.DataFrame:
    """A row an outcome, model and score: forecasts.table."""
    return forecasts.table(params.load().score_hypotheses, scale.load())


COLUMNS: Columns = {
    "forecast_of": ("end of", "text"),
    "score": ("score", "text"),
    "sets": ("sets", "count"),
    "rank": ("rank correlation", "number"),
    "over_dd": ("|rho| over DD's", "number"),
    "p_holm": ("p, by Holm", "figures"),
    "|": None,
    "over_depth": ("over depth's", "number"),
    "over_lowest": ("over place's", "number"),
    "over_parameters": ("over size's", "number"),
    "over_start_kl": ("over zero-query KL's", "number"),
    "over_start_agreement": ("over zero-query agreement's", "number"),
    "texts": ("texts", "count"),
    "flops": ("FLOP a set", "figures"),
    "seconds": ("seconds a set", "figures"),
    "confirmatory": ("confirmatory", "flag"),
}


def reads(rows: pd.DataFrame) -> str:
    """Of each outcome the best score and DD, and whether the goal was met."""
    strong = params.load().score_hypotheses["S1"].threshold["strength"]
    told = []
    for outcome, mine in rows.groupby("forecast_of", sort=False):
        told.append(f"{outcome}: {said(mine, strong)}")
    return "; ".join(told) + "."


def said(rows: pd.DataFrame, strong: float) -> str:
    """One outcome's best score beside DD, in words."""
    above = forecasts.met(rows, strong)
    first = forecasts.best(rows)
    # Another may rank higher by an interval that decides nothing.
    found = rows[rows["score"] == above[0]].iloc[0] if above else first
    place = "best" if found["score"] == first["score"] else "well"
    dd = rows[rows["score"] == forecasts.RIVAL].iloc[0]
    gain = f"{found['over_dd']:+.2f} [{found['over_dd_low']:.2f}, {found['over_dd_high']:.2f}]"
    ranks = (
        f"{found['score']} ranks {found['sets']:.0f} sets {place} ({found['rank']:.2f}; DD {dd['rank']:.2f}, {gain})"
    )
    if above:
        others = f", and so are {', '.join(above[1:])}" if above[1:] else ""
        return f"{ranks}, better than DD{others}"
    return f"{ranks}; no score is at {strong:g} and above DD by its interval"


FORECASTS = Table("forecasts", forecast_table, COLUMNS, reads, folded="Scores without training, against DD")
