"""Scores without training against DD, on cells whose outcomes are known; further victims need no change."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.report import forecasts, scale
from solid_utils.report.tables.forecasts import reads
from solid_utils.settings import params
from tests.report.test_scale import NEW, write_dd, write_model
from tests.synthetic import run_columns

ASKED = params.load().score_hypotheses
SMALL = "smollm2-135m"
ENDS = {f"layers {number}": 0.1 + 0.3 * number for number in range(6)}
ENDS |= {f"layers 0-{number}": 2.0 + 0.3 * number for number in range(1, 6)}
ENDS |= {"layers 2-3": 1.15, "layers 3-4": 1.45, "layers 4-5": 2.05}


def write_scores(folder: Path, values: dict[str, dict[str, float]]) -> None:
    """Scores by name and set beside the cells."""
    rows = []
    for score, by_set in values.items():
        for secured, value in by_set.items():
            row = run_columns(folder.name, secured, secured, "sem", 1, 0, "full")
            row |= {"score": score, "value": value, "texts": 100, "tokens": 6400, "flops": 10**12, "way": "none"}
            rows.append({name: row[name] for name in schema.SET_SCORES})
    schema.write(rows, schema.SET_SCORES, folder / paths.SET_SCORES_FILE)


def write_victim(reference: Path, model: str, noted: bool) -> Path:
    """A victim whose lookup falls as its outcome rises, whose residual is noise, and whose DD is half noise."""
    folder = write_model(reference, model, ENDS, {}, noted)
    stream = np.random.default_rng(len(model))
    write_dd(folder, {name: 5 + end + 1.2 * stream.standard_normal() for name, end in ENDS.items()})
    lookup = {name: 1 - 0.2 * end for name, end in ENDS.items()}
    write_scores(folder, {"lookup": lookup, "residual": {name: stream.random() for name in ENDS}})
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("reference")
    write_victim(made, SMALL, noted=True)
    return made


@pytest.fixture(scope="module")
def rows(reference) -> pd.DataFrame:
    return forecasts.table(ASKED, scale.load(reference))


def by_score(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {row["score"]: row for _, row in rows.iterrows()}


def test_a_rank_is_scipys_and_a_gain_is_over_dd(reference, rows):
    found = by_score(rows)
    assert list(rows.columns) == forecasts.TABLE and set(rows["forecast_of"]) == {"SEM"}
    rated = forecasts.sets(scale.load(reference), "SEM")
    for name in ("lookup", "residual", "dd", "start_kl", "depth"):
        expected = stats.spearmanr(rated[name], rated["end"]).statistic
        assert found[name]["rank"] == pytest.approx(expected), name
    gain = abs(found["lookup"]["rank"]) - abs(found["dd"]["rank"])
    assert found["lookup"]["over_dd"] == pytest.approx(gain) and gain > 0
    assert found["lookup"]["rank"] == pytest.approx(-1, abs=0.01), "a score may fall where the outcome rises"
    assert found["dd"]["over_lowest"] == pytest.approx(abs(found["dd"]["rank"]) - abs(found["lowest"]["rank"]))
    assert math.isnan(found["dd"]["over_dd"]), "nothing gains on itself"


def test_a_goal_is_met_by_strength_and_interval_both(rows):
    found = by_score(rows)
    assert forecasts.best(rows)["score"] == "lookup"
    assert forecasts.beats(found["lookup"], 0.9) and not forecasts.beats(found["residual"], 0.0)
    assert not forecasts.beats(found["lookup"], 1.1)
    assert forecasts.met(rows, 0.9) == ["lookup"] and forecasts.met(rows, 1.1) == []
    both = rows.assign(rank=rows["rank"].mask(rows["score"] == "residual", -0.95))
    both = both.assign(over_dd_low=both["over_dd_low"].mask(both["score"] == "residual", 0.1))
    assert forecasts.met(both, 0.9) == ["lookup", "residual"] and "and so are residual" in reads(both)
    assert "lookup ranks 14 sets best" in reads(rows) and "better than DD" in reads(rows)
    assert "no score is at" in reads(rows[rows["score"] != "lookup"])
    higher = rows["score"] == "residual"
    shaky = rows.assign(rank=rows["rank"].mask(higher, 1.0), over_dd_low=rows["over_dd_low"].mask(higher, -0.1))
    assert "lookup ranks 14 sets well" in reads(shaky) and "better than DD" in reads(shaky)


def test_holm_goes_over_the_scores_alone(rows):
    judged = rows.dropna(subset=["p"])
    assert judged["score"].tolist() == ["residual", "lookup"] and (judged["p_holm"] >= judged["p"]).all()
    assert judged["p_holm"].max() <= 2 * judged["p"].max()
    assert (judged["texts"] == 100).all() and (judged["flops"] == 10**12).all()


def test_sets_that_an_attack_leaves_further_away_are_counted(reference):
    found = scale.load(reference)
    better, worse = (found.cells.assign(c4_kl_start=start) for start in (99.0, 0.0))
    assert forecasts.moved(dataclasses.replace(found, cells=better), "SEM") == {"sets": 14, "nearer": 14}
    assert forecasts.moved(dataclasses.replace(found, cells=worse), "SEM") == {"sets": 14, "nearer": 0}


def test_what_had_been_seen_confirms_nothing(rows):
    assert SMALL not in ASKED["S1"].confirmatory and not rows["confirmatory"].any()


def rescored(found: scale.Scale, values: dict[str, dict[str, float]]) -> scale.Scale:
    """The same outcomes with other scores."""
    rows = []
    for score, by_set in values.items():
        for secured, value in by_set.items():
            named = {"model": SMALL, "secured": secured, "score": score, "value": value}
            rows.append(named | {"texts": 100, "flops": 1, "machine": "here"})
    return dataclasses.replace(found, scores=pd.DataFrame(rows))


def test_a_second_victim_is_taken_in_as_a_block(reference, tmp_path):
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    write_victim(tmp_path, NEW, noted=True)
    found = forecasts.table(ASKED, scale.load(tmp_path))
    assert set(found["model"]) == {SMALL, NEW, scale.ALL}
    dd = found[found["score"] == "dd"].set_index("model")
    single = dd["rank"].abs()[[SMALL, NEW]].mean()
    assert dd["rank"][scale.ALL] == pytest.approx(single) and dd["sets"][scale.ALL] == 28
    assert dd["rank_low"][scale.ALL] < single < dd["rank_high"][scale.ALL]
    as_it_was = found[~found["score"].isin(forecasts.MENDED)]
    confirmed = as_it_was.groupby("model")["confirmatory"].all()
    assert confirmed[NEW] and not confirmed[scale.ALL], "one of the two had been seen"
    assert not found[found["score"] == "lookup"]["confirmatory"].any(), "it was mended after it had been seen"
    lookup = found[found["score"] == "lookup"].set_index("model")
    assert lookup["rank"][scale.ALL] == pytest.approx(-1, abs=0.01), "the sign stays"


def test_a_score_that_ranks_one_victim_up_and_another_down_does_not_rank(reference, tmp_path):
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    folder = write_victim(tmp_path, NEW, noted=True)
    write_scores(folder, {"lookup": ENDS, "residual": ENDS})
    found = forecasts.table(ASKED, scale.load(tmp_path))
    one = found[(found["score"] == "lookup") & (found["model"] == scale.ALL)].iloc[0]
    assert one["rank"] == pytest.approx(0, abs=0.01), "-1 here, 1 there"
    assert one["over_dd"] > 0, "a gain goes by absolute values, as S1 asks"
    assert not forecasts.beats(one, 0.9)


def test_fewer_than_twelve_sets_are_left_out(reference):
    few = dict(list(ENDS.items())[:11])
    assert forecasts.table(ASKED, rescored(scale.load(reference), {"lookup": few})).empty


def test_scores_of_one_victim_by_two_machines_are_one_line(reference):
    """Which of them are by today's definitions, no file says."""
    found = rescored(scale.load(reference), {"lookup": ENDS})
    twice = pd.concat([found.scores, found.scores.assign(machine="there")])
    with pytest.raises(StudyError, match=f"set_scores.csv: {SMALL} has one of here and there; delete the older"):
        forecasts.scored(dataclasses.replace(found, scores=twice))


def test_the_contrast_is_of_curvature_with_residual(reference):
    found = scale.load(reference)
    assert forecasts.contrast(found).empty
    stream = np.random.default_rng(7)
    noise = {name: stream.random() for name in ENDS}
    (one,) = forecasts.contrast(rescored(found, {"curvature": ENDS, "residual": noise})).to_dict("records")
    assert one["gain_low"] > 0 and one["gain_low"] < one["gain"] < one["gain_high"] <= 1


def test_seconds_are_those_that_were_written_down(tmp_path, monkeypatch):
    facts = tmp_path / "facts.csv"
    monkeypatch.setattr(forecasts, "FACTS", facts)
    assert math.isnan(forecasts.seconds("lookup", SMALL))
    facts.write_text(f"name,value,unit,command,machine\nscore_lookup_{SMALL},12.5,s,x,y\n")
    assert forecasts.seconds("lookup", SMALL) == 12.5 and math.isnan(forecasts.seconds("residual", SMALL))


def test_the_scores_are_those_that_are_computed():
    from solid_utils.difficulty import scores  # torch, which the report itself never imports

    assert forecasts.SCORES == scores.NAMES
