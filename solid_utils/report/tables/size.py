"""The first thing to see: what theft costs by size and depth, and what came of the hypotheses."""

import pandas as pd

from solid_utils.report import scale, size
from solid_utils.report.table import Context, Section, Table
from solid_utils.report.tables.scale import HYPOTHESES
from solid_utils.report.wording import percent

NAMES = {"own": "own kind", "c4": "C4"}


def cost_table(_: Context) -> pd.DataFrame:
    """Queries to half of each victim by secured bottom layers: size.costs."""
    return size.costs(scale.load().cells)


def shown(rows: pd.DataFrame, _printed: bool) -> pd.DataFrame:
    """Both kinds of text side by side."""
    made = pd.DataFrame({"victim": rows["model"], "secured": rows["secured"]})
    made["parameters"] = [f"{count / 1e6:,.0f}M" for count in rows["model_parameters"]]
    for kind, name in NAMES.items():
        made[f"queries to half, {name}"] = [size.half(row, kind) for _, row in rows.iterrows()]
        made[f"most recovered, {name}"] = rows[f"most_{kind}"].map(percent)
        made[f"by, {name}"] = rows[f"attack_{kind}"]
    return made


def reads(rows: pd.DataFrame) -> str:
    """The shallowest and the deepest bottom set of a victim, on C4."""
    told = []
    for _, row in rows.iloc[[0, -1]].drop_duplicates("depth").iterrows():
        way = "half came back after" if row["reached_c4"] else "less than half came back with"
        queries = size.half(row, "c4") if row["reached_c4"] else f"{row['queries_c4']:,.0f}"
        told.append(f"of {row['secured']} {way} {queries} queries")
    return f"on C4, {', '.join(told)}."


SECTION = Section(
    "size",
    "What theft costs, by size and depth",
    (
        "Victims of several sizes, each with its first one, two, four, eight ... decoder layers secured, and the "
        "fewest queries with which an attack recovered half of what trigrams of public text do not give: on prompts "
        "like the attack's own, and on web text. The paper claims that one or two bottom layers withstand attack sets "
        "as large as the grey band (its FT-all at 7B; no model of that size was attacked here).",
        "Below that, hypotheses that were written down before the confirmatory runs, and what came of them. H1: a "
        "victim whose l* is 1 or 2 resists; H2: the bottom is harder to steal than the top; H3: DD ranks sets better "
        "than place, size or zero-query KL; H4: theft stays cheap as models grow; H5: the paper's own SEM recipe fails "
        "on the first layer at the paper's length. A verdict is what one victim says.",
    ),
    (Table("scale_cost", cost_table, reads=reads, show=shown), HYPOTHESES),
)
