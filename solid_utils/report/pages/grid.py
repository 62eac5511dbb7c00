"""A table of a page: strings under headings, an anchor a row, and the CSV file that holds its numbers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup, escape

from solid_utils.report import evidence, outcome
from solid_utils.report.table import CSV_ROW, Table

NUMBERS = re.compile(r"[-+±≥≤<>=.,\[\]/?%e\d ]*")  # what a column of numbers is made of
CLASSES = {  # words that have a colour
    evidence.SUPPORTED: "supported",
    evidence.CONTRADICTED: "contradicted",
    evidence.NOT_TESTED: "untested",
    outcome.FOR: "supported",
    outcome.AGAINST: "contradicted",
    outcome.UNDECIDED: "untested",
    outcome.NOT_RUN: "untested",
}
WIDTHS = {300: "longest", 90: "longer", 28: "long"}  # class of a text with more characters than that
Links = Mapping[str, Callable[[str, int], str | Markup]]  # by heading: (text, row's number) -> what stands in its place


@dataclass(frozen=True)
class Grid:
    """A table as a page shows it; files are named as seen from the report's folder.

    rows: strings. Where their index is named CSV_ROW it says which row of the file `csv` each one is; else they are
    counted. pictures: figures below it. folded: words to click on before it unfolds. links: see Links. data: what `csv`
    holds, where it is no table of the report.
    """

    name: str
    caption: str
    rows: pd.DataFrame
    csv: str
    sentence: str = ""
    introduction: str = ""
    folded: str = ""
    pictures: list = field(default_factory=list)
    links: Links = field(default_factory=dict)
    data: pd.DataFrame | None = None

    @property
    def heads(self) -> list[tuple[str, str]]:
        """(heading, class) of each column: numbers stand to the right."""
        return [(str(name), kind(self.rows[name])) for name in self.rows.columns]

    @property
    def places(self) -> list[int]:
        """The number of each row, from 1: that of its row in the CSV file, where there is one."""
        if self.rows.index.name == CSV_ROW:
            return [place + 1 for place in self.rows.index]
        return list(range(1, len(self.rows) + 1))

    @property
    def of_file(self) -> bool:
        """Are rows numbered as in the CSV file?"""
        return self.rows.index.name == CSV_ROW

    @property
    def body(self) -> list[tuple[int, list[tuple[str, str]]]]:
        """(place, [(text, class), ...]) of each row."""
        heads = self.heads  # each column is looked through once
        rows = []
        for place, row in zip(self.places, self.rows.itertuples(index=False, name=None), strict=True):
            cells = []
            for text, (head, look) in zip(row, heads, strict=True):
                cells.append((self.linked(head, text, place), CLASSES.get(text, look or width(text))))
            rows.append((place, cells))
        return rows

    def linked(self, heading: str, text: str, place: int) -> str | Markup:
        link = self.links.get(heading)
        return link(text, place) if link else text


def kind(column: pd.Series) -> str:
    """ "n" where a column holds numbers, else nothing."""
    return "n" if all(map(NUMBERS.fullmatch, column)) else ""


def width(text: str) -> str:
    """How much room a text asks for; a short one stays on its line."""
    return next((name for least, name in WIDTHS.items() if len(text) > least), "")


def of_table(table: Table, rows: pd.DataFrame, pictures: list, links: Links) -> Grid:
    """A table of the catalogue with the sentence that reads it; without rows the sentence alone."""
    shown = as_text(table.compact(rows.reset_index(drop=True))) if len(rows) else pd.DataFrame()
    facts = {"sentence": table.sentence(rows), "introduction": table.introduction, "folded": table.folded}
    file = f"tables/{table.name}.csv"
    return Grid(table.name, caption(table.name), shown, file, pictures=pictures, links=links, **facts)


def as_text(rows: pd.DataFrame) -> pd.DataFrame:
    """The same as strings, empty where nothing is known."""
    return rows.astype(object).fillna("").astype(str).rename(columns=str)


def caption(name: str) -> str:
    """A table's name in words: "attack_cost" -> "Attack cost"."""
    return name.replace("_", " ").capitalize()


def anchor(href: str, text: str) -> Markup:
    """A link."""
    return Markup('<a href="{}">{}</a>').format(href, text)


def words(text: str, href: Callable[[str], str | None], between: str = " ") -> Markup:
    """A text whose words, or what stands `between` these, are links where `href` knows them."""
    parts = [anchor(place, word) if (place := href(word)) else escape(word) for word in text.split(between)]
    return Markup(between).join(parts)
