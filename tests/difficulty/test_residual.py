"""The map's residuals, token by token in numpy, and a map that scikit-learn would fit."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from solid_utils.difficulty import residual
from solid_utils.difficulty.both_sides import BothSides
from solid_utils.model import ridge_map

PREVIOUS = 1


def test_residuals_are_those_of_a_plain_loop(middle):
    _, seen, _ = middle
    guess = residual.guessed(seen, residual.fit(seen, PREVIOUS))
    relative, off, truth = [], [], []
    for number, text in enumerate(np.flatnonzero(seen.held_out.numpy())):
        for place in range(int(seen.mask[text].sum())):
            s, t = guess[number, place].double().numpy(), seen.leaving[text, place].double().numpy()
            relative.append(np.square(s - t).sum() / np.square(t).sum())
            if place:
                off.append(s - t)
                truth.append(t)
    assert residual.residual(seen, guess) == pytest.approx(np.mean(relative))
    truth, off = np.array(truth), np.array(off)
    share = np.square(off).sum() / np.square(truth - truth.mean(0)).sum()
    assert residual.centred_residual(seen, guess) == pytest.approx(share)


def test_the_map_is_ridge_regression_on_the_fitted_texts_alone(middle):
    """Rows weighted by 1/|t|, inputs by their own size: scikit-learn's Ridge at one of the penalties that are tried."""
    _, seen, _ = middle
    weights = residual.fit(seen, PREVIOUS)
    rows = seen.mask.bool() & seen.fitted[:, None]
    inputs = ridge_map.features(seen.entering, seen.mask, PREVIOUS)[rows].double().numpy()[:, : len(weights)]
    target = seen.leaving[rows].double().numpy()
    scale = 1 / np.linalg.norm(target, axis=1, keepdims=True)
    outputs = (target - seen.entering[rows].double().numpy()) * scale
    inputs = inputs * scale
    size = np.sqrt(np.square(inputs).sum(0))
    found = []
    for penalty in ridge_map.SCALED_RIDGES:
        solved = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(inputs / size, outputs)
        found.append(np.abs(solved.coef_.T / size[:, None] - weights.numpy()).max())
    assert min(found) < 1e-4 < max(found)


def test_a_map_that_is_right_leaves_nothing_and_the_mean_leaves_all(middle):
    _, seen, _ = middle
    truth = seen.leaving[seen.held_out]
    assert residual.residual(seen, truth) == 0 and residual.centred_residual(seen, truth) == 0
    mean = truth[seen.ordinary[seen.held_out]].double().mean(0)
    assert residual.centred_residual(seen, mean.expand(truth.shape)) == pytest.approx(1)


def test_a_giant_first_state_rules_no_score(middle):
    """A first token's state a thousand times as long, and missed by half: one relative error more, no variance."""
    _, seen, _ = middle
    guess = residual.guessed(seen, residual.fit(seen, PREVIOUS))
    before = residual.residual(seen, guess), residual.centred_residual(seen, guess)
    leaving = seen.leaving.clone()
    leaving[seen.held_out, 0] *= 1000
    other = BothSides(seen.ids, seen.mask, seen.entering, leaving, seen.held_out)
    guess[:, 0] = leaving[seen.held_out, 0] / 2
    assert residual.residual(other, guess) < before[0] + 0.25
    assert residual.centred_residual(other, guess) == pytest.approx(before[1])
    assert torch.isfinite(guess).all()
