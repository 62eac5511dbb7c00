"""Files that lie beside a model's cells, one a model and machine: this machine's, else another's."""

from pathlib import Path

import numpy as np
import pandas as pd

from solid_utils.core import schema
from solid_utils.core.errors import StudyError


def find(run: Path, listed: str, model: str, file: str, command: str) -> Path:
    """`file` of a list of cells; `run`: this machine's folder of reference/. Raises StudyError, which names the
    command of solid_utils.grid that makes it, where no machine has one."""
    return found(run, listed, model, file, command)[0]


def found(run: Path, listed: str, model: str, file: str, command: str) -> list[Path]:
    """`file` of every machine that has one, as `find`."""
    paths = sorted(run.parent.glob(f"*/{listed}/{model}/{file}"))
    paths.sort(key=lambda path: path.parents[2].name != run.name)  # this machine's first
    if not paths:
        raise StudyError(f"{file} of {model}: none; run `python -m solid_utils.grid.{command} {model}`")
    return paths


def read(path: Path, columns: list[str], measured: list[str]) -> pd.DataFrame:
    """Its rows. Raises StudyError where there are none, or one lacks a finite number in a `measured` column."""
    table = schema.read(path, columns, schema.RERUN)
    for name in measured:
        if not len(table) or not np.isfinite(pd.to_numeric(table[name], errors="coerce")).all():
            raise StudyError(f"{path}: {name} is missing or not finite; {schema.RERUN}")
    return table
