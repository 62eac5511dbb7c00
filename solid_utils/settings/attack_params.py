"""Sections of params.yaml that say what an attack trains and how: recipes, budgets, runs, the grid of cells."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from solid_utils.settings.sections import Positive, Rate, Section, Start, pick


class Recipe(Section):
    """One training run. `steps` wins over `epochs`; `batch` is the effective batch, whatever the hardware.

    `device_tokens`: padded tokens of one forward and backward at most; a batch beyond that is worked through in pieces.
    """

    queries: Positive = 1
    steps: Annotated[int, Field(ge=0)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    batch: Positive
    device_tokens: Positive | None = None
    length: Positive | None = None
    learning_rate: Rate
    weight_decay: Rate
    schedule: Literal["cosine", "linear", "constant"]
    warmup: Rate = 0.0
    warmup_steps: Positive | None = None
    validate_every: Positive
    loss: Literal["relative_mse", "mse", "cosine"] | None = None
    first_weight: Rate = 1.0  # SEM: how much a text's first token counts; 0 leaves it out
    method: Literal["lora", "full"] = "full"  # how the open part is trained, where it is
    rank: Positive | None = None
    alpha: Positive | None = None
    dropout: Rate = 0.0

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
    seeds: Annotated[list[int], Field(min_length=1)]
    start: Start
    labels: Literal["victim", "dataset"]
    validation: Positive
    ft: Recipe
    sem: Recipe


class AttackRun(Section):
    secured: str
    attack: Literal["ft_all", "ft_closed", "sem", "stitch"]
    start: Start | None = None  # the tier's when not given
    previous: Annotated[int, Field(ge=0)] = 2  # stitch: earlier tokens it may look at
    after: str | None = None  # the run whose replica this one goes on from (a curriculum)
    objective: Literal["answers", "logits"] = "answers"  # fine-tune on answers, or on the logits behind them
    replacement: Positive | None = None  # SEM: fresh decoder layers in place of more secured ones; None: as many
    noise: Literal["fixed", "fresh"] = "fixed"  # of sap_dp: by the query, or new at each asking (answers: one)
    repeats: Positive = 1  # how often each query is asked; states or logits are averaged
    recipe: dict[str, dict] = {}  # tier -> what this run overrides in the tier's recipe

    @model_validator(mode="after")
    def options_fit(self) -> "AttackRun":
        if (self.noise, self.repeats) != ("fixed", 1) and self.secured != "sap_dp":
            raise ValueError(f"noise and repeats are of sap_dp, '{self.secured}' answers without noise; leave them out")
        if self.repeats > 1 and self.attack != "sem" and self.objective == "answers":
            raise ValueError(f"repeats: {self.attack} trains on answers, which have no mean; set objective: logits")
        if self.objective == "logits" and self.attack not in ("ft_all", "ft_closed"):
            raise ValueError(f"objective: {self.attack} trains on no answers; use attack: ft_all or ft_closed")
        if self.after is not None and self.start is not None:
            raise ValueError(f"start: it goes on from {self.after}; leave start out here and set it there")
        if self.replacement is not None and (self.attack != "sem" or self.after is not None):
            raise ValueError(
                "replacement: a smaller replacement is trained by attack: sem from its own start; leave it out"
            )
        if "previous" in self.model_fields_set and self.attack != "stitch":
            raise ValueError(f"previous: {self.attack} is no stitch and looks at all tokens; leave it out")
        return self


def misfit(recipe: Recipe, attack: str, processes: int = 1) -> str:
    """What of a recipe this attack does not read, or lacks; empty where it fits."""
    if recipe.method == "lora" and attack != "ft_all":
        return "method: lora is ft_all's, which trains the open part; leave it out"
    if attack.startswith("ft") and (recipe.length, recipe.loss, recipe.first_weight) != (None, None, 1.0):
        return f"length, loss and first_weight are sem's, {attack} trains on answers; leave them out"
    if recipe.first_weight != 1 and (recipe.device_tokens or processes > 1):
        return "first_weight: parts of a batch are weighed by their tokens, all alike; no device_tokens, one process"
    if attack == "sem" and None in (recipe.length, recipe.loss):
        return "sem needs length and loss; give them here or in tiers (attack.sem)"
    return ""


class GridGroup(Section):
    """Attack cells that answer one question: every secured set under every recipe at every number of queries."""

    secured: Annotated[list[str], Field(min_length=1)]
    attack: Literal["ft_all", "ft_closed", "sem", "stitch"]
    recipes: Annotated[list[str], Field(min_length=1)]
    queries: Annotated[list[Positive], Field(min_length=1)]


class Grid(Section):
    """Attack cells that are run one by one (solid_utils.grid), too long together for the default study."""

    tier: str
    minutes: Positive
    seeds: Annotated[list[int], Field(min_length=1)]
    evaluation: dict
    recipes: dict[str, dict]
    groups: dict[str, GridGroup]

    @model_validator(mode="after")
    def recipes_exist(self) -> "Grid":
        for name, group in self.groups.items():
            for recipe in group.recipes:
                said = pick(self.recipes, recipe, f"grid.groups.{name}.recipes")
                if group.attack != "stitch" and "epochs" not in said:
                    raise ValueError(f"recipes.{recipe}: needs epochs, which with the queries give the steps")
                if said.keys() & {"queries", "steps"}:
                    raise ValueError(
                        f"recipes.{recipe}: queries are its groups', steps follow from epochs; leave both out"
                    )
        return self
