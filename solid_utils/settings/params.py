"""params.yaml -> typed, validated settings. Every error names the key and the fix."""

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from solid_utils.core import machine
from solid_utils.core.errors import StudyError
from solid_utils.settings.attack_params import AttackBudget, AttackSection, Grid
from solid_utils.settings.customer_params import Customers, PublishedAdapters
from solid_utils.settings.customization_params import CustomizationBudget, CustomizationRun, check_domain
from solid_utils.settings.data_params import COMMIT, Data, HubDomain, Published
from solid_utils.settings.domain_params import Domain
from solid_utils.settings.reading import read
from solid_utils.settings.sections import Name, Positive, Section, Seeds, Share, Start, merge, pick, validated


class Shape(Section):
    """Size of a random Llama, for tests, and whose habits its tokenizer has."""

    layers: Positive
    width: Positive
    heads: Positive
    vocabulary: Positive
    tokenizer: Literal["gpt2", "llama2"] = "gpt2"


class Parallel(Section):
    """How an attack trains: in how many processes, one a GPU, and are the model's parameters split over them?"""

    processes: Positive = 1
    shard: bool = False

    @model_validator(mode="after")
    def has_somewhere_to_go(self) -> "Parallel":
        if self.shard and self.processes == 1:
            raise ValueError("shard needs processes: 2 or more")
        return self


class Model(Section):
    """Where a victim comes from and in which dtype it runs."""

    source: Literal["packaged", "parts", "hub", "folder", "random", "customized"]
    path: str | None = None
    revision: str | None = None
    shape: Shape | None = None
    weights: Literal["float32", "bfloat16"]
    autocast: Literal["auto", "bfloat16"] | None
    base: str | None = None  # the public model that this one was fine-tuned from: a name of `models`
    parallel: dict[Name, Parallel] = {}  # by attack
    budget: dict[Name, dict] = {}  # by tier

    @model_validator(mode="after")
    def complete(self) -> "Model":
        if self.source == "random" and self.shape is None:
            raise ValueError("source: random needs a shape")
        if self.source != "random" and self.path is None:
            raise ValueError(f"source: {self.source} needs a path")
        if self.source == "hub" and not re.fullmatch(COMMIT, self.revision or ""):
            raise ValueError(
                f"revision: '{self.revision}' is no commit, and a branch may name other weights tomorrow; write the 40 "
                f"digits that `git ls-remote https://huggingface.co/{self.path} main` prints"
            )
        if self.source == "customized" and self.base is None:
            raise ValueError("source: customized needs a base, the model that was fine-tuned")
        if self.weights == "bfloat16" and self.autocast != "bfloat16":
            raise ValueError("weights: bfloat16 needs autocast: bfloat16, because what is trained is kept in float32")
        return self

    @property
    def dtype(self) -> str:
        """What rows call it: the dtype that runs here, not the wish."""
        return f"{self.weights}+{self.products}-autocast" if self.products else self.weights

    @property
    def products(self) -> str | None:
        """Dtype of matrix products where it is not that of the weights; `auto`: what this machine is fast in."""
        if self.autocast != "auto":
            return self.autocast
        import torch  # the report reads settings, and needs no torch

        return "bfloat16" if torch.cuda.is_available() or machine.multiplies_bfloat16() else None


class Labels(Section):
    new_tokens: Positive
    batch: Positive


class Difficulty(Section):
    samples: Positive
    seeds: Seeds
    start: Start
    epsilon: Share = 0.05


class Apart(Section):
    """Texts of each kind that the attacks never saw, and tokens a text."""

    texts: Positive
    length: Annotated[int, Field(gt=1)]


class Greedy(Section):
    """Evaluation prompts that are answered greedily, and tokens an answer."""

    prompts: Positive
    new_tokens: Positive


class Evaluation(Section):
    suite: Literal["small", "full", "published"]
    samples: Positive
    limit: Positive | None
    apart: Apart
    greedy: Greedy

    @model_validator(mode="after")
    def prompts_are_there(self) -> "Evaluation":
        if self.greedy.prompts > self.samples:
            raise ValueError(f"greedy: {self.greedy.prompts} prompts of {self.samples} samples; ask for fewer")
        return self


class Tier(Section):
    """Budgets of one tier. `length` is tokens a sample, prompt and answer together."""

    length: Positive
    labels: Labels
    difficulty: Difficulty
    scan: Difficulty
    evaluation: Evaluation
    attack: AttackBudget
    customization: CustomizationBudget


class Study(Section):
    """What `dvc repro` runs."""

    models: Annotated[list[Name], Field(min_length=1)]
    attacks: list[Name]
    customizations: list[Name]


GRIDS = ("grid", "scale")  # sections of cells that are run one by one (solid_utils.grid)


class Hypothesis(Section):
    """What is asked before a run: statement, outcome, test, thresholds, what falsifies it, what was seen before."""

    statement: str
    outcome: str
    test: str
    threshold: dict[str, float]
    falsified: str
    seen_before: str
    confirmatory: Annotated[list[Name], Field(min_length=1)]  # models whose cells were not seen when it was written


class Params(Section):
    """The whole of params.yaml and configs/."""

    tier: Name
    threads: Annotated[int, Field(gt=0, le=1024)]
    allow_code: bool = False
    study: Study
    data: Data
    published: Published
    attacks: dict[Name, AttackSection]
    customizations: dict[Name, CustomizationRun]
    customers: Customers | None = None  # customization cells, run one by one
    published_adapters: PublishedAdapters | None = None  # what a thief makes of adapters and of a public base
    domains: dict[Name, Domain] = {}  # customization data without the hub, beside math
    models: dict[Name, Model]
    tiers: dict[Name, dict]
    grid: Grid
    scale: Grid  # the same on more models, by relative places
    hypotheses: dict[Name, Hypothesis] = {}
    score_hypotheses: dict[Name, Hypothesis] = {}  # of scores without training; cells note the others alone

    @model_validator(mode="after")
    def names_exist(self) -> "Params":
        for name, model in self.models.items():
            if model.base is not None:
                pick(self.models, model.base, f"models.{name}.base")
            for tier in model.budget:
                pick(self.tiers, tier, f"models.{name}.budget")
        for key in ("models", "attacks", "customizations"):
            chosen = getattr(self.study, key)
            for name in chosen:
                pick(getattr(self, key), name, f"study.{key}")
            if twice := [name for name in chosen if chosen.count(name) > 1]:
                raise StudyError(f"params.yaml: study.{key}: '{twice[0]}' stands twice; name it once")
        for name, attack in self.attacks.items():
            for tier in attack.recipe:
                pick(self.tiers, tier, f"attacks.{name}.recipe")
        for name, run in self.customizations.items():
            for tier in run.recipe:
                pick(self.tiers, tier, f"customizations.{name}.recipe")
            pick(dict.fromkeys([*get_args(HubDomain), *self.domains]), run.domain, f"customizations.{name}.domain")
        pick(self.tiers, self.tier, "tier")
        self.check_customization_cells()
        for key in GRIDS:
            pick(self.tiers, getattr(self, key).tier, f"{key}.tier")
            for name in getattr(self, key).models:
                pick(self.models, name, f"{key}.models")
        return self

    def check_customization_cells(self) -> None:
        """Raises StudyError where a cell of configs/customization.yaml names what is not there."""
        if self.customers:
            pick(self.tiers, self.customers.tier, "customers.tier")
            for name, group in self.customers.groups.items():
                for model in group.models:
                    pick(self.models, model, f"customers.groups.{name}.models")
                for domain in group.domains:
                    pick(self.domains, domain, f"customers.groups.{name}.domains")
        if listed := self.published_adapters:
            pick(self.tiers, listed.tier, "published_adapters.tier")
            pick(self.models, listed.model, "published_adapters.model")
            known = dict.fromkeys([*get_args(HubDomain), *self.domains])
            for name, group in listed.groups.items():
                for domain in {one for several in group.domains for one in several}:
                    pick(known, domain, f"published_adapters.groups.{name}.domains")

    def first(self, run: str) -> str:
        """The run that a curriculum began with; the run itself where it goes on from none."""
        while (before := pick(self.attacks, run, "attacks").after) is not None:
            run = before
        return run

    def model(self, name: str) -> Model:
        return pick(self.models, name, "models")

    def budgets(self, model: str) -> Tier:
        """The chosen tier with the model's own overrides laid over it."""
        overrides = self.model(model).budget.get(self.tier, {})
        where = f"tiers.{self.tier}" + (f" + models.{model}.budget.{self.tier}" if overrides else "")
        return validated(Tier, merge(self.tiers[self.tier], overrides), where)

    def check_tiers(self) -> None:
        """Raises StudyError where a tier, as it stands or with a model's overrides, is no whole one."""
        for tier in self.tiers:
            study = self.model_copy(update={"tier": tier})
            for model in self.models:
                study.budgets(model)

    @property
    def domains_there(self) -> tuple[str, ...]:
        """Domains with customization data: made here, from the hub, or from packages."""
        return tuple(dict.fromkeys([*self.data.domains, *self.domains]))

    def offline(self, domain: str) -> bool:
        """Do a domain's data come from packages, as configs/domains.yaml says?"""
        return domain in self.domains and domain not in self.data.domains

    def check_domains(self) -> None:
        """Raises StudyError where the study customizes on a domain without training data."""
        for run in self.study.customizations:
            check_domain(run, self.customizations[run].domain, self.domains_there)

    def check_counts(self, model: str) -> None:
        """Raises StudyError where the tier asks for more samples than the sets hold."""
        budget, tier = self.budgets(model), f"tiers.{self.tier}"
        for key, count, name in (
            (f"{tier}.difficulty.samples", budget.difficulty.samples, "evaluation"),
            (f"{tier}.scan.samples", budget.scan.samples, "evaluation"),
            (f"{tier}.evaluation.samples", budget.evaluation.samples, "evaluation"),
            (f"{tier}.attack.validation", budget.attack.validation, "validation"),
            (f"{tier}.attack.ft.queries", budget.attack.ft.queries, "attack"),
        ):
            self.check_count(key, count, name)

    def check_count(self, key: str, count: int, name: str) -> None:
        """Raises StudyError where the named set holds fewer items than `key` asks for."""
        if count > (held := self.data.holds(name)):
            more = f"raise data.hub.{name}" if self.data.source == "hub" else "set data.source: hub"
            raise StudyError(
                f"params.yaml: {key}: {count} asked, the {self.data.source} {name} set holds {held}; "
                f"ask for fewer, or {more}"
            )


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check the settings: params.yaml and configs/. Raises StudyError naming the key, what is wrong, the fix.

    What is particular to an attack is checked where attacks are known: attacks/declared.py, whose `load` this one's is
    a part of.
    """
    path = Path(path)
    params = validated(Params, read(path), str(path))
    params.check_tiers()
    params.check_domains()
    for model in params.study.models:
        params.check_counts(model)
    return params
