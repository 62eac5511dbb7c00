"""The command that scores a victim's sets: rows that the schema takes, no time among them, the same bytes again."""

import sys

import pandas as pd
import pytest

from solid_utils.attacks import declared
from solid_utils.core import paths, schema
from solid_utils.grid import set_scores
from solid_utils.settings import params
from tests.conftest import byte_llama
from tests.difficulty.conftest import texts

MODEL = "smollm2-135m"


@pytest.fixture
def victim(tokenizer, monkeypatch, tmp_path):
    """A tiny model in the place of the study's."""
    monkeypatch.setenv("SOLID_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(set_scores.models, "load_victim", lambda *_: (byte_llama(0), tokenizer, "0123456789ab"))
    monkeypatch.setattr(set_scores.sampling, "texts", lambda *_, **__: texts(20))
    monkeypatch.setattr(set_scores, "sets_of", lambda *_: ["layers 0", "layers 0-1"])
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(set_scores.shared.torch, "set_num_threads", lambda _: None)  # other tests keep theirs
    monkeypatch.setattr(sys, "argv", ["set_scores", MODEL])
    return tmp_path


def test_a_file_is_written_once_and_holds_no_time(victim, capsys):
    set_scores.main()
    (path,) = victim.glob(f"reference/*/scale/{MODEL}/{paths.SET_SCORES_FILE}")
    table = schema.read(path, schema.SET_SCORES)
    assert table["secured"].unique().tolist() == ["layers 0", "layers 0-1"]
    assert set(table["score"]) <= set(set_scores.scores.NAMES) and len(table) >= 12
    assert not {"seconds", "time"} & set(table.columns) and "s a set, alone" in capsys.readouterr().out
    written = path.read_bytes()
    path.write_bytes(written + b" ")
    set_scores.main()
    assert path.read_bytes() == written + b" " and "delete it to compute it again" in capsys.readouterr().out
    path.unlink()
    set_scores.main()
    assert path.read_bytes() == written, "the same bytes each time"
    assert not list(victim.glob("state/*/*"))


def test_the_sets_are_those_whose_dd_is_asked_for():
    study = declared.load()
    found = set_scores.sets_of(study.scale, 30)
    assert len(found) == 15 and {"layers 0", "layers 0-14", "layers 28-29"} <= set(found)
    shipped = pd.read_csv(paths.REFERENCE / "amd-epyc-2-threads" / "scale" / MODEL / paths.DD_FILE)
    assert set(found) == set(shipped["secured"])
    assert set_scores.sets_of(params.load().grid, 30) == []
