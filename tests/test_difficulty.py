"""DD equals the plain way: put random weights in, run the model on each sample alone, take the loss."""

import numpy as np
import pytest
import torch

from solid_utils import difficulty, starts
from solid_utils.models import clone
from solid_utils.secured import secured_set


def plain_losses(model, samples, declaration, start, seed):
    """One full forward of plain Transformers a sample, no sharing, no padding; mean loss over its answer tokens."""
    twin = clone(model)
    starts.apply(twin, starts.draw(twin, secured_set(twin, declaration).names, start, seed))
    losses = []
    for sample in samples:
        ids, first = torch.tensor([sample["input_ids"]]), sample["answer_start"]
        with torch.no_grad():
            logits = twin(input_ids=ids, use_cache=False).logits[0, first - 1 : -1].double()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, first:]).item())
    return np.array(losses)


def test_every_set_equals_the_plain_loop_on_every_architecture(model, samples):
    score = difficulty.Difficulty(model, samples, "xavier", pad_id=0)
    np.testing.assert_allclose(score.empty(), plain_losses(model, samples, "none", "xavier", 20), rtol=1e-5)
    np.testing.assert_allclose(score.everything(20), plain_losses(model, samples, "all", "xavier", 20), rtol=1e-5)
    for depth, losses in score.prefixes([1, 2, 4], 20).items():
        np.testing.assert_allclose(losses, plain_losses(model, samples, f"bottom {depth}", "xavier", 20), rtol=1e-5)
    for layer, losses in score.singles([0, 1, 3], 20).items():
        np.testing.assert_allclose(losses, plain_losses(model, samples, f"layers {layer}", "xavier", 20), rtol=1e-5)


def test_the_model_is_left_as_it_was(llama, samples):
    before = {name: tensor.clone() for name, tensor in llama.state_dict().items()}
    score = difficulty.Difficulty(llama, samples, "xavier", pad_id=0)
    first = score.empty()
    score.prefixes([1, 4], 20), score.singles([2], 20), score.everything(20)
    assert all(torch.equal(tensor, before[name]) for name, tensor in llama.state_dict().items())
    assert np.array_equal(score.empty(), first)


def test_seeds_differ_and_repeat(llama, samples):
    score = difficulty.Difficulty(llama, samples, "xavier", pad_id=0)
    assert np.array_equal(score.prefixes([2], 20)[2], score.prefixes([2], 20)[2])
    assert not np.allclose(score.prefixes([2], 20)[2], score.prefixes([2], 42)[2])


def test_summary_averages_samples_then_seeds():
    rows = difficulty.summary({20: np.array([1.0, 3.0]), 42: np.array([3.0, 5.0])})
    assert [row["dd"] for row in rows] == [2.0, 4.0, 3.0]
    # samples of the seed average: 2 and 4, error 1; seeds: 2 and 4, error 1
    assert rows[-1]["stderr"] == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize(("epsilon", "expected"), [(0.0, 3), (0.05, 2), (0.5, 1)])
def test_search_stops_at_the_first_prefix_that_passes(epsilon, expected):
    values, asked = {1: 5.0, 2: 9.6, 3: 12.0, 4: 10.0}, []
    l_star, value = difficulty.solid_search(10.0, lambda layer: asked.append(layer) or values[layer], 4, epsilon)
    assert (l_star, value) == (expected, values[expected])
    assert asked == list(range(1, expected + 1))


def test_search_secures_everything_when_no_prefix_passes():
    assert difficulty.solid_search(10.0, lambda layer: 1.0, 4, 0.05) == (4, 1.0)
