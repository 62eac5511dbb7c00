"""One step by hand: where gradients go, LoRA's own gradient against autograd's."""

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.customization import by_hand
from solid_utils.customization.methods.method import requires_grad
from solid_utils.deployment.secured import secured_set
from solid_utils.training import lora
from tests.conftest import build
from tests.customization.runs import ADAPTERS, method


def adapted(model, declaration):
    torch.manual_seed(0)
    wrapped, names = lora.wrapped(model, secured_set(model, declaration), method("lora", rank=2, alpha=4))
    requires_grad(wrapped, names)
    return wrapped


@pytest.mark.parametrize(
    ("declaration", "reached"),
    [
        ("none", [True] * 4),
        ("bottom 2", [False, False, True, True]),
        ("top 2", [True] * 4),
        ("layers 1-2", [True] * 4),
        ("bottom 1", [False, True, True, True]),
    ],
)
def test_a_gradient_stops_below_the_lowest_trained_layer(llama, samples, declaration, reached):
    model = adapted(llama, declaration)
    found = by_hand.reach(model, samples[0])
    assert [one.reached for one in found] == reached
    assert [one.gradient > 0 for one in found] == reached
    assert all(parameter.grad is None for parameter in model.parameters()), "nothing is left behind"


def test_loras_gradient_by_hand_is_autograds(llama, samples):
    name, ours, theirs = by_hand.lora_gradient(adapted(llama, "bottom 1"), samples[0])
    assert "layers.3." in name and ours.shape == theirs.shape and theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    with pytest.raises(StudyError, match="no adapters"):
        by_hand.lora_gradient(torch.nn.Linear(2, 2), samples[0])


def test_beside_adapted_stacks_of_experts_it_is_a_matrix_that_is_looked_at(samples):
    """A stack's wrapper has adapters, too, and another product."""
    torch.manual_seed(0)
    model = build("mixtral")
    chosen = method("lora", experts=True, **ADAPTERS)
    wrapped, names = chosen.adapted(model, secured_set(model, "bottom 1"))
    requires_grad(wrapped, names)
    assert any("experts" in name for name in names)
    name, ours, theirs = by_hand.lora_gradient(wrapped, samples[0])
    assert "experts" not in name
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
