"""Several processes that share one list of cells on one machine: who runs what, and who writes when."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solid_utils.core import files, lock, readers
from solid_utils.core.errors import StudyError


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time works in a folder; whoever comes later waits."""
    mine = lock.take(folder, wait=True)
    try:
        yield
    finally:
        if mine:
            (folder / lock.FILE).unlink(missing_ok=True)  # while it is held, or two could hold one each
            lock.release(folder)


def claim(folder: Path) -> bool:
    """Take a state's folder for this process until it is discarded; False, and a line, where another works there."""
    try:
        lock.take(folder)
    except StudyError as error:
        print(f"shared: {error}; left to it", flush=True)
        return False
    return True


def paces(path: Path) -> dict[str, dict[str, float]]:
    """Seconds by model and cell that ran here; none where that file was cut: they only foretell times."""
    try:
        return readers.read_object(path, "")
    except StudyError:
        return {}


def add_pace(path: Path, model: str, cell: str, seconds: float) -> dict[str, dict[str, float]]:
    """Write down how long a cell took, beside what other processes wrote down meanwhile; returns all of it."""
    with alone(path.parent):
        found = paces(path)
        found.setdefault(model, {})[cell] = seconds
        files.write_json(found, path)
    return found
