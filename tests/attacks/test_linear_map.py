"""A linear stitch finds linear secured layers again, whatever the architecture, and runs where our measurements do."""

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


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_texts_are_one_line(llama, count):
    secured = secured_set(llama, "bottom 1")
    with pytest.raises(StudyError, match=f"attack stitch: {count} texts; one is held out, so ask about two at least"):
        linear_map.fit(open_part(llama, secured.names), Oracle(llama, secured, 0), texts(count), 2)


def test_states_that_are_not_visible_are_refused(llama):
    for declaration, message in (("layers 0,2", "not visible"), ("bottom 1 + embeddings", "hides the embeddings")):
        with pytest.raises(StudyError, match=message):
            linear_map.fit(llama, Oracle(llama, secured_set(llama, declaration), 0), texts(), previous=0)
