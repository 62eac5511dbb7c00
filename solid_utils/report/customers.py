"""Customization cells as they lie in reference/MACHINE/customization/MODEL, of all machines."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError

LIST = "customization"
WHERE = ["model", "machine", "run"]


@dataclass(frozen=True)
class Cells:
    """`scores`: schema.SCORES, `items`: schema.ITEMS, both with machine and the plan's run, set and recipe; `planned`:
    schema.CUSTOMERS with model and machine."""

    scores: pd.DataFrame
    items: pd.DataFrame
    planned: pd.DataFrame


def load(reference: Path = paths.REFERENCE) -> Cells:
    """All that was planned and all that ran. Raises StudyError for a cell without items, or one that no plan has."""
    scores: list[pd.DataFrame] = []
    items: list[pd.DataFrame] = []
    plans: list[pd.DataFrame] = []
    for path in sorted(reference.resolve().glob(f"*/{LIST}/*/{paths.PLAN_FILE}")):
        where = {"model": path.parent.name, "machine": path.parents[2].name}
        plan = schema.read(path, schema.CUSTOMERS, "run `python -m solid_utils.grid.customers` again").assign(**where)
        plans.append(plan)
        known = plan.drop_duplicates("cell").set_index("cell")
        for cell in sorted(path.parent.glob("*.csv")):
            if cell.name in paths.NO_CELLS or cell.name.endswith(paths.ITEMS_END):
                continue
            named = where | fact_of(cell, known)
            beside = cell.with_name(cell.stem + paths.ITEMS_END)
            scores.append(schema.read(cell, schema.SCORES, schema.RERUN).assign(**named))
            items.append(schema.read(beside, schema.ITEMS, schema.RERUN).assign(**named))
    return Cells(
        _together(scores, [*schema.SCORES, *WHERE[1:], "trained_on", "named"]),
        _together(items, [*schema.ITEMS, *WHERE[1:], "trained_on", "named"]),
        _together(plans, [*schema.CUSTOMERS, *WHERE[:2]]),
    )


def fact_of(cell: Path, known: pd.DataFrame) -> dict[str, str]:
    """What the plan says of a cell: `run`, `trained_on` (its domain), `named` (its recipe's name)."""
    if cell.stem not in known.index:
        raise StudyError(
            f"{cell}: no cell of plan.csv beside it; delete it, or put it back into configs/customization.yaml"
        )
    row = known.loc[cell.stem]
    return {"run": row["run"], "trained_on": row["domain"], "named": row["recipe"]}


def _together(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(dict.fromkeys(columns)))
