"""Cells on what a published adapter or a public base gives a thief, from the settings alone: which there are."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from solid_utils.attacks.declared import KINDS
from solid_utils.core import schema
from solid_utils.grid import customer_cells
from solid_utils.settings import params
from solid_utils.settings.attack_params import AttackSection, Recipe

TIER = "full"  # of a cell's scores: the list's tier with the cell's own recipes
NAME = "published_adapters"  # of the list: reference/MACHINE/NAME/MODEL
OPEN = "fully_open"  # what a vendor secures of a public model while he fine-tunes it


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning of one deployment; cells that attack it share it."""

    model: str
    secured: str
    domain: str
    recipe: str  # its name in the settings, tunings

    @property
    def name(self) -> str:
        return f"published-{self.domain}-{self.secured}-{self.recipe}".replace(" ", "_")

    def study(self, study: params.Params) -> params.Params:
        """The same study with this one as its only customization, on the list's tier."""
        listed = study.published_adapters
        sets = study.domains.get(self.domain)
        own = {"length": sets.length} if sets and sets.length else {}
        said = listed.tunings[self.recipe] | {"seed": listed.seed}
        run = {"secured": self.secured, "domain": self.domain, "recipe": {TIER: said}}
        mine = params.validated(params.CustomizationRun, run, f"published_adapters.tunings.{self.recipe}")
        changes = {"tier": TIER, "tiers": study.tiers | {TIER: params.merge(study.tiers[listed.tier], own)}}
        changes |= {"customizations": {self.name: mine}}
        chosen = {"models": [self.model], "attacks": [], "customizations": []}
        return study.model_copy(update=changes | {"study": params.Study(**chosen)})


@dataclass(frozen=True)
class AdapterCell:
    """One attack on one deployment, or on several of one base."""

    model: str
    secured: str
    known: str  # untouched, hidden, published or base, see schema.ADAPTERS
    tuning: str
    domains: tuple[str, ...]
    attack: str  # its name in the settings, attacks
    seed: int

    @property
    def name(self) -> str:
        tuned = "" if self.known == "untouched" else f"-{self.tuning}-{'+'.join(self.domains)}"
        return f"{self.attack}-{self.secured}-{self.known}{tuned}-{self.seed}".replace(" ", "_")

    @property
    def tunings(self) -> list[Tuning]:
        """The fine-tunings of its deployments; none where nobody tuned."""
        if self.known == "untouched":
            return []
        secured = OPEN if self.known == "base" else self.secured
        return [Tuning(self.model, secured, domain, self.tuning) for domain in self.domains]

    def study(self, study: params.Params) -> params.Params:
        """The same study with this cell as its only attack; the model is its own public base where one is."""
        listed = study.published_adapters
        own = {"evaluation": listed.evaluation, "attack": {"seeds": [self.seed]}}
        said = dict(listed.attacks[self.attack])
        kind = said.pop("attack")
        said |= {} if KINDS[kind].fitted else {"steps": None}  # epochs say how long
        options = {key: value for key, value in said.items() if key not in Recipe.model_fields}
        recipe = {key: value for key, value in said.items() if key in Recipe.model_fields}
        run = options | {"secured": self.secured, "attack": kind, "recipe": {TIER: recipe}}
        attack = params.validated(AttackSection, run, f"published_adapters.attacks.{self.attack}")
        tiers = study.tiers | {TIER: params.merge(study.tiers[listed.tier], own)}
        models = dict(study.models)
        if self.known == "base":
            models[self.model] = models[self.model].model_copy(update={"base": self.model})
        return study.model_copy(update={"tier": TIER, "tiers": tiers, "models": models, "attacks": {self.name: attack}})

    def path(self, folder: Path) -> Path:
        """Where its rows lie; `folder`: reference/MACHINE/published_adapters."""
        return folder / self.model / f"{self.name}.csv"


def cells(study: params.Params, depth: int, only: list[str] | None = None) -> dict[str, list[AdapterCell]]:
    """Every group's cells in the order of running, one tuning after the other. StudyError for an unknown group."""
    listed = study.published_adapters
    found = {}
    for name in only or listed.groups:
        group = params.pick(listed.groups, name, "published_adapters.groups")
        made = []
        for tuning in group.tunings:
            for domains in group.domains:
                for secured in customer_cells.concrete(group.secured, depth, name):
                    for known in group.known:
                        for attack in group.attacks:
                            made.append(
                                AdapterCell(listed.model, secured, known, tuning, tuple(domains), attack, listed.seed)
                            )
        found[name] = list({cell.name: cell for cell in made}.values())
    return found


def plan_table(planned: dict[str, list[AdapterCell]]) -> pd.DataFrame:
    """One row a group and cell, columns schema.ADAPTER_PLAN."""
    rows = []
    for group, found in planned.items():
        for cell in found:
            domains = "+".join(cell.domains)
            rows.append([group, cell.name, cell.secured, cell.known, cell.tuning, domains, cell.attack, cell.seed])
    return pd.DataFrame(rows, columns=schema.ADAPTER_PLAN)
