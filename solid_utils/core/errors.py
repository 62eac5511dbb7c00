"""Errors are part of the interface: one line that names the key or file, what is wrong, and the fix."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MISTAKE = 2  # exit status of what the user can mend
INTERRUPTED = 130  # as shells say it: 128 + SIGINT
NO_READER = 141  # 128 + SIGPIPE
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class StudyError(Exception):
    """A mistake the user can mend. Its text is one line: where, what is wrong, the fix."""


@contextmanager
def one_line() -> Iterator[None]:
    """For command-line entry points: what ends a command becomes one line on stderr and an exit status that is not 0.

    A StudyError and an error of the system (disk, rights) have status MISTAKE, Ctrl-C has INTERRUPTED, and an output
    that nobody reads any more has NO_READER.
    """
    try:
        with _written_out():
            yield
    except StudyError as error:
        end(str(error), MISTAKE)
    except KeyboardInterrupt:
        end("interrupted; what was written is whole, start again to go on", INTERRUPTED)
    except BrokenPipeError:
        end("output: its reader has gone (a closed pipe); read all of it, or write it into a file", NO_READER)
    except OSError as error:
        end(in_words(error), MISTAKE)


@contextmanager
def _written_out() -> Iterator[None]:
    """What was printed is out at the end: a closed pipe shows here, and not after the last line of the program."""
    try:
        yield
    except SystemExit:  # argparse's --help, and commands with a status of their own
        _flush()
        raise
    _flush()


def _flush() -> None:
    if sys.stdout and not sys.stdout.closed:
        sys.stdout.flush()


def in_words(error: OSError, where: object = None) -> str:
    """An error of the system in one line: where, what is wrong, the fix."""
    names = [str(name) for name in (where, error.filename) if name is not None]
    said = error.strerror or " ".join(str(error).split()) or type(error).__name__
    inner = f"{said}: {names[-1]}" if len(set(names)) > 1 else said
    return f"{names[0] if names else 'system'}: {inner}; {fix(error)} and start again"


def fix(error: OSError) -> str:
    """What the user can do about an error of the system."""
    if error.errno in FULL:
        return "free some disk space"
    if error.errno in FORBIDDEN:
        return "allow this user to use it, or name another place,"
    return "mend that"


def end(line: str, status: int) -> None:
    """One line on stderr, then the end of the program."""
    try:
        _flush()
    except OSError:  # what is left has no reader: without this, Python complains once more as it ends
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    with contextlib.suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)
    raise SystemExit(status) from None


def hook(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """For sys.excepthook of a command: Ctrl-C while its modules are still imported, before `one_line` begins."""
    if issubclass(kind, KeyboardInterrupt):
        end("interrupted before anything was done; start again", INTERRUPTED)
    sys.__excepthook__(kind, error, trace)
