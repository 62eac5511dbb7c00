"""Where alpha* comes from: by hand, and against the stack itself."""

import numpy as np
import pytest

from solid_utils.theory import attention, lemmas, stack, transition

ALPHAS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_the_proofs_bound_changes_sign_at_alpha_star_and_the_other_nowhere(beta):
    critical = lemmas.critical_alpha(beta)
    assert transition.log2_bound(beta, critical) == pytest.approx(0)
    assert transition.log2_bound(beta, critical - 0.01) < 0 < transition.log2_bound(beta, critical + 0.01)
    assert transition.log2_bound_everywhere(beta) == pytest.approx(np.log2((1 + beta) / 2))
    assert transition.log2_bound_everywhere(beta) < 0


def test_off_the_limit_by_hand():
    assert transition.off_the_limit(np.outer(np.ones(4), [1.0, -2.0])) == 0
    assert transition.off_the_limit(np.array([[1.0], [-1.0]])) == 1


def test_the_stack_collapses_for_every_alpha_where_the_sum_is_not_zero():
    stream = np.random.default_rng(0)
    states = attention.draw_states(stream)
    layers, others = stack.draw_layers(stream, 60, 2.0), stack.draw_layers(stream, 60, 2.0)
    assert np.abs(states.sum(axis=0)).min() > 0
    assert max(transition.collapse_by_alpha(states, layers, others, ALPHAS)) < 1e-12
    shallow = transition.collapse_by_alpha(states, layers[:2], others[:2], ALPHAS)
    assert min(shallow) > 1e-2, "and it has not, after two layers"


def test_a_sum_of_zero_stays_zero_for_every_draw():
    assert max(transition.sums_from_zero(np.random.default_rng(0), 200, 16.0)) < 1e-12
    moved = attention.layer(np.eye(2), *[attention.draw_matrix(np.random.default_rng(1), 4.0, 2, 2)] * 2)
    assert np.abs(moved.sum(axis=0)).max() > 0.1, "as it need not, for another input"
