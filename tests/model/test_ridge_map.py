"""A map's inputs, its normal equations, its choice of penalty: against numpy, and against itself in other units."""

import math

import numpy as np
import pytest
import torch

from solid_utils.model import ridge_map


def test_features():
    states = torch.tensor([[1.0, 2.0, 3.0, 9.0], [9.0, 9.0, 4.0, 5.0]])[..., None]  # 9 is padding
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    rows = ridge_map.features(states, mask, 2)[mask.bool()].tolist()
    assert rows == [[1, 1, 1, 0, 0], [1, 0, 2, 1, 0], [1, 0, 3, 2, 1], [1, 1, 4, 0, 0], [1, 0, 5, 4, 0]]
    assert torch.equal(ridge_map.features(states, mask, 1), ridge_map.features(states, mask, 2)[..., :4])


def test_the_normal_equations_solve_ridge_regression():
    generator = np.random.default_rng(7)
    inputs, outputs, ridge = generator.normal(size=(50, 6)), generator.normal(size=(50, 3)), 0.2
    made = ridge_map.Equations(6, 3, torch.device("cpu"))
    for rows in np.split(np.arange(50), [20, 30]):
        made.add(torch.tensor(inputs[rows]), torch.tensor(outputs[rows]))
    for size in (4, 6):
        used = inputs[:, :size]
        penalty = math.sqrt(ridge * np.square(used).sum(0).mean()) * np.eye(size)
        expected = np.linalg.lstsq(np.vstack([used, penalty]), np.vstack([outputs, np.zeros((size, 3))]))[0]
        weights = made.solve(ridge, size)
        assert np.allclose(weights, expected)
        assert made.error(weights) == pytest.approx(np.square(used @ expected - outputs).sum(1).mean())


def test_a_scaled_penalty_is_ridge_on_inputs_of_equal_size():
    """Whatever unit an input is in, the prediction is the same; an input that is always zero is no division by it."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    inputs[:, 3] = 0
    outputs = torch.randn(60, 2, generator=generator, dtype=torch.float64)
    units = torch.tensor([1.0, 1000.0, 0.01, 1.0], dtype=torch.float64)
    predicted = []
    for scale in (torch.ones(4, dtype=torch.float64), units):
        made = ridge_map.Equations(4, 2, torch.device("cpu"))
        made.add(inputs * scale, outputs)
        predicted.append((inputs * scale) @ made.solve(0.1, 4, scaled=True))
    torch.testing.assert_close(*predicted, rtol=1e-6, atol=1e-9)
    sizes = inputs.square().sum(0).sqrt()[:3]
    equal = inputs[:, :3] / sizes  # plain ridge on inputs of length one: (X'X + 0.1) w = X'y
    plain = equal @ torch.linalg.solve(equal.T @ equal + 0.1 * torch.eye(3, dtype=torch.float64), equal.T @ outputs)
    torch.testing.assert_close(predicted[0], plain, rtol=1e-6, atol=1e-9)


def test_a_map_adds_what_its_weights_say():
    """Token by token, from the state itself and the one before it."""
    stream = torch.Generator().manual_seed(0)
    states = torch.randn(2, 4, 3, generator=stream)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    weights = torch.randn(2 + 2 * 3, 3, generator=stream)
    made = ridge_map.mapped(states, mask, weights)
    for text, place in mask.nonzero().tolist():
        before = states[text, place - 1] if place else torch.zeros(3)
        row = torch.cat([torch.tensor([1.0, float(place == 0)]), states[text, place], before])
        torch.testing.assert_close(made[text, place], states[text, place] + row @ weights)


def first_state_error(first_apart: bool, ridge: float) -> float:
    """Of texts that begin with a giant state, the same in all, but for two that have it at another token."""
    generator = torch.Generator().manual_seed(0)
    entering = torch.randn(30, 12, 8, generator=generator)
    giant = 1000 * torch.randn(8, generator=generator)
    leaving = entering + entering @ torch.randn(8, 8, generator=generator)
    leaving[:, 0] += giant
    for text in (3, 17):
        leaving[text, 0] -= giant
        leaving[text, 5] += giant
    mask = torch.ones(30, 12, dtype=torch.long)
    mask[::2, 9:] = 0
    leaving[~mask.bool()] = 1e9  # padding is no state
    made = ridge_map.Equations(2 + 8, 8, torch.device("cpu"), first_apart)
    made.take(entering, leaving, mask, 0)
    mapped = ridge_map.mapped(entering, mask, made.solve(ridge, 2 + 8, scaled=True).float())
    return ((mapped - leaving)[4, 0].norm() / leaving[4, 0].norm()).item()


@pytest.mark.parametrize("ridge", [1e-6, 10])
def test_first_tokens_apart_keep_the_giant_state_that_a_few_texts_have_elsewhere(ridge):
    assert first_state_error(False, ridge) > 0.9
    assert first_state_error(True, ridge) < 0.1


def test_first_tokens_apart_are_the_same_map_where_first_states_are_the_longest():
    generator = torch.Generator().manual_seed(1)
    entering, mask = torch.randn(6, 9, 4, generator=generator), torch.ones(6, 9)
    leaving = 2 * entering
    leaving[:, 0] *= 50
    rows = [ridge_map.row_weights(leaving, mask, apart) for apart in (False, True)]
    assert torch.equal(*rows)
    assert torch.allclose(rows[0][..., 0], leaving.double().norm(dim=-1).reciprocal())
