"""Customization cells, from the settings alone: which there are, what each is, where its scores lie."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError
from solid_utils.settings import params, places

TIER = "full"  # of a cell's scores: the list's tier with the cell's own recipe
NAME = "customization"  # of the list: reference/MACHINE/NAME/MODEL


@dataclass(frozen=True)
class CustomerCell:
    """One customization; a group names it, and cells of two groups may be the same one."""

    model: str
    secured: str
    domain: str
    recipe: str  # its name in the settings, customers.recipes
    seed: int

    @property
    def run(self) -> str:
        """Cells that differ in their seed only are draws of one run."""
        return f"{self.domain}-{self.secured}-{self.recipe}".replace(" ", "_")

    @property
    def name(self) -> str:
        return f"{self.run}-{self.seed}"

    def study(self, study: params.Params) -> params.Params:
        """The same study with this cell as its only customization, on the cell's own tier.

        Raises StudyError for a domain that configs/domains.yaml does not have: its sizes are those there.
        """
        listed = study.customers
        sets = params.pick(study.domains, self.domain, "customers.groups.domains")
        own = {"evaluation": listed.evaluation} | ({"length": sets.length} if sets.length else {})
        tier = params.merge(study.tiers[listed.tier], own)
        said = listed.recipes[self.recipe] | {"seed": self.seed, "validation": sets.validation, "test": sets.test}
        run = {"secured": self.secured, "domain": self.domain, "recipe": {TIER: said}}
        mine = params.validated(params.CustomizationRun, run, f"customers.recipes.{self.recipe}")
        chosen = {"models": [self.model], "attacks": [], "customizations": []}
        changes = {"tier": TIER, "tiers": study.tiers | {TIER: tier}, "customizations": {self.name: mine}}
        return study.model_copy(update=changes | {"study": params.Study(**chosen)})

    def path(self, folder: Path) -> Path:
        """Where its scores lie; `folder`: reference/MACHINE/customization."""
        return folder / self.model / f"{self.name}.csv"

    def items_path(self, folder: Path) -> Path:
        """Where every item of its scores lies by itself."""
        return folder / self.model / f"{self.name}{paths.ITEMS_END}"


def cells(study: params.Params, depths: dict[str, int], only: list[str] | None = None) -> dict[str, list[CustomerCell]]:
    """Every group's cells in the order of running, seeds outermost: stopped early, a group has all questions once.

    `depths`: layers by model; a model that is not among them has no cells. Raises StudyError for an unknown group, and
    for a place that a model does not have.
    """
    listed = study.customers
    chosen = {name: params.pick(listed.groups, name, "customers.groups") for name in only or listed.groups}
    return {name: members(listed, group, depths, name) for name, group in chosen.items()}


def members(listed: params.Customers, group, depths: dict[str, int], name: str) -> list[CustomerCell]:
    found = []
    for seed in group.seeds or listed.seeds:
        for model in group.models:
            if model not in depths:
                continue
            for domain in group.domains:
                for recipe in group.recipes:
                    for secured in concrete(group.secured, depths[model], name):
                        found.append(CustomerCell(model, secured, domain, recipe, seed))
    return found


def concrete(declared: list[str], depth: int, name: str) -> list[str]:
    """Secured sets of a model of `depth` layers, each once. Raises StudyError for a place that it does not have."""
    try:
        return list(dict.fromkeys(places.concrete(text, depth) for text in declared))
    except ValueError as error:
        raise StudyError(f"customers.groups.{name}.secured: {error}; leave it out for this model") from None


def plan_table(planned: dict[str, list[CustomerCell]], model: str) -> pd.DataFrame:
    """One row a group and cell of this model, columns schema.CUSTOMERS."""
    rows = [
        [group, cell.name, cell.run, cell.secured, cell.domain, cell.recipe, cell.seed]
        for group, found in planned.items()
        for cell in found
        if cell.model == model
    ]
    return pd.DataFrame(rows, columns=schema.CUSTOMERS)
