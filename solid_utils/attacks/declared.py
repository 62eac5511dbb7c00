"""Attack runs as the settings declare them: each becomes its attack's class, checked before anything is loaded.

`load` is the door for everything that knows attacks; what needs none goes through params.load alone.
"""

from pathlib import Path
from typing import Annotated, Union

from pydantic import Field, RootModel

from solid_utils.attacks import ATTACKS
from solid_utils.attacks.attack import Attack
from solid_utils.core.errors import StudyError
from solid_utils.settings import params, places
from solid_utils.settings.attack_params import AttackSection, Grid, Recipe
from solid_utils.settings.sections import Start, merge, pick, validated

KINDS = {kind.model_fields["attack"].annotation.__args__[0]: kind for kind in ATTACKS}


class Declared(RootModel):
    """Any attack run, told apart by its key `attack`."""

    root: Annotated[Union[ATTACKS], Field(discriminator="attack")]  # noqa: UP007 (a tuple of classes)


def declared(section: AttackSection, where: str) -> Attack:
    """A section as its attack's class. Raises StudyError for an unknown attack or option."""
    pick(KINDS, section.attack, f"{where}.attack")
    return validated(Declared, section.model_dump(exclude_unset=True), where, tags=1).root


def attack(study: params.Params, run: str) -> Attack:
    """The attack of a run by name."""
    return declared(pick(study.attacks, run, "attacks"), f"attacks.{run}")


def usual_recipe(study: params.Params, model: str, run: str) -> Recipe:
    """The tier's recipe for the attack of a run."""
    return getattr(study.budgets(model).attack, attack(study, run).usual)


def recipe(study: params.Params, model: str, run: str) -> Recipe:
    """The recipe of an attack run: the tier's, with the run's overrides laid over it. StudyError where it is no fit."""
    mine, where = attack(study, run), f"attacks.{run}.recipe"
    overrides = mine.recipe.get(study.tier, {})
    if mine.fitted and (idle := sorted(overrides.keys() - {"queries", "length"})):
        raise StudyError(f"{where}: {idle[0]}: a {mine.attack} is fitted, not trained; leave it out")
    usual = usual_recipe(study, model, run).model_dump(exclude_none=True)
    found = validated(Recipe, merge(usual, overrides), where)
    parallel = study.model(model).parallel.get(mine.attack, params.Parallel())
    if wrong := mine.flaw(found, parallel.processes):
        raise StudyError(f"{where}: {wrong}")
    if found.optimizer == "muon" and parallel.shard:
        raise StudyError(f"{where}: optimizer: muon wants whole matrices, and models.{model} shards {mine.attack}")
    return found


def start(study: params.Params, model: str, run: str) -> Start:
    """The start of an attack run, or of the first of its curriculum: its own, else the tier's.

    Raises StudyError when no public base is named.
    """
    begins = attack(study, study.first(run)).start or study.budgets(model).attack.start
    if begins == "public_base" and study.model(model).base is None:
        raise StudyError(
            f"params.yaml: models.{model}.base: missing, and attacks.{run} starts from public_base; "
            "name the section of the public model that this one was fine-tuned from"
        )
    return begins


def load(path: Path | str = "params.yaml") -> params.Params:
    """All settings, checked as far as they can be without a model. Raises StudyError, see params.load."""
    study = params.load(path)
    check(study)
    return study


def check(study: params.Params) -> None:
    """Raises StudyError where an attack run, a cell of the grid, or what a model says of attacks cannot work."""
    for name, model in study.models.items():
        for kind in model.parallel:
            pick(KINDS, kind, f"models.{name}.parallel")
    for run in study.attacks:
        check_order(study, run)
        # Every tier: what fits `small` need not fit `paper`, and would be found out only when its stage runs.
        for tier in study.tiers:
            recipe(study.model_copy(update={"tier": tier}), study.study.models[0], run)
    for key in params.GRIDS:
        for name, group in getattr(study, key).groups.items():
            check_group(getattr(study, key), key, name, pick(KINDS, group.attack, f"{key}.groups.{name}.attack"))
    for model in study.study.models:
        for run in study.study.attacks:
            start(study, model, run)
            study.check_count(f"queries of attacks.{run}", recipe(study, model, run).queries, "attack")


def check_order(study: params.Params, run: str) -> None:
    """Raises StudyError where an attack run cannot go on from the one it names."""
    seen, here = [run], attack(study, run)
    while here.after is not None:
        pick(study.attacks, here.after, f"attacks.{seen[-1]}.after")
        if here.after in seen:
            raise StudyError(f"params.yaml: attacks.{run}.after: goes round in a circle; let one run begin")
        before = attack(study, here.after)
        if not here.takes_from(before):
            left = " that left the open part alone" if before.opens and not here.opens else ""
            raise StudyError(
                f"params.yaml: attacks.{seen[-1]}.after: {here.attack} cannot go on from '{here.after}'; name a "
                f"trained run with secured: {here.secured}{left}"
            )
        seen, here = [*seen, here.after], before


def check_group(grid: Grid, key: str, name: str, kind: type[Attack]) -> None:
    """Raises StudyError where a recipe of a group of cells is none of its attack; `key` is the grid's own."""
    group = grid.groups[name]
    secured = places.concrete(group.secured[0], places.NOMINAL)
    for chosen in group.recipes:
        said, where = grid.recipes[chosen], f"{key}.recipes.{chosen}"
        # A cell's queries vary, so its steps must follow from them.
        if not kind.fitted and "epochs" not in said:
            raise StudyError(f"params.yaml: {where}: needs epochs, which with the queries give the steps")
        options = {key: value for key, value in said.items() if key not in Recipe.model_fields}
        validated(kind, {"attack": group.attack, "secured": secured} | options, where)
