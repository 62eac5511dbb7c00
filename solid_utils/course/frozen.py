"""The figure that a handed-in replica is compared with: the best attack on layer 0 that this release ships.

It is read from result rows of reference/, so it changes with a release and with nothing else.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.report import floors

CELL = re.compile(r"(?P<attack>\w+)-layers_0-(?P<recipe>\w+)-(?P<queries>\d+)-(?P<seed>\d+)\.csv")  # grid/cells.py


@dataclass(frozen=True)
class Figure:
    """What an attack recovered above what public text alone gives, as a share; `path`: the rows that say so."""

    advantage: float
    attack: str
    path: Path


def figure(model: str, queries: int, reference: Path = paths.REFERENCE) -> Figure | None:
    """The largest advantage of a shipped attack on layer 0 of `model` with at most so many queries; None without one.

    Pooled over held-out prompts of the attack's kind, web text and code. Raises StudyError for a broken file.
    """
    found = []
    for path in sorted(reference.glob(f"*/*/{model}/*-layers_0-*.csv")):
        named = CELL.fullmatch(path.name)
        floor = path.with_name(paths.FLOOR_FILE)
        if named and int(named["queries"]) <= queries and floor.exists():
            found.append(Figure(advantage(path, floor), named["attack"], path))
    known = [one for one in found if one.advantage == one.advantage]
    return max(known, key=lambda one: one.advantage, default=None)


def advantage(path: Path, floor: Path) -> float:
    """(a - f) / (1 - f) of a cell's rows after its last step; nan where they are not those of one replica."""
    rows = schema.read(path, schema.SCORES)
    ended: pd.DataFrame = rows[rows["steps"] == rows["steps"].max()]
    guessed = schema.read(floor, schema.FLOOR)
    first = ended.iloc[0]
    public = floors.floor_on(guessed, first["model"], first["tier"], floors.POOLED)
    return floors.above(floors.on_sets(ended, "agreement", floors.POOLED), public)
