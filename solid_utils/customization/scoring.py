"""What a customized model is scored on: its domain's problems or pairs, and the paper's benchmarks of the domain."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from torch import nn

from solid_utils.core.numbers import standard_error
from solid_utils.core.scored import Scored, libraries
from solid_utils.customization import likelihood, preference
from solid_utils.evaluation import mt_bench, published_tasks
from solid_utils.model.answers import TOKENS, most_likely
from solid_utils.model.state import State
from solid_utils.settings import params

LIKELIHOOD, UNENDED = "_likelihood", "_unended"  # endings of a source's other benchmarks


def exact_matches(model: nn.Module, samples: list[dict], pad_id: int) -> np.ndarray:
    """1 where greedy decoding gives the sample's answer to the last token, else 0; (samples,)."""
    said = most_likely(model, samples, pad_id)
    pairs = zip(said, samples, strict=True)
    return np.array(
        [float((answer == sample["input_ids"][sample["answer_start"] :]).all()) for answer, sample in pairs]
    )


def domain_row(source: str, values: np.ndarray, metric: str = "exact_match", chance: float | None = 0.0) -> dict:
    """The result row of one kind of problem."""
    return {
        "benchmark": source,
        "domain": "customization",
        "shots": 0,
        "metric": metric,
        "value": values.mean(),
        "stderr": standard_error(values),
        "n": len(values),
        "chance": chance,
        "floor": None,
        "task_version": 1,
        "forward_tokens": TOKENS,
        "libraries": libraries(),
    }


def domain_scores(model: nn.Module, problems: list[dict], tokenizer, pairs: bool) -> Scored:
    """Exact match by kind of problem; of pairs the share whose better answer is likelier, by their source."""
    if pairs:
        values = (preference.margins(model, problems, tokenizer.pad_token_id) > 0).astype(float)
    else:
        values = exact_matches(model, problems, tokenizer.pad_token_id)
    metric, chance = ("preferred", 0.5) if pairs else ("exact_match", 0.0)
    return by_source(problems, values, metric, chance)


def offline_scores(model: nn.Module, problems: list[dict], tokenizer, pairs: bool) -> Scored:
    """Of a domain of configs/domains.yaml, by source: whether the answer is right, and how likely it is.

    Right is the choice where problems have choices, else every token (of pairs: the better one is likelier). How likely
    stands under SOURCE_likelihood: cross-entropy in nats a token, of pairs the margin. Of answers in writing there is
    SOURCE_unended, too: the same as right, but whether the answer ends where it should counts for nothing.
    """
    if pairs:
        margins = preference.margins(model, problems, tokenizer.pad_token_id)
        right = by_source(problems, (margins > 0).astype(float), "preferred", 0.5)
        return right + by_source(problems, margins, "margin", None, LIKELIHOOD)
    found = likelihood.answers(model, problems, tokenizer.pad_token_id, tokenizer.eos_token_id)
    likely = by_source(problems, found.nats, "cross_entropy", None, LIKELIHOOD)
    if not np.isnan(found.chosen).any():
        return by_source(problems, found.chosen, "accuracy", 0.25) + likely
    unended = by_source(problems, found.unended, "unended_match", 0.0, UNENDED)
    return by_source(problems, found.exact, "exact_match", 0.0) + likely + unended


def by_source(problems: list[dict], values: np.ndarray, metric: str, chance: float | None, ending: str = "") -> Scored:
    """A row a source, and an item a problem, under the source's name with an ending."""
    sources = np.array([problem["source"] for problem in problems])
    names = sorted(set(sources))
    rows = [domain_row(f"{name}{ending}", values[sources == name], metric, chance) for name in names]
    items = [
        {"benchmark": f"{problem['source']}{ending}", "item": problem["id"], "value": float(value), "weight": 1.0}
        for problem, value in zip(problems, values, strict=True)
    ]
    return Scored(rows, items)


def published_scores(
    model: nn.Module, tokenizer, study: params.Params, domain: str, limit: int | None, kept: State | None = None
) -> Scored:
    """A domain's benchmarks of the paper's Table 6, and MT-Bench where a judge is set, as customization scores.

    Each part is taken from `kept` where it stands there already, and else put there.
    """
    parts = {
        domain: lambda: published_tasks.run_domain(model, tokenizer, study, domain, limit),
        "mt_bench": lambda: mt_bench.mt_bench(model, tokenizer, study.published, limit),
    }
    scored = [once(kept, name, part) if kept else part() for name, part in parts.items()]
    whole = sum(scored, Scored())
    return Scored([row | {"domain": "customization"} for row in whole.rows], whole.items)


def once(state: State, name: str, compute: Callable[[], Scored]) -> Scored:
    """Scores from a state, computed where they do not stand there."""
    return Scored(**state.cached(name, lambda: asdict(compute())))
