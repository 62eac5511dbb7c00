"""One process a folder; killed by -9 it leaves no lock."""

import os
import subprocess
import sys

import pytest

from solid_utils.core import lock
from solid_utils.core.errors import StudyError

HOLD = """
import pathlib, sys
from solid_utils.core import lock
print(lock.take(pathlib.Path(sys.argv[1])), lock.me(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv(lock.HOLDER, raising=False)
    yield tmp_path / "work"
    lock.release(tmp_path / "work")


@pytest.fixture
def other(folder):
    """Another process, which took the folder or was let in, or else has ended; it stays until it is killed."""
    begun = []

    def begin(**environment) -> tuple[subprocess.Popen, str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen([sys.executable, "-c", HOLD, folder], env=os.environ | environment, **pipes))
        return begun[-1], begun[-1].stdout.readline().strip()

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def test_the_second_process_is_told_who_works_there_and_a_kill_frees_the_folder(folder, other):
    process, said = other()
    assert said.startswith(f"True process {process.pid} on ")
    who = said.removeprefix("True ")
    with pytest.raises(
        StudyError, match=f"work: {who} works there; wait for it, end it, or set SOLID_STATE to another"
    ):
        lock.take(folder)
    process.kill()
    process.wait()
    assert lock.take(folder) and lock.take(folder), "the same process may take it again"


def test_only_whom_the_holder_lets_in_may_come_in(folder, other):
    assert lock.take(folder)
    process, said = other()
    assert said == "" and f"StudyError: {folder}: {lock.me()} works there" in process.stderr.read()
    assert other(**{lock.HOLDER: "process 1 on another machine"})[1] == ""
    assert other(**{lock.HOLDER: lock.me()})[1].startswith("False ")


def test_who_waits_gets_the_folder_when_it_is_free(folder, other):
    process, _ = other()
    process.stdin.close()
    assert lock.take(folder, wait=True)


def test_a_process_that_inherits_the_lock_keeps_it(folder):
    lock.take(folder)
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=lock.descriptors())
    lock.release(folder)
    with pytest.raises(StudyError, match="works there"):
        lock.take(folder)
    heir.kill()
    heir.wait()
    assert lock.take(folder)


def test_a_folder_that_was_moved_away_is_taken_anew(folder):
    lock.take(folder)
    folder.rename(folder.with_name("moved"))
    assert lock.take(folder) and (folder / lock.FILE).read_text() == lock.me()


def test_a_folder_that_cannot_be_made_is_one_line(folder):
    folder.write_text("a file")
    with pytest.raises(StudyError, match=r"work: cannot be locked \(.*\); set SOLID_STATE to a folder that can"):
        lock.take(folder)
