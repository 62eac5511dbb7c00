"""The measured attack of a recommendation: which prefixes, what it takes, the run, what came out."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict

import torch
from accelerate.utils import gather_object

from solid_utils.difficulty.weights import InMemory
from solid_utils.model import accelerator, answers
from solid_utils.recommend.attack_plan import AttackPlan, AttackPlanner
from solid_utils.recommend.measured import floor_hits
from solid_utils.recommend.plan import Planner
from solid_utils.recommend.prefix_attack import Measured, PrefixAttack, TextScores
from solid_utils.recommend.texts import Asked

PREFIXES = (1, 2, 4, 8)  # bottom layers, of those that the model has; the recommended set besides
PREVIOUS = 2  # earlier tokens that a map may look at, as in the scale study's recipe `map_first`
SEED = 42  # draws the asked texts and the random layers, as in the study's cells


def prefixes(depth: int, l_star: int | None = None) -> list[int]:
    """How many bottom layers are attacked, ascending."""
    chosen = {one for one in PREFIXES if one <= depth} | ({l_star} if l_star else set())
    return sorted(chosen)


def planner(search: Planner, asked: Asked) -> AttackPlanner:
    """With this machine's rate in float64, if the search's plan has rates."""
    lengths = [len(sample["input_ids"]) for sample in asked.samples]
    exact = accelerator.matmul_rate(torch.float64, accelerator.device()) if search.rates else None
    return AttackPlanner(search, lengths, PREVIOUS, SEED, exact)


def announced(plans: AttackPlanner) -> str:
    """The plan of the usual prefixes, and whether the largest set that a search may find fits as well.

    Raises StudyError where it does not: better now than after the search.
    """
    depth = plans.search.sweep.depth
    usual, largest = plans.plan(prefixes(depth)), plans.plan(prefixes(depth, depth))
    passes = f"{len(largest.groups)} pass{'es' if len(largest.groups) > 1 else ''}"
    more = f"  later   the recommended set too, if it is none of these: at most {passes} in all"
    return f"{usual}\n{more}" if largest.prefixes != usual.prefixes else str(usual)


def run(
    source: InMemory,
    start: str,
    plan: AttackPlan,
    asked: Asked,
    samples: list[dict],
    pad_id: int,
    cached: Callable = lambda _, compute: compute(),
) -> Measured:
    """Attack the planned prefixes.

    Of several processes each scores its own batches, as in a search, and all fit the same maps. `cached` keeps the
    finished attack, so that a run killed after it goes on.
    """
    batches = accelerator.own_share(answers.batches(samples, pad_id, source.device))
    groups = [[batches[number] for number in group if number < len(batches)] for group in plan.groups]
    queries = answers.batches(asked.samples, pad_id, source.device)

    def compute() -> dict:
        made = PrefixAttack(source, start, SEED, PREVIOUS)
        found = made.run(list(plan.prefixes), queries, groups, len(samples))
        found.floor = floor_hits(asked.public, samples, found.likeliest)
        found.likeliest = []  # what is kept holds nothing of the texts
        return asdict(found)

    what = (start, plan.prefixes, plan.groups, [sample["input_ids"] for sample in asked.samples])
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
    name = f"attack-{digest}-{accelerator.processes().process_index}"
    return merged([restored(one) for one in gather_object([cached(name, compute)])])


def restored(raw: dict) -> Measured:
    """Scores from JSON, whose keys are texts."""
    scores = {
        kind: {int(prefix): TextScores(**one) for prefix, one in raw[kind].items()} for kind in ("start", "attack")
    }
    chosen = {int(prefix): tuple(one) for prefix, one in raw["chosen"].items()}
    return Measured(**scores, chosen=chosen, floor=raw["floor"])


def merged(parts: list[Measured]) -> Measured:
    """The scores of all processes: each has zeros for the texts of others."""
    first = parts[0]
    for other in parts[1:]:
        for mine, theirs in ((first.start, other.start), (first.attack, other.attack)):
            for prefix, scores in theirs.items():
                mine[prefix] = mine[prefix].plus(scores)
        for predictor, hits in other.floor.items():
            first.floor[predictor] = [one + two for one, two in zip(first.floor[predictor], hits, strict=True)]
    return first
