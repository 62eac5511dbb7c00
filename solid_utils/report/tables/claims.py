"""The paper's claims beside what we measured: `verdicts` judges, this shows."""

import pandas as pd

from solid_utils.report import evidence, verdicts
from solid_utils.report.table import Columns, Context, Section, Table
from solid_utils.report.terminal import filled


def claim_table(context: Context) -> pd.DataFrame:
    """Every claim of the paper for every model; verdicts.claim_table."""
    names = ("attacks", "evidence", "difficulty", "search", "customization", "equivalence")
    return verdicts.claim_table({name: context.table(name) for name in names}, context.results.models)


CLAIM_COLUMNS: Columns = {
    "claim": ("paper's claim", "text"),
    "source": ("where", "text"),
    "paper_said": ("paper said", "text"),
    "we_measured": ("we measured", "text"),
    "verdict": ("verdict", "text"),
    "cells": ("stands on", "text"),
    "rule": ("rule", "text"),
}


def _lines(rows: pd.DataFrame) -> list[str]:
    """A paragraph a claim: the verdict, what the paper said, what we measured."""
    return ["Paper said, we measured, verdict", *[_in_three(row) for row in rows.itertuples()]]


def _in_three(row) -> str:
    lines = [
        f"{row.verdict.upper()}: {row.claim} [{row.model}]",
        f"  paper: {row.paper_said}",
        f"  here:  {row.we_measured}",
    ]
    return "\n".join(filled(line, indent) for line, indent in zip(lines, (2, 9, 9), strict=True))


def _read_claims(rows: pd.DataFrame) -> str:
    counts = rows["verdict"].value_counts()
    judged = [f"{counts.get(v, 0)} {v}" for v in (evidence.SUPPORTED, evidence.CONTRADICTED, evidence.NOT_TESTED)]
    return f"{', '.join(judged)}. Budget behind every line: {rows['budget'].iloc[0]}."


SECTION = Section(
    "claims",
    "Paper said, we measured, verdict",
    (
        "An attack that succeeds on a small budget shows that a set of layers is not secure. One that fails on a small "
        'budget shows nothing, so it never makes a claim "supported".',
    ),
    (Table("claims", claim_table, CLAIM_COLUMNS, _read_claims, printed=True, lines=_lines),),
)
