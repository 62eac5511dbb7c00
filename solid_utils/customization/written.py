"""What a model writes to a few test prompts, before its customization and after it: for a reader, no score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from solid_utils.model import models
from solid_utils.model.forward import measuring
from solid_utils.model.generation import generate
from solid_utils.model.structure import positions

if TYPE_CHECKING:
    from solid_utils.customization.customization import CustomizationRun

PROMPTS = 4
NEW_TOKENS = 32


def answers(run: CustomizationRun) -> list[dict[str, str]]:
    """A dict a prompt: id, prompt and wanted answer of a test item, and what both models write, at most 32 tokens.

    The first prompt of each kind, then the second of each, four in all, of those that leave so many positions. Of
    pairs, the better answer is the wanted one. Kept in the run's state.
    """
    return run.state.cached("answers", lambda: _answers(run))


def _answers(run: CustomizationRun) -> list[dict[str, str]]:
    most = (positions(run.victim) or math.inf) - NEW_TOKENS
    fitting = [sample for sample in run._texts("test") if sample["answer_start"] <= most]
    asked = turns(fitting)[:PROMPTS]
    customized = run.victim if run.closed else run.customized()
    before, after = (greedy(run, model, asked) for model in (run.victim, customized))
    read = run.tokenizer.decode
    return [
        {
            "id": sample["id"],
            "prompt": read(sample["input_ids"][: sample["answer_start"]]),
            "wanted": read(sample["input_ids"][sample["answer_start"] :], skip_special_tokens=True),
            "before": untouched,
            "after": ours,
        }
        for sample, untouched, ours in zip(asked, before, after, strict=True)
    ]


def turns(samples: list[dict]) -> list[dict]:
    """The samples with their kinds in turn, each kind's in their order."""
    met = {}
    ranks = []
    for sample in samples:
        source = sample["source"]
        ranks.append(met.get(source, 0))
        met[source] = ranks[-1] + 1
    order = sorted(range(len(samples)), key=lambda index: ranks[index])
    return [samples[index] for index in order]


def greedy(run: CustomizationRun, model, samples: list[dict]) -> list[str]:
    """What the model writes after each sample's prompt."""
    prompts = [sample["input_ids"][: sample["answer_start"]] for sample in samples]
    pad_id = run.tokenizer.pad_token_id
    with models.precision(run.spec), measuring(model):  # one by one: not every model reads padding on the left
        said = [generate(model, [prompt], NEW_TOKENS, pad_id)[0] for prompt in prompts]
    return [run.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in said]
