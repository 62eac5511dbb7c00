"""One table object, from rows to page and terminal; what it needs of others is made once, when it is asked for."""

import pandas as pd
import pytest

from solid_utils.report import catalogue, terminal
from solid_utils.report.table import Context, Table

COLUMNS = {
    "run": ("run", "text"),
    "share": ("kept %", "percent"),
    "|": None,
    "steps": ("steps", "count"),
}
ROWS = pd.DataFrame(
    {
        "model": "toy",
        "run": ["a", "b"],
        "share": [0.5, float("nan")],
        "share_low": [0.4, None],
        "share_high": [0.6, None],
    }
).assign(steps=[3.0, float("nan")])


def table(name: str, make=lambda context: ROWS, **more) -> Table:
    return Table(name, make, COLUMNS, lambda rows: f"{len(rows)} rows.", **more)


def test_cells_are_short_strings_with_their_interval():
    shown = table("one").compact(ROWS)
    assert list(shown.columns) == ["run", "kept %", "steps"]
    assert shown["kept %"].tolist() == ["50.0 [40.0, 60.0]", ""]
    assert shown["steps"].tolist() == ["3", ""], "nothing stands where nothing is known"


def test_the_terminal_leaves_out_what_stands_behind_the_bar():
    assert list(table("one").compact(ROWS, printed=True).columns) == ["run", "kept %"]


def test_two_models_get_a_column_and_a_sentence_each():
    two = pd.concat([ROWS, ROWS.assign(model="other").head(1)])
    assert table("one").compact(two)["model"].tolist() == ["toy", "toy", "other"]
    assert table("one").sentence(two) == "toy: 2 rows. other: 1 rows."
    assert table("one").sentence(two.head(0)) == "Nothing there to show."


def test_a_table_that_another_one_needs_is_made_once():
    made = []

    def base(context: Context) -> pd.DataFrame:
        made.append("base")
        return ROWS

    def doubled(context: Context) -> pd.DataFrame:
        return context.table("base").assign(share=lambda rows: 2 * rows["share"])

    context = Context(None, [table("late", doubled), table("later", doubled), table("base", base)])
    assert made == [], "nothing is made before it is asked for"
    assert context.table("late")["share"].iloc[0] == context.table("later")["share"].iloc[0] == 1
    assert made == ["base"]
    with pytest.raises(KeyError):
        context.table("unknown")


def test_only_what_is_printed_and_there_stands_in_the_terminal():
    tables = [
        table("shown", printed=True),
        table("hidden"),
        table("empty", printed=True),
        table("told", printed=True, lines=lambda rows: ["first", "second"]),
    ]
    made = {one.name: ROWS for one in tables} | {"empty": ROWS.head(0)}
    grid, first, second, sentence = terminal.printed(tables, made).split("\n\n")
    assert grid.startswith("shown\nrun") and grid.endswith("toy: 2 rows.")
    assert (first, second, sentence) == ("first", "second", "toy: 2 rows.")


def test_every_table_of_the_catalogue_is_listed_once_and_can_be_read():
    listed = [one.name for section in catalogue.SECTIONS.values() for one in section.tables]
    assert len(listed) == len(set(listed))
    for one in catalogue.TABLES.values():
        assert not one.shown or one.columns or one.show, f"{one.name}: a table that is read shows columns"
        assert one.shown or not (one.printed or one.folded or one.introduction), one.name
