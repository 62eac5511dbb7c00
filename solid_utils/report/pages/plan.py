"""Every cell of the attack grid that was planned, and whether it ran."""

import pandas as pd

from solid_utils.report.pages.grid import Grid, as_text
from solid_utils.report.pages.study import Block, Study
from solid_utils.report.table import cell

COLUMNS = ["model", "group", "attack", "recipe", "secured", "queries", "seed"]


def made(study: Study) -> Block:
    """Empty where there is no plan."""
    planned = study.results.planned
    if planned.empty:
        return Block("on_planned", "Every planned cell")
    ran = set(zip(study.results.grid["model"], study.results.grid["cell"], strict=True))
    there = [key in ran for key in zip(planned["model"], planned["cell"], strict=True)]
    rows = planned[[*COLUMNS, "cell"]].assign(ran=there)
    shown = as_text(rows[COLUMNS]).assign(ran=[cell(one, "flag") for one in there])
    if rows["model"].nunique() == 1:
        shown = shown.drop(columns="model")
    folded = f"All {len(rows)} cells, of which {sum(there)} ran"
    csv = "pages/csv/planned.csv"
    grid = Grid("planned", "Planned cells of the attack grid", shown, csv, folded=folded, data=pd.DataFrame(rows))
    return Block("on_planned", "Every planned cell", (), [grid])
