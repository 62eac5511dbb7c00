"""The second oracle gives products with the Jacobian, the same as in one process, and is counted apart."""

import pytest
import torch

from solid_utils.core.errors import StudyError
from solid_utils.deployment.secured import secured_set
from solid_utils.deployment.view import view
from solid_utils.model.layers import DecoderLayers
from solid_utils.runtime import gradients
from solid_utils.runtime.manifest import Limits, Policy
from tests.conftest import build
from tests.runtime.split_model import divided
from tests.runtime.test_attacks import texts
from tests.runtime.worlds import client


def victim_of(declaration):
    victim = build("llama")
    secured = secured_set(victim, declaration)
    return victim.requires_grad_(False), secured, view(victim, secured)


def test_a_client_is_told_what_the_victim_would_tell(tmp_path):
    divided(tmp_path, "llama", "layers 1-2", Policy(gradients=True))
    victim, _, seen = victim_of("layers 1-2")
    tokens = sum(len(text["input_ids"]) for text in texts(6))
    with client(tmp_path / "halves") as model:
        before = model.secure.counts()  # the form of the layers was looked at
        told = gradients.ask(model, seen, texts(6), 3, seed=1)
        padded = sum(one.real.numel() for one in told)
        counted = {what: count - before[what] for what, count in model.secure.counts().items()}
    assert padded >= tokens and counted["gradients"] == padded
    for mine, theirs in zip(told, gradients.ask(victim, seen, texts(6), 3, seed=1), strict=True):
        assert torch.equal(mine.vector, theirs.vector)
        assert torch.allclose(mine.leaving, theirs.leaving, atol=1e-6)
        assert torch.allclose(mine.pulled, theirs.pulled, rtol=1e-4, atol=1e-5)


def test_none_is_told_where_the_vendor_does_not_allow_it(tmp_path):
    divided(tmp_path, "llama", "layers 1-2")
    _, _, seen = victim_of("layers 1-2")
    with client(tmp_path / "halves") as model, pytest.raises(StudyError, match="the vendor does not allow them"):
        gradients.ask(model, seen, texts(3), 3, seed=1)


@pytest.mark.parametrize("limits", [Limits(gradients_session=70), Limits(tokens_day=190)])
def test_gradients_have_limits(tmp_path, limits):
    """Without these, who asks for gradients alone would be held by nothing but the rate."""
    divided(tmp_path, "llama", "layers 1-2", Policy(gradients=True, limits=limits))
    _, _, seen = victim_of("layers 1-2")
    ids = torch.full((6, 10), 7)
    with client(tmp_path / "halves") as model:
        gradients.products(model, seen, ids, torch.ones_like, keep=False)  # 60 tokens asked, 60 pulled
        with pytest.raises(StudyError, match="limit: "):
            gradients.products(model, seen, ids, torch.ones_like, keep=False)
        assert model.secure.counts()["gradients"] == 60


def test_as_many_pulls_as_a_state_is_wide_give_the_whole_jacobian_of_a_token(tmp_path):
    """Forward questions give it too, by differences, which round."""
    divided(tmp_path, "llama", "layers 1-2", Policy(gradients=True))
    victim, _, seen = victim_of("layers 1-2")
    ids = torch.full((16, 1), 7)  # the same text of one token, a row for each unit vector
    with client(tmp_path / "halves") as model:
        _, _, jacobian = gradients.products(model, seen, ids, lambda leaving: torch.eye(16)[:, None], keep=False)
    layers = DecoderLayers(victim)
    with gradients.entering(layers, 1) as held:
        layers.boundary(ids[:1], 2)
    state = held[0].detach()

    def secret(entering):
        with layers.replaced({0: layers.given(entering)}):
            return layers.boundary(ids[:1], 2)

    wanted = torch.autograd.functional.jacobian(secret, state).reshape(16, 16)
    assert torch.allclose(jacobian[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_a_replica_that_is_told_gradients_has_the_victims_slopes_sooner():
    victim, secured, seen = victim_of("layers 1")
    victim.set_attn_implementation("eager")
    held_out = gradients.ask(victim, seen, texts(24)[16:], 8, seed=2)[0]
    apart = {}
    for seed in (None, 1):
        told = gradients.ask(victim, seen, texts(24)[:16], 8, seed)
        replica = gradients.stolen(victim, secured, seen, told, 40, 1e-2)
        apart[seed] = gradients.distance(replica, seen, held_out).item()
    assert apart[1] < 0.9 * apart[None]
