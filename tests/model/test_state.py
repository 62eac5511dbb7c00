"""Finished pieces survive what does not concern them, and what does never costs them: two processes, a kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from solid_utils.core import lock, paths, rooms
from solid_utils.core.errors import StudyError
from solid_utils.model import state
from solid_utils.model.state import State

HALF_DONE = """
import pathlib, sys, torch
from solid_utils.core import paths, rooms
from solid_utils.model.state import State
rooms.PACKAGE, paths.SETS, paths.STATE = map(pathlib.Path, sys.argv[1:4])
torch.set_num_threads(int(sys.argv[4]))
print(State("run", {}, "training").cached("piece", lambda: [1]), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch) -> Path:
    """A package of four rooms, sets and states of its own."""
    texts = {
        "core/files.py": "",
        "model/state.py": "from solid_utils.core import files\n",
        "training/training.py": "from solid_utils.model import state\n",
        "report/figures.py": "from solid_utils.core import files\n",
    }
    for name, text in texts.items():
        path = tmp_path / "solid_utils" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(rooms, "PACKAGE", tmp_path / "solid_utils")
    monkeypatch.setattr(paths, "SETS", tmp_path / "sets")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")
    monkeypatch.delenv("SOLID_STATE", raising=False)
    monkeypatch.delenv(lock.HOLDER, raising=False)
    yield tmp_path / "solid_utils"
    for folder in list(lock._held):
        lock.release(folder)


def piece(settings: dict, value: list, room: str = "training", **options) -> list:
    """The piece of a run that would compute `value`."""
    return State("run", settings, room, **options).cached("piece", lambda: value)


def test_finished_pieces_are_not_computed_again(capsys):
    calls = []
    for _ in range(2):
        value = State("run", {"rate": 1}, "training").cached("piece", lambda: calls.append(1) or {"a": 0.1})
    assert value == {"a": 0.1} and calls == [1] and capsys.readouterr().out == ""


@pytest.mark.parametrize("shared", [False, True])
def test_another_rooms_file_keeps_half_done_work_and_its_own_rooms_do_not(house, capsys, shared):
    assert piece({}, [1], shared=shared) == [1]
    (house / "report" / "figures.py").write_text("# a comment\n")
    assert piece({}, [2], shared=shared) == [1] and capsys.readouterr().out == ""
    with (house / "training" / "training.py").open("a") as file:
        file.write("# a comment\n")
    assert piece({}, [3], shared=shared) == [3]
    folder = paths.STATE / "run"
    assert capsys.readouterr().out == (
        f"state: {folder}: made with other room training; kept as {folder}.outdated-1, begun anew\n"
    )
    assert json.loads((paths.STATE / "run.outdated-1" / "piece.json").read_text()) == [1]


def test_what_changed_is_named_and_every_outdated_folder_is_kept(house, monkeypatch, capsys):
    def change_set():
        (paths.SETS / "benchmarks").mkdir(parents=True)
        (paths.SETS / "benchmarks" / "one.jsonl").write_text("{}\n")

    changes = {
        "room core": lambda: (house / "core" / "new.yaml").write_text("a: 1\n"),
        "sets": change_set,
        "machine": lambda: monkeypatch.setattr(torch, "get_num_threads", lambda: 99),
        "room model": lambda: (house / "model" / "state.py").rename(house / "model" / "moved.py"),
    }
    piece({"rate": 1}, [0])
    for number, (what, change) in enumerate(changes.items(), start=1):
        change()
        assert piece({"rate": 1}, [number]) == [number] and f": made with other {what};" in capsys.readouterr().out
    (house / "model" / "moved.py").write_text("")  # and it stands on core no more: no room that training needs
    piece({"rate": 2}, [5])
    assert "made with other settings, room core and room model; kept as" in capsys.readouterr().out
    kept = [paths.STATE / f"run.outdated-{number}" for number in range(1, 6)]
    assert [json.loads((folder / "piece.json").read_text()) for folder in kept] == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize("mark", [None, "{", "[]", '{"parts": 3}'])
def test_state_of_an_earlier_version_is_kept_and_named(capsys, mark):
    folder = paths.STATE / "run"
    folder.mkdir(parents=True)
    (folder / "fingerprint").write_text("0123")
    if mark:
        (folder / state.MARK).write_text(mark)
    assert piece({}, [1]) == [1]
    reason = "its state.json cannot be read" if mark else "made by an earlier version"
    assert capsys.readouterr().out == f"state: {folder}: {reason}; kept as {folder}.outdated-1, begun anew\n"
    assert (paths.STATE / "run.outdated-1" / "fingerprint").read_text() == "0123"


def test_a_discarded_state_makes_the_next_run_a_real_one():
    work = State("run", {}, "training")
    work.cached("piece", lambda: [1])
    (paths.STATE / "run.discarded-1").mkdir()  # of a process that was killed while it discarded
    work.discard()
    assert list(paths.STATE.iterdir()) == []
    assert piece({}, [2]) == [2]


def test_solid_state_keeps_state_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLID_STATE", str(tmp_path / "elsewhere"))
    piece({}, [1])
    assert (tmp_path / "elsewhere" / "run" / "piece.json").exists() and not paths.STATE.exists()
    monkeypatch.setattr(paths, "STATE", tmp_path / "new clone" / "state")
    assert piece({}, [2]) == [1]


@contextmanager
def another_run(**environment) -> Iterator[tuple[subprocess.Popen, str]]:
    """Another process at the same run, and what it says of its piece; it goes on until it is killed."""
    code = [sys.executable, "-c", HALF_DONE, rooms.PACKAGE, paths.SETS, paths.STATE, str(torch.get_num_threads())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(code, env=os.environ | environment, **pipes)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def test_a_second_run_stops_and_goes_on_once_the_first_is_killed(capsys):
    with another_run() as (process, said):
        assert said == "[1]", process.stderr.read()
        with pytest.raises(
            StudyError, match=f"state/run: process {process.pid} on .* works there; wait for it, end it"
        ):
            piece({}, [2])
    assert process.returncode == -signal.SIGKILL
    assert piece({}, [2]) == [1] and capsys.readouterr().out == ""


def test_processes_that_the_holder_started_are_let_in_unless_the_code_changed(house):
    piece({}, [0])
    with another_run(**{lock.HOLDER: lock.me()}) as (_, said):
        assert said == "[0]"
    (house / "training" / "training.py").write_text("")
    with another_run(**{lock.HOLDER: lock.me()}) as (process, said):
        complaint = "made with other room core, room model and room training, by the process that works there; end it"
        assert said == "" and complaint in process.stderr.read()


def test_two_runs_share_pieces_that_belong_to_both():
    assert piece({}, [5], shared=True) == [5]
    with another_run() as (_, said):  # the first one goes on
        assert said == "[5]"


def test_discard_all_leaves_what_is_kept_and_what_others_work_at(house):
    for name in ("all/one", "all/two"):
        State(name, {"rate": 1}, "training")
    State("all/two", {"rate": 2}, "training")
    state.discard_all("all")
    assert [path.name for path in (paths.STATE / "all").iterdir()] == ["two.outdated-1"]
    with another_run() as (_, said):
        assert said == "[1]"
        state.discard_all("")
        assert (paths.STATE / "run").is_dir()
