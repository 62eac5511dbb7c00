"""Several processes that share one list of cells on one machine: who runs what, and who writes when."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch

from solid_utils.attacks import declared
from solid_utils.core import files, lock, machine, paths, readers, schema
from solid_utils.core.errors import StudyError
from solid_utils.settings import params

SCALE = "scale"  # the list of cells, configs/scale.yaml


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time works in a folder; whoever comes later waits."""
    mine = lock.take(folder, wait=True)
    try:
        yield
    finally:
        if mine:
            (folder / lock.FILE).unlink(missing_ok=True)  # while it is held, or two could hold one each
            lock.release(folder)


def claim(folder: Path) -> bool:
    """Take a state's folder for this process until it is discarded; False, and a line, where another works there."""
    try:
        lock.take(folder)
    except StudyError as error:
        print(f"shared: {error}; left to it", flush=True)
        return False
    return True


def ended(name: str, run: Callable[[], None]) -> bool:
    """Run a cell, or all of a victim's; False, and a line, where it is refused: that ends no other."""
    try:
        run()
    except StudyError as error:
        print(f"{name}: {error}; going on with the next one", flush=True)
        return False
    return True


def check_ended(failed: list[str]) -> None:
    """Raise StudyError where cells were refused, once all others have had their turn."""
    if failed:
        raise StudyError(f"{len(failed)} cells were refused, {failed[0]} first; their lines above say why")


def check_row(path: Path, found: pd.Series, wanted: dict[str, object]) -> None:
    """Raise StudyError where a cell's row says something else than the settings now do."""
    for name, value in wanted.items():
        if found[name] != value:
            raise StudyError(f"{path}: its {name} is '{found[name]}', the settings say '{value}'; {schema.RERUN}")


@contextmanager
def named(key: str) -> Iterator[None]:
    """What is wrong inside is told with the key that a person wrote: cells and their tier have names of their own."""
    try:
        yield
    except StudyError as error:
        raise StudyError(f"{key}: {error}") from None


def paces(path: Path) -> dict:
    """Seconds by cell that ran here, or by model and cell; none where that file was cut: they only foretell times."""
    try:
        return readers.read_object(path, "")
    except StudyError:
        return {}


def add_pace(path: Path, model: str, cell: str, seconds: float) -> dict[str, dict[str, float]]:
    """Write down how long a cell took, beside what other processes wrote down meanwhile; returns all of it."""
    with alone(path.parent):
        found = paces(path)
        found.setdefault(model, {})[cell] = seconds
        files.write_json(found, path)
    return found


class CellList:
    """Cells that are run one by one, in their order, by as many processes as are started.

    A subclass has `name` (in front of its lines), `cells`, `limit` (minutes; a cell that would take longer is not run),
    and says of a cell what its scores are `wanted` to say, whether it `ran`, how many `minutes` are foreseen (None
    before any ran), whether it is `claimed` for this process, and how to `run_cell`.
    """

    name: str
    cells: list
    limit: float

    def check(self) -> None:
        """Raise StudyError for a cell whose settings are none, before hours of others are spent."""
        for cell in self.cells:
            self.wanted(cell)

    def title(self, cell) -> str:
        """A cell in the listing."""
        return cell.name

    def standing(self) -> list[str]:
        """A line a cell, whether it is there or how long it would take."""
        lines = []
        for cell in self.cells:
            minutes = self.minutes(cell)
            foreseen = "not reached" if minutes is None else f"not reached, {minutes:.1f} min"
            lines.append(f"{self.title(cell)}  {'there' if self.ran(cell) else foreseen}")
        return lines

    def count(self) -> str:
        """How many of all cells are there."""
        return f"{sum(map(self.ran, self.cells))} of {len(self.cells)} cells are there"

    def run_cells(self, minutes: float) -> None:
        """Run what is missing, starting no cell once `minutes` are spent, and none that would exceed the limit.

        Raises StudyError at the end where cells were refused.
        """
        failed = []
        begun = time.monotonic()
        for cell in self.cells:
            if self.ran(cell):
                continue
            if (spent := (time.monotonic() - begun) / 60) > minutes:
                print(f"{self.name}: {spent:.1f} min spent; from {cell.name} on nothing was started", flush=True)
                break
            if (foreseen := self.minutes(cell)) is not None and foreseen > self.limit:
                print(f"{self.name}: {cell.name}: {foreseen:.1f} min foreseen, over the limit; not run", flush=True)
                continue
            if self.claimed(cell) and not ended(cell.name, lambda cell=cell: self.run_cell(cell)):
                failed.append(cell.name)
        check_ended(failed)


def a_file_a_model(
    title: str,
    name: str,
    file: str,
    columns: list[str],
    victims: Callable[[params.Params], list[str]],
    made: Callable[[str, params.Params], list[dict]],
    study_of: str = SCALE,
) -> None:
    """Write one file of the scale study, or of another list of cells (`study_of`), for each model of the command line,
    else of `victims`; one that is there stays.

    `name` stands in front of the lines; `made` gives a model's rows, of these `columns`.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    chosen, study = parser.parse_args(), declared.load()
    torch.set_num_threads(study.threads)
    for model in chosen.models or victims(study):
        path = paths.REFERENCE / machine.slug(machine.describe(study.threads)) / study_of / model / file
        if path.exists():
            print(f"{name}: {path}: there; delete it to compute it again", flush=True)
            continue
        schema.write(made(model, study), columns, path)
        print(f"{name}: {path}", flush=True)


def asked(description: str) -> argparse.Namespace:
    """What the command line of a list asks for: list, minutes, only (groups)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--list", action="store_true", help="print the plan and leave")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so many")
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="groups of the list of cells")
    return parser.parse_args()
