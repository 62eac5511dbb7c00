import pandas as pd
import pytest
import torch

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.model import state


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "STATE", tmp_path)


def test_finished_pieces_are_not_computed_again():
    calls = []
    for _ in range(2):
        value = state.State("run", {"rate": 1}).cached("piece", lambda: calls.append(1) or {"a": 0.1})
    assert value == {"a": 0.1} and calls == [1]


def test_other_settings_or_other_code_start_anew(tmp_path, monkeypatch):
    state.State("run", {"rate": 1}).cached("piece", lambda: [1])
    assert state.State("run", {"rate": 2}).cached("piece", lambda: [2]) == [2]
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "new.py").write_text("x = 1\n")
    monkeypatch.setattr(state, "SOURCE", tmp_path / "code")
    assert state.State("run", {"rate": 2}).cached("piece", lambda: [3]) == [3]


def test_other_sets_tasks_or_threads_start_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "SOURCE", tmp_path / "code")
    monkeypatch.setattr(paths, "SETS", tmp_path / "sets")
    calls = []
    for place in ("code/tasks/one.yaml", "sets/benchmarks/one.jsonl", "sets/attack.jsonl"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("{}\n")
        for _ in range(2):
            state.State("run", {}).cached("piece", lambda place=place: calls.append(place) or [])
    assert calls == ["code/tasks/one.yaml", "sets/benchmarks/one.jsonl", "sets/attack.jsonl"]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    state.State("run", {}).cached("piece", lambda: calls.append("threads") or [])
    assert calls[3:] == ["threads"]


def test_a_discarded_state_makes_the_next_run_a_real_one():
    work = state.State("run", {})
    work.cached("piece", lambda: [1])
    work.discard()
    assert state.State("run", {}).cached("piece", lambda: [2]) == [2]


def test_tables_are_written_whole_and_in_their_schema(tmp_path):
    row = dict.fromkeys(schema.ANSWERS, "x")
    schema.write([row], schema.ANSWERS, tmp_path / "a.csv")
    assert list(tmp_path.glob("*")) == [tmp_path / "a.csv"]
    assert schema.read(tmp_path / "a.csv", schema.ANSWERS).to_dict("records") == [row]
    with pytest.raises(StudyError, match="columns .'time'. do not fit core/schema.py"):
        schema.write(pd.DataFrame([row | {"time": 1}]), schema.ANSWERS, tmp_path / "b.csv")
    with pytest.raises(StudyError, match="missing; run `dvc repro`"):
        schema.read(tmp_path / "b.csv", schema.ANSWERS)
    with pytest.raises(StudyError, match="columns do not fit"):
        schema.read(tmp_path / "a.csv", schema.SCORES)
