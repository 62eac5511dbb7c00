"""Full fine-tuning of the open part: the paper's method for Phi-2, Phi-1.5 and small models (B.6: rate 2e-5)."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.customization.methods.method import OF_ADAPTERS, Method
from solid_utils.deployment.secured import SecuredSet
from solid_utils.deployment.view import view
from solid_utils.model.structure import layer_parameters, parameters_after_layers


class Full(Method):
    """All open parameters are trained.

    Below a secured bottom part lie the embeddings. A gradient reaches them only through the secret layers, which no
    customer has in his hands, so by default they stay as they are (a tied head is the same tensor, and stays too).
    """

    method: Literal["full"]
    below: Literal["frozen", "trained"] = "frozen"  # what lies below a secured bottom part

    @model_validator(mode="after")
    def without_adapters(self) -> Full:
        if idle := [name for name in OF_ADAPTERS if getattr(self, name) is not None] or ["dropout"] * bool(
            self.dropout
        ):
            raise ValueError(f"{idle[0]}: is of adapters, and method: {self.method} has none; leave it out")
        return self

    @property
    def adapters(self) -> bool:
        return False

    def adapted(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        return model, open_names(model, secured, self.below)

    def options(self) -> list[str]:
        return ["below the secured part trained, too"] * (self.below == "trained")


def open_names(model: nn.Module, secured: SecuredSet, below: str = "frozen") -> set[str]:
    """Names of the open parameters that are trained. Raises StudyError where there is none."""
    names = {name for name, _ in model.named_parameters()} - set(secured.names)
    if below == "frozen":
        names -= underneath(model, secured)
    if not names:
        raise StudyError(f"method: full: '{secured.declaration}' leaves nothing open to train; secure less")
    return names


def underneath(model: nn.Module, secured: SecuredSet) -> set[str]:
    """Names of what is used before the layers where layer 0 is secret, wholly or in part; none elsewhere."""
    if not secured.names or view(model, secured).first > 0:
        return set()
    inside = {name for names in layer_parameters(model) for name in names}
    return {name for name, _ in model.named_parameters()} - inside - parameters_after_layers(model)
