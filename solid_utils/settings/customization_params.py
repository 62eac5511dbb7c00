"""Sections of params.yaml that say how a customer fine-tunes: the budget of a tier, and runs."""

from pydantic import ConfigDict

from solid_utils.core.errors import StudyError
from solid_utils.settings.attack_params import Recipe
from solid_utils.settings.grammar import Declaration
from solid_utils.settings.sections import Name, Positive, Section, Seed, Share


class CustomizationBudget(Recipe):
    """What every customization declares. What is particular to its method follows (customization/methods/NAME.py)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    method: Name  # lora, full, qlora or simpo
    samples: Positive
    validation: Positive
    test: Positive
    seed: Seed = 42
    cache: Share = 0.0  # of the free disk, for states that leave a secured bottom part; 0: computed anew in every step
    packed: bool = False  # texts of a batch side by side, without padding (training/packed.py): other last bits


class CustomizationRun(Section):
    """Which deployment a customer fine-tunes, on which domain."""

    secured: Declaration
    domain: Name  # of Table 8, or of configs/domains.yaml
    forgotten: bool = True  # is what fine-tuning makes it forget scored, too? It takes most of a small run's time
    recipe: dict[Name, dict] = {}  # tier -> what this run overrides in the tier's customization


def check_domain(run: str, domain: str, there: tuple[str, ...]) -> None:
    """Raises StudyError for a domain without training data; `there`: those with some (params.domains_there)."""
    if domain not in there:
        raise StudyError(
            f"customizations.{run}: domain {domain}: its training data come from the hub and are not run here; "
            f"choose {', '.join(there)}, or name it under data.customization.hub"
        )
