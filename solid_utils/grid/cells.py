"""The attack grid's cells, from the settings alone: which there are, what each is, where its scores lie."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from solid_utils.attacks.declared import KINDS
from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.settings import params, places
from solid_utils.settings.attack_params import AttackSection, GridGroup, Recipe

TIER = "full"  # of a cell's scores: the grid's tier with a cell's own budget


@dataclass(frozen=True)
class Cell:
    """One attack run with its own schedule; a group names it, and cells of two groups may be the same one."""

    secured: str
    attack: str
    recipe: str  # its name in the settings, grid.recipes
    queries: int
    seed: int
    benchmarks: bool = field(default=False, compare=False)  # is it scored on them, too?

    @property
    def curve(self) -> str:
        """Cells that differ in queries and seed only are points of one curve; results.Results calls it their run."""
        return f"{self.attack}-{self.secured}-{self.recipe}".replace(" ", "_")

    @property
    def name(self) -> str:
        return f"{self.curve}-{self.queries}-{self.seed}"

    def study(self, study: params.Params, grid: params.Grid) -> params.Params:
        """The same study with this cell of `grid` as its only attack, on the cell's own tier."""
        own = {"evaluation": grid.evaluation, "attack": {"seeds": [self.seed]}}
        tier = params.merge(study.tiers[grid.tier], own)
        said = grid.recipes[self.recipe] | {"queries": self.queries}
        said |= {} if KINDS[self.attack].fitted else {"steps": None}  # epochs say how long
        options = {key: value for key, value in said.items() if key not in Recipe.model_fields}
        recipe = {key: value for key, value in said.items() if key in Recipe.model_fields}
        run = options | {"secured": self.secured, "attack": self.attack, "recipe": {TIER: recipe}}
        attack = params.validated(AttackSection, run, f"recipes.{self.recipe}")
        changes = {"tier": TIER, "tiers": study.tiers | {TIER: tier}, "attacks": {self.name: attack}}
        return study.model_copy(update=changes)


def cells(grid: params.Grid, depth: int, only: list[str] | None = None) -> dict[str, list[Cell]]:
    """Every group's cells on a model of `depth` layers, the first seed's first; where nothing is drawn, one seed is
    enough. Two places may be one in a small model. Raises StudyError for an unknown name in `only`."""
    chosen = {name: params.pick(grid.groups, name, "grid.groups") for name in only or grid.groups}
    listed = {name: members(grid, group, depth, f"groups.{name}") for name, group in chosen.items()}
    # A cell of two groups is one cell.
    scored = {cell for name in grid.benchmarks for cell in members(grid, grid.groups[name], depth, f"groups.{name}")}
    return {name: [replace(cell, benchmarks=cell in scored) for cell in found] for name, found in listed.items()}


def members(grid: params.Grid, group: GridGroup, depth: int, where: str) -> list[Cell]:
    """The cells of one group. Raises StudyError, naming `where`, for a place that the model does not have."""
    try:
        secured_sets = list(dict.fromkeys(places.concrete(text, depth) for text in group.secured))
    except ValueError as error:
        raise StudyError(f"{where}.secured: {error}; leave it out for this model") from None
    seeds = group.seeds or grid.seeds
    return [
        Cell(secured, group.attack, recipe, queries, seed)
        for seed in seeds
        for recipe in group.recipes
        if seed == seeds[0] or draws(group.attack, grid.recipes[recipe])
        for queries in group.queries
        for secured in secured_sets
    ]


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


def texts_path(folder: Path, cell: Cell) -> Path:
    """Where every held-out text's own agreement and KL lie, of a grid that keeps them."""
    return folder / f"{cell.name}{paths.ITEMS_END}"


def benchmark_items_path(folder: Path, cell: Cell) -> Path:
    """Where every benchmark item of a cell lies by itself."""
    return folder / f"{cell.name}{paths.BENCHMARK_ITEMS_END}"
