"""Customization runs as the settings declare them: each becomes its method's class, checked before anything is loaded.

What is no method's own is checked with all other settings (attacks/declared.py, doctor/settings.py).
"""

from typing import Annotated, Union

from pydantic import Field, RootModel

from solid_utils.core.errors import StudyError
from solid_utils.customization.methods import METHODS
from solid_utils.customization.methods.method import Method
from solid_utils.settings import params
from solid_utils.settings.customization_params import CustomizationBudget
from solid_utils.settings.sections import merge, pick, validated

PAIRS = ("alignment",)  # domains whose data are pairs of a better and a worse answer
KINDS = {kind.model_fields["method"].annotation.__args__[0]: kind for kind in METHODS}


class Declared(RootModel):
    """Any method, told apart by its key `method`."""

    root: Annotated[Union[METHODS], Field(discriminator="method")]  # noqa: UP007 (a tuple of classes)


def declared(section: CustomizationBudget, where: str, overrides: dict | None = None) -> Method:
    """A section, with overrides laid over it, as its method's class. Raises StudyError for an unknown one or option."""
    said = merge(section.model_dump(exclude_unset=True, exclude_none=True), overrides or {})
    pick(KINDS, said["method"], f"{where}.method")
    return validated(Declared, said, where, tags=1).root


def method(study: params.Params, model: str, run: str) -> Method:
    """The method of a run by name: the tier's, with the model's and the run's overrides laid over it."""
    mine = pick(study.customizations, run, "customizations")
    overrides = mine.recipe.get(study.tier, {})
    where = f"customizations.{run}.recipe.{study.tier}" if overrides else f"tiers.{study.tier}.customization"
    return declared(study.budgets(model).customization, where, overrides)


def check_pairs(run: str, domain: str, chosen: Method) -> None:
    """Raises StudyError where a method is to train on what the domain does not have: pairs, or answers."""
    if chosen.pairs != (domain in PAIRS):
        has, wants = ("pairs", "answers") if domain in PAIRS else ("answers", "pairs")
        fitting = ", ".join(sorted(name for name, kind in KINDS.items() if kind.pairs == (domain in PAIRS)))
        raise StudyError(
            f"customizations.{run}: method: {chosen.method} trains on {wants}, domain {domain} has {has}; "
            f"choose {fitting}"
        )


def check(study: params.Params) -> None:
    """Raises StudyError where a run, or what a tier or a model says of customization, cannot work, in any tier."""
    for tier in study.tiers:
        chosen = study.model_copy(update={"tier": tier})
        for name in study.models:
            declared(chosen.budgets(name).customization, f"tiers.{tier}.customization (models.{name})")
        for run in study.customizations:
            method(chosen, study.study.models[0], run)
    for run in study.study.customizations:
        for name in study.study.models:
            chosen = method(study, name, run)
            check_pairs(run, study.customizations[run].domain, chosen)
            chosen.check_installed()
