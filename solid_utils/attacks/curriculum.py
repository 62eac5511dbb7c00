"""Attacks in a row (SEM, FT-closed, FT-all): each goes on from the replica of the one before and pays for it too."""

import hashlib
from pathlib import Path

from solid_utils.core import paths, schema
from solid_utils.core.errors import StudyError


def checkpoint(model: str, run: str, seed: int) -> Path:
    """The finished replica of an attack run, as `models.load_delta` reads it. Raises StudyError where there is none."""
    path = paths.CHECKPOINTS / model / "attacks" / run / f"seed-{seed}.safetensors"
    if not path.exists():
        raise StudyError(f"{path}: missing; run `dvc repro attack@{model}-{run}` first")
    return path


def ended(model: str, run: str, seed: int, tier: str) -> dict:
    """Columns schema.RUN and schema.COST at the end of an attack run, and `sha256` of its replica.

    Raises StudyError where that run is missing, or was of another tier.
    """
    digest = hashlib.sha256(checkpoint(model, run, seed).read_bytes()).hexdigest()
    path = paths.RUNS / model / "attacks" / run / "scores.csv"
    rows = schema.read(path, schema.SCORES)
    rows = rows[(rows["seed"] == seed) & (rows["tier"] == tier)]
    if rows.empty:
        raise StudyError(f"{path}: no rows of tier {tier} and seed {seed}; run `dvc repro attack@{model}-{run}` first")
    last = rows.loc[rows["steps"].idxmax(), schema.RUN + schema.COST].to_dict()
    # The digest is part of the next run's state: a replica trained anew begins that run anew.
    return last | {name: int(last[name]) for name in schema.COST} | {"sha256": digest}
