"""Sections of params.yaml that say what an attack trains and how: recipes, budgets, runs, the grid of cells."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from solid_utils.settings.grammar import Declaration
from solid_utils.settings.places import Place
from solid_utils.settings.sections import Count, Name, Positive, Rate, Section, Seeds, Share, Start, Weight, pick


class Recipe(Section):
    """One training run. `steps` wins over `epochs`; `batch` is the effective batch, whatever the hardware.

    `device_tokens`: padded tokens of one forward and backward at most; a batch beyond that is worked through in pieces.
    """

    queries: Positive = 1
    steps: Count | None = None
    epochs: Annotated[float, Field(gt=0, le=10**4, allow_inf_nan=False)] | None = None
    batch: Positive
    device_tokens: Positive | None = None
    length: Positive | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: matrices by Muon, the rest by AdamW (training/muon.py)
    learning_rate: Rate
    weight_decay: Rate
    schedule: Literal["cosine", "linear", "constant"]
    warmup: Share = 0.0
    warmup_steps: Positive | None = None
    validate_every: Positive
    loss: Literal["relative_mse", "mse", "cosine", "standardised_mse"] | None = None
    first_weight: Weight = 1.0  # SEM: how much a text's first token counts; 0 leaves it out
    method: Literal["lora", "full"] = "full"  # how the open part is trained, where it is
    rank: Positive | None = None
    alpha: Positive | None = None
    dropout: Share = 0.0

    @model_validator(mode="after")
    def complete(self) -> "Recipe":
        if self.method == "lora" and None in (self.rank, self.alpha):
            raise ValueError("method: lora needs rank and alpha")
        if self.steps is None and self.epochs is None:
            raise ValueError("needs steps or epochs")
        return self

    def total_steps(self, samples: int) -> int:
        """Optimizer steps over `samples` training samples."""
        return self.steps if self.steps is not None else max(1, round(self.epochs * samples / self.batch))


class AttackBudget(Section):
    seeds: Seeds
    start: Start
    labels: Literal["victim", "dataset"]
    validation: Positive
    ft: Recipe
    sem: Recipe


class AttackSection(Section):
    """What every attack run declares. What is particular to its attack follows (attacks/NAME.py checks it)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    attack: Name
    secured: Declaration
    start: Start | None = None  # the tier's when not given
    after: Name | None = None  # the run whose replica this one goes on from (a curriculum)
    recipe: dict[Name, dict] = {}  # tier -> what this run overrides in the tier's recipe

    @model_validator(mode="after")
    def one_beginning(self) -> "AttackSection":
        if self.after is not None and self.start is not None:
            raise ValueError(f"start: it goes on from {self.after}; leave start out here and set it there")
        return self


class GridGroup(Section):
    """Attack cells that answer one question: every secured set under every recipe at every number of queries."""

    secured: Annotated[list[Place], Field(min_length=1)]
    attack: Name
    recipes: Annotated[list[str], Field(min_length=1)]
    queries: Annotated[list[Positive], Field(min_length=1)]
    seeds: Seeds | None = None  # the grid's when not given


class Grid(Section):
    """Attack cells that are run one by one (solid_utils.grid), too long together for the default study."""

    tier: str
    minutes: Positive
    models: list[Name] = []  # victims in the order of running; the study's where none is named
    seeds: Seeds
    evaluation: dict
    difficulty: list[Name] = []  # groups whose sets' DD is measured, to be compared with what came out
    benchmarks: list[Name] = []  # groups whose cells are scored on benchmarks too, for minutes a cell
    leaks: bool = True  # is it measured what the victim's logits alone give away?
    texts: bool = False  # is every held-out text's own agreement and KL kept (CELL.items.csv)?
    recipes: dict[Name, dict]
    groups: dict[Name, GridGroup]

    @model_validator(mode="after")
    def recipes_exist(self) -> "Grid":
        for name in self.benchmarks:
            pick(self.groups, name, "benchmarks")
        for name in self.difficulty:
            pick(self.groups, name, "difficulty")
        for name, group in self.groups.items():
            for recipe in group.recipes:
                said = pick(self.recipes, recipe, f"grid.groups.{name}.recipes")
                if said.keys() & {"queries", "steps"}:
                    raise ValueError(
                        f"recipes.{recipe}: queries are its groups', steps follow from epochs; leave both out"
                    )
        return self
