"""What logits give away where a deployment shows nothing else."""

import pandas as pd

from solid_utils.report.table import Columns, Context, Table
from solid_utils.report.wording import percent

PLAIN = 2  # ratio of neighbouring singular values from which on a gap counts as one: noise alone gives 1.2


def leak_table(context: Context) -> pd.DataFrame:
    """What the spectrum and the span of logits show, one row a deployment; schema.LEAKS, as results.load reads it."""
    return context.results.leaks


LEAK_COLUMNS: Columns = {
    "deployment": ("deployment", "text"),
    "queries": ("queries", "count"),
    "positions": ("positions", "count"),
    "width": ("width", "count"),
    "estimated_width": ("width found", "count"),
    "gap": ("by a gap of", "figures"),
    "outside": ("head outside the span", "figures"),
    "agreement": ("top token kept %", "percent"),
    "askings_90": ("askings for 90 %", "count"),
    "askings_99": ("for 99 %", "count"),
}


def _read_leaks(rows: pd.DataFrame) -> str:
    """Width, span and most likely token, from clean logits and from noisy ones."""
    told = []
    for _, row in rows.iterrows():
        shown = f"a width of {row['estimated_width']} shows" if row["gap"] > PLAIN else "no width shows"
        span = f"{row['outside']:.1g} of the head's squares lie outside the span of the first {row['width']} directions"
        times = "not a million" if pd.isna(row["askings_99"]) else f"{row['askings_99']:,.0f}"
        noise = f", one noise leaves {percent(row['agreement'])} of the most likely tokens, {times} askings give 99 %"
        told.append(f"{row['deployment']}: {shown}, {span}{noise if row['agreement'] < 1 else ''}")
    return f"from the logits of {rows['queries'].max()} queries, {'; '.join(told)}."


LEAKS = Table(
    "leaks",
    leak_table,
    LEAK_COLUMNS,
    _read_leaks,
    introduction="Where a deployment shows logits alone, they still lie in as many dimensions as the head's input has "
    "(Carlini et al. 2024; not in the paper), so that the head is known but for a square matrix of that width. Fresh "
    "noise hides the end of the spectrum, and averages out where the two best tokens do not tie in bfloat16.",
)
