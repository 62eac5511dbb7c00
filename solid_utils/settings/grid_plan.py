"""The attack grid's cells, from params.yaml alone: which there are, what each is, where its scores lie."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils.settings import params
from solid_utils.settings.attack_params import AttackRun

TIER = "full"  # of a cell's scores: the grid's tier with a cell's own budget
PLAN_FILE, LEAKS_FILE = "plan.csv", "leaks.csv"  # files of a model's grid folder that are no cells
PLAN = ["group", "cell", "secured", "attack", "recipe", "queries", "seed"]
OPTIONS = {"start", "objective", "previous", "replacement", "noise", "repeats"}  # of a recipe, but not of its training


@dataclass(frozen=True)
class Cell:
    """One attack run with its own schedule; a group names it, and cells of two groups may be the same one."""

    secured: str
    attack: str
    recipe: str  # its name in params.yaml, grid.recipes
    queries: int
    seed: int

    @property
    def curve(self) -> str:
        """Cells that differ in queries and seed only are points of one curve; results.Results calls it their run."""
        return f"{self.attack}-{self.secured}-{self.recipe}".replace(" ", "_")

    @property
    def name(self) -> str:
        return f"{self.curve}-{self.queries}-{self.seed}"

    def study(self, study: params.Params) -> params.Params:
        """The same study with this cell as its only attack, on the cell's own tier."""
        own = {"evaluation": study.grid.evaluation, "attack": {"seeds": [self.seed]}}
        tier = params.merge(study.tiers[study.grid.tier], own)
        said = study.grid.recipes[self.recipe] | {"queries": self.queries}
        said |= {} if self.attack == "stitch" else {"steps": None}  # epochs say how long
        options = {key: said.pop(key) for key in OPTIONS & said.keys()}
        run = options | {"secured": self.secured, "attack": self.attack, "recipe": {TIER: said}}
        attack = params.validated(AttackRun, run, f"grid.recipes.{self.recipe}")
        changes = {"tier": TIER, "tiers": study.tiers | {TIER: tier}, "attacks": {self.name: attack}}
        return study.model_copy(update=changes)


def cells(grid: params.Grid, only: list[str] | None = None) -> dict[str, list[Cell]]:
    """Every group's cells, the first seed's first; a stitch draws nothing, so it has one. Raises StudyError for an
    unknown name in `only`."""
    chosen = {name: params.pick(grid.groups, name, "grid.groups") for name in only or grid.groups}
    return {
        name: [
            Cell(secured, group.attack, recipe, queries, seed)
            for seed in (grid.seeds[:1] if group.attack == "stitch" else grid.seeds)
            for recipe in group.recipes
            for queries in group.queries
            for secured in group.secured
        ]
        for name, group in chosen.items()
    }


def plan_table(planned: dict[str, list[Cell]]) -> pd.DataFrame:
    """One row a group and cell, columns PLAN."""
    rows = [
        [group, cell.name, cell.secured, cell.attack, cell.recipe, cell.queries, cell.seed]
        for group, found in planned.items()
        for cell in found
    ]
    return pd.DataFrame(rows, columns=PLAN)


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a cell's scores lie in a model's grid folder."""
    return folder / f"{cell.name}.csv"
