"""Kernel ridge is scikit-learn's where all rows are anchors; what training may gain is found where it is there."""

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from solid_utils.difficulty import nonlinearity as kernels
from solid_utils.difficulty import residual
from solid_utils.difficulty.both_sides import BothSides
from solid_utils.difficulty.nonlinearity import Kernel, nonlinearity
from solid_utils.model import ridge_map


def test_with_all_rows_as_anchors_it_is_scikit_learns(monkeypatch):
    monkeypatch.setattr(kernels, "JITTER", 0.0)
    stream = torch.Generator().manual_seed(2)
    inputs = torch.randn(60, 4, generator=stream, dtype=torch.float64)
    outputs = torch.randn(60, 3, generator=stream, dtype=torch.float64)
    others = torch.randn(9, 4, generator=stream, dtype=torch.float64)
    ours = Kernel(inputs, outputs, torch.arange(60), 1.0)
    guess = ours.guess(others, ours.solve(0.5))
    scaler = StandardScaler().fit(inputs)
    plain = KernelRidge(alpha=0.5, kernel="rbf", gamma=1 / (2 * ours.width.item()))
    plain.fit(scaler.transform(inputs), outputs - outputs.mean(0))
    expected = plain.predict(scaler.transform(others)) + outputs.mean(0).numpy()
    torch.testing.assert_close(guess, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def texts_with(added) -> BothSides:
    """States in three dimensions, 40 texts of 12 tokens, what is added a function of the state."""
    stream = torch.Generator().manual_seed(3)
    entering = torch.randn(40, 12, 3, generator=stream)
    ids = torch.ones(40, 12, dtype=torch.int64)
    held_out = torch.arange(40) % 5 == 0
    return BothSides(ids, ids, entering, entering + added(entering), held_out)


@pytest.mark.parametrize(
    ("added", "low", "high"),
    [(lambda x: 0.5 * x, -0.05, 0.01), (lambda x: 2 * x.square(), 0.4, 5)],
    ids=["linear", "square"],
)
def test_what_a_map_misses_is_told_from_what_it_has(added, low, high):
    assert low < nonlinearity(texts_with(added), 0) < high


def test_the_ridge_is_not_behind_because_it_counts_tokens_otherwise():
    """States of very unequal length, all within what is ordinary: by relative errors the short ones rule a map."""
    stream = torch.Generator().manual_seed(7)
    lengths = 0.05 + 2.5 * torch.rand(40, 12, 1, generator=stream)
    directions = torch.nn.functional.normalize(torch.randn(40, 12, 6, generator=stream), dim=-1)
    entering = directions * lengths
    turn = torch.randn(6, 6, generator=stream)
    leaving = entering + entering @ turn * lengths  # no linear map; the long tokens hold nearly all of the variance
    ids = torch.ones(40, 12, dtype=torch.int64)
    seen = BothSides(ids, ids, entering, leaving, torch.arange(40) % 5 == 0)
    relative = residual.centred_residual(seen, residual.guessed(seen, residual.fit(seen, 0)))
    weights = kernels.linear(seen, 0)
    mapped = ridge_map.mapped(seen.entering[seen.held_out], seen.mask[seen.held_out], weights)
    assert residual.centred_residual(seen, mapped) < 0.8 * relative
    kernel = 1 - residual.centred_residual(seen, kernels.guessed(seen, 0))
    assert nonlinearity(seen, 0) == pytest.approx(1 - (1 - residual.centred_residual(seen, mapped)) / kernel)


def test_few_anchors_are_those_of_the_fitted_rows(monkeypatch):
    monkeypatch.setattr(kernels, "ANCHORS", 30)
    seen = texts_with(lambda x: x.square())
    kernel, solved = kernels.fit(seen, 0)
    assert kernel.anchors.shape == (30, 2 + 3) and solved.shape == (30, 3)
    inputs, _ = kernels.rows(seen, seen.fitted, 0)
    standard = kernel.standardised(inputs)
    assert all((standard == anchor).all(1).any() for anchor in kernel.anchors)
