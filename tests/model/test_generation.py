"""Greedy generation of any architecture, against Transformers on one prompt at a time."""

import torch

from solid_utils.model.forward import shares_prefixes
from solid_utils.model.generation import generate, prefix_cache
from tests.conftest import VOCABULARY

STEPS = 6


def prompts(shared: int) -> list[list[int]]:
    """Of different lengths, the first tokens the same."""
    generator = torch.Generator().manual_seed(2)
    beginning, *rests = (
        torch.randint(1, VOCABULARY, (size,), generator=generator).tolist() for size in (shared, 3, 7, 1)
    )
    return [beginning + rest for rest in rests]


def alone(model, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    output = model.generate(ids, max_new_tokens=STEPS, do_sample=False, attention_mask=torch.ones_like(ids))
    return output[0, len(prompt) :].tolist()


def test_a_batch_gives_what_each_prompt_gives_alone(model):
    asked = prompts(shared=5)
    assert generate(model, asked, STEPS, pad_id=0) == [alone(model, prompt) for prompt in asked]


def test_a_shared_beginning_changes_nothing(model):
    """The same cache serves two batches: what is generated from it leaves it as it was."""
    asked = prompts(shared=20)
    if shares_prefixes(model, 20 + 7 + STEPS):
        cache = prefix_cache(model, asked[0][:20])
        for batch in (asked, asked[1:]):
            given = [alone(model, prompt) for prompt in batch]
            assert generate(model, batch, STEPS, pad_id=0, prefix=cache) == given
