"""Errors are part of the interface: one line that names the key or file, what is wrong, and the fix."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class StudyError(Exception):
    """A mistake the user can mend. Its text is one line: where, what is wrong, the fix."""


@contextmanager
def one_line() -> Iterator[None]:
    """Turn a StudyError into one line on stderr and exit status 2, for command-line entry points."""
    try:
        yield
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
