"""Section `customers` of configs/customization.yaml: customizations that are run one by one, beside the study."""

from typing import Annotated

from pydantic import Field, model_validator

from solid_utils.settings.places import Place
from solid_utils.settings.sections import Name, Positive, Section, Seeds, pick


class CustomerGroup(Section):
    """Cells that answer one question: every secured set on every domain by every recipe."""

    models: Annotated[list[Name], Field(min_length=1)]
    secured: Annotated[list[Place], Field(min_length=1)]
    domains: Annotated[list[Name], Field(min_length=1)]
    recipes: Annotated[list[Name], Field(min_length=1)]
    seeds: Seeds | None = None  # those of the list when not given


class Customers(Section):
    """All cells: the tier that they start from, what is scored, and the groups in the order of running."""

    tier: Name
    minutes: Positive  # a cell that would take longer is not run
    seeds: Seeds
    evaluation: dict  # what it changes in the tier's; benchmarks say what is forgotten
    recipes: dict[Name, dict]  # what each changes in the tier's customization
    groups: dict[Name, CustomerGroup]

    @model_validator(mode="after")
    def recipes_exist(self) -> "Customers":
        for name, group in self.groups.items():
            for recipe in group.recipes:
                pick(self.recipes, recipe, f"customers.groups.{name}.recipes")
        for name, recipe in self.recipes.items():
            if idle := sorted(recipe.keys() & {"seed", "validation", "test"}):
                raise ValueError(f"recipes.{name}: {idle[0]}: is the list's or the domain's; leave it out")
        return self
