"""All tables of the study, in the order of the page. To add one: its function and its line in a file of `tables`."""

import pandas as pd

from solid_utils.report import terminal
from solid_utils.report.results import Results
from solid_utils.report.table import Context
from solid_utils.report.tables import attacks, benchmarks, claims, cost, customization, difficulty, grid

SECTIONS = {
    family.SECTION.name: family.SECTION
    for family in (claims, attacks, cost, grid, benchmarks, difficulty, customization)
}
TABLES = {table.name: table for section in SECTIONS.values() for table in section.tables}
SHOWN = {name: table for name, table in TABLES.items() if table.shown}  # the others are CSV files only


def make(results: Results) -> dict[str, pd.DataFrame]:
    """Every table by name, as it is written to tables/NAME.csv."""
    context = Context(results, TABLES.values())
    return {name: context.table(name) for name in TABLES}


def printed(made: dict[str, pd.DataFrame]) -> str:
    """The main tables for a terminal."""
    return terminal.printed(TABLES.values(), made)
