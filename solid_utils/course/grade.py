"""Grade an attack on layer 0: a replica's file on held-out texts drawn by a seed, and a rubric of small checks.

    python -m solid_utils.course.grade REPLICA.safetensors SEED [MODEL]

Status 0 where every check is passed, 1 where one is off, 2 with one line for a file or a seed that cannot be graded.
docs/course.md has the task.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedModel

from solid_utils.core.errors import StudyError, one_line
from solid_utils.course import frozen, handed_in
from solid_utils.course.handed_in import HandedIn
from solid_utils.deployment.secured import secured_set
from solid_utils.evaluation import fidelity, floor
from solid_utils.model import models, sampling
from solid_utils.report import floors
from solid_utils.settings import params

MODEL, SECURED = "smollm2-135m", "layers 0"
QUERIES, CPU_MINUTES = 400, 90  # what the task allows
COPIED = 0.9  # |cosine| of two matrices from which one is a copy with noise: trained apart they have about 0
SEED = re.compile(r"[0-9]{1,9}")
USAGE = "make grade FILE=REPLICA.safetensors SEED=NUMBER"


class Check(NamedTuple):
    """A line of the rubric; `passed` None: there is nothing to compare with."""

    name: str
    passed: bool | None
    said: str


class Score(NamedTuple):
    """Agreement with the victim and what public text alone gives, pooled over held-out tokens, as shares."""

    agreement: float
    stderr: float
    public: float
    tokens: int

    @property
    def advantage(self) -> float:
        return floors.above(self.agreement, self.public)

    @property
    def advantage_stderr(self) -> float:
        """The standard error of the agreement, as a share of what public text does not give."""
        return self.stderr / (1 - self.public) if self.public < 1 else float("nan")


def arguments(argv: list[str]) -> tuple[Path, int, str]:
    """File, seed and model. Raises StudyError for what is missing or no number."""
    if not 2 <= len(argv) <= 3 or not argv[0]:
        raise StudyError(f"grade: a file and a seed are asked; {USAGE}")
    if not SEED.fullmatch(argv[1]):
        raise StudyError(f"grade: SEED={argv[1]}: not a whole number of at most nine digits; {USAGE}")
    return Path(argv[0]), int(argv[1]), argv[2] if argv[2:] and argv[2] else MODEL


def evaluation(study: params.Params, model: str) -> params.Tier:
    """The budgets of the cells that the frozen figure comes from: as many held-out texts, of the same length."""
    tier = study.scale.tier
    asked = study.model_copy(update={"tier": tier})
    asked = asked.model_copy(
        update={"tiers": study.tiers | {tier: params.merge(study.tiers[tier], {"evaluation": study.scale.evaluation})}}
    )
    return asked.budgets(model)


def scored(replica: PreTrainedModel, victim: PreTrainedModel, tokenizer, sets: dict[str, list[dict]]) -> Score:
    """A replica on held-out texts, as attacks are scored, and what counts over public text give there."""
    rows = []
    for name, samples in sets.items():
        rows += fidelity.fidelity(replica, victim, tokenizer, samples, name).rows
    table = pd.DataFrame(rows)
    table = table[table["metric"] == "agreement"]
    total = int(table["n"].sum())
    guessed = pd.DataFrame(floor.rows(victim, tokenizer, sets)).assign(model="", tier="")
    return Score(
        floors.on_sets(table, "agreement", floors.POOLED),
        float(np.sqrt((table["stderr"] * table["n"] / total).pow(2).sum())),
        floors.floor_on(guessed, "", "", floors.POOLED),
        total,
    )


def rubric(handed: HandedIn, alike: float | None, score: Score, figure: frozen.Figure | None) -> list[Check]:
    """Every check, in the order in which it is printed."""
    limits = {"queries": QUERIES, "cpu_minutes": CPU_MINUTES}
    return [
        Check("format", True, f"{handed.form} in place of layer 0, {handed.numbers:,} numbers, all finite"),
        *(said(handed, name, most) for name, most in limits.items()),
        untouched(alike),
        Check(
            "floor",
            score.agreement > score.public,
            f"agrees with the victim on {score.agreement:.1%} of {score.tokens:,} held-out tokens, counts over public "
            f"text on {score.public:.1%}",
        ),
        compared(score, figure),
    ]


def said(handed: HandedIn, name: str, most: int) -> Check:
    """What the metadata says was spent."""
    words = name.replace("cpu_", "CPU ")
    kind, read = ("a whole number", handed.count) if name == "queries" else ("a number", handed.number)
    count = read(name)
    if count is None:
        there = f"says {ascii(handed.said[name][:20])}, not {kind}" if name in handed.said else "does not say"
        return Check(name, False, f'the file {there}; save it with metadata={{"{name}": "{most}"}}')
    proof = "said, not proved: a file cannot count what was asked, only the oracle can" if name == "queries" else "said"
    return Check(name, count <= most, f"{count:,} of at most {most} {words} ({proof})")


def untouched(alike: float | None) -> Check:
    """Was the secret read? A copy shows; a copy under much noise would not."""
    if alike is None:
        return Check("secret", True, "no tensor of the secret layer is in the file")
    what = f"the matrix most like the victim's has a cosine of {alike:.2f}, copies have {COPIED} and more"
    return Check("secret", alike < COPIED, f"{what} (a copy drowned in noise would pass)")


def compared(score: Score, figure: frozen.Figure | None) -> Check:
    """Against the frozen figure: what lies within two standard errors of it has reached it."""
    own = f"{score.advantage:.1%} of what public text does not give, standard error {score.advantage_stderr:.1%}"
    if figure is None:
        return Check("score", None, f"{own}; no attack on layer 0 of this model is shipped to compare with")
    reached = score.advantage + 2 * score.advantage_stderr >= figure.advantage
    return Check("score", reached, f"{own}; this release: {figure.advantage:.1%} ({figure.attack}, {figure.path})")


def graded(path: Path, seed: int, model: str, study: params.Params) -> list[Check]:
    """The rubric of one file. Raises StudyError where victim, sets or file cannot be used."""
    torch.set_num_threads(study.threads)
    spec = study.model(model)
    budget = evaluation(study, model)
    victim, tokenizer, _ = models.load_victim(model, spec)
    secured = secured_set(victim, SECURED)
    handed = handed_in.read(path, victim, secured)
    sets = sampling.held_out(tokenizer, budget.length, budget.evaluation, drawn=seed)
    with models.precision(spec):
        score = scored(handed_in.replica(handed, victim, secured), victim, tokenizer, sets)
    figure = frozen.figure(model, QUERIES)
    return rubric(handed, handed_in.likeness(handed, victim), score, figure)


def main(argv: list[str], study: params.Params | None = None) -> int:
    """Print the rubric; returns the status. Raises StudyError, see `graded`."""
    path, seed, model = arguments(argv)
    checks = graded(path, seed, model, study or params.load())
    marks = {True: "ok", False: "off", None: "-"}
    for check in checks:
        print(f"{check.name:12s} {marks[check.passed]:4s} {check.said}")
    missed = [check.name for check in checks if check.passed is False]
    print(f"{path}, seed {seed}: {'off: ' + ', '.join(missed) if missed else 'every check is passed'}")
    return 1 if missed else 0


if __name__ == "__main__":
    with one_line():
        raise SystemExit(main(sys.argv[1:]))
