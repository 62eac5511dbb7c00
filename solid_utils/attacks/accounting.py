"""What an attack run is called in the tables, and what it costs: oracle queries and training FLOPs."""

from dataclasses import dataclass
from functools import cached_property

from solid_utils.attacks import stitch
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.settings import params
from solid_utils.settings.recipe_text import recipe_text
from solid_utils.training import training

# Settings that a recipe's line names only where a run changes them.
UNSAID = ("warmup", "warmup_steps", "first_weight", "dropout")


def attack_text(
    attack: params.AttackRun, recipe: params.Recipe, usual: params.Recipe, before: dict | None = None
) -> str:
    """All that tells one attack from another one but what it starts from and sees: these have columns of their own.

    `usual` is the tier's recipe; `before` the end of the run that this one goes on from (curriculum.ended). Budgets
    (steps, queries) are no part of it, as they are points of one curve; those of the run before are.
    """
    if attack.attack == "stitch":
        return f"ridge, {attack.previous} previous tokens, batch {stitch.BATCH} x {recipe.length} tokens"
    objective = ", kl on logits" if attack.objective == "logits" else ""
    changed = {name: getattr(recipe, name) for name in UNSAID if getattr(recipe, name) != getattr(usual, name)}
    adapters = f", lora rank {recipe.rank}, alpha {recipe.alpha}" if recipe.method == "lora" else ""
    smaller = f", {attack.replacement} layer(s) in place of all secured" if attack.replacement else ""
    said = "".join(f", {name} {value:g}" if value is not None else f", no {name}" for name, value in changed.items())
    own = recipe_text(recipe) + objective + adapters + smaller + said
    return own if before is None else f"{own}, after {before['attack']}, {before['steps']} steps of {before['recipe']}"


def view_text(attack: params.AttackRun, seen: View) -> str:
    """What this attack trains on, of all that is seen."""
    noise = f", {attack.noise} noise, {attack.repeats} askings a query" if seen.noisy else ""
    if attack.attack in ("ft_all", "ft_closed"):
        return seen.trained_on(attack.objective == "logits") + noise * (attack.objective == "logits")
    return seen.pair + noise


@dataclass(frozen=True)
class Account:
    """Queries and FLOPs of one attack run with these samples."""

    attack: params.AttackRun
    recipe: params.Recipe
    replaced: SecuredSet  # what the attacker trains in place of the secret
    seen: View
    samples: list[dict]
    validation: list[dict]
    width: int  # of the model's hidden states
    adapters: int  # parameters of LoRA on the open part; 0 where it is trained itself, or not at all
    before: dict[int, dict]  # by seed, the end of the run that this one goes on from
    labels: str = "victim"  # whose answers are trained on; those of "dataset" were not asked for

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        return [len(sample["input_ids"]) for sample in self.samples]

    @property
    def steps(self) -> int:
        """Steps at the end of the run, those of the runs before included."""
        return self.own_steps + max(map(self.done, self.before), default=0)

    def done(self, seed: int) -> int:
        """Steps that the runs before have made."""
        return self.before[seed]["steps"] if self.before else 0

    @property
    def own_steps(self) -> int:
        """Steps of this run: of the optimizer, or batches of texts that enter the stitch's equations."""
        if self.attack.attack == "stitch":
            return -(-len(self.samples) // stitch.BATCH)
        return self.recipe.total_steps(len(self.samples))

    def order(self, seed: int, steps: int) -> list[int]:
        """Sample numbers in the order of `steps` steps."""
        return training.order(self.lengths, self.recipe.batch, steps, seed)

    def asked(self, seed: int, steps: int) -> list[dict]:
        """What was asked of the oracle after `steps` steps of its own: training samples seen so far, and validation.

        A stitch asks for all its texts; it chooses its penalty on some of them and needs no validation answers.
        Where the data set's answers are trained on, only validation asks.
        The logits of an answer are seen while it is generated; where noise is added, asking for them is another query.
        """
        if self.attack.attack == "stitch":
            return self.samples if steps else []
        numbers = [] if self.labels == "dataset" else sorted(set(self.order(seed, steps)))
        used = [self.samples[number] for number in numbers]
        askings = self.attack.repeats
        if self.attack.objective == "logits":
            askings = 1 + self.attack.repeats if self.seen.noisy else 1
        return used * askings + (self.validation if steps else [])

    def flops(self, steps: int) -> int:
        """FLOPs of `steps` steps of its own: 4 a token and parameter worked through (forward, backward to the states),
        2 a trained one.

        Open layers below the secured part run forward once a sample (2), except under FT-all, which trains them.
        A stitch has no steps of an optimizer: see stitch.flops.
        """
        if self.attack.attack == "stitch":
            return stitch.flops(sum(self.lengths), self.width, self.attack.previous, self.seen.below) if steps else 0
        tokens = steps * self.recipe.batch * sum(self.lengths) // len(self.samples)
        secret = self.replaced.parameters
        if self.attack.attack == "ft_all":
            trained = secret + self.adapters if self.recipe.method == "lora" else self.replaced.total
            return tokens * (4 * (self.replaced.total + self.adapters) + 2 * trained)
        alone = self.attack.attack == "sem"
        worked = self.seen.worked(self.replaced) if alone else self.replaced.total - self.seen.below
        once = 2 * self.seen.below * min(tokens, sum(self.lengths))
        return tokens * (4 * worked + 2 * secret) + once

    def cost(self, seed: int, steps: int) -> dict[str, int]:
        """Columns schema.COST after `steps` steps, of which 0 are those of a start that asked nothing.

        With the cost of the runs before, which is an upper bound: what two of them asked alike counts twice.
        """
        own = max(0, steps - self.done(seed))
        asked = self.asked(seed, own)
        tokens = sum(len(sample["input_ids"]) for sample in asked)
        cost = {"queries": len(asked), "tokens": tokens, "flops": self.flops(own)}
        if steps and self.before:
            cost = {name: value + self.before[seed][name] for name, value in cost.items()}
        return {"steps": steps} | cost
