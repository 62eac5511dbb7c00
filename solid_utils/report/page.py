"""Tables as HTML that needs no style sheet, as notebooks show them; for the site see `pages`."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from solid_utils.report import evidence
from solid_utils.report.table import Table

COLOURS = {evidence.SUPPORTED: "#d5ecdf", evidence.CONTRADICTED: "#f7d9c4", evidence.NOT_TESTED: "#e6e6e6"}


@dataclass(frozen=True)
class Shown:
    """HTML with a plain-text twin, as notebooks display it."""

    markup: Markup
    text: str

    def _repr_html_(self) -> str:
        return str(self.markup)

    def __repr__(self) -> str:
        return self.text


def shown(table: Table, rows: pd.DataFrame) -> Shown:
    """A table with the sentence that reads it; the sentence alone where there are no rows."""
    sentence = table.sentence(rows)
    reading = Markup("<p>{}</p>").format(sentence)
    if rows.empty:
        return Shown(reading, sentence)
    grid = table.compact(rows)
    styled = grid.style.hide(axis="index").set_uuid(table.name).format(escape="html").map(_verdict_colour)
    styled = styled.format_index(escape="html", axis=1)  # headings of some tables are names from the results
    styled = styled.set_table_attributes('class="study"').apply(_alignment, axis=0)
    return Shown(Markup(styled.to_html()) + reading, f"{grid.to_string(index=False)}\n{sentence}")


def together(parts: Iterable[tuple[str, Shown]]) -> Shown:
    """Several things below one another, each under its name."""
    parts = list(parts)
    markup = Markup("\n").join(Markup("<h4>{}</h4>\n{}").format(name, part.markup) for name, part in parts)
    return Shown(markup, "\n\n".join(f"{name}\n{part.text}" for name, part in parts))


def _verdict_colour(text: str) -> str:
    return f"background-color: {COLOURS[text]}; font-weight: 600" if text in COLOURS else ""


def _alignment(column: pd.Series) -> list[str]:
    """Numbers to the right, words to the left."""
    numbers = column.str.fullmatch(r"[-+±.,\[\]\d ]*").all()
    return [f"text-align: {'right' if numbers else 'left'}; vertical-align: top"] * len(column)
