"""From an attack's scores, text by text, to estimates with intervals and verdicts."""

import numpy as np

from solid_utils.core.numbers import ZERO
from solid_utils.deployment.secured import SecuredSet
from solid_utils.evaluation import floor
from solid_utils.metrics.intervals import LEVEL, SEED, TIMES
from solid_utils.recommend.outcome import Attack, Estimate, Prefix, Verdict
from solid_utils.recommend.prefix_attack import Measured, TextScores
from solid_utils.recommend.texts import Asked

# The study's own words for recovered above the floor (configs/hypotheses.yaml, H1): a set whose interval ends below the
# first resists, one whose interval begins above the second does not.
HOLD_BELOW = 0.10
BROKEN_ABOVE = 0.25


def draws(count: int) -> np.ndarray:
    """How often each of so many texts stands in the sample (first row) and in resamples, (1 + TIMES, count)."""
    stream = np.random.default_rng(SEED)
    places = stream.integers(count, size=(TIMES, count)) + count * np.arange(TIMES)[:, None]
    resampled = np.bincount(places.ravel(), minlength=TIMES * count).reshape(TIMES, count)
    return np.vstack([np.ones(count), resampled])


def estimate(values: np.ndarray, texts: int) -> Estimate:
    """`values`: of the sample, and of the resamples, (1 + TIMES,)."""
    tail = (1 - LEVEL) / 2
    ends = np.quantile(values[1:], [tail, 1 - tail]) if texts > 1 else (None, None)
    return Estimate(value=values[0], low=ends[0], high=ends[1])


class Texts:
    """The held-out texts of one run: all numbers meet the same resamples, so differences and ratios are paired."""

    def __init__(self, tokens: list[int]):
        self.tokens = np.array(tokens, dtype=float)
        self.counts = draws(len(tokens))

    def share(self, hits: list[float]) -> np.ndarray:
        """Hits by tokens, pooled, of each resample."""
        return (self.counts @ np.array(hits, dtype=float)) / (self.counts @ self.tokens)

    def mean(self, sums: list[float]) -> np.ndarray:
        """Mean over a text's tokens, then over texts, of each resample (as fidelity)."""
        return (self.counts @ (np.array(sums) / self.tokens)) / self.counts.sum(1)

    def estimate(self, values: np.ndarray) -> Estimate:
        return estimate(values, len(self.tokens))


def verdict(above: Estimate, hold_below: float, broken_above: float) -> Verdict:
    """Of what is recovered above the floor. With one text there is no interval, and nothing is decided."""
    if above.high is None:
        return "undecided"
    return "holds" if above.high < hold_below else "broken" if above.low > broken_above else "undecided"


def floor_hits(public: list[list[int]], samples: list[dict], likeliest: list[list[int]]) -> dict[str, list[int]]:
    """By predictor, on how many answer tokens of each text counts over `public` name the victim's.

    A text without tokens is another process's.
    """
    grams = floor.Grams(public)
    hits = {}
    for size, predictor in enumerate(floor.PREDICTORS):
        hits[predictor] = []
        for sample, theirs in zip(samples, likeliest, strict=True):
            share, tokens = floor.agreement(grams, [sample], [np.array(theirs)], size) if theirs else (0, 0)
            hits[predictor].append(round(share * tokens))
    return hits


def attack(found: Measured, sets: list[SecuredSet], asked: Asked, hold_below: float, seed: int) -> Attack:
    """The outcome of an attack on prefixes of the model, in the order of `sets`."""
    first = next(iter(found.start.values()))
    texts = Texts(first.tokens)
    limit = max(hold_below, BROKEN_ABOVE)
    best = max(found.floor, key=lambda name: sum(found.floor[name]))
    ground = texts.share(found.floor[best])
    return Attack(
        queries=len(asked.samples),
        tokens=sum(len(sample["input_ids"]) for sample in asked.samples),
        asked=asked.source,
        texts=len(first.tokens),
        answer_tokens=sum(first.tokens),
        floor=texts.estimate(ground),
        floor_by=best,
        hold_below=hold_below,
        broken_above=limit,
        seed=seed,
        prefixes=[prefix(found, one, texts, ground, hold_below, limit) for one in sets],
    )


def prefix(
    found: Measured, chosen: SecuredSet, texts: Texts, ground: np.ndarray, hold_below: float, limit: float
) -> Prefix:
    """One prefix; `ground` is the floor's agreement, (1 + TIMES,)."""
    layers = len(chosen.layers)
    start = found.start[layers]
    after = found.attack.get(layers)
    penalty, previous = found.chosen.get(layers, (None, None))
    measured = attacked(after, texts, ground) if after else {"agreement": None, "kl": None, "above_floor": None}
    judged = verdict(measured["above_floor"], hold_below, limit) if after else "not measured"
    return Prefix(
        secured=chosen.declaration,
        layers=layers,
        parameters=chosen.parameters,
        share=chosen.share,
        zero_query=texts.estimate(texts.share(start.agreeing)),
        zero_query_kl=texts.estimate(texts.mean(start.kl)),
        penalty=penalty,
        previous=previous,
        verdict=judged,
        **measured,
    )


def attacked(after: TextScores, texts: Texts, ground: np.ndarray) -> dict[str, Estimate]:
    agreement = texts.share(after.agreeing)
    left = 1 - ground  # in a resample where counts say all that the victim says, nothing is left to recover
    above = np.divide(agreement - ground, left, out=np.zeros_like(left), where=left > ZERO)
    values = {"agreement": agreement, "kl": texts.mean(after.kl), "above_floor": above}
    return {name: texts.estimate(value) for name, value in values.items()}
