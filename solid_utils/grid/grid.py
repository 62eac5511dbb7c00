"""The attack grid: a listed set of attack runs, each with its own budget, cheapest first, on a CPU over hours.

python -m solid_utils.grid [MODEL ...]            run what is missing, for the study's models if none is named
python -m solid_utils.grid --list                 the plan: which cells exist, minutes of the others
python -m solid_utils.grid --minutes 30           start no cell after half an hour
python -m solid_utils.grid --only depth recipe    cells of these groups (configs/grid.yaml)
python -m solid_utils.grid --grid scale MODEL     another list of cells (configs/scale.yaml)
python -m solid_utils.grid --part 2/8             every eighth secured set: several processes share the work

Scores of a cell lie in reference/MACHINE/GRID/MODEL/CELL.csv, whole as soon as it ends, beside plan.csv, which lists
all that were planned, and leaks.csv, what the victim's logits alone give away. They are no output of a DVC stage:
that would take hours, and it would delete them before each run. A cell that is there is skipped, one of another
recipe than params.yaml now gives it is an error; delete its file to run it again. A killed cell goes on from its
checkpoint; one that is refused is told, and the others go on. Several processes may share a list: each leaves the
secured sets on which another works to that one.
"""

import argparse
import json
import re
import time
from functools import cached_property
from pathlib import Path

import torch

from solid_utils.attacks import declared
from solid_utils.core import files, machine, paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.deployment import view
from solid_utils.deployment.deployment_set import deployment_set
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.evaluation import baseline, fidelity, floor
from solid_utils.grid import cell_run, cells, labels, leaks, registered, set_difficulty, shared
from solid_utils.grid.cells import Cell
from solid_utils.model import accelerator, models, sampling, state
from solid_utils.model.state import State
from solid_utils.model.structure import decoder_layers
from solid_utils.settings import params

# Of this process's memory, for the victim's logits on the held-out samples, kept over all cells: 10,208 answer tokens
# of a vocabulary of 151,936 are 3.1 GB in bfloat16. What does not fit is computed again for every cell.
ROOM_SHARE = 0.25
EFFICIENCY = 0.5  # of the fastest matrix product, for a machine on which no cell has run yet
TIMES = Path("build/grid")  # seconds of cells that ran; never part of the results


class Grid:
    """All cells of one model: what each costs, which have run, and running the rest."""

    def __init__(
        self,
        model: str,
        study: params.Params,
        only: list[str] | None = None,
        name: str = "grid",
        part: tuple[int, int] = (1, 1),
    ):
        """`only`: names of groups; `part` (k, n): of the secured sets the k-th of n parts, counted from one."""
        self.model = model
        self.study = study
        self.spec = study.model(model)
        self.name = name
        self.section = getattr(study, name)
        self.part = part
        torch.set_num_threads(study.threads)
        self.folder = paths.REFERENCE / machine.slug(machine.describe(study.threads)) / name / model
        self.victim, self.tokenizer, self.revision = models.load_victim(model, self.spec)
        self.places: dict[str, tuple[SecuredSet, View]] = {}
        own = State(f"{model}/{name}/victim", {"spec": self.spec, "revision": self.revision}, "grid", shared=True)
        room = ROOM_SHARE * accelerator.memory_share()
        self.remembered = fidelity.Remembered(lambda: self.victim, room, own.cached)
        self.depth = len(decoder_layers(self.victim)[1])
        self.times = TIMES / name / f"{model}.json"  # lists score their cells on different texts
        self.seconds: dict[str, float] = shared.paces(self.times)
        listed = cells.cells(self.section, self.depth, only).values()
        chosen = dict.fromkeys(cell for found in listed for cell in found)
        mine = list(dict.fromkeys(cell.secured for cell in chosen))[part[0] - 1 :: part[1]]
        self.work = {cell: self.flops(cell) for cell in chosen if cell.secured in mine}
        # Seeds outermost: a grid that is stopped early has all questions once, not the cheapest three times.
        self.cells = sorted(self.work, key=lambda cell: (self.section.seeds.index(cell.seed), self.work[cell]))

    def place(self, declaration: str) -> tuple[SecuredSet, View]:
        """A secured set and what an attacker sees of it."""
        if declaration not in self.places:
            secured = deployment_set(self.victim, self.model, declaration)
            self.places[declaration] = secured, view.view(self.victim, secured)
        return self.places[declaration]

    def flops(self, cell: Cell) -> float:
        """Of a whole cell, roughly, to foretell its time: recording, training, scoring its start and its end."""
        study = cell.study(self.study, self.section)
        secured, seen = self.place(cell.secured)
        with shared.named(f"{self.name}.recipes.{cell.recipe}"):
            recipe = declared.recipe(study, self.model, cell.name)
        budget = study.budgets(self.model)
        tokens = cell.queries * (recipe.length or budget.length)
        evaluation = budget.evaluation
        width = self.victim.config.get_text_config().hidden_size
        attack = declared.attack(study, cell.name)
        work = attack.foreseen(tokens, recipe.epochs or 0, secured, seen, width)
        held_out = (
            evaluation.samples * budget.length + len(sampling.APART) * evaluation.apart.texts * evaluation.apart.length
        )
        return work + 2 * 2 * secured.total * held_out  # a forward each for start and end

    @cached_property
    def held_out(self) -> dict[str, list[dict]]:
        """Samples that a cell is scored on, by set."""
        budget = self.cells[0].study(self.study, self.section).budgets(self.model)
        return sampling.held_out(self.tokenizer, budget.length, budget.evaluation)

    @cached_property
    def answer_tokens(self) -> dict[str, int]:
        """Answer tokens that a cell is scored on, by set."""
        return {
            name: sum(len(sample["input_ids"]) - sample["answer_start"] for sample in samples)
            for name, samples in self.held_out.items()
        }

    @cached_property
    def peak(self) -> float:
        """FLOP/s that a cell may reach on this machine."""
        dtype = torch.bfloat16 if self.spec.products else torch.float32
        return EFFICIENCY * accelerator.matmul_rate(dtype, accelerator.device())

    def minutes(self, cell: Cell) -> float:
        """Foreseen from the pace of cells that ran: of this attack on this set, else of this attack, else the peak."""
        ran = [one for one in self.cells if one.name in self.seconds and one.attack == cell.attack]
        alike = [one for one in ran if one.secured == cell.secured] or ran
        seconds = sum(self.seconds[one.name] for one in alike)
        pace = sum(self.work[one] for one in alike) / seconds if alike else self.peak
        return self.work[cell] / pace / 60

    def path(self, cell: Cell) -> Path:
        return cells.cell_path(self.folder, cell)

    def ran(self, cell: Cell) -> bool:
        """Are this cell's scores there, whole? Raises StudyError where they were cut, are of another cell, recipe, view
        or start than it has now, or on other prompts."""
        if not (path := self.path(cell)).exists():
            return False
        rows = schema.read(path, schema.SCORES, schema.RERUN)
        found = rows.iloc[-1]
        taken = rows[(rows["metric"] == "agreement") & (rows["steps"] > 0)]
        wanted = cell_run.asked_for(self.study, self.section, self.model, cell, self.place(cell.secured)[1])
        wanted |= {"model": self.model, "deployment": cell.secured, "attack": cell.attack, "seed": cell.seed}
        wrong = [
            f"its {name} is '{found[name]}', configs/{self.name}.yaml says '{text}'"
            for name, text in wanted.items()
            if found[name] != text
        ]
        if (counts := dict(zip(taken["benchmark"], taken["n"], strict=True))) != self.answer_tokens:
            asks = f"{self.name}.evaluation asks for {self.answer_tokens}"
            wrong.append(f"it was scored on {counts} answer tokens, {asks}")
        if wrong:
            raise StudyError(f"{path}: {wrong[0]}; {schema.RERUN}")
        return True

    def listing(self) -> str:
        """The plan, a line a cell in the order of running."""
        open_cells = [cell for cell in self.cells if not self.ran(cell)]
        foreseen = {cell: self.minutes(cell) for cell in open_cells}
        limit = self.section.minutes
        lines = []
        for cell in self.cells:
            standing = f"{foreseen[cell]:.1f} min" if cell in foreseen else "there"
            lines.append(f"{cell.name}  {standing}{', over the limit' * (foreseen.get(cell, 0) > limit)}")
        left = [minutes for minutes in foreseen.values() if minutes <= limit]
        there = f"{len(self.cells) - len(open_cells)} of {len(self.cells)} cells are there"
        return "\n".join([*lines, f"{self.model}: {there}, {len(left)} to run in {sum(left):.0f} min"])

    def leaks(self) -> None:
        """What logits alone give away, unless it is there or not asked for."""
        if not self.section.leaks or (path := self.folder / paths.LEAKS_FILE).exists():
            return
        print(f"grid: {path}: what logits alone give away", flush=True)
        length = self.study.budgets(self.model).length
        most = min(cell_run.BLOCK, len(sampling.read_set("attack")))
        samples = sampling.texts("attack", self.tokenizer, length, most)
        with models.precision(self.spec):
            found = leaks.measured(self.model, self.victim, samples, self.tokenizer.pad_token_id)
        schema.write(found, schema.LEAKS, path)

    def floor(self) -> None:
        """What counts over public text guess of the texts that cells are scored on, unless it is there."""
        if (path := self.folder / paths.FLOOR_FILE).exists():
            return
        print(f"grid: {path}: what public text alone gives", flush=True)
        with models.precision(self.spec):
            rows = floor.rows(self.victim, self.tokenizer, self.held_out)
        identity = {"model": self.model, "revision": self.revision, "tier": cells.TIER, "dtype": self.spec.dtype}
        schema.write([identity | row for row in rows], schema.FLOOR, path)

    def of_benchmarks(self, items: list[dict]) -> list[dict]:
        """Items of benchmarks; those of fidelity are the texts, which have a file of their own."""
        return [item for item in items if item["benchmark"] not in self.held_out]

    def own_scores(self) -> None:
        """The victim's own benchmarks, to which a replica's are a ratio, unless they are there or not asked for."""
        path = self.folder / paths.VICTIM_FILE
        items = self.folder / paths.VICTIM_ITEMS_FILE
        if not any(cell.benchmarks for cell in self.cells) or (path.exists() and items.exists()):
            return
        print(f"grid: {path}: what the victim itself scores", flush=True)
        study = self.cells[0].study(self.study, self.section)
        own = baseline.scores(self.model, study, self.victim, self.tokenizer, self.revision)
        schema.write(self.of_benchmarks(own.items), schema.ITEMS, items)
        schema.write(own.rows, schema.SCORES, path)

    def difficulty(self) -> None:
        """DD of the sets of the groups that ask for it, unless it is there."""
        groups = self.section.difficulty
        listed = cells.cells(self.section, self.depth, groups).values() if groups else []
        sets = list(dict.fromkeys(cell.secured for found in listed for cell in found))
        if not sets or self.part[0] > 1 or (path := self.folder / paths.DD_FILE).exists():  # one part does it
            return
        print(f"grid: {path}: DD of {len(sets)} secured sets", flush=True)
        study = self.study.model_copy(update={"tier": self.section.tier})
        told = set_difficulty.rows(self.model, self.victim, self.tokenizer, self.revision, study, sets)
        schema.write(told, schema.DD, path)

    def run(self, minutes: float) -> None:
        """Run what is missing, starting no cell once `minutes` are spent, and none that would exceed the limit."""
        # The whole plan, whatever --only says: tables count what was not reached as unknown, not as a failed attack.
        planned = cells.plan_table(cells.cells(self.section, self.depth))
        schema.write(planned, schema.PLAN, self.folder / paths.PLAN_FILE)
        self.leaks()
        self.floor()
        self.own_scores()
        labels.see_to(self.model, self.study, self.section, self.cells)
        failed = []
        begun = time.monotonic()
        for number, cell in enumerate(self.cells, start=1):
            if self.ran(cell):
                continue
            if (spent := (time.monotonic() - begun) / 60) > minutes:
                print(f"grid: {spent:.1f} min spent; from {cell.name} on nothing was started", flush=True)
                return
            told = f"grid: {cell.name} ({number} of {len(self.cells)}): {self.minutes(cell):.1f} min foreseen"
            if self.minutes(cell) > self.section.minutes:
                print(f"{told}, over the limit; not run", flush=True)
                continue
            if not shared.claim(cell_run.asked(self.model, self.name, cell)):
                continue
            print(told, flush=True)
            if not shared.ended(cell.name, lambda cell=cell: self.run_cell(cell)):
                failed.append(cell.name)
        self.difficulty()
        shared.check_ended(failed)
        state.discard_all(f"{self.model}/{self.name}")  # recordings and starts serve many cells, so they go last

    def run_cell(self, cell: Cell) -> None:
        """One cell, from its start to its file."""
        begun = time.monotonic()
        if self.section.texts:
            registered.note(self.folder, cell.name)
        victim = self.victim, self.tokenizer, self.revision
        attack = cell_run.CellRun(self.model, cell, self.study, self.name, self.remembered, victim)
        outcome = attack.outcome(cell.seed)
        if self.section.texts:  # first: a cell whose scores are there is whole
            schema.write(outcome.texts, schema.TEXTS, cells.texts_path(self.folder, cell))
        if self.section.texts and cell.benchmarks:
            schema.write(self.of_benchmarks(outcome.items), schema.ITEMS, cells.benchmark_items_path(self.folder, cell))
        schema.write(outcome.rows, schema.SCORES, self.path(cell))
        attack.state.discard()
        accelerator.release_memory()
        self.seconds[cell.name] = time.monotonic() - begun
        files.write_text(json.dumps(self.seconds), self.times)
        print(f"grid: {self.path(cell)}: {self.seconds[cell.name] / 60:.1f} min", flush=True)


def part(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8). Raises argparse.ArgumentTypeError, one line."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"'{text}' is no part; write 1/8 to 8/8")
    return int(match[1]), int(match[2])


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the attack grid of params.yaml, the cheapest cells first.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names in params.yaml; the study's if none")
    parser.add_argument("--list", action="store_true", help="print the plan and leave")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell after so many")
    parser.add_argument("--only", nargs="+", metavar="GROUP", help="groups of the list of cells")
    parser.add_argument("--grid", choices=params.GRIDS, default="grid", help="which list: configs/GRID.yaml")
    parser.add_argument("--part", type=part, default=(1, 1), metavar="K/N", help="the K-th of N parts of the sets")
    chosen = parser.parse_args()
    study = declared.load()
    for model in chosen.models or study.study.models:
        grid = Grid(model, study, chosen.only, chosen.grid, chosen.part)
        print(grid.listing()) if chosen.list else grid.run(chosen.minutes)
