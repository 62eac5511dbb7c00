"""SEM: train the replacement on the secured part's own outputs, without the rest of the model (paper 3.1, B.2).

Paper B.2: token ids and boundary states for SOLID, the sixth layer's output and the (noisy) logits for SAP-DP.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import nn
from transformers import PreTrainedModel

from solid_utils.attacks import distances, recorded, smaller
from solid_utils.attacks.attack import Asking, Attack
from solid_utils.attacks.plan import Plan
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import View
from solid_utils.settings.attack_params import Recipe
from solid_utils.settings.sections import Positive
from solid_utils.training.recorded import Recorded

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account
    from solid_utils.attacks.run import AttackRun


class Sem(Asking):
    """Match what leaves the secured part, from what enters it: states, or logits where nothing else is seen."""

    usual: ClassVar = "sem"

    attack: Literal["sem"]
    replacement: Positive | None = None  # fresh decoder layers in place of more secured ones; None: as many

    @model_validator(mode="after")
    def begins_for_itself(self) -> Sem:
        if self.replacement is not None and self.after is not None:
            raise ValueError("replacement: a smaller replacement is trained from its own start; leave after out")
        return self

    def flaw(self, recipe: Recipe, processes: int = 1) -> str:
        if recipe.method == "lora":
            return "method: lora is ft_all's, which trains the open part; leave it out"
        # training.pieces and parallel know how many tokens a part counts, not that the first of each row counts more.
        if recipe.first_weight != 1 and (recipe.device_tokens or processes > 1):
            return (
                "first_weight: parts of a batch are weighed by their tokens, all alike; no device_tokens, one process"
            )
        if None in (recipe.length, recipe.loss):
            return f"{self.attack} needs length and loss; give them here or in tiers (attack.sem)"
        return ""

    def takes_from(self, before: Attack) -> bool:
        return super().takes_from(before) and getattr(before, "replacement", None) is None

    def record(self, oracle: Oracle, samples: dict[int, dict], folder: Path) -> Recorded:
        return recorded.answered(oracle, samples, folder, self.repeats)

    @property
    def recordings(self) -> str:
        return f"answers-{self.noise}-{self.repeats}"

    def replaced(self, victim: PreTrainedModel, secured: SecuredSet) -> SecuredSet:
        return secured if self.replacement is None else smaller.kept(victim, secured, self.replacement)

    @property
    def architecture(self) -> str:
        return str(self.replacement or "")

    def shape(self, model: PreTrainedModel, run: AttackRun) -> None:
        if run.replaced != run.secured:
            smaller.shrink(model, run.secured, run.replaced)

    def plan(self, attacker: PreTrainedModel, run: AttackRun, answers: Recorded) -> Plan:
        part, distance = run.part(attacker), distances.named(run.recipe.loss, lambda: answers.each())

        def state_loss(_: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            errors = distance(part.leaving(batch).float(), answers.of(batch["number"]).float())  # kept in bfloat16
            return distances.mean(errors, batch["attention_mask"], run.recipe.first_weight)

        return Plan(frozenset(run.replaced.names), run.samples, state_loss, part.seen.worked(run.replaced))

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """A loss that needs the spread of the targets asks for all texts before the first step."""
        if steps and account.recipe.loss == distances.STANDARDISED:
            return account.samples * self.repeats + account.validation
        return super().queries(account, seed, steps)

    def foreseen(self, tokens: int, epochs: float, secured: SecuredSet, seen: View, width: int) -> float:
        recorded_once = 2 * seen.below + 2 * (seen.below + secured.parameters)
        return tokens * (6 * epochs * secured.parameters + recorded_once)

    def options(self, recipe: Recipe) -> list[str]:
        return [f"{self.replacement} layer(s) in place of all secured"] if self.replacement else []
