"""The secured set of a deployment by name, SOLID's search result included."""

import torch

from solid_utils.core import paths, readers
from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import SecuredSet, secured_set


def read_l_star(model: str) -> int:
    """The layers SOLID secures, as the search of notebook 01 found them. Raises StudyError when it has not run."""
    path = paths.RUNS / model / "dd" / "l_star.json"
    if not path.exists():
        raise StudyError(f"{path}: missing; run `dvc repro dd@{model}` first")
    return readers.read_number(path, "l_star", f"delete it and run `dvc repro dd@{model}`")


def deployment_set(victim: torch.nn.Module, model: str, declaration: str) -> SecuredSet:
    """The secured set of a declaration, with SOLID's search result where it is asked for."""
    return secured_set(victim, declaration, read_l_star(model) if declaration == "solid" else None)
