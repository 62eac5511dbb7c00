"""The scale study: what the same attacks get from victims of several sizes; what the hypotheses came to (`size`)."""

import pandas as pd

from solid_utils.report import hypotheses, scale
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.tables.forecasts import FORECASTS
from solid_utils.report.wording import between, percent
from solid_utils.settings import params

BROKEN = 0.95  # agreement on C4 from which a set that was solved for counts as broken


def point_table(_: Context) -> pd.DataFrame:
    """Every point of every curve that ran, on all machines: scale.points."""
    return scale.points(scale.load().cells)


POINT_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "attack": ("attack", "text"),
    "recipe": ("recipe", "text"),
    "queries": ("queries", "count"),
    "tokens": ("tokens", "count"),
    "c4": ("C4 %", "percent"),
    "c4_above": ("above the floor %", "percent"),
    "c4_kl": ("KL", "number"),
    "|": None,
    "own_above": ("own kind, above %", "percent"),
    "code_above": ("code, above %", "percent"),
    "same": ("same answers %", "percent"),
    "relative_error": ("error of W", "number"),
    "seeds": ("seeds", "count"),
    "asked_before": ("asked before", "flag"),
}


def exact(rows: pd.DataFrame) -> str:
    """What least squares make of single matrices whose input and output are seen; empty where it did not run."""
    told = []
    for _, row in rows[rows["attack"] == "least_squares"].iterrows():
        verdict = "broken" if row["c4"] >= BROKEN else "not broken"
        told.append(f"{row['secured']} is {verdict} with {row['tokens']:,.0f} tokens ({percent(row['c4'])} on C4)")
    return f" Where input and output of a single secret matrix are seen: {', '.join(told)}." if told else ""


def _read_points(rows: pd.DataFrame) -> str:
    return _read_layers(rows) + exact(rows)


def _read_layers(rows: pd.DataFrame) -> str:
    """The first layer against the single layer that falls furthest."""
    chosen = scale.single(scale.best(rows))
    first = chosen[chosen["lowest"] == 0]
    if first.empty:
        return "its first layer was not attacked."
    point = first.iloc[0]
    told = f"of layer 0, {hypotheses.said(point)} recover {percent(point['c4_above'])} on C4 above the floor"
    others = chosen[chosen["lowest"] != 0].sort_values("c4_above")
    if len(others):
        least, most = others.iloc[0], others.iloc[-1]
        ends = f"{percent(least['c4_above'])} ({least['secured']}) to {percent(most['c4_above'])} ({most['secured']})"
        told += f"; of other single layers {ends}"
    return f"{told}."


def hypothesis_table(_: Context) -> pd.DataFrame:
    """What configs/hypotheses.yaml asks, and what came of it: hypotheses.table."""
    return hypotheses.table(params.load().hypotheses, scale.load())


HYPOTHESIS_COLUMNS: Columns = {
    "hypothesis": ("hypothesis", "text"),
    "what": ("by", "text"),
    "n": ("texts or sets", "count"),
    "outcome": ("outcome", "number"),
    "threshold": ("threshold", "number"),
    "p_holm": ("p, by Holm", "figures"),
    "confirmatory": ("confirmatory", "flag"),
    "verdict": ("verdict", "text"),
}


def _read_hypotheses(rows: pd.DataFrame) -> str:
    told = []
    for _, row in rows.iterrows():
        if row["verdict"] == hypotheses.NOT_RUN:
            told.append(f"{row['hypothesis']} {hypotheses.NOT_RUN}")
            continue
        value = between(row, "outcome") if row["hypothesis"] == "H1" else _plain(row)
        kind = "" if row["confirmatory"] else ", exploratory"
        told.append(f"{row['hypothesis']} {row['verdict']}{kind} ({row['what']}: {value})")
    return "; ".join(told) + "."


def _plain(row: pd.Series) -> str:
    return f"{row['outcome']:.2f} [{row['outcome_low']:.2f}, {row['outcome_high']:.2f}]"


HYPOTHESES = Table("hypotheses", hypothesis_table, HYPOTHESIS_COLUMNS, _read_hypotheses)
SECTION = Section(
    "scale",
    "The scale study",
    (
        "The same attacks on victims of several sizes, at the same relative places (configs/scale.yaml), cells of all "
        "machines. Hypotheses were written in configs/hypotheses.yaml; a cell whose question was not written down "
        "before it ran is exploratory.",
        "Scores that need no training, from 100 texts, are compared with DD as forecasts of where SEM and fine-tuning "
        "ended on C4 (configs/hypotheses_scores.yaml).",
    ),
    (Table("scale", point_table, POINT_COLUMNS, _read_points, folded="Every point"), FORECASTS),
    level=3,
)
