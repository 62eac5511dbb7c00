"""The attack grid's cells, from the settings alone: which there are, what each is, where its scores lie."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils.attacks.declared import KINDS
from solid_utils.core import schema
from solid_utils.settings import params
from solid_utils.settings.attack_params import AttackSection, Recipe

TIER = "full"  # of a cell's scores: the grid's tier with a cell's own budget


@dataclass(frozen=True)
class Cell:
    """One attack run with its own schedule; a group names it, and cells of two groups may be the same one."""

    secured: str
    attack: str
    recipe: str  # its name in the settings, grid.recipes
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
        said |= {} if KINDS[self.attack].fitted else {"steps": None}  # epochs say how long
        options = {key: value for key, value in said.items() if key not in Recipe.model_fields}
        recipe = {key: value for key, value in said.items() if key in Recipe.model_fields}
        run = options | {"secured": self.secured, "attack": self.attack, "recipe": {TIER: recipe}}
        attack = params.validated(AttackSection, run, f"grid.recipes.{self.recipe}")
        changes = {"tier": TIER, "tiers": study.tiers | {TIER: tier}, "attacks": {self.name: attack}}
        return study.model_copy(update=changes)


def cells(grid: params.Grid, only: list[str] | None = None) -> dict[str, list[Cell]]:
    """Every group's cells, the first seed's first; where nothing is drawn, one seed is enough. Raises StudyError for
    an unknown name in `only`."""
    chosen = {name: params.pick(grid.groups, name, "grid.groups") for name in only or grid.groups}
    return {
        name: [
            Cell(secured, group.attack, recipe, queries, seed)
            for seed in grid.seeds
            for recipe in group.recipes
            if seed == grid.seeds[0] or draws(group.attack, grid.recipes[recipe])
            for queries in group.queries
            for secured in group.secured
        ]
        for name, group in chosen.items()
    }


def draws(attack: str, recipe: dict) -> bool:
    """Does the seed matter? A map in closed form draws no weights and no order, but may draw its texts."""
    return not KINDS[attack].fitted or recipe.get("texts") == "drawn"


def plan_table(planned: dict[str, list[Cell]]) -> pd.DataFrame:
    """One row a group and cell, columns schema.PLAN."""
    rows = []
    for group, members in planned.items():
        for cell in members:
            rows.append([group, cell.name, cell.secured, cell.attack, cell.recipe, cell.queries, cell.seed])
    return pd.DataFrame(rows, columns=schema.PLAN)


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a cell's scores lie in a model's grid folder."""
    return folder / f"{cell.name}.csv"
