"""What a method says of itself: its options, what it trains, how, and what becomes of the customized model.

One class in one file, listed in methods/__init__.py. `run` is the CustomizationRun at work.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import ConfigDict, model_validator
from torch import nn

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet
from solid_utils.settings.customization_params import CustomizationBudget
from solid_utils.settings.recipe_text import recipe_text

if TYPE_CHECKING:
    from solid_utils.customization.customization import CustomizationRun

OF_ATTACKS = ("queries", "length", "loss", "first_weight")
OF_ADAPTERS = ("rank", "alpha")


class Method(CustomizationBudget):
    """The recipe of one customization. Misspelt options are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: ClassVar[bool] = False  # trains on pairs of a better and a worse answer; else on answers

    @model_validator(mode="after")
    def nothing_of_an_attack(self) -> Method:
        if idle := [name for name in OF_ATTACKS if name in self.model_fields_set]:
            raise ValueError(f"{idle[0]}: is an attack's; leave it out")
        return self

    @model_validator(mode="after")
    def packed_by_the_engine(self) -> Method:
        if self.packed and self.cache:
            raise ValueError("packed: kept states come padded; leave out packed or cache")
        if self.packed and self.pairs:
            raise ValueError(f"packed: the batches of method: {self.method} are TRL's; leave it out")
        return self

    @model_validator(mode="after")
    def states_of_answers(self) -> Method:
        if self.cache and self.pairs:  # boundary states belong to the engine's batches; TRL's never read them
            raise ValueError(f"cache: method: {self.method} trains on pairs and keeps no states; leave it out")
        return self

    @property
    def adapters(self) -> bool:
        """Does it train adapters beside the open part, and not the open part itself?"""
        return self.rank is not None

    def check_installed(self) -> None:
        """Raises StudyError where a library that the method needs is missing."""

    def adapted(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        """The model to train, made of `model` in place, and the names of what is trained.

        Adapters begin with draws from torch's own generator: seed that before.
        Raises StudyError where nothing that the method trains is open.
        """
        raise NotImplementedError

    def shell(self, model: nn.Module, secured: SecuredSet) -> tuple[nn.Module, set[str]]:
        """The same on a model without values (meta device), to count what is trained."""
        return self.adapted(model, secured)

    def reach(self, model: nn.Module, secured: SecuredSet) -> str:
        """One line on what of the open part is trained; empty where that needs no saying."""
        return ""

    def train(self, run: CustomizationRun, model: nn.Module, names: set[str]) -> list[dict]:
        """Train `names` of `model` in place, exact to resume; returns the history, a dict a logged step."""
        return run.on_answers(model, names)

    def merged(self, model: nn.Module, run: CustomizationRun) -> nn.Module:
        """The trained model with the victim's parameter names: adapters go into their matrices."""
        return model.merge_and_unload() if self.adapters else model

    def words(self, domain: str) -> str:
        """The column `recipe`."""
        return ", ".join([domain, self.method, recipe_text(self), *["packed"] * self.packed, *self.options()])

    def options(self) -> list[str]:
        """The method's own options in words, those that are not as usual."""
        return []


def optional(module: str, extra: str) -> ModuleType:
    """A module of an optional dependency. Raises StudyError, which names the extra of pyproject.toml, without it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StudyError(
            f"method: {extra}: needs {module.partition('.')[0]}, which cannot be imported ({error}); "
            f"run `pip install -e .[{extra}]`"
        ) from None


def requires_grad(model: nn.Module, names: set[str]) -> None:
    """Only the named parameters are trained."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def count(model: nn.Module, names: set[str]) -> int:
    """Scalars of the named parameters."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if name in names)


def on_meta(kind: type[nn.Module], config: object) -> nn.Module:
    """A model without values, to count on."""
    with torch.device("meta"):
        return kind(config)
