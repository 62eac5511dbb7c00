"""SEM gives back a victim that has learnt something: a random tiny model cannot show that an attack works."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from solid_utils.deployment.secured import secured_set
from solid_utils.training import training
from tests.attacks.test_attacks import RECIPE, attack, attacker, recording, run

WORDS = 8
SCHOOL = RECIPE.model_copy(update={"steps": 300, "batch": 32, "validate_every": 300})
CONFIG = LlamaConfig(
    vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    bos_token_id=None, eos_token_id=0, pad_token_id=0,
)  # fmt: skip


def language(count, length=16):
    """A synthetic language: the two words before it decide the next word, by a table drawn at random."""
    stream = torch.Generator().manual_seed(3)
    table = torch.randint(1, WORDS + 1, (WORDS + 1, WORDS + 1), generator=stream)
    rows = torch.randint(1, WORDS + 1, (count, length), generator=stream)
    for at in range(2, length):
        rows[:, at] = table[rows[:, at - 2], rows[:, at - 1]]
    return [
        {"id": str(n), "source": "alpaca", "input_ids": row.tolist(), "answer_start": 2} for n, row in enumerate(rows)
    ]


def most_likely(model, batch):
    with torch.no_grad():
        return model(input_ids=batch["input_ids"]).logits[batch["keep"]].argmax(-1)


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """A victim that speaks the language, what attackers may ask, and sentences that nobody trained on."""
    texts = language(768)
    torch.manual_seed(0)
    victim, folder = LlamaForCausalLM(CONFIG), tmp_path_factory.mktemp("victim")
    everything = {name for name, _ in victim.named_parameters()}
    training.train(victim, everything, texts[:704], training.answer_loss, lambda _: {}, SCHOOL, 1, 0, folder)
    return victim.eval(), texts[:704], training.Collator(0)(texts[704:])


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0.0, 2 / WORDS), (1e-2, 0.9, 1.0)])
def test_sem_recovers_a_secured_layer_and_a_zero_rate_attack_does_not(rate, least, most, school, tmp_path):
    victim, texts, held_out = school
    with torch.no_grad():
        assert training.answer_loss(victim, held_out) < 0.1, "the victim has not learnt its language"
    secured = secured_set(victim, "layers 0")
    answers, model = recording(victim, secured, texts, tmp_path), attacker(victim, secured)
    plan = attack("sem", model, secured, texts, tmp_path, answers)
    run(plan, model, tmp_path, SCHOOL.model_copy(update={"learning_rate": rate}))
    agreement = (most_likely(model, held_out) == most_likely(victim, held_out)).float().mean().item()
    assert least <= agreement <= most
