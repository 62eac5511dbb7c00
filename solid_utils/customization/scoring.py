"""What a customized model is scored on: its domain's problems or pairs, and the paper's benchmarks of the domain."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from torch import nn

from solid_utils.core.numbers import standard_error
from solid_utils.core.scored import Scored, libraries
from solid_utils.customization import preference
from solid_utils.evaluation import mt_bench, published_tasks
from solid_utils.model.answers import TOKENS, most_likely
from solid_utils.model.state import State
from solid_utils.settings import params


def exact_matches(model: nn.Module, samples: list[dict], pad_id: int) -> np.ndarray:
    """1 where greedy decoding gives the sample's answer to the last token, else 0; (samples,)."""
    said = most_likely(model, samples, pad_id)
    pairs = zip(said, samples, strict=True)
    return np.array(
        [float((answer == sample["input_ids"][sample["answer_start"] :]).all()) for answer, sample in pairs]
    )


def domain_row(source: str, values: np.ndarray, metric: str = "exact_match", chance: float = 0.0) -> dict:
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


def domain_scores(model: nn.Module, problems: list[dict], pad_id: int, pairs: bool) -> Scored:
    """Exact match by kind of problem; of pairs the share whose better answer is likelier, by their source."""
    if pairs:
        values = (preference.margins(model, problems, pad_id) > 0).astype(float)
    else:
        values = exact_matches(model, problems, pad_id)
    metric, chance = ("preferred", 0.5) if pairs else ("exact_match", 0.0)
    sources = np.array([problem["source"] for problem in problems])
    rows = [domain_row(source, values[sources == source], metric, chance) for source in sorted(set(sources))]
    return Scored(
        rows,
        [
            {"benchmark": problem["source"], "item": problem["id"], "value": float(value), "weight": 1.0}
            for problem, value in zip(problems, values, strict=True)
        ],
    )


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
