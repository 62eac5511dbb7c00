"""Sections `customers` and `published_adapters` of configs/customization.yaml: cells that are run beside the study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from solid_utils.settings.places import Place
from solid_utils.settings.sections import Name, Positive, Section, Seed, Seeds, pick


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


class AdapterGroup(Section):
    """Cells that answer one question about what a customer or a vendor publishes."""

    secured: Annotated[list[Place], Field(min_length=1)]
    known: Annotated[list[Literal["untouched", "hidden", "published", "base"]], Field(min_length=1)]
    domains: Annotated[list[Annotated[list[Name], Field(min_length=1)]], Field(min_length=1)]  # a deployment each
    tunings: Annotated[list[Name], Field(min_length=1)]
    attacks: Annotated[list[Name], Field(min_length=1)]

    @model_validator(mode="after")
    def several_are_customers(self) -> "AdapterGroup":
        if any(len(domains) > 1 for domains in self.domains) and set(self.known) != {"published"}:
            raise ValueError("domains: several deployments are attacked with their adapters known; known: [published]")
        return self


class PublishedAdapters(Section):
    """All cells: the model and tier that they start from, tunings, attacks, and the groups in the order of running."""

    model: Name
    tier: Name
    minutes: Positive  # a cell that would take longer is not run
    seed: Seed
    evaluation: dict  # what it changes in the tier's
    tunings: dict[Name, dict]  # what each changes in the tier's customization
    attacks: dict[Name, dict]  # an attack, its queries, its options and what it changes in the tier's recipe
    groups: dict[Name, AdapterGroup]

    @model_validator(mode="after")
    def names_exist(self) -> "PublishedAdapters":
        for name, group in self.groups.items():
            for key in ("tunings", "attacks"):
                for one in getattr(group, key):
                    pick(getattr(self, key), one, f"published_adapters.groups.{name}.{key}")
        for name, attack in self.attacks.items():
            if lacking := {"attack", "queries"} - attack.keys():
                raise ValueError(f"attacks.{name}: no {min(lacking)}; say which attack, and how many queries")
        return self
