"""The whole study on a tiny random model, in a copy of this clone: what a reviewer types first.

    python -m solid_utils.doctor.smoke        `make smoke`: two or three minutes; then one table

Every stage and notebook runs, nothing of the real study is touched. Started again, only what changed runs.
"""

import subprocess
import time
from pathlib import Path

import pandas as pd
import yaml

from solid_utils.core import files, paths
from solid_utils.core.errors import StudyError, one_line
from solid_utils.doctor import stages
from solid_utils.report import terminal
from solid_utils.report.catalogue import TABLES

FOLDER = Path("build/smoke")
STUDY = {
    "models": ["tiny"],
    "attacks": ["solid-ft_all", "layer0-sem"],
    "customizations": ["fully_open-math", "solid-math"],
}
NO_SCM = "[core]\n    no_scm = true\n"  # the copy is no repository, and DVC is not to find this one around it


def copied(source: Path, folder: Path, study: dict | None = None) -> Path:
    """All of a clone that git tracks or would track; with `study` it runs that one, on the tests' tier and one thread.

    Raises StudyError where `source` is no clone.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=source, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise StudyError(
            f"{source.resolve()}: no git clone, so it cannot be copied; clone the repository and try there"
        )
    for name in listed.stdout.splitlines():
        if (source / name).is_file():
            with files.whole(folder / name) as partial:
                partial.write_bytes((source / name).read_bytes())
    if study:
        choose(folder, study)
    return folder


def choose(folder: Path, study: dict) -> None:
    """Have the settings of a folder run that study, on the tests' tier and one thread."""
    raw = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf8"))
    raw |= {"tier": "tiny", "threads": 1, "study": study}
    files.write_text(yaml.safe_dump(raw), folder / "params.yaml")


def main() -> None:
    begun = time.monotonic()
    folder = copied(Path(), FOLDER, STUDY)
    files.write_text(NO_SCM, folder / ".dvc" / "config.local")
    stages.run(folder)
    attacks = pd.read_csv(folder / paths.RESULTS / "tables" / "attacks.csv")
    print(terminal.fitted(TABLES["attacks"].compact(attacks, printed=True)))
    page = folder / paths.RESULTS / "report.html"
    minutes = (time.monotonic() - begun) / 60
    print(f"\n{minutes:.1f} min. The model is tiny and random: that all of it runs is what this says.")
    print(f"Page: {page}, notebooks: {folder / 'build/executed/index.html'}. Next: make study")


if __name__ == "__main__":
    with one_line():
        main()
