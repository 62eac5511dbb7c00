"""Ridge regression from the states that enter a part of a model to those that leave it, in closed form.

What a linear map looks at, its normal equations, which penalties and how many earlier tokens are tried, what that
costs. (Linear maps between layers of frozen models: model stitching, Bansal et al. 2021, arXiv:2106.07682. Not in the
paper.) An attack puts such a map in place of secured layers (attacks/linear_map.py); a score of a secured set asks how
far off it is (difficulty/residual.py).
"""

import itertools

import torch
from torch import Tensor, nn

PREVIOUS = (0, 1, 2, 4, 8)  # how many earlier tokens are tried
RIDGES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1)  # penalties tried, as shares of the mean squared feature
# The same for each feature by its own square, so that a giant coordinate does not rule.
SCALED_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1, 10)
HELD_OUT = 9  # every ninth text chooses among them; sources and beginnings alternate with a period of four


def features(states: Tensor, mask: Tensor, previous: int) -> Tensor:
    """(batch, tokens, 2 + (previous + 1) * width): one, is it the first token, the state, the states before it.

    `mask` (batch, tokens) is 0 on padding, on either side. States before the first token are zero. Fewer previous
    tokens give the leading part of the same features.
    """
    real = mask[..., None].to(states)  # (batch, tokens, 1)
    first = real * (real.cumsum(1) == 1)
    states = states * real
    shifted = [nn.functional.pad(states, (0, 0, lag, 0))[:, : states.shape[1]] for lag in range(previous + 1)]
    return torch.cat([torch.ones_like(real), first, *shifted], dim=-1)


def row_weights(leaving: Tensor, mask: Tensor, first_apart: bool) -> Tensor:
    """(batch, tokens, 1), float64: what each token's error is divided by, the length of the state that leaves.

    `first_apart`: a first token's by its text's longest state. A few texts have their giant state, to which later
    attention drains, at another token and begin with a small one; by their own length these outweigh all other first
    tokens some ten thousand times, and the map loses the giant ones. No weight is on padding.
    """
    lengths = leaving.double().norm(dim=-1) * mask
    if first_apart:
        first = mask * (mask.cumsum(1) == 1)
        lengths = lengths.amax(1, keepdim=True).where(first.bool(), lengths)
    return lengths.reciprocal()[..., None]


class Equations:
    """Normal equations of a least-squares problem, summed over batches in float64."""

    def __init__(self, inputs: int, outputs: int, device: torch.device, first_apart: bool = False):
        """`first_apart`: see row_weights; the two constant inputs then carry the least penalty, whatever is chosen."""
        self.first_apart = first_apart
        # float64, because X'X squares the condition of X.
        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)  # X'X
        self.cross = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)  # X'Y
        self.power = 0.0
        self.rows = 0

    def add(self, inputs: Tensor, outputs: Tensor) -> None:
        """Take rows (n, inputs) and (n, outputs), both float64."""
        self.gram.addmm_(inputs.T, inputs)
        self.cross.addmm_(inputs.T, outputs)
        self.power += outputs.square().sum().item()
        self.rows += len(inputs)

    def take(self, entering: Tensor, leaving: Tensor, mask: Tensor, previous: int) -> None:
        """Take the real tokens of texts: states that enter and leave, (batch, tokens, width); `mask` as in features.

        What is added to the states is predicted; every token counts by its relative error, |s - t|^2 / |t|^2, as in
        SEM, because a text's first state is many times as long as the others.
        """
        real = mask.bool()
        scale = row_weights(leaving, mask, self.first_apart)[real]
        self.add(features(entering, mask, previous)[real].double() * scale, (leaving - entering)[real].double() * scale)

    def __iadd__(self, other: "Equations") -> "Equations":
        self.gram += other.gram
        self.cross += other.cross
        self.power = self.power + other.power
        self.rows = self.rows + other.rows
        return self

    def solve(self, ridge: float, size: int, scaled: bool = False) -> Tensor:
        """Weights (size, outputs) on the first `size` inputs; the penalty is `ridge` mean squared inputs, or `scaled`,
        for each input `ridge` times its own square."""
        gram = self.gram[:size, :size].clone()
        squares = gram.diagonal().clone()
        own = squares.where(squares > 0, 1)  # an input that is zero everywhere has no square of its own
        penalties = ridge * (own if scaled else squares.mean().expand(size))
        if self.first_apart:  # what all first states have in common is no coefficient to be held small
            penalties[:2] = SCALED_RIDGES[0] * own[:2]
        gram.diagonal().add_(penalties)
        return torch.cholesky_solve(self.cross[:size], torch.linalg.cholesky(gram))

    def error(self, weights: Tensor) -> float:
        """Mean over these rows of the squared error of `weights` (size, outputs)."""
        size = len(weights)
        # |Y - XW|^2 = |Y|^2 - W . (2 X'Y - X'X W): the rows themselves need not be kept.
        explained = weights * (2 * self.cross[:size] - self.gram[:size, :size] @ weights)
        return (self.power - explained.sum().item()) / self.rows


def sizes(width: int, previous: int) -> list[int]:
    """How many features are tried: those of each number of previous tokens up to `previous`."""
    return [2 + (count + 1) * width for count in PREVIOUS if count <= previous]


def ridges(scaled: bool) -> tuple[float, ...]:
    """Penalties that are tried."""
    return SCALED_RIDGES if scaled else RIDGES


def flops(tokens: int, width: int, previous: int, below: int, scaled: bool = False) -> int:
    """FLOPs of `fit` on so many tokens; `below` parameters of open layers run forward once, 2 a token.

    With f = 2 + (previous + 1) width features a token costs 2 f^2 (X'X) and 2 f width (X'Y). Each penalty and each
    size s costs s^3 / 3 (Cholesky), 2 s^2 width (two triangular solves) and 2 s^2 width (held-out error); the last
    solve, of at most f features, counts as one of f.
    """
    inputs = 2 + (previous + 1) * width
    search = len(ridges(scaled)) * sum(size**3 // 3 + 4 * size**2 * width for size in sizes(width, previous))
    return tokens * 2 * (below + inputs * (inputs + width)) + search + inputs**3 // 3 + 2 * inputs**2 * width


def chosen(total: Equations, held_out: Equations, previous: int, scaled: bool = False) -> Tensor:
    """Weights (features, width) of the best penalty and number of previous tokens, as `held_out` judges what `total`
    gives; then both count, and `total` holds the sum."""
    choices = itertools.product(ridges(scaled), sizes(total.cross.shape[1], previous))
    ridge, size = min(choices, key=lambda choice: held_out.error(total.solve(*choice, scaled)))
    total += held_out  # which was only kept apart to choose
    return total.solve(ridge, size, scaled).float()


def mapped(states: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """What a map of these weights (features, width) makes of states (batch, tokens, width): the same shape."""
    return states + features(states, mask, lags(weights)) @ weights


def lags(weights: Tensor) -> int:
    """How many earlier tokens a map of these weights (features, width) looks at."""
    return (weights.shape[0] - 2) // weights.shape[1] - 1
