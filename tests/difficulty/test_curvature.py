"""The weighted residual against an explicit Jacobian, and against KL, whose second order it is."""

import pytest
import torch

from solid_utils.difficulty import residual
from solid_utils.difficulty.curvature import DIFFERENCES, FORWARD, curvature, way_of
from solid_utils.difficulty.map_kl import logits, map_kl
from tests.difficulty.conftest import LAST, both_sides


def explicit(layers, seen, guess) -> float:
    """1/2 E[(s - t)' J' F J (s - t)] with J written out, text by text: (tokens x vocabulary, tokens x width)."""
    total, tokens = 0.0, 0
    for number, text in enumerate(seen.held_out.nonzero()[:, 0].tolist()):
        length = int(seen.mask[text].sum())
        ids, mask = seen.ids[text : text + 1, :length], seen.mask[text : text + 1, :length]
        truth = seen.leaving[text : text + 1, :length]
        off = (guess[number : number + 1, :length] - truth).flatten().double()

        def said(state, ids=ids, mask=mask):
            return logits(layers, state, LAST, ids, mask)

        jacobian = torch.autograd.functional.jacobian(said, truth, vectorize=True).double()
        jacobian = jacobian.reshape(length, -1, off.numel())  # (tokens, vocabulary, tokens x width)
        chances = said(truth).softmax(1).double().detach()
        for place in range(length):
            p = chances[place]
            fisher = torch.diag(p) - torch.outer(p, p)
            product = jacobian[place] @ off
            total += 0.5 * (product @ fisher @ product).item()
            tokens += 1
    return total / tokens


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_it_is_the_explicit_jacobian(architecture):
    layers, seen, _ = both_sides(architecture, 5)  # one text held out
    guess = residual.guessed(seen, residual.fit(seen, 0))
    expected = explicit(layers, seen, guess)
    for way in (FORWARD, DIFFERENCES):
        value, taken = curvature(layers, seen, guess, LAST, way)
        assert taken == way and value == pytest.approx(expected, rel=1e-3), way


def test_it_is_the_second_order_of_kl(middle):
    layers, seen, final = middle
    truth = seen.leaving[seen.held_out]
    off = residual.guessed(seen, residual.fit(seen, 1)) - truth
    for size in (0.1, 0.2):
        near = truth + size * off
        kl = map_kl(layers, seen, near, LAST, final)
        assert curvature(layers, seen, near, LAST)[0] == pytest.approx(kl, rel=0.1)


def test_padding_is_no_error(middle):
    layers, seen, _ = middle
    guess = residual.guessed(seen, residual.fit(seen, 1))
    other = guess.clone()
    other[~seen.mask[seen.held_out].bool()] = 1e3
    assert curvature(layers, seen, guess, LAST)[0] == pytest.approx(curvature(layers, seen, other, LAST)[0])


def test_a_model_without_forward_mode_goes_by_differences(middle):
    layers, seen, _ = middle

    class NoForward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, state):
            return state.clone()

    assert way_of(lambda state: NoForward.apply(state), seen.leaving) == DIFFERENCES
    assert way_of(lambda state: state.sin(), seen.leaving) == FORWARD
    moe, states, _ = both_sides("mixtral", 5)
    guess = residual.guessed(states, residual.fit(states, 0))
    assert curvature(moe, states, guess, LAST)[0] > 0
