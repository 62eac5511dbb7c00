"""Does what a customer, or a vendor, publishes help a thief? Cells of configs/customization.yaml, one by one.

python -m solid_utils.grid.published_adapters                 run what is missing
python -m solid_utils.grid.published_adapters --list          the plan: which cells exist, minutes of the others
python -m solid_utils.grid.published_adapters --minutes 30    start no cell after half an hour
python -m solid_utils.grid.published_adapters --only base     cells of these groups

Rows of a cell lie in reference/MACHINE/published_adapters/MODEL/CELL.csv as soon as it ends, beside plan.csv with all
that were planned. A cell that is there is skipped, one of other recipes is an error; delete its file to run it again. A
killed cell goes on; fine-tunings wait in build/state until no cell needs them. Several processes share the list.
"""

import time
from pathlib import Path

import torch

from solid_utils.attacks import declared as attack_settings
from solid_utils.core import lock, machine, paths, schema
from solid_utils.core.errors import StudyError, one_line
from solid_utils.customization import declared
from solid_utils.customization.methods.method import Method
from solid_utils.grid import adapter_cells, noted, shared
from solid_utils.grid.adapter_cells import NAME, AdapterCell
from solid_utils.grid.adapter_run import AdapterRun, tuned
from solid_utils.grid.customers import layers
from solid_utils.grid.domain_sets import sets_of
from solid_utils.model import accelerator, state
from solid_utils.settings import params

TIMES = Path("build/grid") / f"{NAME}.json"  # seconds of cells that ran; never part of the results


class PublishedAdapters(shared.CellList):
    """All cells: which have run, and running the rest."""

    name = NAME

    def __init__(self, study: params.Params, only: list[str] | None = None):
        """Raises StudyError where the settings have no such list, or its victim is not there."""
        if study.published_adapters is None:
            raise StudyError("configs/customization.yaml: no published_adapters; take it from the repository again")
        torch.set_num_threads(study.threads)
        self.study = study
        self.listed = study.published_adapters
        self.limit = self.listed.minutes
        self.folder = paths.REFERENCE / machine.slug(machine.describe(study.threads)) / NAME
        depth = layers(self.listed.model)
        if depth is None:
            raise StudyError(f"{NAME}: no victim {self.listed.model}; run `dvc repro victim@{self.listed.model}` first")
        self.planned = adapter_cells.cells(study, depth)
        chosen = adapter_cells.cells(study, depth, only)
        self.cells = list({cell.name: cell for found in chosen.values() for cell in found}.values())
        self.seconds = shared.paces(TIMES)
        self.check()

    def minutes(self, cell: AdapterCell) -> float | None:
        """Foreseen: the mean of cells of this attack that ran here, else of all; None before any."""
        ran = self.seconds.get(cell.model, {})
        alike = [ran[name] for name in ran if name.startswith(f"{cell.attack}-")] or list(ran.values())
        return sum(alike) / len(alike) / 60 if alike else None

    def ran(self, cell: AdapterCell) -> bool:
        """Are this cell's rows there, whole? Raises StudyError where they are of other recipes than it has now."""
        if not (path := cell.path(self.folder)).exists():
            return False
        shared.check_row(path, schema.read(path, schema.ADAPTERS, schema.RERUN).iloc[-1], self.wanted(cell))
        noted.check(path, self.settings(cell))
        return True

    def wanted(self, cell: AdapterCell) -> dict[str, object]:
        """What its rows say of it, by the settings. Raises StudyError for a recipe that is none."""
        own = cell.study(self.study)
        with shared.named(f"{NAME}.attacks.{cell.attack}"):
            attack = attack_settings.attack(own, cell.name)
            recipe = attack_settings.recipe(own, cell.model, cell.name)
        usual = attack_settings.usual_recipe(own, cell.model, cell.name)
        wanted = {"secured": cell.secured, "seed": cell.seed, "recipe": attack.words(recipe, usual)}
        return wanted | {"tuned": self.words(cell), "start": attack_settings.start(own, cell.model, cell.name)}

    def words(self, cell: AdapterCell) -> str:
        """The column `tuned`: the recipes of its deployments' fine-tunings, with how long they are."""
        found = self.recipes(cell).items()
        return (
            "; ".join(f"{one.words(domain)}, {one.total_steps(one.samples)} steps" for domain, one in found) or "none"
        )

    def recipes(self, cell: AdapterCell) -> dict[str, Method]:
        """The recipes of its deployments' fine-tunings by domain. Raises StudyError for one that is none."""
        found = {}
        for one in cell.tunings:
            with shared.named(f"{NAME}.tunings.{one.recipe}"):
                found[one.domain] = declared.method(one.study(self.study), one.model, one.name)
        return found

    def settings(self, cell: AdapterCell) -> dict[str, object]:
        """All that its rows depend on, whether they say so or not."""
        own = cell.study(self.study)
        budget = own.budgets(cell.model)
        attack = attack_settings.attack(own, cell.name)
        mine = {"attack": attack.model_dump(mode="json", exclude={"recipe"}, exclude_defaults=True)}
        mine |= {"recipe": attack_settings.recipe(own, cell.model, cell.name), "tunings": self.recipes(cell)}
        domains = {one.domain: self.study.domains[one.domain] for one in cell.tunings if self.study.offline(one.domain)}
        return mine | {"domains": domains, "length": budget.length, "evaluation": budget.evaluation}

    def listing(self) -> str:
        """The plan, a line a cell in the order of running."""
        return "\n".join([*self.standing(), self.count()])

    def run(self, minutes: float) -> None:
        """Write the plan and run what is missing of it (shared.CellList)."""
        plan = adapter_cells.plan_table(self.planned)
        schema.write(plan, schema.ADAPTER_PLAN, self.folder / self.listed.model / paths.PLAN_FILE)
        self.run_cells(minutes)

    def states(self, cell: AdapterCell) -> list[Path]:
        """Folders of half-done work: the attack's, and of the fine-tunings that it needs."""
        top = state.root() / cell.model
        return [top / "attacks" / cell.name, *[top / "customizations" / one.name for one in cell.tunings]]

    def claimed(self, cell: AdapterCell) -> bool:
        """Is this cell for this process to run? Else another works on it or its fine-tuning, or has just ended it."""
        mine = []
        for folder in self.states(cell):
            if not shared.claim(folder):
                break
            mine.append(folder)
        else:
            if not self.ran(cell):
                return True
        for folder in mine:
            lock.release(folder)
        return False

    def run_cell(self, cell: AdapterCell) -> None:
        """One cell, from its fine-tunings to its file."""
        print(f"{NAME}: {cell.name}", flush=True)
        begun = time.monotonic()
        for domain in dict.fromkeys(cell.domains):
            sets_of(domain, self.study)
        noted.note(self.folder / cell.model, cell.name, self.settings(cell))
        deltas = [tuned(one, self.study) for one in cell.tunings]
        run = AdapterRun(cell, self.study, deltas)
        schema.write(run.rows(self.words(cell)), schema.ADAPTERS, cell.path(self.folder))
        run.state.discard()
        self.forget(cell)
        accelerator.release_memory()
        seconds = time.monotonic() - begun
        self.seconds = shared.add_pace(TIMES, cell.model, cell.name, seconds)
        print(f"{NAME}: {cell.path(self.folder)}: {seconds / 60:.1f} min", flush=True)

    def forget(self, cell: AdapterCell) -> None:
        """Remove fine-tunings that no planned cell needs any more; let other processes have the others."""
        open_cells = [one for found in self.planned.values() for one in found if not one.path(self.folder).exists()]
        needed = {folder for one in open_cells for folder in self.states(one)}
        for folder in self.states(cell)[1:]:
            if folder in needed:
                lock.release(folder)
            else:
                state.discard(folder)


def main() -> None:
    chosen = shared.asked(__doc__.splitlines()[0])
    found = PublishedAdapters(attack_settings.load(), chosen.only)
    print(found.listing()) if chosen.list else found.run(chosen.minutes)


if __name__ == "__main__":
    with one_line():
        main()
