"""Start a secure world beside a program that tries a deployment out: a process of its own that ends with it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from solid_utils.core.errors import StudyError

KEY = "SOLID_SEALING_KEY"  # the environment variable that hands the key over


@contextmanager
def serving(halves: Path, place: str, key: bytes, threads: int = 1, log: Path = Path(os.devnull)) -> Iterator[int]:
    """For the duration, `halves`/sealed is served at `place`; yields the process's number.

    The key goes through the environment, and `log` gets what the server says. A product's vendor does neither: his
    key comes from a key service. Raises StudyError with the server's own line where it does not serve.
    """
    command = [sys.executable, "-m", "solid_utils.runtime.serve", halves / "open", halves / "sealed", place]
    command += ["--key", f"env:{KEY}", "--threads", str(threads), "--with-parent"]
    with log.open("w") as said:
        world = subprocess.Popen(
            command, env=os.environ | {KEY: key.hex()}, stdout=subprocess.PIPE, stderr=said, text=True
        )
    try:
        with world.stdout:
            first = world.stdout.readline()
        if not first.startswith("serving"):
            raise StudyError(f"secure world: it does not serve; {log} says why")
        yield world.pid
    finally:
        world.kill()
        world.wait()
