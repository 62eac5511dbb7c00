"""Keys: where they come from, and one for each use, derived from the one that was given.

A key is 32 bytes, written as 64 hexadecimal digits: in a file, in an environment variable, or printed by a command (a
key service, a hardware module). It is held in memory, and never written by anything but `make`.
"""

import os
import re
import secrets
import shlex
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from solid_utils.core import files, readers
from solid_utils.core.errors import StudyError

BYTES = 32
SECONDS = 60  # a key command may ask a person or a service
FORMS = "write file:PATH, env:NAME or command:COMMAND"
DIGITS = f"{2 * BYTES} hexadecimal digits"


def read(source: str) -> bytes:
    """The 32 bytes of a key. `source`: file:PATH, env:NAME or command:COMMAND. Nothing of a key is ever shown.

    Raises StudyError where there is none, or no key in this form.
    """
    kind, _, place = source.partition(":")
    found = {"file": _of_file, "env": _of_environment, "command": _of_command}.get(kind)
    if found is None or not place:
        raise StudyError(f"key: '{kind}' is no place of a key; {FORMS}")
    digits = found(place).strip()
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * BYTES}}}", digits):
        raise StudyError(f"key: {kind}:{place} holds no key ({DIGITS}); make one with --new-key FILE")
    return bytes.fromhex(digits)


def _of_file(place: str) -> str:
    return readers.read_text(Path(place), "make a key with --new-key FILE, or name another file")


def _of_environment(place: str) -> str:
    if place not in os.environ:
        raise StudyError(f"key: no environment variable {place}; set it to {DIGITS}")
    return os.environ[place]


def _of_command(place: str) -> str:
    try:
        done = subprocess.run(shlex.split(place), capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # Not what it printed: that may be half a key.
        raise StudyError(f"key: the key command failed ({type(error).__name__}); mend it") from None
    return done.stdout


def make(path: Path) -> None:
    """A new key in a file, see `fresh` and `keep`."""
    keep(fresh(path), path)


def fresh(path: Path) -> bytes:
    """A new random key, to be kept at `path`. The system's randomness: a seed would be the key.

    Raises StudyError where there is a file.
    """
    if path.exists():
        raise StudyError(f"{path}: there already, and what it sealed would be lost; name another file")
    return secrets.token_bytes(BYTES)


def keep(key: bytes, path: Path) -> None:
    """Write a key to a file that only its owner reads. Raises StudyError when it cannot be written."""
    with files.whole(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(f"{key.hex()}\n", encoding="utf8")


def derived(key: bytes, use: str, salt: bytes = b"") -> bytes:
    """The key of one use, such as "tensors": HKDF-SHA256 (RFC 5869), so that no use says anything about another."""
    return HKDF(SHA256(), BYTES, salt=salt or None, info=b"solid-runtime " + use.encode()).derive(key)
