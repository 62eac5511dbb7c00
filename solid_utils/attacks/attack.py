"""What an attack says of itself: its options, what it asks of the oracle, what it trains, its cost, its words.

One class in one file, listed in attacks/__init__.py. What is written here holds for an attack that trains on recorded
texts; a class overrides what differs. `run` is the AttackRun at work, `account` what it has paid.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import ConfigDict, model_validator
from transformers import PreTrainedModel

from solid_utils.attacks.plan import Plan
from solid_utils.core.scored import Scored
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.model import models
from solid_utils.settings.attack_params import AttackSection, Recipe
from solid_utils.settings.grammar import noise
from solid_utils.settings.recipe_text import recipe_text
from solid_utils.settings.sections import Positive
from solid_utils.training.recorded import Recorded

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun

# Settings that a recipe's line names only where a run changes them.
UNSAID = ("warmup", "warmup_steps", "first_weight", "dropout")


class Attack(AttackSection):
    """The declaration of one attack run. Misspelt options are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usual: ClassVar[Literal["ft", "sem"]]  # which of the tier's recipes it begins with
    on_answers: ClassVar[bool] = False  # trains on answers to prompts, the victim's or the data set's; else on texts
    fitted: ClassVar[bool] = False  # in closed form: no optimizer, nothing drawn, so one seed is enough
    opens: ClassVar[bool] = False  # changes the open part, too
    follows: ClassVar[bool] = True  # may go on from another run's replica, and another from its own

    def flaw(self, recipe: Recipe, processes: int = 1) -> str:
        """What of a recipe this attack does not read, or lacks; empty where it fits."""
        return ""

    def takes_from(self, before: Attack) -> bool:
        """Can this attack go on from that one's replica?"""
        kin = self.follows and before.follows and before.secured == self.secured
        return kin and not (before.opens and not self.opens)  # others take the open part for the vendor's

    # What it asks ----------------------------------------------------------------------------------------------------

    def record(self, oracle: Oracle, samples: dict[int, dict], folder: Path) -> Recorded | None:
        """What it asks of the oracle before it trains, kept in `folder`; None where the labels are there already."""
        return None

    @property
    def recordings(self) -> str:
        """Runs with the same word ask alike, so that they may share what was recorded."""
        return self.attack

    def drawn_by(self, seeds: list[int]) -> int | None:
        """The seed that draws which texts it asks about; None for the first of the attack set."""
        return None

    def own_texts(self, run: AttackRun) -> list[dict] | None:
        """Samples that it makes up itself; None where it asks about texts of the attack set."""
        return None

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """What was asked after `steps` steps of its own: a query a sample, repeated ones and validation included."""
        return account.reached(seed, steps) + (account.validation if steps else [])

    def sees(self, seen: View) -> str:
        """What it trains on, of all that is seen: the column `view`."""
        return seen.pair

    def numbers(self, seen: View, width: int, vocabulary: int) -> int:
        """Scalars a token that it is shown and trains on: of states, or of logits where nothing else is seen."""
        return vocabulary if seen.outputs_only else width

    # What it trains --------------------------------------------------------------------------------------------------

    def replaced(self, victim: PreTrainedModel, secured: SecuredSet) -> SecuredSet:
        """What it trains in place of the secret: as many tensors, unless it says otherwise."""
        return secured

    def shape(self, model: PreTrainedModel, run: AttackRun) -> None:
        """Give the attacker's model, or a replica before its tensors are laid over it, the attack's architecture."""

    @property
    def architecture(self) -> str:
        """Runs of one start with the same word begin as the same model."""
        return ""

    def plan(self, attacker: PreTrainedModel, run: AttackRun, answers: Recorded | None) -> Plan:
        """What is trained, on what, towards which loss."""
        raise NotImplementedError

    def train(self, run: AttackRun, seed: int) -> list[dict]:
        """Make the replica of one seed and keep it in the run's state; returns the history, a dict a logged step."""
        return run.optimised(seed)

    def keep(self, replica: torch.nn.Module, run: AttackRun, path: Path) -> None:
        """Write the replica: the tensors that differ from what the vendor hands out."""
        models.save_delta(replica, models.open_part(run.victim, run.secured.names, shared=True), path)

    def lay(self, replica: PreTrainedModel, run: AttackRun, path: Path) -> None:
        """Make the open part the replica that `keep` wrote, in place."""
        self.shape(replica, run)
        models.load_delta(replica, path)

    def measured(self, run: AttackRun, model: Callable[[], PreTrainedModel]) -> Scored:
        """Scores besides fidelity and benchmarks, of start and end alike; `model` gives the one that is scored."""
        return Scored()

    # What it costs, and how it is called -----------------------------------------------------------------------------

    def steps(self, account: Account) -> int:
        """Steps of this run: of the optimizer, unless it says otherwise."""
        return account.recipe.total_steps(len(account.samples))

    def batch(self, recipe: Recipe) -> int:
        """Sequences a step."""
        return recipe.batch

    def samples(self, account: Account, steps: int) -> int:
        """Samples of `steps` steps, each as often as it was worked through."""
        return steps * account.recipe.batch

    def worked(self, account: Account) -> int:
        """Parameters that a token works through: those of the secured part, where it is run without the rest."""
        return account.seen.worked(account.replaced)

    def flops(self, account: Account, steps: int) -> int:
        """FLOPs of `steps` steps: 4 a token and parameter worked through (forward, backward to the states), 2 a
        trained one. Open layers below the secured part run forward once a sample (2)."""
        tokens = account.tokens(steps)
        once = 2 * account.seen.below * min(tokens, sum(account.lengths))
        return tokens * (4 * self.worked(account) + 2 * account.replaced.parameters) + once

    def foreseen(self, tokens: int, epochs: float, secured: SecuredSet, seen: View, width: int) -> float:
        """FLOPs of training on so many tokens so often, roughly, before a run is made."""
        return tokens * 6 * epochs * secured.total

    def words(self, recipe: Recipe, usual: Recipe) -> str:
        """The column `recipe`: all that tells it from another attack but what it starts from and sees.

        `usual` is the tier's recipe. Budgets (steps, queries) are no part of it, as they are points of one curve.
        """
        changed = {name: getattr(recipe, name) for name in UNSAID if getattr(recipe, name) != getattr(usual, name)}
        said = [f"{name} {value:g}" if value is not None else f"no {name}" for name, value in changed.items()]
        return ", ".join([recipe_text(recipe), *self.options(recipe), *said])

    def options(self, recipe: Recipe) -> list[str]:
        """Its own options in words, those that are not as usual."""
        return []


class Asking(Attack):
    """An attack whose queries meet the deployment's noise, if it has any."""

    noise: Literal["fixed", "fresh"] = "fixed"  # by the query, or new at each asking (answers are asked once)
    repeats: Positive = 1  # how often each query is asked; states or logits are averaged

    @model_validator(mode="after")
    def noise_is_there(self) -> Asking:
        if (self.noise, self.repeats) != ("fixed", 1) and not noise(self.secured):
            raise ValueError(f"noise and repeats are of sap_dp, '{self.secured}' answers without noise; leave them out")
        return self

    @property
    def noise_words(self) -> str:
        return f", {self.noise} noise, {self.repeats} askings a query"

    def sees(self, seen: View) -> str:
        return seen.pair + self.noise_words * seen.noisy

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        return account.reached(seed, steps) * self.repeats + (account.validation if steps else [])
