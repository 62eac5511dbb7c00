"""Does what a customer, or a vendor, publishes help a thief? One row a cell, beside the thief who has none of it."""

import math
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report.scale import SETS
from solid_utils.report.table import Columns, Context, Table
from solid_utils.report.wording import percent

LIST = "published_adapters"
FACTS = ["model", "machine", "cell", "secured", "known", "deployments", "tuned", "trained_on", "distance", "attack"]
FACTS += ["start", "recipe", "queries", "seed"]
COLUMNS = [*FACTS, "own", "c4", "code", "c4_kl", "reference_c4", "gain_c4"]
ATTACK = ["model", "machine", "secured", "attack", "start", "recipe", "queries", "seed"]


def adapter_table(_: Context) -> pd.DataFrame:
    """Columns COLUMNS, of all machines; see `made`."""
    return made(load())


def load(reference: Path = paths.REFERENCE) -> pd.DataFrame:
    """Cells as they lie there: schema.ADAPTERS and the machine. Raises StudyError for a cell that no plan has."""
    parts = [pd.DataFrame(columns=[*schema.ADAPTERS, "machine"])]
    for path in sorted(reference.resolve().glob(f"*/{LIST}/*/{paths.PLAN_FILE}")):
        known = set(schema.read(path, schema.ADAPTER_PLAN, f"run `python -m solid_utils.grid.{LIST}` again")["cell"])
        for cell in sorted(path.parent.glob("*.csv")):
            if cell.name in paths.NO_CELLS:
                continue
            if cell.stem not in known:
                raise StudyError(f"{cell}: no cell of {path.name} beside it; delete it, or list it again")
            parts.append(schema.read(cell, schema.ADAPTERS, schema.RERUN).assign(machine=path.parents[2].name))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def made(cells: pd.DataFrame) -> pd.DataFrame:
    """One row a cell. What it is compared with: the untouched deployment, of a public base that base itself."""
    rows = []
    for _, mine in cells.groupby(["model", "machine", "cell"], sort=False):
        by_set = mine.set_index("benchmark")
        row = {name: mine.iloc[0][name] for name in FACTS}
        row |= {name: by_set["agreement"].get(benchmark, math.nan) for name, benchmark in SETS.items()}
        row |= {"c4_kl": by_set["kl"].get(SETS["c4"], math.nan), "reference_c4": reference(mine.iloc[0], cells)}
        rows.append(row | {"gain_c4": row["c4"] - row["reference_c4"]})
    return pd.DataFrame(rows, columns=COLUMNS)


def reference(cell: pd.Series, cells: pd.DataFrame) -> float:
    """Agreement on web text to compare a cell with; nan before that ran."""
    texts = cells[cells["benchmark"] == SETS["c4"]]
    if cell["known"] == "base":
        same = ["model", "machine", "secured", "known", "tuned", "seed"]
        found = texts[(texts[same] == cell[same]).all(axis=1) & (texts["start"] == "public_base")]["agreement_start"]
    else:
        found = texts[(texts[ATTACK] == cell[ATTACK]).all(axis=1) & (texts["known"] == "untouched")]["agreement"]
    return float(found.iloc[0]) if len(found) else math.nan


ADAPTER_COLUMNS: Columns = {
    "secured": ("secured", "text"),
    "known": ("the thief has", "text"),
    "trained_on": ("tuned on", "text"),
    "attack": ("attack", "text"),
    "start": ("from", "text"),
    "queries": ("queries", "count"),
    "distance": ("distance of what is secret", "figures"),
    "c4": ("C4 %", "percent"),
    "reference_c4": ("without it %", "percent"),
    "gain_c4": ("more by %", "percent"),
    "|": None,
    "tuned": ("tuning", "text"),
    "deployments": ("deployments", "count"),
    "own": ("own kind %", "percent"),
    "code": ("code %", "percent"),
    "c4_kl": ("KL", "number"),
}


def _read(rows: pd.DataFrame) -> str:
    """What the adapter, several of them and a public base brought at most."""
    told = []
    for known, what in (("hidden", "a hidden adapter"), ("published", "a known adapter"), ("base", "a public base")):
        mine = rows[rows["known"] == known].dropna(subset="gain_c4")
        if mine.empty:
            told.append(f"{what}: not run")
            continue
        best = mine.loc[mine["gain_c4"].astype(float).idxmax()]
        least = mine.loc[mine["gain_c4"].astype(float).idxmin()]
        ends = f"{percent(least['gain_c4'])} ({least['attack']}, {least['secured']})"
        ends += f" to {percent(best['gain_c4'])} ({best['attack']}, {best['secured']})"
        told.append(f"{what} changes agreement on web text by {ends}")
    return f"{'; '.join(told)}."


TABLE = Table(
    LIST,
    adapter_table,
    ADAPTER_COLUMNS,
    _read,
    introduction="Attacks on a deployment after its customization, with the adapter unknown to the thief and known, on "
    "several adapters of one base, and on a vendor's fine-tuning of a public model. Without it: the same attack on the "
    "untouched deployment; with a public base that base itself, put in untouched, which costs no query.",
)
