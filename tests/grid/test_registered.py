"""What was asked when a cell began is written down before it runs."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from solid_utils.core import lock, paths, schema
from solid_utils.grid import registered


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/hypotheses.yaml").write_text("hypotheses: {}\n")
    return tmp_path / "cells"


def rows(folder: Path) -> dict[str, tuple[str, str]]:
    table = schema.read(folder / paths.HYPOTHESES_FILE, schema.REGISTERED)
    return {row["cell"]: (row["sha256"], row["commit"]) for row in table.to_dict("records")}


def test_the_text_that_stood_then_and_the_commit(here):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "configs"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "asked"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    registered.note(here, "b")
    first = hashlib.sha256(b"hypotheses: {}\n").hexdigest()
    Path("configs/hypotheses.yaml").write_text("hypotheses: {H1: other}\n")
    registered.note(here, "a")
    other = hashlib.sha256(b"hypotheses: {H1: other}\n").hexdigest()
    assert rows(here) == {"a": (other, head + "+"), "b": (first, head)}
    registered.note(here, "b")
    assert rows(here)["b"] == (other, head + "+"), "begun again, noted again"


def test_several_processes_lose_no_note(here):
    code = "import sys; from pathlib import Path; from solid_utils.grid import registered\n"
    code += "for number in range(6): registered.note(Path('cells'), f'{sys.argv[1]}-{number}')"
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "pq"]
    assert [one.wait(timeout=120) for one in running] == [0, 0]
    assert len(rows(here)) == 12
    lock.take(here)
    lock.release(here)
