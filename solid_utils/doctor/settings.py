"""All settings, checked before anything is loaded: what every room that declares something says of them.

    python -m solid_utils.doctor.settings [FILE]     FILE is written when they are right

One process for all: importing what models need takes longer than the checks.
"""

import sys
from pathlib import Path

from solid_utils.attacks import declared as attacks
from solid_utils.core import files
from solid_utils.core.errors import one_line
from solid_utils.customization import declared as customizations
from solid_utils.settings import params


def load(path: Path | str = "params.yaml") -> params.Params:
    """Settings that attacks and customizations can work with. Raises StudyError: the key, what is wrong, the fix."""
    study = attacks.load(path)
    customizations.check(study)
    return study


if __name__ == "__main__":
    with one_line():
        load()
        for file in sys.argv[1:]:  # of the first stage of dvc.yaml: the same bytes whenever the settings are right
            files.write_text("settings: checked\n", Path(file))
