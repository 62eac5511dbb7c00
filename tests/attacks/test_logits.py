"""Logits give away a head's width and span, and their argmax once fresh noise is averaged."""

import pytest
import torch

from solid_utils.attacks import logits as leaks
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import LaplaceNoise
from tests.conftest import VOCABULARY, build

# OPT's head works on projected states; GPT-2's final LayerNorm leaves one dimension less.
WIDTHS = {"llama": 16, "llama-tied": 16, "mixtral": 16, "gemma3": 16, "gpt2": 15, "opt": 8}


def answers(model, count):
    ids = torch.randint(1, VOCABULARY, (count, 8), generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits.flatten(0, 1)


@pytest.mark.parametrize("architecture", WIDTHS)
def test_a_secured_head_gives_its_width_away(architecture):
    model, width = build(architecture), WIDTHS[architecture]
    found, gap = leaks.estimated_width(leaks.spectrum(answers(model, 8)))
    assert found == width and gap > 1000
    too_few = answers(model, 8)[: width - 1]
    assert leaks.estimated_width(leaks.spectrum(too_few.repeat(9, 1)))[1] < 10  # asking the same again adds nothing


def test_a_secured_head_gives_its_span_away(llama):
    basis = leaks.head_span(answers(llama, 8), 16)
    head = llama.get_output_embeddings().weight.detach()
    assert leaks.outside(head, basis) < 1e-9
    assert leaks.outside(torch.randn_like(head), basis) == pytest.approx(1 - 16 / VOCABULARY, abs=0.1)
    # The attacker's head explains new answers: least squares on the span leaves nothing over.
    new = answers(llama, 16)[64:].double()
    assert torch.allclose(new @ basis @ basis.T, new, atol=1e-4)


@pytest.fixture
def clean():
    """Logits whose best two tokens are often close."""
    return torch.randn(3000, 40, generator=torch.Generator().manual_seed(9))


def averaged(ask, repeats):
    """Mean logits of so many answers to the same query."""
    return sum(ask().double() for _ in range(repeats)) / repeats


def agreement(noisy, clean):
    return (noisy.argmax(1) == clean.argmax(1)).double().mean().item()


@pytest.mark.parametrize("repeats", [1, 4, 32])
def test_averaging_fresh_noise_recovers_the_argmax(clean, repeats):
    noise = LaplaceNoise([[number] for number in range(len(clean))], 0.5)  # one stream, so fresh at every call
    measured = agreement(averaged(lambda: noise(None, clean), repeats), clean)
    tolerance = 0.03 if repeats > 1 else 0.06  # three standard errors; one Laplace draw is not normal
    assert leaks.expected_agreement(clean, 0.5, repeats) == pytest.approx(measured, abs=tolerance)


def test_noise_that_the_query_fixes_does_not_average_out(clean):
    prompts = [[number] for number in range(len(clean))]
    one, many = (averaged(lambda: LaplaceNoise(prompts, 0.5)(None, clean), n) for n in (1, 16))
    assert torch.allclose(one, many) and agreement(many, clean) == agreement(one, clean) < 0.7


def test_repeats_needed(clean):
    clean = clean[:300]
    counts = [leaks.repeats_needed(clean, 0.5, share) for share in (0.1, 0.8, 0.95)]
    assert counts == sorted(counts) and counts[0] == 1
    for share, count in zip((0.8, 0.95), counts[1:], strict=True):
        reached, before = (leaks.expected_agreement(clean, 0.5, repeats) for repeats in (count, count - 1))
        assert before < share <= reached
    with pytest.raises(StudyError, match="needs over 1,000,000 repeats"):
        leaks.repeats_needed(torch.zeros(2, 5), 0.5, 0.9)
