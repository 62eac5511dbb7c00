"""Runs and grid cells as pages ask for them: fidelity to the victim, before any query and after the attack.

Read row by row, not as frames: a page asks hundreds of times, and cutting a wide frame each time took a minute.
"""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from solid_utils.core import paths
from solid_utils.core.errors import StudyError
from solid_utils.core.numbers import recovered_share

# The three held-out text sets: prompts like the attack's own, web texts, Python functions.
TEXTS = {"own": "evaluation", "c4": "evaluation_c4", "code": "evaluation_code"}
Scores = dict[tuple[str, str], tuple[float, int]]  # metric, benchmark -> value, number of tokens or answers


@dataclass(frozen=True)
class Run:
    """One attack run of one seed: what it was, and its fidelity scores `before` any query and `after` the attack."""

    attack: str
    secured: str
    deployment: str
    seed: int
    steps: int
    before: Scores
    after: Scores

    def measured(self, metric: str, text: str = "pooled", start: bool = False) -> float:
        """A metric over one kind of text, or over all three with every token counted once ("pooled").

        Raises StudyError where a kind of text is missing.
        """
        scores = self.before if start else self.after
        wanted = [TEXTS[text]] if text in TEXTS else list(TEXTS.values())
        found = [scores[metric, name] for name in wanted if (metric, name) in scores]
        if len(found) != len(wanted):
            raise StudyError(
                f"{metric} on {text}: {len(found)} of {len(wanted)} kinds of text; name another run or text"
            )
        return sum(value * count for value, count in found) / sum(count for _, count in found)

    def recovered(self, text: str = "pooled") -> float:
        """Share of the missing agreement that the attack recovered on this kind of text, or on all."""
        return recovered_share(self.measured("agreement", text), self.measured("agreement", text, start=True))

    def tokens(self, text: str = "pooled") -> int:
        """Answer tokens behind its agreement."""
        wanted = [TEXTS[text]] if text in TEXTS else list(TEXTS.values())
        return sum(self.after["agreement", name][1] for name in wanted)


def read(path: Path) -> Run:
    """A run's scores.csv, or a cell of the grid, with one seed. StudyError where there is none."""
    if not path.exists():
        raise StudyError(f"{path}: no such run")
    states: dict[int, Scores] = defaultdict(dict)
    with path.open(encoding="utf8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["domain"] == "fidelity":
                states[int(row["steps"])][row["metric"], row["benchmark"]] = (float(row["value"]), int(row["n"]))
                last = row
    if not states:
        raise StudyError(f"{path}: no fidelity scores there")
    steps = max(states)
    facts = (last["attack"], last["secured"], last["deployment"], int(last["seed"]))
    return Run(*facts, steps, before=states.get(0, {}), after=states[steps])


def read_grid(folder: Path) -> dict[tuple[str, str, str, int], list[Run]]:
    """All cells of grid/MODEL by attack, secured set (or deployment), name of the recipe, and queries: a run a seed."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*.csv")):
        if path.name in paths.NO_CELLS:
            continue
        _, recipe, queries, _ = path.stem.rsplit("-", 3)  # ATTACK-SECURED, recipe, queries, seed
        run = read(path)
        for place in {run.secured, run.deployment}:
            found[run.attack, place, recipe, int(queries)].append(run)
    return dict(found)
