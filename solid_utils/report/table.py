"""A table is one object: how it is made, shown and read; a section of the page is a heading and its tables."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from solid_utils.report.ratios import Resampled, benchmark_rule, resampled
from solid_utils.report.results import Results

Columns = dict[str, tuple[str, str] | None]  # column -> heading and kind of cell; see WRITTEN and `in_columns`
CSV_ROW = "row of the CSV file"  # name of the index of a compact table that has one of its rows for each of these
WRITTEN = {
    "number": "{:.2f}".format,
    "count": "{:.0f}".format,
    "percent": lambda value: f"{100 * value:.1f}",
    "text": str,
    "flag": lambda value: "yes" if value else "",
    "figures": lambda value: f"{value:.3g}",
}


class Context:
    """What tables are made from: the results, and what several tables share; each is made once, when it is asked for.

    `tables`: every table that another one may ask for by its name.
    """

    def __init__(self, results: Results, tables: Iterable["Table"]):
        self.results = results
        self._tables = {table.name: table for table in tables}
        self._made: dict[str, pd.DataFrame] = {}

    @cached_property
    def rule(self) -> pd.DataFrame:
        """Which benchmarks count: ratios.benchmark_rule."""
        return benchmark_rule(self.results)

    @cached_property
    def resamples(self) -> Resampled:
        """Every run's scores on resampled items: ratios.resampled."""
        return resampled(self.results)

    def table(self, name: str) -> pd.DataFrame:
        """Another table, with the columns of its CSV file. Raises KeyError when none has this name."""
        if name not in self._made:
            self._made[name] = self._tables[name].make(self)
        return self._made[name]


@dataclass(frozen=True)
class Table:
    """A table of the study, from results to CSV file, page and terminal.

    make: -> the rows as they are written to tables/NAME.csv, `model` among the columns.
    columns: those that are shown.
    reads: a model's rows, at least one -> a sentence that reads them with their own numbers; None: a CSV file only.
    printed: shown in the terminal too.
    show: (rows, in the terminal?) -> short strings under headings, where that is more than picking `columns`.
    lines: rows -> paragraphs that stand in the terminal in place of the grid.
    introduction: the paragraph above the table on the page. folded: the words to click on before it unfolds there.
    """

    name: str
    make: Callable[[Context], pd.DataFrame]
    columns: Columns | None = None
    reads: Callable[[pd.DataFrame], str] | None = None
    printed: bool = False
    show: Callable[[pd.DataFrame, bool], pd.DataFrame] | None = None
    lines: Callable[[pd.DataFrame], list[str]] | None = None
    introduction: str = ""
    folded: str = ""

    @property
    def shown(self) -> bool:
        """Does it stand on the page?"""
        return self.reads is not None

    def compact(self, rows: pd.DataFrame, printed: bool = False) -> pd.DataFrame:
        """The rows as short strings under readable headings; `printed` keeps what fits a terminal. See CSV_ROW."""
        if self.show:
            return self.show(rows, printed)
        return in_columns(rows, self.columns, printed)

    def sentence(self, rows: pd.DataFrame) -> str:
        """One sentence a model."""
        parts = [f"{model}: {self.reads(mine)}" for model, mine in rows.groupby("model", sort=False)]
        return " ".join(parts) or "Nothing there to show."


@dataclass(frozen=True)
class Section:
    """A heading of the page, the paragraphs below it, and its tables in order, each followed by its figures."""

    name: str
    title: str
    paragraphs: tuple[str, ...]
    tables: tuple[Table, ...]
    level: int = 2  # of the heading

    @property
    def shown(self) -> list[Table]:
        return [table for table in self.tables if table.shown]


def in_columns(rows: pd.DataFrame, columns: Columns, printed: bool = False) -> pd.DataFrame:
    """These columns under their headings; in the terminal those before "|". The model stands first if there are two."""
    names = list(columns)
    names = names[: names.index("|")] if printed and "|" in names else [name for name in names if name != "|"]
    shown = {"model": rows["model"].astype(str).tolist()} if rows["model"].nunique() > 1 else {}
    for name in names:
        heading, kind = columns[name]
        shown[heading] = _cells(rows, name, kind)
    return pd.DataFrame(shown, index=pd.Index(rows.index, name=CSV_ROW))


def _cells(rows: pd.DataFrame, column: str, kind: str) -> list[str]:
    """A column as text, with its interval in brackets where there is one: "49.6 [45.1, 54.2]"."""
    values = [cell(value, kind) for value in rows[column]]
    if f"{column}_low" not in rows.columns:
        return values
    low, high = ([cell(value, kind) for value in rows[f"{column}_{end}"]] for end in ("low", "high"))
    return [f"{v} [{a}, {b}]" if a and b else v for v, a, b in zip(values, low, high, strict=True)]


def cell(value: object, kind: str) -> str:
    """One value as text of this kind; nothing where it is unknown."""
    return "" if pd.isna(value) else WRITTEN[kind](value)
