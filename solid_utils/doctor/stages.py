"""The stages of a study side by side, two at a time: DVC itself runs one after another.

Each is a `dvc repro --single-item` of its own, as DVC's manual has it for parallel stages; what a stage waits for is
read off DVC's own graph. For studies on one thread: one on all cores gains nothing.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path

from tqdm import tqdm

from solid_utils.core.errors import StudyError

AT_ONCE = 2
STAGE = re.compile(r'^"([^"]+)";$', re.MULTILINE)
EDGE = re.compile(r'^"([^"]+)" -> "([^"]+)";$', re.MULTILINE)
LOCKED = "Unable to acquire lock"  # DVC waits three seconds for a lock that it holds for parts of one
TRIES = 5


def dvc(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A command of DVC in a folder, with all that it said as `stdout`; tried again where another one held its lock."""
    place = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    how = {"cwd": folder, "env": os.environ | {"PATH": place}, "text": True, "check": False}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    for _ in range(TRIES):
        done = subprocess.run(["dvc", *arguments], **how, **pipes)
        if not done.returncode or LOCKED not in done.stdout:
            break
    return done


def graph(folder: Path) -> dict[str, set[str]]:
    """The stages that each stage waits for. Raises StudyError where DVC cannot read them."""
    said = checked(folder, dvc(folder, "dag", "--dot"))
    waits = {stage: set() for stage in STAGE.findall(said)}
    for before, after in EDGE.findall(said):
        waits[after].add(before)
    return waits


def checked(folder: Path, done: subprocess.CompletedProcess) -> str:
    """What a command said. Raises StudyError with a stage's own error, or its last lines, where it failed."""
    if done.returncode:
        said = done.stdout.splitlines()
        errors = [line.strip() for line in said if line.startswith("error: ")]
        last = errors[0] if errors else "\n".join(said[-5:]).strip().replace("\n", " / ")
        raise StudyError(f"{folder}: {last}; what ran stands in {folder}, started again it goes on")
    return done.stdout


def run(folder: Path) -> None:
    """Every stage there once what it waits for is done, a bar over them; then `dvc repro`, which finds nothing to do.

    Raises StudyError with what a stage said last; those beside it end first.
    """
    waits = graph(folder)
    wanted = Counter(before for stages in waits.values() for before in stages)
    order = TopologicalSorter(waits)
    order.prepare()
    ready: list[str] = []
    running: dict[Future, str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool, tqdm(total=len(waits), unit="stage") as bar:
        while order.is_active():
            ready = sorted([*ready, *order.get_ready()], key=lambda stage: -wanted[stage])  # most waited for first
            while ready and len(running) < AT_ONCE:  # no more, so that none begins once one has failed
                stage = ready.pop(0)
                running[pool.submit(dvc, folder, "repro", "--single-item", stage)] = stage
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                checked(folder, future.result())
                stage = running.pop(future)
                bar.set_description(stage)
                bar.update()
                order.done(stage)
    checked(folder, dvc(folder, "repro"))
