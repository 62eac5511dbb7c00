"""LoRA on the open decoder layers (Hu et al. 2021, arXiv:2106.09685), by peft: the paper's method for 7B models.

Table 9: rank 32, alpha 64, dropout 0.05, three epochs; rate 2e-5 for Llama2-7B, 1e-6 for Mistral-7B.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from torch import nn

from solid_utils.customization.methods.method import Method
from solid_utils.deployment.secured import SecuredSet
from solid_utils.settings.sections import Positive
from solid_utils.training import lora


class Lora(Method):
    """Adapters on every linear matrix of every open layer, or on those that `targets` names."""

    method: Literal["lora"]
    rank: Positive
    alpha: Positive
    targets: list[str] | None = None  # ends of modules' names, as peft takes them: q_proj, layers.3.mlp.up_proj
    experts: bool = False  # stacked experts, too: by peft's target_parameters, which take no dropout

    @model_validator(mode="after")
    def experts_without_dropout(self) -> Lora:
        if self.experts and self.dropout:
            raise ValueError("experts: peft has no dropout for stacked experts; set dropout: 0")
        return self

    def adapted(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        return lora.wrapped(model, secured, self, self.targets, self.experts)

    def reach(self, model: nn.Module, secured: SecuredSet) -> str:
        return lora.reach(model, secured, self.targets, self.experts)

    def options(self) -> list[str]:
        targets = [f"on {' '.join(self.targets)}"] if self.targets else []
        return targets + ["on stacked experts too"] * self.experts
