"""Folders are replaced whole or not at all, wherever an error or a kill comes in between."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from solid_utils.core import files, folders
from solid_utils.core.errors import StudyError


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(tmp_path) -> Path:
    files.write_text("old", tmp_path / "run" / "a")
    files.write_text("old", tmp_path / "run" / "stale.csv")
    return tmp_path / "run"


@pytest.fixture(params=["exchange", "two renames"])
def disk(request, monkeypatch):
    """A disk that can exchange two names, and one that cannot."""
    if request.param == "two renames":
        monkeypatch.setattr(folders, "exchanged", lambda one, other: False)


def fill(folder: Path) -> None:
    with folders.whole(folder) as partial:
        files.write_text("new", partial / "a")
        files.write_text("new", partial / "b" / "c")


def test_a_folder_takes_the_place_of_another(old, disk):
    fill(old)
    assert tree(old.parent) == {"run/a": "new", "run/b/c": "new"}
    fill(old.parent / "deep" / "er")
    assert tree(old.parent / "deep") == {"er/a": "new", "er/b/c": "new"}


def test_an_exchange_is_one_step_here(tmp_path):
    for name in "ab":
        files.write_text(name, tmp_path / name / "file")
    assert folders.exchanged(tmp_path / "a", tmp_path / "b")
    assert tree(tmp_path) == {"a/file": "b", "b/file": "a"}
    assert not folders.exchanged(tmp_path / "a", tmp_path / "none")


@pytest.mark.parametrize("manager", [folders.whole, folders.together])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_error_on_the_way_leaves_the_old_folder(manager, error, old, disk):
    before = tree(old.parent)
    with pytest.raises((KeyboardInterrupt, StudyError)) as caught, manager(old) as partial:
        files.write_text("half", partial / "a")
        raise error
    assert tree(old.parent) == before
    assert isinstance(error, KeyboardInterrupt) or str(caught.value).endswith("; free some disk space and start again")


@pytest.mark.parametrize("fails", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder(fails, old, monkeypatch):
    monkeypatch.setattr(folders, "exchanged", lambda one, other: False)
    before, rename, calls = tree(old.parent), os.rename, []

    def failing(*names):
        calls.append(names)
        if len(calls) == fails:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(*names)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(StudyError, match="cross-device"):
        fill(old)
    assert tree(old.parent) == before


def test_a_kill_between_two_renames_is_mended(old, monkeypatch):
    code = f"""
import os, pathlib
from solid_utils.core import folders
folders.exchanged = lambda one, other: False
rename = os.rename
def killed(one, other):
    rename(one, other)
    os.kill(os.getpid(), {int(signal.SIGKILL)})
os.rename = killed
with folders.whole(pathlib.Path({str(old)!r})) as partial:
    (partial / "a").write_text("new")
"""
    before = tree(old)
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert not old.exists()
    with pytest.raises(ZeroDivisionError), folders.whole(old):
        assert tree(old) == before
        raise ZeroDivisionError
    assert tree(old) == before and [path.name for path in old.parent.iterdir()] == ["run"]


def test_files_take_their_places_together_and_stale_ones_go_last(old, monkeypatch):
    files.write_text("mine", old / "notes.txt")
    with folders.together(old, stale=("*.csv",)) as made:
        files.write_text("new", made / "a")
        files.write_text("new", made / "sub" / "new.csv")
        assert tree(old)["a"] == "old"
    assert tree(old) == {"a": "new", "sub/new.csv": "new", "notes.txt": "mine"}


def test_all_places_are_looked_at_before_the_first_file_moves(old):
    (old / "b").mkdir()
    with pytest.raises(StudyError, match="run/b: is a folder; name a file"), folders.together(old) as made:
        files.write_text("new", made / "a")
        files.write_text("new", made / "b")
    assert tree(old)["a"] == "old"


def test_what_a_killed_process_left_goes_and_a_live_one_s_stays(old):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for number in (dead.pid, os.getppid()):
        files.write_text("half", old.with_name(f"run.partial-{number}") / "a")
        files.write_text("half", old / f"new.partial-{number}" / "a")
    with folders.together(old):
        pass
    assert [path.name for path in old.glob("new.*")] == [f"new.partial-{os.getppid()}"]
    fill(old)
    assert [path.name for path in old.parent.glob("run.*")] == [f"run.partial-{os.getppid()}"]


@pytest.mark.parametrize("manager", [folders.whole, folders.together])
def test_what_is_no_folder_is_refused_and_stays(manager, tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path)
    for path, message in ((tmp_path / "file", "is a file; name a folder"), (tmp_path / "link", "is a link")):
        with pytest.raises(StudyError, match=message), manager(path):
            pass
    with pytest.raises(StudyError, match="null: is a device"), manager(Path("/dev/null")):
        pass
    assert (tmp_path / "file").read_text() == "old" and (tmp_path / "link").is_symlink()
