"""The page: what the catalogue lists, in its order, escaped; a field left out is an error."""

import html
import re

import jinja2
import pandas as pd
import pytest
from markupsafe import Markup

from solid_utils.report import catalogue, figures, page
from solid_utils.report.table import Section, Table

ROWS = pd.DataFrame({"model": ["a<b"], "run": ["<script>"]})
TABLE = Table("toy", lambda context: ROWS, {"run": ("run", "text")}, lambda rows: "it's 1 < 2.")
FIELDS = {"models": "a<b", "missing": [], "machine": {"cpu": "one", "threads": "2"}}


def rendered(*tables: Table, **changes) -> str:
    section = Section("s", "Said & done", ("first's", "second"), tables, level=3)
    shown = {table.name: page.shown(table, ROWS).markup for table in section.shown}
    given = FIELDS | {"sections": [section], "tables": shown, "pictures": dict.fromkeys(shown, [])} | changes
    return page.render(**given)


def test_text_is_escaped_and_markup_is_not():
    whole = rendered(TABLE)
    assert "<script>" not in whole and "&lt;script&gt;" in whole and "a<b" not in whole
    assert '<table id="T_toy" class="study">' in whole and "<p>a&lt;b: it&#39;s 1 &lt; 2.</p>" in whole
    assert "<h3>Said &amp; done</h3>\n<p>first&#39;s</p>\n<p>second</p>" in whole


def test_headings_names_and_what_is_missing_are_escaped():
    evil = "<img src=x onerror=alert(1)>"
    rows = pd.DataFrame({"model": [evil], evil: [evil]})
    table = Table("toy", TABLE.make, {evil: (evil, "text")}, lambda rows: evil, introduction=evil, folded=evil)
    section = Section(evil, evil, (evil,), (table,))
    one = page.shown(table, rows)
    given = {"models": evil, "missing": [evil], "machine": {evil: evil}, "sections": [section]}
    whole = page.render(
        **given, tables={"toy": one.markup}, pictures={"toy": [figures.Picture(evil, "f", b"", evil).markup]}
    )
    assert "<img src=x" not in whole + page.together([(evil, one)]).markup
    assert whole.count("&lt;img src=x") > 10


def test_a_table_brings_its_paragraph_its_fold_and_its_pictures():
    folded = Table("more", TABLE.make, TABLE.columns, TABLE.reads, folded="All", introduction="Before it")
    csv = Table("rows", TABLE.make)
    whole = rendered(TABLE, csv, folded, pictures={"toy": [Markup("<figure>1</figure>")], "more": []})
    places = [whole.index(part) for part in ("T_toy", "<figure>1", "<p>Before it", "<summary>All", "T_more")]
    assert places == sorted(places)
    assert "rows" not in re.sub("<style>.*</style>", "", whole, flags=re.DOTALL), "a CSV file is not shown"


def test_a_field_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="toy"):
        rendered(TABLE, tables={})
    with pytest.raises(jinja2.UndefinedError, match="machine"):
        page.render(**{name: value for name, value in FIELDS.items() if name != "machine"}, sections=[])


def test_what_is_not_there_is_named_and_nothing_where_all_is():
    assert "Not there" not in rendered(TABLE)
    assert "<h2>Not there</h2>\n<ul>\n<li>a&#39;s</li>\n</ul>" in rendered(TABLE, missing=["a's"])
    assert "Made on: cpu one · threads 2. Tables" in html.unescape(rendered(TABLE))


def test_the_verdicts_have_colours():
    rows = pd.DataFrame({"model": ["toy"] * 2, "run": [*page.COLOURS][:2]})
    markup = page.shown(TABLE, rows).markup
    assert all(colour in markup for colour in [*page.COLOURS.values()][:2])


def test_every_figure_stands_below_a_table_of_the_page():
    assert {figure.below for figure in figures.FIGURES.values()} <= set(catalogue.SHOWN)
    assert [one.name for one in figures.below("attack_budgets")] == ["recovered_by_queries", "cost_by_depth"]
