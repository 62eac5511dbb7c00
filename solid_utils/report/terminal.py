"""Tables as text for a terminal of WIDTH columns."""

import textwrap
from collections.abc import Iterable, Mapping

import pandas as pd

from solid_utils.report.table import Table

WIDTH = 120  # columns of a terminal


def printed(tables: Iterable[Table], made: Mapping[str, pd.DataFrame]) -> str:
    """Those of the tables that are printed and not empty, each with the sentence that reads it; `made` by name."""
    wanted = [table for table in tables if table.printed and not made[table.name].empty]
    return "\n\n".join(block(table, made[table.name]) for table in wanted)


def block(table: Table, rows: pd.DataFrame) -> str:
    """One table under its name, or in its own paragraphs, and its sentence."""
    sentence = filled(table.sentence(rows))
    if table.lines:
        return "\n\n".join([*table.lines(rows), sentence])
    return f"{table.name}\n{fitted(table.compact(rows, printed=True))}\n{sentence}"


def fitted(shown: pd.DataFrame) -> str:
    """A grid of WIDTH columns; what does not fit stands below, under the model and the run again."""
    keys = [name for name in shown.columns if name in ("model", "run")] or [shown.columns[0]]
    parts = [[]]
    for name in shown.columns.difference(keys, sort=False):
        if parts[-1] and max(map(len, grid_of(shown[[*keys, *parts[-1], name]]).splitlines())) > WIDTH:
            parts.append([])
        parts[-1].append(name)
    return "\n\n".join(grid_of(shown[keys + part]) for part in parts)


def grid_of(shown: pd.DataFrame) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    first = shown.columns[0]
    width = shown[first].str.len().max()
    return (
        shown.assign(**{first: shown[first].str.ljust(width)})
        .rename(columns={first: first.ljust(width)})
        .to_string(index=False)
    )


def filled(text: str, indent: int = 0) -> str:
    """Broken into lines of WIDTH columns, never between a number and its percent sign."""
    text = text.replace(" %", "\0%")
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False).replace("\0", " ")
