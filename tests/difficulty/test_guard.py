"""The guard lets right engines through and refuses the others, in one line, over many architectures."""

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from solid_utils.core.errors import StudyError
from solid_utils.difficulty import difficulty, guard, sweep
from solid_utils.difficulty.weights import InMemory, Streamed
from solid_utils.model.layers import DecoderLayers
from tests.cases import architectures
from tests.difficulty.test_difficulty import plain_losses

CPU, SETS = torch.device("cpu"), ["all", "bottom 2", "layers 1"]


def right(source, model, samples):
    """The guard passes, and DD equals the plain loop; seeds beside each other, as state may leak between them."""
    guard.check(source, samples, 0)
    losses = difficulty.Difficulty(source, samples[:2], "xavier", 0).losses(SETS, [20, 42])
    for name in SETS:
        for seed in (20, 42):
            plain = plain_losses(model, samples[:2], name, "xavier", seed)
            np.testing.assert_allclose(losses[name][seed], plain, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("case", architectures.RIGHT)
def test_of_these_architectures_dd_is_right(case, samples):
    model = architectures.build(case, architectures.RIGHT[case])
    right(InMemory(model), model, samples)


@pytest.mark.parametrize("case", architectures.REFUSED)
def test_of_these_a_line_says_why_not(case, samples):
    options, line = architectures.REFUSED[case]
    with pytest.raises(StudyError, match=line) as error:
        guard.check(InMemory(architectures.build(case, options)), samples, 0)
    assert "\n" not in str(error.value)


def test_of_two_towers_it_is_the_one_a_text_goes_through(samples):
    model = architectures.two_towers()
    assert DecoderLayers(model).path == "model.language_model.layers"
    right(InMemory(model), model, samples)
