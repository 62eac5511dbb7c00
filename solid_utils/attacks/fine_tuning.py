"""What the two fine-tuning attacks share: they train on the victim's answers (paper 3.1), or on the logits behind them.

Beyond the paper: the logits, which the attacker sees too (deployment/view.py), and not the answers alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from solid_utils.attacks import recorded
from solid_utils.attacks.attack import Asking
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.view import View
from solid_utils.model.forward import answer_logits
from solid_utils.settings.attack_params import Recipe
from solid_utils.training.recorded import Recorded
from solid_utils.training.training import Loss, answer_loss

if TYPE_CHECKING:
    from solid_utils.attacks.accounting import Account


class FineTuning(Asking):
    """Fine-tune on answers."""

    usual: ClassVar = "ft"
    on_answers: ClassVar = True

    objective: Literal["answers", "logits"] = "answers"

    @model_validator(mode="after")
    def answers_have_no_mean(self) -> FineTuning:
        if self.repeats > 1 and self.objective == "answers":
            raise ValueError(f"repeats: {self.attack} trains on answers, which have no mean; set objective: logits")
        return self

    @property
    def on_logits(self) -> bool:
        return self.objective == "logits"

    def flaw(self, recipe: Recipe, processes: int = 1) -> str:
        if (recipe.length, recipe.loss, recipe.first_weight) != (None, None, 1.0):
            return f"length, loss and first_weight are sem's, {self.attack} trains on answers; leave them out"
        if recipe.method == "lora" and not self.opens:
            return "method: lora is ft_all's, which trains the open part; leave it out"
        return ""

    def record(self, oracle: Oracle, samples: dict[int, dict], folder: Path) -> Recorded | None:
        return recorded.answer_logits(oracle, samples, folder, self.repeats) if self.on_logits else None

    @property
    def recordings(self) -> str:
        return f"logits-{self.noise}-{self.repeats}"

    def queries(self, account: Account, seed: int, steps: int) -> list[dict]:
        """Where the data set's answers are trained on, only validation asks.

        The logits of an answer are seen while it is generated; where noise is added, asking for them is another query.
        """
        askings = 0 if account.labels == "dataset" else 1
        if self.on_logits and account.seen.noisy:
            askings = 1 + self.repeats
        return account.reached(seed, steps) * askings + (account.validation if steps else [])

    def numbers(self, seen: View, width: int, vocabulary: int) -> int:
        """A token of an answer is one number; the logits behind it are as many as there are tokens."""
        return vocabulary if self.on_logits else 1

    def sees(self, seen: View) -> str:
        return seen.trained_on(self.on_logits) + self.noise_words * (self.on_logits and seen.noisy)

    def options(self, recipe: Recipe) -> list[str]:
        adapters = [f"lora rank {recipe.rank}, alpha {recipe.alpha}"] * (recipe.method == "lora")
        return ["kl on logits"] * self.on_logits + adapters


def towards(logits: Recorded | None) -> Loss:
    """Cross-entropy on the answers; where their logits are recorded, mean KL(victim || replica) over answer tokens.

    (Distillation at temperature 1: Hinton et al. 2015, arXiv:1503.02531.)
    """
    if logits is None:
        return answer_loss

    def divergence(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        own = answer_logits(model, batch["input_ids"], batch["attention_mask"], batch["keep"])
        theirs = logits.of(batch["number"]).float()  # (answer tokens, vocab)
        own, theirs = own.log_softmax(1, dtype=torch.float32), theirs.log_softmax(1)
        return nn.functional.kl_div(own, theirs, reduction="batchmean", log_target=True)

    return divergence
