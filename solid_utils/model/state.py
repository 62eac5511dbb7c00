"""Unfinished work of a stage, outside its outputs (DVC deletes those before a run), so that a killed run goes on."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from solid_utils.core import files, machine, paths
from solid_utils.model import accelerator

SOURCE = Path(__file__).parents[1]


def fingerprint(settings: dict) -> str:
    """Of everything a half-done run depends on: its settings, this package's code and tasks, the sets, the machine."""
    settings = settings | {"machine": machine.describe(torch.get_num_threads())}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.yaml"), *paths.SETS.rglob("*.jsonl")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class State:
    """A folder of finished pieces, thrown away when what it depends on (`fingerprint`) has changed since.

    Several processes that begin it together share it: the first one empties it.
    """

    def __init__(self, name: str, settings: dict):
        self.folder, mark = paths.STATE / name, fingerprint(settings)
        written = self.folder / "fingerprint"
        with accelerator.processes().main_process_first():
            if not written.exists() or written.read_text() != mark:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                written.write_text(mark)

    def cached(self, name: str, compute: Callable[[], list | dict]) -> list | dict:
        """The JSON value of `compute`, from the folder if it was finished before."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            files.write_text(json.dumps(compute()), path)
        return json.loads(path.read_text())

    def discard(self) -> None:
        """The stage's outputs are written: forget the pieces, so that the next run is a real one."""
        shutil.rmtree(self.folder)
