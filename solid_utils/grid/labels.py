"""The victim's own answers, on which some cells train: for victims that no DVC stage `labels` has asked."""

from solid_utils.attacks.declared import KINDS
from solid_utils.core import paths
from solid_utils.deployment import oracle
from solid_utils.grid import shared
from solid_utils.grid.cells import Cell
from solid_utils.settings import params


def see_to(model: str, study: params.Params, section: params.Grid, cells: list[Cell]) -> None:
    """Ask the victim for its answers to the attack's prompts, unless they are there or no cell trains on them."""
    if not any(KINDS[cell.attack].on_answers for cell in cells):
        return
    with shared.alone(paths.LABELS / model):
        if oracle.labelled(model):
            return
        print(f"grid: {paths.LABELS / model}: the victim's answers", flush=True)
        oracle.label(model, study.model_copy(update={"tier": section.tier}))
