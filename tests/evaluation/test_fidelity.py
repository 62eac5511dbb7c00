"""Fidelity against its definition."""

import math

import pytest
import torch

from solid_utils.core import schema
from solid_utils.core.errors import StudyError
from solid_utils.evaluation import fidelity as module
from solid_utils.evaluation.fidelity import Remembered, fidelity, greedy_match, held_out
from solid_utils.model.generation import generate
from solid_utils.model.state import State
from solid_utils.settings import params
from tests.conftest import build


def by_metric(rows: list[dict]) -> dict[str, dict]:
    assert all(list(row) == schema.OUTCOME for row in rows)
    return {row["metric"]: row for row in rows}


def test_the_victim_agrees_with_itself(model, tokenizer, samples):
    for twin in (model, build_again(model)):
        rows = by_metric(fidelity(twin, model, tokenizer, samples).rows)
        assert rows["agreement"]["value"] == 1
        assert rows["agreement"]["stderr"] == 0
        assert rows["kl"]["value"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("broken", ["replica", "victim"])
def test_a_model_that_says_nothing_has_no_fidelity(llama, tokenizer, samples, broken):
    """Its most likely token would be the first one, and agree with nobody: 0 %, which reads as secure."""
    replica, victim = build("llama"), build("llama")
    with torch.no_grad():
        {"replica": replica, "victim": victim}[broken].lm_head.weight.fill_(math.nan)
    with pytest.raises(StudyError, match="fidelity: evaluation: logits on s. are not finite"):
        fidelity(replica, victim, tokenizer, samples)


def build_again(model):
    twin = type(model)(model.config).eval()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("token_budget", [12, 4096])
def test_fidelity_equals_its_definition(tokenizer, samples, monkeypatch, token_budget):
    monkeypatch.setattr(module, "TOKEN_BUDGET", token_budget)
    victim, replica = build("llama"), build("gpt2")
    rows = by_metric(fidelity(replica, victim, tokenizer, samples).rows)
    agreeing, kl, loss = [], [], []
    for sample in samples:
        ids, start = torch.tensor([sample["input_ids"]]), sample["answer_start"]
        with torch.no_grad():
            own = replica(ids).logits[0, start - 1 : -1].log_softmax(-1)
            other = victim(ids).logits[0, start - 1 : -1].log_softmax(-1)
        agreeing.append((own.argmax(1) == other.argmax(1)).double())
        kl.append((other.exp() * (other - own)).sum(1).mean().double())
        loss.append(-own.gather(1, ids[0, start:, None]).mean().double())
    count, kl, loss = sum(map(len, agreeing)), torch.stack(kl), torch.stack(loss)
    assert rows["agreement"]["value"] == pytest.approx(torch.cat(agreeing).mean().item())
    assert rows["kl"]["value"] == pytest.approx(kl.mean().item(), rel=1e-5)
    assert rows["kl"]["stderr"] == pytest.approx(kl.std().item() / math.sqrt(5), rel=1e-4)
    assert rows["cross_entropy"]["value"] == pytest.approx(loss.mean().item(), rel=1e-5)
    assert rows["perplexity"]["value"] == pytest.approx(math.exp(loss.mean().item()), rel=1e-5)
    assert [rows[metric]["n"] for metric in ("agreement", "kl", "cross_entropy", "perplexity")] == [count, 5, 5, 5]


def test_items_give_the_agreement(tokenizer, samples):
    scored = fidelity(build("gpt2"), build("llama"), tokenizer, samples)
    assert [item["item"] for item in scored.items] == [sample["id"] for sample in samples]
    assert [item["weight"] for item in scored.items] == [len(s["input_ids"]) - s["answer_start"] for s in samples]
    agreement = sum(item["value"] for item in scored.items) / sum(item["weight"] for item in scored.items)
    assert agreement == pytest.approx(scored.rows[0]["value"])


@pytest.mark.parametrize("room", [0, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_remembered_victim_gives_the_same_and_runs_once(tokenizer, samples, room, dtype):
    victim, replica, runs = build("llama").to(dtype), build("gpt2"), []
    expected = fidelity(replica, victim, tokenizer, samples)
    victim.register_forward_hook(lambda *_: runs.append(1))
    remembered = Remembered(lambda: victim, room)
    assert all(fidelity(replica, remembered, tokenizer, samples) == expected for _ in range(3))
    assert len(runs) == (1 if room else 3) and remembered.complete == bool(room)


def test_a_remembered_text_is_not_its_other_answer(tokenizer, samples):
    victim, replica = build("llama"), build("gpt2")
    remembered = Remembered(lambda: victim)
    for batch in (samples, [sample | {"answer_start": 1} for sample in samples]):
        assert fidelity(replica, remembered, tokenizer, batch) == fidelity(replica, victim, tokenizer, batch)


def test_greedy_answers_are_read_back_by_another_process(tokenizer, samples, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    victim, replica = build("llama"), build("gpt2")
    first = Remembered(lambda: victim, cached=State("mine", {}, "evaluation", shared=True).cached)
    expected = greedy_match(replica, first, tokenizer, samples, 3)
    assert expected == greedy_match(replica, victim, tokenizer, samples, 3)

    def gone():
        raise AssertionError("the victim was asked again")

    again = Remembered(gone, cached=State("mine", {}, "evaluation", shared=True).cached)
    assert greedy_match(replica, again, tokenizer, samples, 3) == expected


def test_greedy_answers_compared_as_free_running_ones(model, tokenizer, samples):
    """Reading the victim's answer says what generating a token at a time would, on each architecture."""
    replica, new_tokens = build_again(model), 6
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in replica.parameters():
            parameter += 0.02 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    prompts = [sample["input_ids"][: sample["answer_start"]] for sample in samples]
    theirs, own = ([generate(one, [prompt], new_tokens, 0)[0] for prompt in prompts] for one in (model, replica))
    shares = []
    for answer, other in zip(theirs, own, strict=True):
        same = [a == b for a, b in zip(answer, other, strict=False)] + [False]
        shares.append(min(same.index(False), len(answer)) / len(answer))
    rows = by_metric(greedy_match(replica, model, tokenizer, samples, new_tokens).rows)
    assert rows["common_prefix"]["value"] == pytest.approx(sum(shares) / len(shares))
    assert rows["greedy_match"]["value"] == shares.count(1.0) / len(shares)
    assert {row["n"] for row in rows.values()} == {len(samples)}


def test_held_out_sets_have_names_and_the_victim_is_met_once(tokenizer, samples):
    victim, runs = build("llama"), []
    sets = {"evaluation": samples, "evaluation_c4": [sample | {"answer_start": 1} for sample in samples[:2]]}
    shape = {"apart": {"texts": 2, "length": 12}, "greedy": {"prompts": 3, "new_tokens": 2}}
    wanted = params.Evaluation(suite="small", samples=5, limit=None, **shape)
    victim.register_forward_hook(lambda *_: runs.append(1))
    remembered = Remembered(lambda: victim)
    first = held_out(build("gpt2"), remembered, tokenizer, sets, wanted)
    met = len(runs)
    assert held_out(build("gpt2"), remembered, tokenizer, sets, wanted) == first and len(runs) == met
    found = {(row["benchmark"], row["metric"]): row for row in first.rows}
    assert len(found) == len(first.rows) == 2 * (4 + 2)
    assert found["evaluation_c4", "agreement"]["n"] == sum(len(sample["input_ids"]) - 1 for sample in samples[:2])
    assert found["evaluation", "greedy_match"]["n"] == 3 and found["evaluation_c4", "greedy_match"]["n"] == 2
    own = {row["metric"]: row["value"] for row in held_out(victim, victim, tokenizer, sets, wanted).rows}
    assert own["greedy_match"] == own["common_prefix"] == own["agreement"] == 1


def test_more_greedy_prompts_than_samples_get_one_line():
    shape = {"apart": {"texts": 2, "length": 12}, "greedy": {"prompts": 6, "new_tokens": 2}}
    with pytest.raises(ValueError, match="greedy: 6 prompts of 5 samples; ask for fewer"):
        params.Evaluation(suite="small", samples=5, limit=None, **shape)


def test_agreements_error_is_clustered_by_sample():
    """Four samples that agree wholly or not at all are worth four observations, however many tokens they have."""
    share, stderr = module._pooled(torch.tensor([50.0, 0.0, 50.0, 0.0]), torch.tensor([50.0, 50.0, 50.0, 50.0]))
    assert (share, stderr) == (0.5, pytest.approx(0.5 / math.sqrt(3)))


def test_dropout_is_off_while_measuring(tokenizer, samples):
    model = build("gpt2").train()
    first, second = (fidelity(model, model, tokenizer, samples) for _ in range(2))
    assert first == second
    assert model.training


@pytest.mark.parametrize(
    "broken", [[], [{"input_ids": [1, 2], "answer_start": 2}], [{"input_ids": [1], "answer_start": 0}]]
)
def test_samples_without_answers_get_one_line(llama, tokenizer, broken):
    with pytest.raises(StudyError, match="mend the evaluation set"):
        fidelity(llama, llama, tokenizer, broken)
