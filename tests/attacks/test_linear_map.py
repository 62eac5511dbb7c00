"""A linear stitch finds linear secured layers again, whatever the architecture, and runs where our measurements do."""

import math

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList

from solid_utils.attacks import linear_map
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle, generate
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.model import ridge_map
from solid_utils.model.forward import LastLogits, pad, shares_prefixes
from solid_utils.model.models import clone, open_part
from tests.conftest import VOCABULARY, build

WIDTH = 16


def texts(count=40):
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(6, 16, (count,), generator=generator).tolist()
    rows = [torch.randint(1, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return [{"id": str(number), "input_ids": row, "answer_start": len(row)} for number, row in enumerate(rows)]


def random_weights(previous):
    return 0.3 * torch.randn(2 + (previous + 1) * WIDTH, WIDTH, generator=torch.Generator().manual_seed(6))


def stitched(model, declaration, weights):
    """A victim whose secured layers are a linear function (with a configuration of its own), and its oracle."""
    secured, victim = secured_set(model, declaration), clone(model)
    linear_map.install(victim, view(model, secured), weights)
    oracle = Oracle(victim, secured, 0)
    oracle.view = view(model, secured)  # the secret parameters are gone from this victim
    return victim, oracle


@pytest.fixture
def linear(llama):
    """A victim whose bottom two layers are a linear function of three tokens."""
    return stitched(llama, "bottom 2", random_weights(2))[0]


def logits(model, sample):
    with torch.no_grad():
        return model(input_ids=torch.tensor([sample["input_ids"]]), use_cache=False).logits[0]


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


@pytest.mark.parametrize("declaration", ["bottom 2", "layers 1-2", "layer 2 o"])
def test_linear_layers_are_found_again(model, declaration):
    """The victim's secured layers are a stitch that looks two tokens back; the attacker tries four."""
    victim, oracle = stitched(model, declaration, random_weights(2))
    attacker = open_part(model, oracle.secured.names)  # nothing secret reaches the fit
    weights = linear_map.fit(attacker, oracle, texts(), previous=4)
    assert oracle.sequences == 40
    linear_map.install(attacker, oracle.view, weights)
    assert torch.allclose(logits(attacker, texts()[3]), logits(victim, texts()[3]), atol=1e-3)


def test_no_more_previous_tokens_than_asked(llama):
    _, oracle = stitched(llama, "bottom 2", random_weights(2))
    errors = []
    for previous in (1, 2):
        weights = linear_map.fit(llama, oracle, texts(), previous)
        assert len(weights) == len(random_weights(previous))
        errors.append(linear_map.equations(llama, oracle, texts(80)[40:], previous).error(weights.double()))
    assert errors[0] > 0.01 and errors[1] < 1e-6  # the victim looks two tokens back


def test_a_nonlinear_layer_is_approached(llama):
    oracle = Oracle(llama, secured_set(llama, "layers 0"), 0)
    weights = linear_map.fit(llama, oracle, texts(200), previous=1)
    held_out = linear_map.equations(llama, oracle, texts(240)[200:], previous=1)
    assert held_out.error(weights.double()) < 0.9 * held_out.error(torch.zeros_like(weights).double())
    everything = linear_map.equations(llama, oracle, texts(200), previous=1)
    solutions = [everything.solve(ridge, len(weights)).float() for ridge in ridge_map.RIDGES]
    assert any(torch.allclose(weights, solution, atol=1e-5) for solution in solutions)


def test_caches_are_not_used(linear):
    assert not shares_prefixes(linear, 16) and shares_prefixes(build("llama"), 16)
    beginning = texts()[0]["input_ids"][:6]
    rows = [tuple(beginning + [ending]) for ending in (3, 5, 8)]
    for index, last in LastLogits(linear, rows, [1] * 3, 0, 1000):
        assert torch.allclose(last[-1], logits(linear, {"input_ids": list(rows[index])})[-1], atol=1e-5)
    with pytest.raises(StudyError, match="keeps no cache; call the model with use_cache=False"):
        cache = build("llama")(torch.tensor([beginning])).past_key_values
        linear(torch.tensor([[3]]), past_key_values=cache)


def test_padding_on_either_side_changes_nothing(linear):
    victim = clone(linear)
    rows = [sample["input_ids"] for sample in texts(4)]
    together = generate(victim, rows, 5, 0, LogitsProcessorList())
    assert together == [generate(victim, [row], 5, 0, LogitsProcessorList())[0] for row in rows]
    ids, mask = pad(rows, 0)
    with torch.no_grad():
        padded = victim(input_ids=ids, attention_mask=mask, use_cache=False).logits
    for row, own in zip(texts(4), padded, strict=True):
        assert torch.allclose(own[: len(row["input_ids"])], logits(victim, row), atol=1e-5)


def test_states_that_are_not_visible_are_refused(llama):
    for declaration, message in (("layers 0,2", "not visible"), ("bottom 1 + embeddings", "hides the embeddings")):
        with pytest.raises(StudyError, match=message):
            linear_map.fit(llama, Oracle(llama, secured_set(llama, declaration), 0), texts(), previous=0)


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
