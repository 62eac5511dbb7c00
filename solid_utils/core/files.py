"""Files whole or not at all: the one writer of the study; readers.py reads them back."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from solid_utils.core.errors import StudyError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A partial file beside `path` to write into: it takes the place of `path` at the end, or is gone after an error.

    Missing folders are made. Raises StudyError where an OSError says that it cannot be written.
    """
    # A name for each process: two that write the same file never see each other's half.
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StudyError(f"{path}: cannot be written ({error}); free some disk space and start again") from None
    finally:
        with contextlib.suppress(OSError):  # where the folder is none, there is nothing to remove either
            partial.unlink(missing_ok=True)


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
