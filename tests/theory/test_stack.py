"""The whole stack: the victim collapses too, and a wrong layer matters less the deeper it lies."""

import numpy as np
import pytest

from solid_utils.theory import attention, stack


@pytest.fixture(scope="module")
def stacks():
    stream = np.random.default_rng(0)
    states = attention.draw_states(stream)
    return states, stack.draw_layers(stream, 60, 2.0), stack.draw_layers(stream, 60, 2.0)


def test_victim_and_replica_collapse_alike(stacks):
    states, layers, others = stacks
    victim = stack.run(states, layers)
    replica = stack.run(states, stack.replaced(layers, 0, others[0]))
    for depth, expected in {10: 8.84e-4, 20: 8.63e-7, 40: 8.2e-13}.items():
        own, stolen = stack.last_ratio(victim[depth]), stack.last_ratio(replica[depth])
        assert expected / 3 < own < 3 * expected
        assert stolen == pytest.approx(own, rel=0.01)


def test_halved_states_tend_to_equal_rows(stacks):
    states, layers, _ = stacks
    limit = stack.halved(states, layers)
    assert np.abs(limit - limit.mean(axis=0)).max() < 1e-12 * np.abs(limit).max()


def test_with_a_mask_all_tokens_go_the_way_of_the_first(stacks):
    states, layers, _ = stacks
    last = stack.run(states, layers, causal=True)[-1]
    cosines = last @ states[0] / np.linalg.norm(last, axis=1) / np.linalg.norm(states[0])
    assert cosines == pytest.approx(np.ones(len(states)), abs=1e-6)


def test_harm_falls_with_place_and_stays_below_the_bound(stacks):
    states, layers, others = stacks
    harm = stack.harm_by_place(states, layers, others)
    bound = stack.harm_bound(states, layers)
    assert harm[0] > 1e-4
    assert harm[15] < 1e-9 * harm[0] ** 0.5
    assert all(one <= limit for one, limit in zip(harm[:30], bound[:30], strict=True))
