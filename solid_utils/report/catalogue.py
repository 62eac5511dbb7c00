"""All tables of the study, in the order of the page. To add one: its function and its line in a file of `tables`."""

from collections.abc import Iterator, Mapping

import pandas as pd

from solid_utils.report import terminal
from solid_utils.report.results import Results
from solid_utils.report.table import Context
from solid_utils.report.tables import (
    attacks,
    benchmarks,
    claims,
    cost,
    customization,
    deployment,
    difficulty,
    grid,
    published,
    scale,
    size,
    vendor,
)

SECTIONS = {
    family.SECTION.name: family.SECTION
    for family in (
        size,
        claims,
        attacks,
        cost,
        grid,
        scale,
        benchmarks,
        difficulty,
        customization,
        deployment,
        vendor,
        published,
    )
}
TABLES = {table.name: table for section in SECTIONS.values() for table in section.tables}
SHOWN = {name: table for name, table in TABLES.items() if table.shown}  # the others are CSV files only


class Made(Mapping[str, pd.DataFrame]):
    """Every table by name, as it is written to tables/NAME.csv; each is made when it is first asked for."""

    def __init__(self, results: Results):
        self._context = Context(results, TABLES.values())

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self._context.table(name)

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __len__(self) -> int:
        return len(TABLES)


def make(results: Results) -> Mapping[str, pd.DataFrame]:
    """Every table by name. What a table refuses (StudyError), it refuses when it is asked for."""
    return Made(results)


def printed(made: Mapping[str, pd.DataFrame]) -> str:
    """The main tables for a terminal."""
    return terminal.printed(TABLES.values(), made)
