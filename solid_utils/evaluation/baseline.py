"""The victim's own scores: what every replica is measured against.

python -m solid_utils.evaluation.baseline MODEL
"""

import sys
from pathlib import Path

import torch

from solid_utils.core import errors, paths, schema
from solid_utils.core.scored import Scored
from solid_utils.evaluation import fidelity, floor, published_tasks
from solid_utils.model import models, sampling
from solid_utils.settings import params

# Columns of schema.RUN: nothing is secured, nothing trained.
NUMBERS = ["parameters", "share", "depth", "batch", "numbers"]
BLANK = {"lowest": None, "highest": None, "only_layers": False}


def measure(name: str) -> Path:
    """Score the victim on the held-out sets and all benchmarks; returns the path of its scores."""
    study = params.load()
    torch.set_num_threads(study.threads)
    spec, budget = study.model(name), study.budgets(name)
    victim, tokenizer, revision = models.load_victim(name, spec)
    sets = sampling.held_out(tokenizer, budget.length, budget.evaluation)
    scored = scores(name, study, victim, tokenizer, revision)
    scored.write(paths.RUNS / name / "victim")
    with models.precision(spec):
        base = models.load_base(name, study.model(spec.base)) if spec.base else None
        guessed = floor.rows(victim, tokenizer, sets, base)
    identity = {"model": name, "revision": revision, "tier": study.tier, "dtype": spec.dtype}
    schema.write([identity | row for row in guessed], schema.FLOOR, paths.RUNS / name / "victim" / paths.FLOOR_FILE)
    return paths.RUNS / name / "victim" / "scores.csv"


def scores(name: str, study: params.Params, victim, tokenizer, revision: str) -> Scored:
    """The victim's own scores: fidelity to itself, and all benchmarks of the study's tier."""
    spec, wanted = study.model(name), study.budgets(name).evaluation
    sets = sampling.held_out(tokenizer, study.budgets(name).length, wanted)
    with models.precision(spec):
        scored = fidelity.held_out(victim, victim, tokenizer, sets, wanted)
        scored += published_tasks.run_suite(victim, tokenizer, study, wanted)
    identity = {"model": name, "revision": revision, "tier": study.tier, "dtype": spec.dtype, "seed": "none"}
    blank = dict.fromkeys(schema.RUN, "none") | dict.fromkeys([*NUMBERS, *schema.COST], 0) | BLANK
    return scored.of(blank | identity)


if __name__ == "__main__":
    with errors.one_line():
        print(measure(sys.argv[1]))
