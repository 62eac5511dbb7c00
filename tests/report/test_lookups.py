"""Lookups: one evaluation over three kinds of text, worked out by hand; what is not there is one line."""

from pathlib import Path

import pandas as pd
import pytest

from solid_utils.core.errors import StudyError
from solid_utils.report.documents import correlation, number, percent, rounded, within
from solid_utils.report.lookups import Lookups, measured


@pytest.fixture
def rows() -> pd.DataFrame:
    """Agreement of one state of one run: 0.8 of 100 tokens, 0.5 of 60, 0.2 of 40."""
    kinds = [("evaluation", 0.8, 100), ("evaluation_c4", 0.5, 60), ("evaluation_code", 0.2, 40)]
    return pd.DataFrame(
        [{"metric": "agreement", "benchmark": name, "value": value, "n": n} for name, value, n in kinds]
    )


def test_pooled_counts_every_token_once(rows):
    assert measured(rows, "agreement", "pooled") == pytest.approx((80 + 30 + 8) / 200)
    assert [measured(rows, "agreement", text) for text in ("own", "c4", "code")] == [0.8, 0.5, 0.2]


def test_a_missing_kind_of_text_is_no_pool(rows):
    with pytest.raises(StudyError, match="agreement on pooled: 2 of 3 sets of texts"):
        measured(rows.head(2), "agreement", "pooled")


def test_a_row_is_one_row(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/search.csv").write_text("start,dd\nxavier,12.5\nnormal,12\nnormal,11\n")
    lookups = Lookups(tmp_path, tmp_path / "tables")
    assert lookups.row("search", start="xavier")["dd"] == 12.5
    for start, count in (("normal", 2), ("skip", 0)):
        with pytest.raises(StudyError, match=f"table search: {count} rows"):
            lookups.row("search", start=start)
    with pytest.raises(StudyError, match="no such table"):
        lookups.table("gone")


def test_settings_the_paper_and_facts():
    lookups = Lookups(Path("reference"), Path("reference"))
    assert lookups.paper_steps() == 51_000 * 30 / 32
    assert lookups.printed(27, "Llama2-7B", "FT-all", "*", "distillation_difficulty") == 11.19
    assert lookups.chance() == pytest.approx(22.97, abs=0.01)
    assert lookups.legitimate().min() == 62_000
    for asked in (
        lambda: lookups.setting("tiers", "tiers", "huge"),
        lambda: lookups.printed(27, "Llama2-7B", "FT-all", "*", "PIKA"),
        lambda: lookups.fact("moon"),
    ):
        with pytest.raises(StudyError):
            asked()


def test_how_numbers_are_written():
    assert (percent(0.7993), percent(0.7993, 0), number(10208, 0), number(12.2273)) == ("79.9", "80", "10,208", "12.23")
    assert rounded(47_812.5, 100) == "47,800"
    assert within({"a": 0.5, "a_low": 0.4591, "a_high": 0.55}, "a") == "50.0 [45.9, 55.0]"
    assert correlation({"spearman": -0.428, "spearman_low": -0.9, "spearman_high": 0.6}) == "-0.43 [-0.90, 0.60]"
    with pytest.raises(StudyError, match="unknown"):
        number(float("nan"))
