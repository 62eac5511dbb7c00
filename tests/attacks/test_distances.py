"""Distances between states, by hand, and the weight of the first token."""

import numpy as np
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


def texts(width: int = 5) -> list[torch.Tensor]:
    """States of texts of different lengths; coordinate 0 is giant, the first tokens are far away."""
    stream = torch.Generator().manual_seed(0)
    made = [torch.randn(length, width, generator=stream) for length in (1, 4, 9, 2, 30)]
    for text in made:
        text[:, 0] = 1e4 + 50 * text[:, 0]
        text[0] += 1e6
    return made


def test_the_spread_is_numpys_without_first_tokens():
    rows = np.concatenate([text[1:].numpy() for text in texts()]).astype(np.float64)
    np.testing.assert_allclose(distances.spread(texts()).numpy(), rows.std(0), rtol=1e-6)


def test_the_spread_of_what_does_not_vary_is_its_size_and_of_nothing_one():
    same = [torch.tensor([[9.0, 9.0, 9.0], [0.1, 0.0, 1.0], [0.1, 0.0, 3.0]])] * 7
    assert distances.spread(same).tolist() == pytest.approx([0.1, 1.0, 1.0])
    with pytest.raises(ValueError, match="no token but first ones"):
        distances.spread([torch.ones(1, 3)])


def test_standardised_mse_is_numpys_and_has_no_unit():
    recorded_texts, stream = texts(), torch.Generator().manual_seed(1)
    target = recorded_texts[2]
    states = target + torch.randn(target.shape, generator=stream)
    found = distances.named("standardised_mse", lambda: recorded_texts)(states, target)
    deviation = np.concatenate([text[1:].numpy() for text in recorded_texts]).astype(np.float64).std(0)
    expected = (((states - target).double().numpy() / deviation) ** 2).mean(1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    unit = torch.tensor([1.0, 256.0, 1.0, 2.0**-9, 1.0])
    rescaled = distances.named("standardised_mse", lambda: [text * unit for text in recorded_texts])
    torch.testing.assert_close(rescaled(states * unit, target * unit), found)
    assert not torch.allclose(
        distances.relative_mse(states * unit, target * unit), distances.relative_mse(states, target)
    )


def test_guessing_the_mean_costs_one():
    """By the definition of the spread, on average over tokens that are not first."""
    made = torch.cat([text[1:] for text in texts()]).double()
    distance = distances.named("standardised_mse", texts)
    assert distance(made.mean(0).expand_as(made), made).mean().item() == pytest.approx(1.0, rel=1e-5)


def test_the_first_token_counts_as_told():
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    errors = torch.tensor([10.0, 1.0, 2.0, 20.0, 3.0])  # of the real tokens, row after row
    assert distances.mean(errors, mask, 1.0) == errors.mean()
    assert distances.mean(errors, mask, 0.0) == pytest.approx(6 / 3)
    assert distances.mean(errors, mask, 0.5) == pytest.approx((6 + 15) / 4)


@pytest.mark.parametrize("name", [*distances.LOSSES, distances.STANDARDISED])
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
    pairs = []
    for sample in samples.values():
        ids = torch.tensor([sample["input_ids"]])
        mine, theirs = (model(ids, output_hidden_states=True).hidden_states[2][0] for model in (attacker, llama))
        pairs.append((mine, theirs.bfloat16().float()))  # as answers are kept
    deviation = torch.cat([theirs[1:] for _, theirs in pairs]).std(0, correction=0)
    scale = deviation if name == distances.STANDARDISED else torch.ones_like(deviation)
    plain = distances.mse if name == distances.STANDARDISED else distances.LOSSES[name]
    errors = [plain(mine / scale, theirs / scale) for mine, theirs in pairs]
    assert losses[0].item() == pytest.approx(torch.cat(errors).mean().item(), rel=1e-4)
    assert losses[1].item() == pytest.approx(torch.cat([row[1:] for row in errors]).mean().item(), rel=1e-4)
