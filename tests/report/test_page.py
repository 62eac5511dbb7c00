"""Tables as notebooks show them: escaped, verdicts in colours; and every figure below a table."""

import pandas as pd

from solid_utils.report import catalogue, figures, page
from solid_utils.report.table import Table

ROWS = pd.DataFrame({"model": ["a<b"], "run": ["<script>"]})
TABLE = Table("toy", lambda context: ROWS, {"run": ("run", "text")}, lambda rows: "it's 1 < 2.")


def test_text_is_escaped_and_markup_is_not():
    evil = "<img src=x onerror=alert(1)>"
    table = Table("toy", TABLE.make, {evil: (evil, "text")}, lambda rows: "it's 1 < 2.")
    one = page.shown(table, pd.DataFrame({"model": ["a<b"], evil: [evil]}))
    whole = page.together([(evil, one)]).markup
    assert "<img src=x" not in whole and whole.count("&lt;img src=x") == 3
    assert '<table id="T_toy" class="study">' in whole and "<p>a&lt;b: it&#39;s 1 &lt; 2.</p>" in whole
    assert repr(one).endswith("a<b: it's 1 < 2.")


def test_the_verdicts_have_colours():
    rows = pd.DataFrame({"model": ["toy"] * 2, "run": [*page.COLOURS][:2]})
    markup = page.shown(TABLE, rows).markup
    assert all(colour in markup for colour in [*page.COLOURS.values()][:2])


def test_every_figure_stands_below_a_table_of_the_page():
    assert {figure.below for figure in figures.FIGURES.values()} <= set(catalogue.SHOWN)
    assert [one.name for one in figures.below("attack_budgets")] == [
        *("recovered_by_depth", "recovered_by_queries", "cost_by_depth"),
    ]
