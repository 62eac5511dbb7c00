import math

import pytest
import torch

from solid_utils import starts
from solid_utils.errors import StudyError


def names(model):
    return [name for name, _ in model.named_parameters()]


def test_vectors_take_the_architectures_initial_values(model):
    fresh = type(model)(model.config)
    drawn = starts.draw(model, names(model), "xavier", 20)
    vectors = {name: parameter for name, parameter in fresh.named_parameters() if parameter.ndim < 2}
    assert vectors
    for name, parameter in vectors.items():
        assert torch.equal(drawn[name], parameter.float()), name


def test_the_victims_values_are_never_read(model):
    before = starts.draw(model, names(model), "xavier", 20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    after = starts.draw(model, names(model), "xavier", 20)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_tensor_depends_on_seed_and_name_only(llama):
    alone = starts.draw(llama, ["model.layers.1.mlp.up_proj.weight"], "xavier", 20)
    together = starts.draw(llama, names(llama), "xavier", 20)
    for name, tensor in alone.items():
        assert torch.equal(tensor, together[name])
    other = starts.draw(llama, list(alone), "xavier", 42)
    assert not any(torch.equal(alone[name], other[name]) for name in alone)


def test_scales():
    shape = torch.Size((300, 200))
    bound = math.sqrt(6 / 500)
    drawn = starts.xavier(shape, starts.generator(20, "w"))
    assert drawn.abs().max() <= bound and drawn.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    drawn = starts.normal(shape, starts.generator(20, "w"))
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)


def test_unknown_start(llama):
    with pytest.raises(StudyError, match="start 'zeros': unknown; choose one of xavier"):
        starts.draw(llama, names(llama), "zeros", 20)
