"""A folder that one process works in at a time. The system frees the lock when that process ends, however it ends."""

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from solid_utils.core.errors import StudyError

FILE = "lock"
HOLDER = "SOLID_STATE_HOLDER"  # environment: who lets the processes that he starts work in his folders
_held: dict[Path, int] = {}  # folders of this process -> descriptors of their lock files


def me() -> str:
    """This process in words, as its lock files name it."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def take(folder: Path, wait: bool = False) -> bool:
    """Make a folder this process's own until `release` or its end; once more by the same process is no harm.

    False where a holder has let this process in (HOLDER). Raises StudyError where another process works there, unless
    it should `wait`, and where the folder cannot be made or locked.
    """
    if _is_mine(folder):
        return True
    try:
        return _take(folder, wait)
    except OSError as error:
        raise StudyError(f"{folder}: cannot be locked ({error}); set SOLID_STATE to a folder that can") from None


def _take(folder: Path, wait: bool) -> bool:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # its holder discarded the folder in between
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            who = os.pread(descriptor, 1000, 0).decode() or "another process"  # that has not yet written its name
            os.close(descriptor)
            if who == os.environ.get(HOLDER):
                return False
            fix = "wait for it, end it, or set SOLID_STATE to another folder"
            raise StudyError(f"{folder}: {who} works there; {fix}") from None
        _held[folder.resolve()] = descriptor
        if _is_mine(folder):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, me().encode(), 0)
            return True


def _is_mine(folder: Path) -> bool:
    """Does this process hold the lock of the folder that stands there now? A lock file may be moved or discarded."""
    descriptor = _held.get(folder.resolve())
    if descriptor is None:
        return False
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(folder / FILE), os.fstat(descriptor)):
            return True
    release(folder)
    return False


def release(folder: Path) -> None:
    """Let others work in a folder. Nothing where this process does not hold it."""
    if (descriptor := _held.pop(folder.resolve(), None)) is not None:
        os.close(descriptor)


def descriptors() -> list[int]:
    """Of the lock files that this process holds: a process that inherits them keeps the folders locked as well."""
    return list(_held.values())
