"""The fit of linear_map.fit, inputs scaled, first tokens apart, from states that are at hand: a factor a penalty.

Where each input is penalised by its own square, the penalised X'X of fewer previous tokens is the leading block of that
of more. So is its factor L, and so is what a forward substitution gives: with U = L^-1 X_apart' and V = L^-1 X'Y the
prediction of the first s inputs is U[:s]' V[:s]. One factor and two substitutions say how well every number of previous
tokens does; linear_map.fit factors anew for each. The numbers are the same but for rounding.

Rows are weighted by 1/|t| (ridge_map.row_weights), which differs from prefix to prefix, so X'X is not the same for all
prefixes, though their inputs are.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from solid_utils.core.errors import StudyError
from solid_utils.model.ridge_map import SCALED_RIDGES, features, row_weights, sizes


@dataclass(frozen=True)
class Seen:
    """States of a batch of texts at a secured part: (batch, tokens, width) each, right-padded."""

    entering: Tensor
    leaving: Tensor
    mask: Tensor  # (batch, tokens), 0 on padding
    apart: Tensor  # (batch,) bool: texts that choose among penalties and take part only at the end


@dataclass(frozen=True)
class Fitted:
    """A linear map, and what was chosen for it."""

    weights: Tensor  # (features, width), float32, on the states' device
    ridge: float
    previous: int  # earlier tokens it looks at

    def __call__(self, states: Tensor, mask: Tensor) -> Tensor:
        """What leaves the map where `states` (batch, tokens, width) enter, in their dtype."""
        exact = states.float()
        return (exact + features(exact, mask, self.previous) @ self.weights).to(states.dtype)


def fit(texts: list[Seen], previous: int) -> Fitted:
    """The best map with at most `previous` previous tokens, as of linear_map.fit with `scaled` and `first_apart`."""
    width, device = texts[0].entering.shape[-1], texts[0].entering.device
    blocks = list(itertools.pairwise([0, *sizes(width, previous)]))
    gram = torch.zeros(blocks[-1][1], blocks[-1][1], dtype=torch.float64, device=device)  # lower triangle of X'X
    cross = torch.zeros(blocks[-1][1], width, dtype=torch.float64, device=device)  # X'Y
    for inputs, outputs in rows(texts, previous, apart=False):
        add(gram, cross, blocks, inputs, outputs)
    inputs, outputs = (torch.cat(part) for part in zip(*rows(texts, previous, apart=True), strict=True))
    ridge, size = choose(gram, cross, blocks, inputs, outputs)
    add(gram, cross, blocks, inputs, outputs)
    del inputs, outputs  # before the factor is there
    solved = torch.cholesky_solve(cross[:size], factor(gram, ridge, size))
    return Fitted(solved.float(), ridge, (size - 2) // width - 1)


def rows(texts: list[Seen], previous: int, apart: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs (tokens, features) and outputs (tokens, width) of the texts of one part, float64, weighted."""
    for batch in texts:
        chosen = batch.apart == apart
        entering, target, mask = batch.entering[chosen], batch.leaving[chosen], batch.mask[chosen]
        real = mask.bool()
        inputs, leaving = features(entering, mask, previous)[real].double(), target[real].double()
        scale = row_weights(target, mask, first_apart=True)[real]
        yield inputs.mul_(scale), leaving.sub_(entering[real]).mul_(scale)


def add(gram: Tensor, cross: Tensor, blocks: list[tuple[int, int]], inputs: Tensor, outputs: Tensor) -> None:
    """Add rows to the normal equations; of X'X the blocks above the diagonal stay empty, nobody reads them."""
    cross.addmm_(inputs.T, outputs)
    for low, high in blocks:
        gram[low:high, :high].addmm_(inputs[:, low:high].T, inputs[:, :high])


def choose(
    gram: Tensor, cross: Tensor, blocks: list[tuple[int, int]], inputs: Tensor, outputs: Tensor
) -> tuple[float, int]:
    """Penalty and number of inputs with the least squared error on these rows."""
    found = []
    for ridge in SCALED_RIDGES:
        lower = factor(gram, ridge, len(gram))
        ours = torch.linalg.solve_triangular(lower, inputs.T, upper=False)  # (features, rows)
        theirs = torch.linalg.solve_triangular(lower, cross, upper=False)  # (features, width)
        del lower
        off = outputs.clone()
        for low, high in blocks:
            off.addmm_(ours[low:high].T, theirs[low:high], alpha=-1)
            found.append((off.square().sum().item(), ridge, high))
    _, ridge, size = min(found, key=lambda one: one[0])
    return ridge, size


def factor(gram: Tensor, ridge: float, size: int) -> Tensor:
    """Lower Cholesky factor of the first `size` inputs' penalised X'X; X'X itself is as before when it returns.

    Raises StudyError where it has none.
    """
    diagonal = gram.diagonal()
    squares = diagonal.clone()
    penalties = ridge * squares.where(squares > 0, 1)  # an input that is zero everywhere has no square of its own
    penalties[:2] *= SCALED_RIDGES[0] / ridge  # the two constant ones, as in ridge_map.Equations.solve
    diagonal.add_(penalties)
    try:
        return torch.linalg.cholesky(gram[:size, :size])
    except torch.linalg.LinAlgError:
        raise StudyError(
            "attack stitch: its equations cannot be solved, as states are not finite or far too large; take float32"
        ) from None
    finally:
        diagonal.copy_(squares)


def flops(tokens: int, apart: int, width: int, previous: int) -> int:
    """Float64 FLOPs of `fit` on so many tokens, `apart` of them held apart; f inputs.

    A row costs about 4/3 f^2 (X'X, its lower blocks) and 2 f width; each penalty f^3 / 3 (factor), f^2 a column
    (forward substitution) and 2 f width a row held apart; the last solve f^3 / 3 and 2 f^2 width.
    """
    inputs = sizes(width, previous)[-1]
    search = inputs**3 // 3 + inputs**2 * (apart + width) + 2 * apart * inputs * width
    last = inputs**3 // 3 + 2 * inputs**2 * width
    return tokens * (4 * inputs**2 // 3 + 2 * inputs * width) + len(SCALED_RIDGES) * search + last


def peak(tokens: int, apart: int, width: int, previous: int) -> int:
    """Most bytes that `fit` holds besides the states, `tokens` the padded ones of its largest batch."""
    inputs = sizes(width, previous)[-1]
    # X'X and a factor; X'Y, its substitution and what is on its way; the rows held apart likewise; rows of a batch.
    equations = 8 * (2 * inputs**2 + 3 * inputs * width + apart * (3 * inputs + 2 * width))
    return equations + tokens * (8 + 2 * 4) * inputs
