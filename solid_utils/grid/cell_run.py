"""One cell of a grid: an attack run with its own budget, scored by fidelity, which shares work with other cells."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from solid_utils.attacks import declared, part
from solid_utils.attacks.run import AttackRun
from solid_utils.core.scored import Scored
from solid_utils.deployment.view import View
from solid_utils.evaluation import fidelity
from solid_utils.grid.cells import Cell
from solid_utils.model import models, state
from solid_utils.model.state import State
from solid_utils.settings import params
from solid_utils.training import recorded

BLOCK = 400  # queries recorded together; a longer run begins with a shorter one's blocks


def asked_for(study: params.Params, grid: params.Grid, model: str, cell: Cell, seen: View) -> dict[str, str]:
    """Columns of a cell's scores that its name does not fix: start, view, recipe with how steps follow from queries."""
    own = cell.study(study, grid)
    recipe, usual = declared.recipe(own, model, cell.name), declared.usual_recipe(own, model, cell.name)
    attack = declared.attack(own, cell.name)
    text = attack.words(recipe, usual) + (f", {recipe.epochs:g} epochs" if recipe.epochs else "")
    return {"start": declared.start(own, model, cell.name), "recipe": text, "view": attack.sees(seen)}


def asked(model: str, name: str, cell: Cell) -> Path:
    """The state folder of what was asked of one secured set, which one process at a time works with."""
    return state.root() / model / name / f"asked-{cell.secured.replace(' ', '_')}"


class CellRun(AttackRun):
    """An attack run that shares recordings and its start with other cells of the list `name` (params.GRIDS).

    Nothing is chosen by validation, so no query goes into it.
    """

    room = "grid"

    def __init__(
        self,
        model: str,
        cell: Cell,
        study: params.Params,
        name: str,
        remembered: fidelity.Remembered,
        victim: tuple[PreTrainedModel, PreTrainedTokenizerFast, str],
    ):
        """`victim`: as the list has loaded it; a second copy of 1.5 billion parameters did not fit beside a replica."""
        self.grid = getattr(study, name)
        self.benchmarks = cell.benchmarks
        self.shared_victim = victim
        super().__init__(model, cell.name, cell.study(study, self.grid))
        self.asked_for = asked_for(study, self.grid, model, cell, self.seen)
        self.validation, self.remembered = [], remembered
        settings = self.scored_with | {"secured": self.secured, "labels": self.budget.labels}
        place = cell.secured.replace(" ", "_")
        self.recordings = State(str(asked(model, name, cell).relative_to(state.root())), settings, self.room)
        begun = f"{place}-{self.start_name}{self.attack.architecture}"
        begun += "-benchmarks" * cell.benchmarks
        self.starts = State(f"{model}/{name}/{begun}", settings, self.room)

    def loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str]:
        """The list's own victim, which no cell changes."""
        return self.shared_victim

    def validate(self, attacker: torch.nn.Module) -> dict[str, float]:
        """Nothing: a cell ends with its schedule."""
        return {}

    def blocks(self, what: str) -> Iterator[tuple[Path, dict[int, dict]]]:
        """Samples by number in blocks, each with the folder of its recording."""
        folder = self.recordings.folder / f"{what}-{self.recipe.length or self.budget.length}"
        for first in range(0, len(self.samples), BLOCK):
            block = dict(list(enumerate(self.samples))[first : first + BLOCK])
            yield folder / f"{first}-{first + len(block)}", block

    def answers(self) -> recorded.Recorded:
        """What leaves the secured part, or the logits, asked once for all cells of this set that ask alike."""
        with models.precision(self.spec):
            parts = [self.asked(block, folder) for folder, block in self.blocks(self.attack.recordings)]
        return None if None in parts else recorded.together(parts)

    def entered(self, attacker: torch.nn.Module) -> recorded.Recorded | None:
        """What enters the secured part, computed once for all cells of this set."""
        if not self.seen.first:
            return None
        pad_id, blocks = self.tokenizer.pad_token_id, self.blocks("entered")
        return recorded.together(part.entered(attacker, self.seen, block, folder, pad_id) for folder, block in blocks)

    def start_scores(self, seed: int) -> Scored:
        """Scores of the start, shared by every cell of this set and seed."""
        scored = Scored(**self.starts.cached(f"start-{seed}", lambda: asdict(self.scores(self.start(seed)))))
        return scored + self.attack.measured(self, lambda: self.start(seed))

    def scores(self, replica: torch.nn.Module) -> Scored:
        """Fidelity on held-out prompts and texts; benchmarks where the cell has them."""
        if self.benchmarks:
            return super().scores(replica)
        with models.precision(self.spec):
            wanted = self.budget.evaluation
            return fidelity.held_out(replica, self.remembered, self.tokenizer, self.evaluation, wanted)

    def row(self, seed: int, steps: int) -> dict:
        """As of any attack run; the recipe says how queries and steps go together."""
        return super().row(seed, steps) | self.asked_for

    def outcome(self, seed: int) -> Scored:
        """Train, and score start and end."""
        self.train(seed)
        steps = self.account.steps
        start = self.start_scores(seed).of(self.row(seed, 0))
        return start + self.end_scores(seed).of(self.row(seed, steps))
