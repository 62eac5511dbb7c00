"""The audit of the published numbers, a block a point: its sentence, and the table that shows it."""

import pandas as pd

from solid_utils.paper import audit
from solid_utils.paper.audit_tools import Resolved
from solid_utils.report.pages.grid import Grid
from solid_utils.report.pages.study import Block, Study

FEW = 12  # rows that need no fold


def made(_: Study) -> list[Block]:
    """Every point, computed from the published tables now."""
    return [block(number) for number in audit.POINTS]


def block(number: int) -> Block:
    name = f"point_{number}"
    try:
        found = audit.point(number)
    except Resolved as settled:
        return Block(name, f"Point {number}", (audit.says(number), f"Settled: {settled}"))
    found = found if isinstance(found.index, pd.RangeIndex) else found.reset_index()
    shown = found.map(written).rename(columns=str)
    folded = f"{len(found)} rows" if len(found) > FEW else ""
    csv = f"pages/csv/audit_{number}.csv"
    grid = Grid(f"audit_{number}", f"Point {number} of the audit", shown, csv, folded=folded, data=found)
    return Block(name, f"Point {number}", (audit.says(number),), [grid])


def written(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)
