"""What an attack run costs: oracle queries, tokens, samples and training FLOPs, its earlier runs included."""

from dataclasses import dataclass
from functools import cached_property

from solid_utils.attacks.attack import Attack
from solid_utils.core import schema
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.settings.attack_params import Recipe
from solid_utils.training import training


@dataclass(frozen=True)
class Account:
    """Queries and FLOPs of one attack run with these samples."""

    attack: Attack
    recipe: Recipe
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
        """Steps of this run."""
        return self.attack.steps(self)

    def order(self, seed: int, steps: int) -> list[int]:
        """Sample numbers in the order of `steps` steps."""
        return training.order(self.lengths, self.recipe.batch, steps, seed)

    def reached(self, seed: int, steps: int) -> list[dict]:
        """The training samples that the first `steps` steps have met, each once."""
        return [self.samples[number] for number in sorted(set(self.order(seed, steps)))]

    def tokens(self, steps: int) -> int:
        """Tokens of `steps` steps, by the mean length of a sample."""
        return steps * self.recipe.batch * sum(self.lengths) // len(self.samples)

    def cost(self, seed: int, steps: int) -> dict[str, int]:
        """Columns schema.COST after `steps` steps, of which 0 are those of a start that asked nothing.

        With the cost of the runs before, which is an upper bound: what two of them asked alike counts twice.
        """
        own = max(0, steps - self.done(seed))
        queries = self.attack.queries(self, seed, own)
        spent = {
            "steps": steps,
            "samples": self.attack.samples(self, own),
            "queries": len(queries),
            "tokens": sum(len(sample["input_ids"]) for sample in queries),
            "flops": self.attack.flops(self, own),
        }
        if steps and self.before:
            spent |= {name: spent[name] + self.before[seed][name] for name in schema.COST[1:]}
        return {name: spent[name] for name in schema.COST}
