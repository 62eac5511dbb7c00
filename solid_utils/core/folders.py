"""Folders whole or not at all: the old one stays until the new one is filled, also when the process is killed."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from solid_utils.core import errors, files
from solid_utils.core.errors import StudyError

STAGE = "new"
AT_CWD, EXCHANGE = -100, 2  # of renameat2(2): relative to this folder; both names change places in one step


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` to fill: it takes the place of `folder` at the end, or is gone after an error.

    Beside, so on the same disk: a rename cannot cross disks. Raises StudyError where `folder` is no folder, see
    files.refuse, and where an OSError says that it cannot be written.
    """
    files.refuse(folder, folder=True)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    try:
        mend(folder)
        partial.mkdir(parents=True)
        yield partial
        swap(partial, folder)
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written ({error}); {errors.fix(error)} and start again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # the old folder, or half of the new one


@contextmanager
def together(folder: Path, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """An empty folder in `folder` to fill: at the end each file takes its place in `folder`, or none after an error.

    For a folder that holds more than these files. Then files that fit the patterns `stale` and were not made are
    removed. Raises StudyError as `whole` does.
    """
    with staged(folder) as made:
        yield made
        put(made, folder, stale)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """An empty folder in `folder`, gone at the end. Raises StudyError as `whole` does."""
    files.refuse(folder, folder=True)
    made = folder / f"{STAGE}.partial-{os.getpid()}"
    try:
        forget(folder, STAGE)
        made.mkdir(parents=True)
        yield made
    except OSError as error:
        raise StudyError(f"{folder}: cannot be written ({error}); {errors.fix(error)} and start again") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def put(made: Path, folder: Path, stale: tuple[str, ...] = ()) -> None:
    """Move every file of `made` to its place in `folder`, on the same disk; last, remove what is `stale`."""
    names = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    for name in names:  # all are looked at before the first one is moved
        files.refuse(folder / name)
    for name in sorted(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        files.sync(made / name)
        (made / name).replace(folder / name)
    for old in [path for pattern in stale for path in folder.glob(pattern)]:
        if old.relative_to(folder) not in names:
            old.unlink()


def swap(new: Path, folder: Path) -> None:
    """`new` takes the place of `folder`, and the old one, if any, that of `new`: in one step where the disk can."""
    if not folder.exists():
        new.rename(folder)
    elif not exchanged(new, folder):
        aside = folder.with_name(f"{folder.name}.old-{os.getpid()}")
        folder.rename(aside)
        try:
            new.rename(folder)
        except BaseException:
            aside.rename(folder)
            raise
        aside.rename(new)


def exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places. False where this system or this disk (NFS) cannot."""
    with suppress(AttributeError):  # an older C library
        call = ctypes.CDLL(None, use_errno=True).renameat2
        return call(AT_CWD, os.fsencode(one), AT_CWD, os.fsencode(other), EXCHANGE) == 0
    return False


def mend(folder: Path) -> None:
    """Undo what a killed process left beside `folder`: half a new one, and the old one between two renames."""
    for old in sorted(folder.parent.glob(f"{folder.name}.old-*")):
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)
    forget(folder.parent, folder.name)


def forget(place: Path, name: str) -> None:
    """Remove what processes that were killed left in `place` of a folder or stage of this name."""
    for half in place.glob(f"{name}.partial-*"):
        if not alive(half.name.rpartition("-")[2]):
            shutil.rmtree(half, ignore_errors=True)


def alive(number: str) -> bool:
    """Does another process of this number run here?"""
    try:
        os.kill(int(number), 0)
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return int(number) != os.getpid()
