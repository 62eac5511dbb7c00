"""params.yaml -> typed, validated settings. Every error names the key and the fix."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, model_validator

from solid_utils.core.errors import StudyError
from solid_utils.settings.attack_params import AttackBudget, AttackRun, Grid, Recipe, misfit
from solid_utils.settings.data_params import Data, Published
from solid_utils.settings.sections import Positive, Section, Start, merge, pick, validated


class Shape(Section):
    """Size of a random Llama, for tests."""

    layers: Positive
    width: Positive
    heads: Positive
    vocabulary: Positive


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

    source: Literal["packaged", "hub", "folder", "random", "customized"]
    path: str | None = None
    revision: str | None = None
    shape: Shape | None = None
    weights: Literal["float32", "bfloat16"]
    autocast: Literal["bfloat16"] | None
    base: str | None = None  # the public model that this one was fine-tuned from: a name of `models`
    parallel: dict[Literal["ft_all", "ft_closed", "sem"], Parallel] = {}
    budget: dict[str, dict] = {}

    @model_validator(mode="after")
    def complete(self) -> "Model":
        if self.source == "random" and self.shape is None:
            raise ValueError("source: random needs a shape")
        if self.source != "random" and self.path is None:
            raise ValueError(f"source: {self.source} needs a path")
        if self.source == "hub" and self.revision is None:
            raise ValueError("source: hub needs a revision")
        if self.source == "customized" and self.base is None:
            raise ValueError("source: customized needs a base, the model that was fine-tuned")
        if self.weights == "bfloat16" and self.autocast is None:
            raise ValueError("weights: bfloat16 needs autocast: bfloat16, because what is trained is kept in float32")
        return self

    @property
    def dtype(self) -> str:
        return f"{self.weights}+{self.autocast}-autocast" if self.autocast else self.weights


class Labels(Section):
    new_tokens: Positive
    batch: Positive


class Difficulty(Section):
    samples: Positive
    seeds: Annotated[list[int], Field(min_length=1)]
    start: Start
    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.05


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


class CustomizationBudget(Recipe):
    method: Literal["lora", "full"]
    samples: Positive
    validation: Positive
    test: Positive
    seed: int = 42


class Tier(Section):
    """Budgets of one tier. `length` is tokens a sample, prompt and answer together."""

    length: Positive
    labels: Labels
    difficulty: Difficulty
    scan: Difficulty
    evaluation: Evaluation
    attack: AttackBudget
    customization: CustomizationBudget


class CustomizationRun(Section):
    secured: str
    domain: Literal["math", "code", "medical", "law", "finance"]  # the paper's; trained on here: math


class Study(Section):
    models: Annotated[list[str], Field(min_length=1)]
    attacks: list[str]
    customizations: list[str]


class Params(Section):
    """The whole of params.yaml."""

    tier: str
    threads: Positive
    allow_code: bool = False
    study: Study
    data: Data
    published: Published
    attacks: dict[str, AttackRun]
    customizations: dict[str, CustomizationRun]
    models: dict[str, Model]
    tiers: dict[str, dict]
    grid: Grid

    @model_validator(mode="after")
    def names_exist(self) -> "Params":
        for name, model in self.models.items():
            if model.base is not None:
                pick(self.models, model.base, f"models.{name}.base")
        for key, section in (
            ("models", self.models),
            ("attacks", self.attacks),
            ("customizations", self.customizations),
        ):
            for name in getattr(self.study, key):
                pick(section, name, f"study.{key}")
        for name, attack in self.attacks.items():
            self._check_after(name, attack)
        pick(self.tiers, self.tier, "tier")
        pick(self.tiers, self.grid.tier, "grid.tier")
        return self

    def _check_after(self, name: str, attack: AttackRun) -> None:
        """Raises StudyError where an attack run cannot go on from the one it names."""
        seen, here = [name], attack
        while here.after is not None:
            before = pick(self.attacks, here.after, f"attacks.{seen[-1]}.after")
            if here.after in seen:
                raise StudyError(f"params.yaml: attacks.{name}.after: goes round in a circle; let one run begin")
            opened = before.attack == "ft_all" and here.attack != "ft_all"  # these take the open part for the vendor's
            foreign = before.secured != here.secured or before.replacement is not None
            if foreign or "stitch" in (before.attack, here.attack) or opened:
                raise StudyError(
                    f"params.yaml: attacks.{seen[-1]}.after: {here.attack} cannot go on from '{here.after}'; name a "
                    f"trained run with secured: {here.secured}{' that left the open part alone' if opened else ''}"
                )
            seen, here = [*seen, here.after], before

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

    def usual_recipe(self, model: str, run: str) -> Recipe:
        """The tier's recipe for the attack of a run."""
        base, attack = self.budgets(model).attack, pick(self.attacks, run, "attacks").attack
        return base.sem if attack in ("sem", "stitch") else base.ft

    def recipe(self, model: str, run: str) -> Recipe:
        """The recipe of an attack run: the tier's, with the run's overrides laid over it."""
        overrides = pick(self.attacks, run, "attacks").recipe.get(self.tier, {})
        if self.attacks[run].attack == "stitch" and (idle := sorted(overrides.keys() - {"queries", "length"})):
            raise StudyError(f"attacks.{run}.recipe: {idle[0]}: a stitch is fitted, not trained; leave it out")
        usual = self.usual_recipe(model, run).model_dump(exclude_none=True)
        recipe = validated(Recipe, merge(usual, overrides), f"attacks.{run}.recipe")
        attack = self.attacks[run].attack
        if wrong := misfit(recipe, attack, self.model(model).parallel.get(attack, Parallel()).processes):
            raise StudyError(f"attacks.{run}.recipe: {wrong}")
        return recipe

    def start(self, model: str, run: str) -> Start:
        """The start of an attack run, or of the first of its curriculum: its own, else the tier's.

        Raises StudyError when no public base is named.
        """
        start = pick(self.attacks, self.first(run), "attacks").start or self.budgets(model).attack.start
        if start == "public_base" and self.model(model).base is None:
            raise StudyError(
                f"params.yaml: models.{model}.base: missing, and attacks.{run} starts from public_base; "
                "name the section of the public model that this one was fine-tuned from"
            )
        return start

    def check_counts(self, model: str) -> None:
        """Raises StudyError where the tier, or an attack run of the study, asks for more samples than the sets hold."""
        budget, tier = self.budgets(model), f"tiers.{self.tier}"
        asked = [
            (f"{tier}.difficulty.samples", budget.difficulty.samples, "evaluation"),
            (f"{tier}.scan.samples", budget.scan.samples, "evaluation"),
            (f"{tier}.evaluation.samples", budget.evaluation.samples, "evaluation"),
            (f"{tier}.attack.validation", budget.attack.validation, "validation"),
            (f"{tier}.attack.ft.queries", budget.attack.ft.queries, "attack"),
        ]
        runs = self.study.attacks
        asked += [(f"queries of attacks.{run}", self.recipe(model, run).queries, "attack") for run in runs]
        for key, count, name in asked:
            if count > (held := self.data.holds(name)):
                more = f"raise data.hub.{name}" if self.data.source == "hub" else "set data.source: hub"
                raise StudyError(
                    f"params.yaml: {key}: {count} asked, the {self.data.source} {name} set holds {held}; "
                    f"ask for fewer, or {more}"
                )


def load(path: Path | str = "params.yaml") -> Params:
    """Read and validate the parameters. Raises StudyError naming the key, what is wrong, the fix."""
    path = Path(path)
    if not path.exists():
        raise StudyError(f"{path}: missing; run from the top of the repository")
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    params = validated(Params, raw, str(path))
    for model in params.study.models:
        params.check_counts(model)
        for run in params.study.attacks:
            params.recipe(model, run)
            params.start(model, run)
    return params
