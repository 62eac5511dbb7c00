"""The layer of the paper: equal to torch's own attention, and blind to the scale of X."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from solid_utils.theory import attention


@pytest.fixture
def drawn():
    stream = np.random.default_rng(0)
    return (
        attention.draw_states(stream, 6, 4),
        attention.draw_matrix(stream, 3.0, 4, 5),
        attention.draw_matrix(stream, 3.0, 4, 5),
    )


@pytest.mark.parametrize("causal", [False, True])
def test_the_layer_is_torchs_attention(drawn, causal):
    states, keys, queries = drawn
    scaled = states / np.linalg.norm(states)
    parts = [torch.from_numpy(part)[None] for part in (scaled @ queries, scaled @ keys, states)]
    theirs = scaled_dot_product_attention(*parts, is_causal=causal)[0].numpy()
    assert attention.layer(states, keys, queries, causal) == pytest.approx(states + theirs)


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e6])
def test_the_layer_scales_with_its_input(drawn, factor):
    states, keys, queries = drawn
    assert attention.layer(factor * states, keys, queries) == pytest.approx(
        factor * attention.layer(states, keys, queries)
    )


def test_a_matrix_has_the_norm_it_was_asked_for(drawn):
    assert np.linalg.norm(drawn[1], 2) == pytest.approx(3.0)
