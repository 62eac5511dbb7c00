"""Where no study ran, a notebook that a person opened may take the tiny model of a lab folder, and says so in a line.

Only `make lab` names such a folder, for its kernels. A stage never does (core/execute.py forgets the name), so there a
missing victim stays an error. The folder is made by course/lab.py.
"""

import os
from pathlib import Path

from solid_utils.core import paths
from solid_utils.model import models

TINY = "tiny"


def model_here(model: str) -> str:
    """`model`; or, where it has no victim and `make lab` made a tiny one, that one's name, its folder entered."""
    lab = Path(os.environ.get(paths.LAB_NAMED) or "none")
    if (models.victim_folder(model) / "source.json").exists() or not (lab / paths.LAB_MARK).exists():
        return model
    os.chdir(lab)
    print(
        f"no victim {model} here (`make study`): this is {TINY}, a tiny random model, whose numbers say nothing of it"
    )
    return TINY
