"""Fidelity against its definition."""

import math

import pytest
import torch
from conftest import build

from solid_utils import fidelity as module
from solid_utils import schema
from solid_utils.errors import StudyError
from solid_utils.fidelity import Remembered, fidelity


def by_metric(rows: list[dict]) -> dict[str, dict]:
    assert all(list(row) == schema.OUTCOME for row in rows)
    return {row["metric"]: row for row in rows}


def test_the_victim_agrees_with_itself(model, tokenizer, samples):
    for twin in (model, build_again(model)):
        rows = by_metric(fidelity(twin, model, tokenizer, samples).rows)
        assert rows["agreement"]["value"] == 1
        assert rows["agreement"]["stderr"] == 0
        assert rows["kl"]["value"] == pytest.approx(0, abs=1e-6)


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
