"""Which text of the hypotheses stood when a cell began: hypotheses.csv beside the cells."""

import subprocess
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.grid import shared
from solid_utils.settings import reading


def commit() -> str:
    """The commit that stands here, with "+" where files differ from it; "none" outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return head + "+" * bool(changed.strip())


def note(folder: Path, cell: str) -> None:
    """Write down, before a cell runs, what was asked then; a cell that begins again is noted again."""
    path, row = folder / paths.HYPOTHESES_FILE, {"cell": cell, "sha256": reading.asked(), "commit": commit()}
    with shared.alone(folder):  # several processes may run cells of one list
        before = schema.read(path, schema.REGISTERED, schema.RERUN) if path.exists() else pd.DataFrame()
        rows = [*before.to_dict("records"), row]
        latest = {one["cell"]: one for one in rows}
        schema.write(sorted(latest.values(), key=lambda one: one["cell"]), schema.REGISTERED, path)
