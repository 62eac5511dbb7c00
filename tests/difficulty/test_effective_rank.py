"""The effective rank is numpy's, and what it should be where it is known."""

import numpy as np
import pytest
import torch

from solid_utils.difficulty.both_sides import BothSides
from solid_utils.difficulty.effective_rank import effective_rank


def states(leaving: torch.Tensor) -> BothSides:
    ids = torch.ones(leaving.shape[:2], dtype=torch.int64)
    return BothSides(ids, ids, leaving, leaving, torch.zeros(len(ids), dtype=torch.bool))


def test_it_is_numpys(middle):
    _, seen, _ = middle
    rows = seen.leaving.numpy()[seen.ordinary.numpy()].astype(float)
    values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    shares = values / values.sum()
    assert effective_rank(seen) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)


def test_one_direction_is_one_and_all_alike_are_all():
    stream = torch.Generator().manual_seed(1)
    line = torch.randn(20, 9, 1, generator=stream) * torch.ones(5)
    line[:, 0] = 1e4 * torch.randn(20, 5, generator=stream)  # first tokens, of any length, have no say
    assert effective_rank(states(line)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(states(torch.randn(400, 9, 5, generator=stream))) == pytest.approx(5, abs=0.01)
