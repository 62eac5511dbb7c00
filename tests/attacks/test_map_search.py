"""The search of a map's penalty and size ends where linear_map.fit ends."""

import pytest
import torch

from solid_utils.attacks import linear_map, map_search
from solid_utils.attacks.map_search import Seen
from solid_utils.core.errors import StudyError
from solid_utils.deployment.oracle import Oracle
from solid_utils.deployment.secured import secured_set
from solid_utils.model import ridge_map
from solid_utils.model.forward import pad
from tests.attacks.test_linear_map import texts


def seen(model, samples: list[dict], last: int) -> list[Seen]:
    """States at the bottom layers up to `last`, from plain Transformers' hidden states; batches of 7."""
    batches = []
    for first in range(0, len(samples), 7):
        ids, mask = pad([sample["input_ids"] for sample in samples[first : first + 7]], 0)
        with torch.no_grad():
            states = model(ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states
        apart = torch.arange(first, first + len(ids)) % ridge_map.HELD_OUT == 0
        batches.append(Seen(states[0], states[last + 1], mask, apart))
    return batches


@pytest.mark.parametrize(("layers", "previous"), [(1, 2), (2, 0), (2, 4)])
def test_it_ends_where_linear_map_fit_ends(llama, layers, previous):
    samples = texts(40)
    oracle = Oracle(llama, secured_set(llama, f"bottom {layers}"), 0)
    expected = linear_map.fit(llama, oracle, samples, previous, scaled=True, first_apart=True)
    found = map_search.fit(seen(llama, samples, layers - 1), previous)
    assert len(found.weights) == len(expected)
    assert torch.allclose(found.weights, expected, rtol=1e-4, atol=1e-5)


def test_a_map_is_what_a_stitch_does(llama):
    samples = texts(20)
    found = map_search.fit(seen(llama, samples, 0), 2)
    stitch = linear_map.Stitch(found.weights, lambda state: state)
    ids, stitch.mask = pad([sample["input_ids"] for sample in samples[:3]], 0)
    states = llama.get_input_embeddings()(ids)
    assert torch.allclose(found(states, stitch.mask), stitch(states), atol=1e-6)


def test_the_equations_are_as_before_after_a_factor():
    """The upper triangle is not looked at; the two constant inputs carry the least penalty that is tried."""
    gram = torch.tensor([[4.0, 0, 0], [1, 5, 0], [2, 1, 9]], dtype=torch.float64)
    lower = map_search.factor(gram, 0.5, 3)
    assert torch.equal(gram, torch.tensor([[4.0, 0, 0], [1, 5, 0], [2, 1, 9]], dtype=torch.float64))
    least = 1 + ridge_map.SCALED_RIDGES[0]
    expected = torch.tensor([[4 * least, 1, 2], [1, 5 * least, 1], [2, 1, 13.5]], dtype=torch.float64)
    assert torch.allclose(lower @ lower.T, expected, rtol=1e-12)


def test_states_that_are_not_finite_are_one_line(llama):
    (batch, *_) = seen(llama, texts(14), 0)
    batch.entering[1, 0, 0] = torch.nan
    with pytest.raises(StudyError, match="its equations cannot be solved") as error:
        map_search.fit([batch], 1)
    assert "\n" not in str(error.value)
