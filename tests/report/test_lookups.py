"""Lookups: one evaluation over three kinds of text, worked out by hand; what is not there is one line."""

import dataclasses
from pathlib import Path

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.report.cells import Run
from solid_utils.report.documents import correlation, number, percent, rounded, within
from solid_utils.report.lookups import Lookups

KINDS = {"evaluation": (0.8, 100), "evaluation_c4": (0.5, 60), "evaluation_code": (0.2, 40)}


@pytest.fixture
def run() -> Run:
    """After the attack agreement is 0.8 of 100 tokens, 0.5 of 60, 0.2 of 40; before it was 0.1 everywhere."""
    after = {("agreement", name): score for name, score in KINDS.items()}
    before = {("agreement", name): (0.1, tokens) for name, (_, tokens) in KINDS.items()}
    return Run("sem", "layers 0", "layers 0", 42, 400, before, after)


def test_pooled_counts_every_token_once(run):
    assert run.measured("agreement") == pytest.approx((80 + 30 + 8) / 200)
    assert [run.measured("agreement", text) for text in ("own", "c4", "code")] == [0.8, 0.5, 0.2]
    assert run.measured("agreement", start=True) == pytest.approx(0.1)
    assert run.recovered() == pytest.approx((0.59 - 0.1) / 0.9) and run.recovered("code") == pytest.approx(0.1 / 0.9)
    assert (run.tokens(), run.tokens("c4")) == (200, 60)


def test_a_missing_kind_of_text_is_no_pool(run):
    del run.after["agreement", "evaluation_code"]
    with pytest.raises(StudyError, match="agreement on pooled: 2 of 3 kinds of text"):
        run.measured("agreement")


def test_what_ran_is_told_from_what_did_not(run):
    lookups = Lookups(Path("box"), Path("box"))
    other = dataclasses.replace(run, seed=20, after=run.after | {("agreement", "evaluation_c4"): (0.7, 60)})
    alone = ("sem", "layers 0", "paper", 400)
    lookups.__dict__["grid"] = {("sem", "layers 0", "ours", 400): [run, other], alone: [run]}
    cell = ("layers 0", "sem", 400)
    assert lookups.seeds(*cell) == 2 and lookups.seeds("layers 3", "sem", 400) == 0
    assert lookups.recovered(*cell) == pytest.approx((0.49 + 0.55) / 2 / 0.9)
    assert lookups.spread(*cell) == pytest.approx(0.06 / 0.9)
    assert (lookups.shown(*cell), lookups.shown(*cell, recipe="paper")) == ("57.8", "54.4*")
    assert lookups.shown("layers 3", "sem", 400) == "" and lookups.four("layers 3", "sem", 400) == " | | | "
    with pytest.raises(StudyError, match="names only what ran"):
        lookups.recovered("layers 3", "sem", 400)


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
