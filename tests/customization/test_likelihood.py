"""Answers by one forward each, against Transformers' own loss and generation."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.customization import likelihood, scoring
from solid_utils.model import answers, sampling

TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=96)


def test_losses_are_transformers_own(llama, samples):
    found = likelihood.answers(llama, samples, 0)
    for sample, nats in zip(samples, found.nats, strict=True):
        ids = torch.tensor([sample["input_ids"]])
        labels = ids.masked_fill(torch.arange(ids.shape[1]) < sample["answer_start"], -100)
        assert nats == pytest.approx(llama(input_ids=ids, labels=labels).loss.item(), rel=1e-5)


def test_exact_is_what_greedy_generation_says(llama, samples):
    told = []
    for sample in samples:  # every second one answers as the model would
        prompt, size = sample["input_ids"][: sample["answer_start"]], len(sample["input_ids"]) - sample["answer_start"]
        said = llama.generate(torch.tensor([prompt]), max_new_tokens=size, min_new_tokens=size, do_sample=False)[0]
        right = len(told) % 2 == 0
        told.append(
            sample | {"input_ids": said.tolist() if right else [*said.tolist()[:-1], (said[-1].item() + 1) % 97]}
        )
    assert likelihood.answers(llama, told, 0).exact.tolist() == [1, 0, 1, 0, 1]


def test_pieces_of_a_batch_do_not_matter(llama, samples, monkeypatch):
    whole = likelihood.answers(llama, [sample | {"choices": [3, 4]} for sample in samples], 0)
    monkeypatch.setattr(answers, "LOGIT_ROWS", 3)
    parts = likelihood.answers(llama, [sample | {"choices": [3, 4]} for sample in samples], 0)
    np.testing.assert_allclose(parts.nats, whole.nats, rtol=1e-6)
    assert parts.exact.tolist() == whole.exact.tolist() and parts.chosen.tolist() == whole.chosen.tolist()


def test_the_choice_is_the_likeliest_first_token(llama, samples):
    sample, choices = samples[0], [5, 9, 11, 12]
    logits = llama(torch.tensor([sample["input_ids"][: sample["answer_start"]]])).logits[0, -1]
    best = choices[int(logits[choices].argmax())]
    ids = sample["input_ids"].copy()
    for token in choices:
        ids[sample["answer_start"]] = token
        found = likelihood.answers(llama, [sample | {"input_ids": ids, "choices": choices}], 0)
        assert found.chosen.tolist() == [float(token == best)]


def test_scores_by_source_have_items_that_give_them(llama, samples):
    problems = [sample | {"source": "ab"[number % 2]} for number, sample in enumerate(samples)]
    scored = scoring.offline_scores(llama, problems, TOKENIZER, pairs=False)
    assert [(row["benchmark"], row["metric"], row["n"]) for row in scored.rows] == [
        ("a", "exact_match", 3), ("b", "exact_match", 2),
        ("a_likelihood", "cross_entropy", 3), ("b_likelihood", "cross_entropy", 2),
        ("a_unended", "unended_match", 3), ("b_unended", "unended_match", 2),
    ]  # fmt: skip
    for row in scored.rows:
        values = [item["value"] for item in scored.items if item["benchmark"] == row["benchmark"]]
        assert row["value"] == pytest.approx(np.mean(values))


def test_an_answer_that_is_right_but_for_its_end_is_right_unended(llama, samples):
    sample = samples[0]
    prompt = sample["input_ids"][: sample["answer_start"]]
    said = llama.generate(torch.tensor([prompt]), max_new_tokens=3, min_new_tokens=3, do_sample=False)[0].tolist()
    end = next(token for token in range(90, 97) if token not in said)
    cases = {
        "goes on": [*said, end],  # the model says another token than the end
        "wrong": [*said[:-1], (said[-1] + 1) % 90, end],
        "cut": said,  # an answer that filled the sample
    }
    told = [sample | {"input_ids": ids} for ids in cases.values()]
    found = likelihood.answers(llama, told, 0, end)
    assert dict(zip(cases, found.exact, strict=True)) == {"goes on": 0, "wrong": 0, "cut": 1}
    assert dict(zip(cases, found.unended, strict=True)) == {"goes on": 1, "wrong": 0, "cut": 1}


def test_choices_become_first_tokens(tokenizer):
    item = {"id": "m", "source": "law", "prompt": "? ", "answer": "B:no", "choices": ["A:yes", "B:no"]}
    (sample,) = sampling.encode([item], tokenizer, 20)
    assert sample["choices"] == [tokenizer.encode("A")[0], tokenizer.encode("B")[0]]
    assert sample["input_ids"][sample["answer_start"]] == sample["choices"][1]
    with pytest.raises(StudyError, match="two choices begin with one token"):
        sampling.encode([item | {"choices": ["a b", "a c"]}], tokenizer, 20)
