"""Files whole or not at all: the one writer of the study; readers.py reads them back."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from solid_utils.core import errors
from solid_utils.core.errors import StudyError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A partial file beside `path` to write into: it takes the place of `path` at the end, or is gone after an error.

    Missing folders are made. Raises StudyError where `path` cannot be a file of its own, see `refuse`, and where an
    OSError says that it cannot be written.
    """
    refuse(path)
    # A name for each process: two that write the same file never see each other's half.
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        sync(partial)
        partial.replace(path)
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error}); {errors.fix(error)} and start again") from None
    finally:
        with contextlib.suppress(OSError):  # where the folder is none, there is nothing to remove either
            partial.unlink(missing_ok=True)


def refuse(path: Path, folder: bool = False) -> None:
    """Raise StudyError where `path` is there and no plain file (or folder), or where it would lie in no folder.

    A rename would replace a device, such as /dev/null for root, or a link instead of what it points to.
    """
    what, other = ("folder", "file") if folder else ("file", "folder")
    try:
        if path.is_symlink():
            raise StudyError(f"{path}: is a link, which would be replaced; name the {what} itself")
        if path.is_file() if folder else path.is_dir():
            raise StudyError(f"{path}: is a {other}; name a {what}")
        if path.exists() and not (path.is_dir() if folder else path.is_file()):
            raise StudyError(f"{path}: is a device or a pipe; name a {what}")
        above = next((one for one in path.parents if one.exists() or one.is_symlink()), None)
        if above is not None and not above.is_dir():
            raise StudyError(f"{path}: cannot be written, as {above} is no folder; name another place")
    except OSError as error:
        raise StudyError(errors.in_words(error, path)) from None


def sync(path: Path) -> None:
    """Have a file on the disk: after a power cut, one renamed before its bytes were there would be empty."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    """A copy of a file, see `whole`."""
    with whole(target) as partial:
        shutil.copyfile(source, partial)


def write_text(text: str, path: Path) -> None:
    """A text file in UTF-8, see `whole`."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf8")


def write_json(value: object, path: Path, indent: int | None = None) -> None:
    """One JSON value and a newline, see `whole`."""
    write_text(json.dumps(value, indent=indent) + "\n", path)


def write_lines(items: Iterable[dict], path: Path) -> None:
    """JSON lines in UTF-8, one an item, see `whole`."""
    write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), path)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
