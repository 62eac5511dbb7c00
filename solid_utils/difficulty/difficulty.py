"""Distillation difficulty DD(I): the answer loss with fresh random weights in the secured part (paper 4.2).

    DD(I) = E[ L(theta_0(I)) ],   L = cross-entropy on answer tokens, theta_0(I) = the victim with I drawn afresh

Mean over a sample's answer tokens, then over samples, then over seeds. The work is shared and streamed by sweep.py.
A recommendation for a model of your own: `python -m solid_utils.recommend --model PATH_OR_ID`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from accelerate.utils import gather_object
from transformers import PreTrainedModel

from solid_utils.core.numbers import standard_error
from solid_utils.deployment.secured import SecuredSet
from solid_utils.difficulty import sweep
from solid_utils.difficulty.weights import InMemory
from solid_utils.model import accelerator, answers

MEMORY = 1e9  # bytes of hidden states held at once on a CPU, unless one batch of them takes more: 1.05e9 on Phi-2
GPU_SHARE = 0.25  # of a GPU's memory. Each sweep draws all random layers again: one batch at a time, Phi-2's take hours
SCALES = (0.0, *(2.0**power for power in range(-8, 2)))  # inverse temperatures tried; 0 is ln(vocabulary)

Losses = dict[str, dict[int, np.ndarray]]  # declaration -> seed -> nats, (samples,)


class Difficulty:
    """DD over one victim, in memory or streamed from disk, and one list of samples.

    Of several processes (torch.distributed.run, one a GPU) each scores its own batches, and all get all losses.
    `cached(name, compute)` may keep finished pieces, so that a killed run goes on (solid_utils.model.state).
    """

    def __init__(
        self,
        victim: PreTrainedModel | InMemory,
        samples: list[dict],
        start: str,
        pad_id: int,
        memory: float | None = None,
        cached: Callable = lambda _, compute: compute(),
    ):
        self.source = victim if isinstance(victim, InMemory) else InMemory(victim)
        self.start, self.count, self.memory, self.cached = start, len(samples), memory, cached
        self.batches = accelerator.own_share(answers.batches(samples, pad_id, self.source.device))
        self.sweep = sweep.Sweep(self.source, start)

    def secured(self, declaration: str) -> SecuredSet:
        return self.source.secured(declaration)

    def losses(self, declarations: list[str], seeds: list[int]) -> Losses:
        """Per-sample losses of every secured set and seed."""
        scaled = self._scaled(declarations, seeds, (1.0,))
        return {name: {seed: table[:, 0] for seed, table in rows.items()} for name, rows in scaled.items()}

    def calibrated(self, declarations: list[str], seed: int) -> dict[str, tuple[float, float]]:
        """DD after fitting one temperature scalar, and the inverse temperature that fits, for every secured set.

        Above ln(vocabulary) DD measures confident errors, which a single scalar takes away; this is what is left.
        """
        scaled = self._scaled(declarations, [seed], SCALES)
        return {name: lowest(np.array(SCALES), rows[seed].mean(axis=0)) for name, rows in scaled.items()}

    def _scaled(self, declarations: list[str], seeds: list[int], scales: tuple[float, ...]) -> dict:
        chosen = {name: self.secured(name) for name in declarations}
        candidates = {
            (name, seed): self.sweep.candidate(secured, seed) for name, secured in chosen.items() for seed in seeds
        }
        distinct = list(dict.fromkeys(candidates.values()))
        sizes = [batch.input_ids.numel() for batch in self.batches]
        gpu = accelerator.memory_share() if accelerator.device().type == "cuda" else 0
        numbers = self.sweep.groups(distinct, sizes, self.memory or usual_room(self.sweep, distinct, sizes, gpu))
        groups = [[self.batches[number] for number in group] for group in numbers]
        tables = {candidate: np.full((self.count, len(scales)), np.nan) for candidate in distinct}
        mine = (accelerator.processes().process_index, numbers)
        what = hashlib.sha256(repr((self.start, declarations, seeds, scales, mine)).encode()).hexdigest()[:12]
        scored = []
        for number, group in enumerate(groups):
            title = f"{len(distinct)} models, sweep {number + 1} of {len(groups)}"

            def compute(group: list = group, title: str = title) -> list:
                rows = self.sweep.run(distinct, group, partial(answers.sample_losses, scales=scales), title)
                return [[distinct.index(one), batch.indices, losses.tolist()] for one, batch, losses in rows]

            scored += self.cached(f"{what}-{number}", compute)
        for index, samples, losses in gather_object(scored):
            tables[distinct[index]][samples] = losses
        return {name: {seed: tables[candidates[name, seed]] for seed in seeds} for name in declarations}


def usual_room(one: sweep.Sweep, candidates: list[sweep.Candidate], sizes: list[int], gpu: float) -> float:
    """Bytes of hidden states that are held at once where nobody says how many.

    `sizes`: padded tokens of the batches; `gpu`: bytes of the accelerator's memory, 0 without one.
    """
    return max(MEMORY, GPU_SHARE * gpu, one.state_bytes(candidates, max(sizes, default=0)))


def lowest(scales: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
    """Minimum (value, place) of a convex function known at `scales`: the parabola through its lowest three points."""
    middle = int(np.clip(np.argmin(losses), 1, len(scales) - 2))
    near = slice(middle - 1, middle + 2)
    a, b, c = np.polyfit(scales[near], losses[near], 2)  # a x^2 + b x + c
    place = float(np.clip(-b / (2 * a), scales[near][0], scales[near][-1])) if a > 0 else float(scales[middle])
    value = float(np.polyval((a, b, c), place))
    best = int(np.argmin(losses))
    return (value, place) if value <= losses[best] else (float(losses[best]), float(scales[best]))


def summary(losses: dict[int, np.ndarray]) -> list[dict]:
    """Rows {seed, dd, stderr, n} of one secured set: one a seed, and their mean.

    Standard errors: over samples; for the mean, over samples of the seed average and over seeds, added in quadrature.
    """
    rows = [
        {"seed": str(seed), "dd": values.mean(), "stderr": standard_error(values), "n": len(values)}
        for seed, values in losses.items()
    ]
    average = np.mean(list(losses.values()), axis=0)
    return [*rows, {"seed": "mean", "dd": average.mean(), "stderr": spread(losses), "n": len(average)}]


def spread(losses: dict[int, np.ndarray]) -> float:
    """Standard error of the mean over samples and seeds: both parts, added in quadrature.

    With one seed the samples' part alone: how far seeds lie apart is not known then, and not counted.
    """
    values = list(losses.values())
    between = standard_error(np.array([one.mean() for one in values])) if len(values) > 1 else 0.0
    return float(np.hypot(standard_error(np.mean(values, axis=0)), between))


@dataclass(frozen=True)
class SearchResult:
    """Result of the SOLID search."""

    l_star: int
    dd: float  # DD of the bottom l_star layers
    ceiling: float  # DD of everything
    epsilon: float
    evaluated: int  # prefixes scored
    margins: dict[int, tuple[float, float]]  # layers -> DD - (1 - epsilon) ceiling, and its standard error
    certain: bool  # no prefix up to l_star lies within two standard errors of the bar

    @property
    def warning(self) -> str | None:
        if self.certain:
            return None
        layers, (margin, error) = min(self.margins.items(), key=lambda item: abs(item[1][0]) / max(item[1][1], 1e-12))
        return (
            f"l* = {self.l_star} is within the error: bottom {layers} is {margin:+.2f} ± {error:.2f} nats from the "
            "bar; take more samples or seeds"
        )


def solid_search(ask: Callable[[list[str]], Losses], depth: int, epsilon: float, at_once: int = 1) -> SearchResult:
    """SOLID (paper 4.2): the smallest l with DD({0..l-1}) >= (1 - epsilon) DD([L]).

    `ask` scores declarations; asked for "all" and the first `at_once` prefixes together, then for as many more at a
    time until one passes. When none does, all `depth` layers are returned. Judged on paired differences: the same
    samples and seeds.
    """
    margins, values, ceiling = {}, {}, None
    for first in range(1, depth + 1, at_once):
        wanted = range(first, min(first + at_once, depth + 1))
        losses = ask([*(["all"] if ceiling is None else []), *(f"bottom {layers}" for layers in wanted)])
        ceiling = losses.get("all", ceiling)
        for layers in wanted:
            own = losses[f"bottom {layers}"]
            above = {seed: own[seed] - (1 - epsilon) * ceiling[seed] for seed in own}  # sample by sample
            margins[layers] = (float(np.mean(list(above.values()))), spread(above))
            values[layers] = float(np.mean(list(own.values())))
        if any(margin >= 0 for margin, _ in margins.values()):
            break
    l_star = next((layers for layers, (margin, _) in margins.items() if margin >= 0), depth)
    judged = {layers: margin for layers, margin in margins.items() if layers <= l_star}
    certain = all(abs(margin) > 2 * error for margin, error in judged.values())
    top = float(np.mean(list(ceiling.values())))
    return SearchResult(l_star, values[l_star], top, epsilon, len(margins), judged, certain)
