"""Customization cells, one by one in the order of configs/customization.yaml, on a CPU over hours.

python -m solid_utils.grid.customers                      run what is missing
python -m solid_utils.grid.customers --list               the plan: which cells exist, minutes of the others
python -m solid_utils.grid.customers --minutes 30         start no cell after half an hour
python -m solid_utils.grid.customers --only deployments   cells of these groups

Scores of a cell lie in reference/MACHINE/customization/MODEL/CELL.csv, its items beside them, whole as soon as it ends,
and plan.csv lists all that were planned. A cell that is there is skipped, one of another recipe than the settings now
give is an error; delete its file to run it again. A killed cell goes on from its checkpoint. The same command started
several times, on one GPU or one disk, shares the work: each process takes the next cell that no other works on.
"""

import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from solid_utils.attacks import declared as all_settings
from solid_utils.core import machine, paths, readers, schema
from solid_utils.core.errors import StudyError, one_line
from solid_utils.core.scored import Scored
from solid_utils.customization import declared
from solid_utils.customization.methods.method import Method
from solid_utils.evaluation import published_tasks
from solid_utils.grid import customer_cells, noted, registered, shared
from solid_utils.grid.customer_cells import CustomerCell
from solid_utils.grid.domain_sets import DomainRun, sets_of
from solid_utils.model import accelerator, models, sampling, state
from solid_utils.model.state import State
from solid_utils.settings import params

TIMES = Path("build/grid") / f"{customer_cells.NAME}.json"  # seconds of cells that ran; never part of the results


class CustomerRun(DomainRun):
    """A customization that shares the untouched model's scores with other cells of its model and domain."""

    def __init__(self, cell: CustomerCell, study: params.Params):
        super().__init__(cell.model, cell.name, cell.study(study))
        items = sampling.digests(cell.domain, self.items_in)
        settings = {"model": self.spec, "revision": self.revision, "evaluation": self.budget.evaluation}
        settings |= {"domain": self.study.domains[cell.domain], "length": self.budget.length, "items": items}
        self.untouched = State(
            f"{cell.model}/{customer_cells.NAME}/{cell.domain}", settings, "customization", shared=True
        )

    def _before(self) -> Scored:
        return Scored(**self.untouched.cached("before", lambda: asdict(self.scores(self.victim))))

    def scores(self, model: nn.Module) -> Scored:
        """The domain's test items, and the suite's benchmarks, which say what was forgotten."""
        with models.precision(self.spec):
            scored = self._domain_scores(model)
            return scored + published_tasks.run_suite(model, self.tokenizer, self.study, self.budget.evaluation)

    def outcome(self) -> Scored:
        """Train, and score before and after."""
        before = self.before().of(self.row(0))
        self.train()
        return before + self.after().of(self.row(self.steps))


class Customers(shared.CellList):
    """All cells: which have run, and running the rest."""

    name = "customers"

    def __init__(self, study: params.Params, only: list[str] | None = None):
        """Raises StudyError where the settings have no such list, or no victim of it is there."""
        if study.customers is None:
            raise StudyError("configs/customization.yaml: missing; take it from the repository again")
        torch.set_num_threads(study.threads)
        self.study = study
        self.limit = study.customers.minutes
        self.folder = paths.REFERENCE / machine.slug(machine.describe(study.threads)) / customer_cells.NAME
        named = dict.fromkeys(model for group in study.customers.groups.values() for model in group.models)
        self.depths = {model: depth for model in named if (depth := layers(model))}
        self.absent = [model for model in named if model not in self.depths]
        self.planned = customer_cells.cells(study, self.depths)
        chosen = customer_cells.cells(study, self.depths, only)
        self.cells = list(dict.fromkeys(cell for found in chosen.values() for cell in found))
        if not self.cells:
            raise StudyError(f"customers: no victim of {', '.join(named)} is there; run `dvc repro victim@MODEL` first")
        self.seconds = shared.paces(TIMES)
        self.check()

    def minutes(self, cell: CustomerCell) -> float | None:
        """Foreseen: the mean of cells of this model and domain that ran here, else of its model; None before any."""
        mine = [one for one in self.cells if one.name in self.seconds.get(one.model, {}) and one.model == cell.model]
        alike = [one for one in mine if one.domain == cell.domain] or mine
        return sum(self.seconds[one.model][one.name] for one in alike) / len(alike) / 60 if alike else None

    def ran(self, cell: CustomerCell) -> bool:
        """Are this cell's scores there, whole? Raises StudyError where they are of another recipe than it has now."""
        if not (path := cell.path(self.folder)).exists():
            return False
        shared.check_row(path, schema.read(path, schema.SCORES, schema.RERUN).iloc[-1], self.wanted(cell))
        noted.check(path, self.settings(cell))
        return True

    def recipe(self, cell: CustomerCell) -> Method:
        """Raises StudyError for a recipe that is none."""
        with shared.named(f"customers.recipes.{cell.recipe}"):
            return declared.method(cell.study(self.study), cell.model, cell.name)

    def settings(self, cell: CustomerCell) -> dict[str, object]:
        """All that its scores depend on, whether they say so or not."""
        budget = cell.study(self.study).budgets(cell.model)
        mine = {"domain": self.study.domains[cell.domain], "length": budget.length, "evaluation": budget.evaluation}
        return mine | ({} if cell.secured == "fully_secured" else {"recipe": self.recipe(cell)})

    def wanted(self, cell: CustomerCell) -> dict[str, object]:
        """What its scores say of it, by the settings. Raises StudyError for a recipe that is none."""
        recipe = self.recipe(cell)
        wanted = {"deployment": cell.secured, "seed": cell.seed}
        if cell.secured != "fully_secured":
            wanted |= {"recipe": recipe.words(cell.domain), "steps": recipe.total_steps(recipe.samples)}
        return wanted

    def title(self, cell: CustomerCell) -> str:
        return f"{cell.model} {cell.name}"

    def listing(self) -> str:
        """The plan, a line a cell in the order of running."""
        absent = [f"{model}: its victim is not there, so none of its cells is planned" for model in self.absent]
        return "\n".join([*self.standing(), *absent, self.count()])

    def run(self, minutes: float) -> None:
        """Write the plan and run what is missing of it (shared.CellList)."""
        for model in self.depths:  # the whole plan, whatever --only says: what was not reached is said
            plan = customer_cells.plan_table(self.planned, model)
            schema.write(plan, schema.CUSTOMERS, self.folder / model / paths.PLAN_FILE)
        self.run_cells(minutes)

    def claimed(self, cell: CustomerCell) -> bool:
        """Is this cell for this process to run? Else another works on it, or has just ended it."""
        folder = state.root() / cell.model / "customizations" / cell.name  # as CustomizationRun names its state
        if not shared.claim(folder):
            return False
        if there := self.ran(cell):
            state.discard(folder)
        return not there

    def run_cell(self, cell: CustomerCell) -> None:
        """One cell, from its sets to its files."""
        print(f"customers: {cell.model} {cell.name}", flush=True)
        begun = time.monotonic()
        sets_of(cell.domain, self.study)
        registered.note(self.folder / cell.model, cell.name)
        noted.note(self.folder / cell.model, cell.name, self.settings(cell))
        run = CustomerRun(cell, self.study)
        outcome = run.outcome()
        # Items first: a cell whose scores are there is whole.
        schema.write(outcome.items, schema.ITEMS, cell.items_path(self.folder))
        schema.write(outcome.rows, schema.SCORES, cell.path(self.folder))
        run.state.discard()
        accelerator.release_memory()
        seconds = time.monotonic() - begun
        self.seconds = shared.add_pace(TIMES, cell.model, cell.name, seconds)
        print(f"customers: {cell.path(self.folder)}: {seconds / 60:.1f} min", flush=True)


def layers(model: str) -> int | None:
    """Decoder layers of a materialised victim; None where it is not there. StudyError where its config says none."""
    path = models.victim_folder(model) / "config.json"
    if not path.exists():
        return None
    fix = f"run `dvc repro victim@{model}`"
    config = readers.read_object(path, fix)
    config = config.get("text_config", config)
    for name in ("num_hidden_layers", "n_layer"):  # GPT-2's
        if name in config:
            return int(config[name])
    raise StudyError(f"{path}: num_hidden_layers: missing; {fix}")


def main() -> None:
    chosen = shared.asked(__doc__.splitlines()[0])
    customers = Customers(all_settings.load(), chosen.only)
    print(customers.listing()) if chosen.list else customers.run(chosen.minutes)


if __name__ == "__main__":
    with one_line():
        main()
