"""Unfinished work of a stage, outside its outputs (DVC deletes those before a run), so that a killed run goes on."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from solid_utils import machine

FOLDER = Path("build/state")
SOURCE = Path(__file__).parent


def fingerprint(settings: dict) -> str:
    """Of everything a half-done run depends on: its settings and this package's code."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in sorted(SOURCE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class State:
    """A folder of finished pieces, thrown away when the settings or the code have changed since.

    Of several processes the first one writes.
    """

    def __init__(self, name: str, settings: dict):
        self.folder, mark = FOLDER / name, fingerprint(settings)
        written = self.folder / "fingerprint"
        with machine.processes().main_process_first():
            if not written.exists() or written.read_text() != mark:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                written.write_text(mark)

    def cached(self, name: str, compute: Callable[[], list | dict]) -> list | dict:
        """The JSON value of `compute`, from the folder if it was finished before."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            value, partial = compute(), path.with_suffix(".partial")
            if machine.processes().is_main_process:
                partial.write_text(json.dumps(value))
                partial.replace(path)
            machine.processes().wait_for_everyone()
        return json.loads(path.read_text())

    def discard(self) -> None:
        """The stage's outputs are written: forget the pieces, so that the next run is a real one."""
        shutil.rmtree(self.folder)
