"""What is shown of answers is what plain Transformers generates with both models."""

import pytest
import torch

from solid_utils.customization import written
from solid_utils.model import models
from tests.conftest import byte_llama
from tests.customization.runs import ADAPTERS, method, run


def plain(model, tokenizer, prompt: str) -> str:
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    said = model.generate(ids, max_new_tokens=written.NEW_TOKENS, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    return tokenizer.decode(said, skip_special_tokens=True)


def test_answers_are_those_of_plain_transformers_before_and_after(tokenizer, tmp_path):
    victim = byte_llama(3)
    customer = run(tmp_path, victim, tokenizer, "bottom 1", method("full"))
    changed = models.clone(victim)
    with torch.no_grad():
        changed.model.layers[1].mlp.down_proj.weight.mul_(-3)
    models.save_delta(changed, victim, customer.state.folder / "customized.safetensors")
    found = written.answers(customer)
    assert len(found) == 2
    for answer, sample in zip(found, customer.sets["test"], strict=True):
        assert answer["id"] == sample["id"]
        assert answer["prompt"] + answer["wanted"] == tokenizer.decode(sample["input_ids"], skip_special_tokens=True)
        assert answer["before"] == plain(victim, tokenizer, answer["prompt"])
        assert answer["after"] == plain(customer.customized(), tokenizer, answer["prompt"]) != answer["before"]


def test_where_nothing_is_open_nothing_changes(tokenizer, tmp_path):
    customer = run(tmp_path, byte_llama(3), tokenizer, "fully_secured", method("lora", **ADAPTERS))
    answers = written.answers(customer)
    assert answers and all(answer["before"] == answer["after"] for answer in answers)


def test_of_pairs_the_better_answer_is_the_wanted_one(tokenizer, tmp_path):
    customer = run(tmp_path, byte_llama(3), tokenizer, "bottom 1", method("simpo", **ADAPTERS))
    models.save_delta(customer.victim, customer.victim, customer.state.folder / "customized.safetensors")
    wanted = [pair["chosen"] for pair in customer.sets["test"]]
    assert [answer["wanted"] for answer in written.answers(customer)] == wanted[: written.PROMPTS]


def test_a_prompt_without_so_many_positions_is_not_asked(tokenizer, tmp_path, monkeypatch):
    """What is for a reader must not end a run that has trained for hours."""
    customer = run(tmp_path, byte_llama(3), tokenizer, "fully_secured", method("full"))
    monkeypatch.setattr(written, "positions", lambda model: written.NEW_TOKENS + 1)
    assert written.answers(customer) == []


@pytest.mark.parametrize(
    ("sources", "order"),
    [("aabb", [0, 2, 1, 3]), ("abcd", [0, 1, 2, 3]), ("aaa", [0, 1, 2]), ("abbba", [0, 1, 2, 4, 3]), ("", [])],
)
def test_kinds_take_turns(sources, order):
    samples = [{"source": source, "number": number} for number, source in enumerate(sources)]
    assert [sample["number"] for sample in written.turns(samples)] == order
