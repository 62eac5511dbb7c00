"""Each counter-example is one: ranks by numpy, whatever the distilled layer."""

import numpy as np
import pytest

from solid_utils.theory import attention, counterexamples, stack


@pytest.mark.parametrize("place", [0, 5, 30, 59])
def test_rank_two_stays_rank_two_at_every_place(place):
    stream = np.random.default_rng(place)
    other = (attention.draw_matrix(stream, 4.0, 2, 2), attention.draw_matrix(stream, 4.0, 2, 2))
    last = counterexamples.symmetric_depths(60, place, other)
    assert stack.last_ratio(last) > 0.1
    assert last.sum(axis=0) == pytest.approx([0, 0], abs=1e-12)


def test_the_distilled_layer_is_felt():
    stream = np.random.default_rng(9)
    zero = (np.zeros((2, 2)), np.zeros((2, 2)))
    other = (attention.draw_matrix(stream, 4.0, 2, 2), attention.draw_matrix(stream, 4.0, 2, 2))
    assert not np.allclose(counterexamples.symmetric_depths(3, 1, zero), counterexamples.symmetric_depths(3, 1, other))


def test_the_proofs_own_input_has_rank_one():
    states = counterexamples.solver_of_lemma_one(np.random.default_rng(0))
    assert np.linalg.matrix_rank(states) == 1
    assert states.sum(axis=0) == pytest.approx(np.zeros(8), abs=1e-12)


def test_a_continuous_distribution_holds_a_perfect_theft():
    stream = np.random.default_rng(0)
    states = attention.draw_states(stream)
    layers = stack.draw_layers(stream, 20, 2.0)
    stolen = (counterexamples.near_theft(stream, layers[0][0]), layers[0][1])
    victim, replica = stack.run(states, layers)[-1], stack.run(states, stack.replaced(layers, 0, stolen))[-1]
    assert stack.distance(victim, replica) < 1e-6
