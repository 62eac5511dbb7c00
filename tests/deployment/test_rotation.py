"""A rotated export computes the same in other coordinates; a public base fits again once the rotation is found."""

import pytest
import torch

from solid_utils.attacks import linear_map
from solid_utils.core.errors import StudyError
from solid_utils.deployment import rotation
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model.layers import DecoderLayers
from solid_utils.model.models import open_part
from tests.conftest import build

WIDTH = 16
IDS = torch.randint(1, 90, (6, 12), generator=torch.Generator().manual_seed(4))
TURN = rotation.drawn(WIDTH, 7)


def with_gains(architecture: str):
    """Norms of a fresh model are all ones: folding would have nothing to do."""
    model = build(architecture)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))
    return model


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def test_a_drawn_rotation_is_orthogonal_and_hangs_on_its_seed():
    assert torch.allclose(TURN @ TURN.T, torch.eye(WIDTH, dtype=torch.float64))
    assert torch.equal(TURN, rotation.drawn(WIDTH, 7)) and not torch.allclose(TURN, rotation.drawn(WIDTH, 8))


@pytest.mark.parametrize("architecture", ["llama", "llama-tied", "mistral", "qwen2"])
def test_the_export_computes_the_same_in_turned_coordinates(architecture):
    model = with_gains(architecture)
    before = [parameter.clone() for parameter in model.parameters()]
    export = rotation.exported(model, TURN)
    assert torch.allclose(logits(export), logits(model), atol=1e-5)
    with torch.no_grad():
        theirs, own = (DecoderLayers(one).boundary(IDS, 1) for one in (model, export))
    assert torch.allclose(own, theirs @ TURN.float(), atol=1e-5) and not torch.allclose(own, theirs, atol=1e-2)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)), "a copy is turned"
    assert export.get_output_embeddings().weight is not export.get_input_embeddings().weight


@pytest.mark.parametrize("architecture", ["gpt2", "phi", "opt-pre-norm", "gemma2"])
def test_what_it_cannot_turn_is_refused_by_name(architecture):
    with pytest.raises(StudyError, match="^rotation: .*; export it as it is"):
        rotation.exported(with_gains(architecture), TURN)


def test_a_public_base_fits_again_once_the_rotation_is_found():
    """The product differs from its base a little everywhere; its layer 0 is secret."""
    base = with_gains("llama-tied")
    product = with_gains("llama-tied")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in product.parameters():
            parameter.add_(0.01 * parameter.std(unbiased=False) * torch.randn(parameter.shape, generator=generator))
    secret = set(secured_set(product, "layers 0").names)
    export = rotation.exported(product, TURN)
    plain = rotation.exported(base)
    shown = open_part(export, secret)  # not a number where it is secret
    found = rotation.found(plain, shown, secret)
    assert (found - TURN).norm() < 0.02 * TURN.norm()
    copied, turned = plain, rotation.exported(base, found)
    off = [(logits(rotation.with_secrets_of(shown, one, secret)) - logits(product)).norm() for one in (copied, turned)]
    assert off[1] < 0.1 * off[0] and off[1] < 0.05 * logits(product).norm()
    with pytest.raises(StudyError, match="nothing to find it from"):
        rotation.found(plain, shown, {name for name, _ in shown.named_parameters()})


def test_the_linear_map_does_not_feel_a_rotation():
    model = with_gains("llama")
    samples = [
        {"id": str(row), "input_ids": ids.tolist(), "answer_start": 3} for row, ids in enumerate(IDS.repeat(4, 1))
    ]
    replicas = []
    for one in (rotation.exported(model), rotation.exported(model, TURN)):
        secured = secured_set(one, "layers 0")
        oracle, attacker = Oracle(one, secured, 0), open_part(one, secured.names)
        linear_map.install(attacker, oracle.view, linear_map.fit(attacker, oracle, samples, 1))
        replicas.append(logits(attacker))
    assert torch.allclose(*replicas, atol=1e-3 * replicas[0].abs().max().item())
