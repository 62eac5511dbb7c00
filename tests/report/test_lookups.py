"""Lookups: one evaluation over three kinds of text, worked out by hand; what is not there is one line."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import lookups_scale
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


def test_a_point_of_the_scale_study_is_there_or_one_line(tmp_path):
    (tmp_path / "tables").mkdir()
    head = "model,machine,secured,attack,recipe,queries,own_above\n"
    rows = ["m,a + b,layers 0,stitch,map,10,0.6", "m,b,layers 0,stitch,map,25,0.9"]
    (tmp_path / "tables/scale.csv").write_text(head + "\n".join(rows) + "\n")
    lookups = Lookups(tmp_path, tmp_path / "tables")
    point = "m", "layers 0", "stitch", "map", 10
    assert lookups.scale_cell(*point)["own_above"] == 0.6
    with pytest.raises(StudyError, match="tables/scale.csv: 0 rows of .*'queries': 50"):
        lookups.scale_cell(*point[:-1], 50)


def test_progress_counts_cells_on_whatever_machine_by_group(tmp_path, monkeypatch):
    columns = dict(zip(schema.PLAN, ["map", "a", "layers 0", "stitch", "map", 100, 42], strict=True))
    for machine, cells in (("m1", ("a", "b")), ("m2", ("a", "b", "c"))):
        rows = [columns | {"cell": cell} for cell in cells] + [columns | {"group": "gone"}]
        schema.write(rows, schema.PLAN, tmp_path / machine / "scale" / "m" / paths.PLAN_FILE)
    ended = pd.DataFrame({"model": ["m", "m"], "cell": ["a", "a"], "machine": ["m1", "m2"]})
    monkeypatch.setattr(lookups_scale.scale, "load", lambda: SimpleNamespace(cells=ended))
    (told,) = [one for one in Lookups(tmp_path / "m1", tmp_path).scale_progress() if one["victims"]]
    assert told == {"group": "map", "victims": {"m": "1 of 3"}}
    assert Lookups(tmp_path / "none" / "m1", tmp_path).scale_progress() == []


def test_how_exact_is_exact_enough(tmp_path):
    facts = {"model": "m", "revision": "r", "tier": "full", "dtype": "float32", "secured": "layers 0", "seed": 20}
    facts |= {"parameters": 1, "share": 0.1, "depth": 1, "lowest": 0, "highest": 0, "only_layers": True}
    for machine, same in (("other", [0.0, 0.0, 0.0, 0.0]), ("mine", [0.5, 1.0, 0.9, 1.0])):
        rows = [
            facts
            | {"noise": noise, "state_error": 2 * noise, "benchmark": benchmark, "agreement": 0.9, "kl": 0.1}
            | {"n": 100, "prompts": 48, "greedy_match": match if benchmark == "evaluation" else 0.25}
            for noise, match in zip((0.1, 0.03, 0.01, 0.003), same, strict=True)
            for benchmark in ("evaluation", "evaluation_c4", "evaluation_code")
        ]
        schema.write(rows, schema.EXACTNESS, tmp_path / machine / "scale" / "m" / paths.EXACTNESS_FILE)
    mine = Lookups(tmp_path / "mine", tmp_path / "tables")
    found = mine.exactness_rows("m")
    assert [row["noise"] for row in found] == [0.1, 0.03, 0.01, 0.003], "of this machine alone"
    assert found[0] | {"own_same": 0.5, "c4_same": 0.25, "prompts": 48, "own": 0.9} == found[0]
    assert mine.exact_enough("m") == 0.006, "at 0.06 all answers are right by luck: a smaller error has a wrong one"
    path = tmp_path / "mine" / "scale" / "m" / paths.EXACTNESS_FILE
    whole = path.read_text()
    for wrong, complaint in (
        (whole.replace("0.1,20,", "inf,20,", 1), "exactness.csv: noise .* has other sets than the rest"),
        (whole.replace(",0.2,", ",nan,", 1), "exactness.csv: .*state_error"),
        (whole.replace(",0.5,", ",1.5,", 1), "exactness.csv: .*greedy_match"),
        (whole.replace("state_error", "error", 1), "exactness.csv: columns do not fit"),
    ):
        assert wrong != whole
        path.write_text(wrong)
        with pytest.raises(StudyError, match=complaint):
            mine.exactness_rows("m")
    path.write_text(whole)
    with pytest.raises(StudyError, match="no noise is small enough"):
        Lookups(tmp_path / "other", tmp_path / "tables").exact_enough("m")
    with pytest.raises(StudyError, match="exactness.csv of n: none"):
        mine.exact_enough("n")


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
