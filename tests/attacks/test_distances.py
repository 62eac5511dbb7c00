"""Distances between states, by hand, and the weight of the first token."""

import pytest
import torch

from solid_utils.attacks import distances, recorded
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model.models import clone
from solid_utils.training import training
from tests.attacks.test_attacks import SEM_RECIPE, attack

STATES, TARGET = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[0.0, 4.0], [2.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "expected"), [("mse", [4.5, 0.5]), ("relative_mse", [9 / 16, 1 / 4]), ("cosine", [0.2, 0.0])]
)
def test_errors_of_two_tokens(name, expected):
    assert distances.LOSSES[name](STATES, TARGET).tolist() == pytest.approx(expected)


def test_the_first_token_counts_as_told():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    errors = torch.tensor([10.0, 1.0, 2.0, 20.0, 3.0])  # of the real tokens, row after row
    assert distances.mean(errors, mask, 1.0) == errors.mean()
    assert distances.mean(errors, mask, 0.0) == pytest.approx(6 / 3)
    assert distances.mean(errors, mask, 0.5) == pytest.approx((6 + 15) / 4)


@pytest.mark.parametrize("name", distances.LOSSES)
def test_sem_trains_towards_the_distance(name, llama, samples, tmp_path):
    """Against Transformers' own hidden states of victim and attacker."""
    secured, attacker = secured_set(llama, "bottom 2"), clone(llama)
    with torch.no_grad():
        attacker.model.layers[1].mlp.down_proj.weight.mul_(-1)
    batch = training.Collator(0)(samples)
    samples = dict(enumerate(samples))
    answers = recorded.answered(Oracle(llama, secured, 0), samples, tmp_path)
    plans = []
    for weight in (1.0, 0.0):
        recipe = SEM_RECIPE.model_copy(update={"loss": name, "first_weight": weight})
        plans.append(attack("sem", attacker, secured, list(samples.values()), tmp_path, answers, recipe))
    losses = [plan.loss(attacker, batch) for plan in plans]
    errors = []
    for sample in samples.values():
        ids = torch.tensor([sample["input_ids"]])
        states = [model(ids, output_hidden_states=True).hidden_states[2][0] for model in (attacker, llama)]
        errors.append(distances.LOSSES[name](states[0], states[1].bfloat16().float()))  # as answers are kept
    assert losses[0].item() == pytest.approx(torch.cat(errors).mean().item(), rel=1e-4)
    assert losses[1].item() == pytest.approx(torch.cat([row[1:] for row in errors]).mean().item(), rel=1e-4)
