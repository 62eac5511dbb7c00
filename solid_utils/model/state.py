"""Unfinished work of a stage, outside its outputs (DVC deletes those before a run), so that a killed run goes on.

It lies in build/state, or in the folder that the environment variable SOLID_STATE names: one outside the clone lets a
run of many hours survive a new work tree. Nothing is deleted before its stage has ended well.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from solid_utils.core import files, lock, machine, paths, readers, rooms
from solid_utils.core.errors import StudyError
from solid_utils.model import accelerator

MARK = "state.json"  # what the pieces of a folder were made with: {"parts": {what: digest}}
KEPT, GOING = ".outdated-", ".discarded-"  # names of folders that no stage reads


def root() -> Path:
    """The folder of all states."""
    return Path(os.environ.get("SOLID_STATE") or paths.STATE)


def parts(settings: dict, room: str) -> dict[str, str]:
    """A digest of each thing that a half-done run depends on: settings, machine, sets, the rooms `room` stands on."""
    here = machine.describe(torch.get_num_threads())
    digests = {"settings": _digest([_json(settings)]), "machine": _digest([_json(here)])}
    digests["sets"] = _of_files(sorted(paths.SETS.rglob("*.jsonl")), paths.SETS)
    return digests | {f"room {one}": _of_files(rooms.files([one]), rooms.PACKAGE) for one in rooms.closure([room])}


def _json(value: dict) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _of_files(listed: list[Path], top: Path) -> str:
    return _digest(piece for path in listed for piece in (str(path.relative_to(top)).encode(), path.read_bytes()))


def _digest(pieces: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(hashlib.sha256(piece).digest())  # of each piece, or they might run into one another
    return whole.hexdigest()


class State:
    """A folder of finished pieces, one process's own from its beginning to `discard` or the end of the process.

    `room` is the one whose code, with all that it stands on, makes the pieces. A folder made with other code, settings,
    sets or on another machine is kept under another name, and a line says so and why. Several processes that begin it
    together (torch.distributed.run) share it: the first one takes it. `shared` pieces belong to several runs, so nobody
    holds their folder; each is written whole. Raises StudyError where another process works there.
    """

    def __init__(self, name: str, settings: dict, room: str, shared: bool = False):
        self.folder, group = root() / name, accelerator.processes()
        with group.main_process_first():
            if group.is_main_process:
                begin(self.folder, parts(settings, room), shared)

    def cached(self, name: str, compute: Callable[[], list | dict]) -> list | dict:
        """The JSON value of `compute`, from the folder if it was finished before."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            files.write_text(json.dumps(compute()), path)
        # A score may have no standard error, which is nan there.
        return readers.read_json(path, "delete it and start again", finite=False)

    def discard(self) -> None:
        """The stage's outputs are written: forget the pieces, so that the next run is a real one."""
        discard(self.folder)


def begin(folder: Path, wanted: dict[str, str], shared: bool = False) -> None:
    """Take a folder for pieces made with `wanted`, empty where those in it were made otherwise."""
    holds = lock.take(folder, wait=shared)
    if reason := outdated(folder, wanted):
        if not holds:  # a guest must not take the folder away under its host
            raise StudyError(f"{folder}: {reason}, by the process that works there; end it and start again")
        names = (folder.with_name(f"{folder.name}{KEPT}{number}") for number in itertools.count(1))
        kept = folder.rename(next(name for name in names if not name.exists()))
        lock.release(folder)  # its file went along
        print(f"state: {folder}: {reason}; kept as {kept}, begun anew", flush=True)
        return begin(folder, wanted, shared)
    if not (folder / MARK).exists():
        files.write_json({"parts": wanted}, folder / MARK, indent=2)
    if shared:
        lock.release(folder)


def outdated(folder: Path, wanted: dict[str, str]) -> str:
    """Why the pieces in a folder are of no use to a run with `wanted`; empty where they are, or there are none."""
    pieces = [path for path in folder.iterdir() if path.name != lock.FILE]
    if not (folder / MARK).exists():
        return "made by an earlier version" if pieces else ""
    try:
        made = dict(readers.read_object(folder / MARK, "")["parts"])
    except (StudyError, ValueError, KeyError, TypeError):
        return f"its {MARK} cannot be read"
    if other := [what for what in made | wanted if made.get(what) != wanted.get(what)]:
        return f"made with other {', '.join(other[:-1])}{' and ' * (len(other) > 1)}{other[-1]}"
    return ""


def discard(folder: Path) -> None:
    """Remove a folder that this process holds or may take. Raises StudyError where another process works there."""
    lock.take(folder)
    # First away under another name: whoever begins now makes a folder and a lock of its own.
    folder.rename(folder.with_name(f"{folder.name}{GOING}{os.getpid()}"))
    for going in folder.parent.glob(f"{folder.name}{GOING}*"):  # also what a process that was killed here left
        shutil.rmtree(going, ignore_errors=True)
    lock.release(folder)


def discard_all(name: str) -> None:
    """Discard every state right below `name` in which no other process works; what was kept as outdated stays."""
    for folder in sorted((root() / name).glob("*/")):
        if KEPT not in folder.name:
            with contextlib.suppress(StudyError):
                discard(folder)
