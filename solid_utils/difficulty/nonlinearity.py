"""What training may still gain over a linear map: 1 - R^2(ridge) / R^2(kernel ridge), on the same held-out tokens.

Both are fitted on the same tokens by the same squared error; the attack's map, whose tokens count by their relative
error, would be behind for that alone. Kernel ridge with a Gaussian kernel on the same inputs, its functions spanned by
at most 2,000 of the fitted tokens (subset of regressors; Rasmussen and Williams 2006, 8.3.1); with all fitted tokens
as anchors it is plain kernel ridge. Negative where the kernel, with so few texts, is behind. (Not in the paper.)
"""

import torch
from torch import Tensor

from solid_utils.deployment.starts import generator
from solid_utils.difficulty.both_sides import BothSides
from solid_utils.difficulty.residual import centred_residual
from solid_utils.model import ridge_map

ANCHORS = 2000
WIDTHS = (0.3, 3.0)  # of the kernel: squared width as a share of the median squared distance between anchors
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
SEED = 42  # draws the anchors
JITTER = 1e-10  # of the mean diagonal, as rounding leaves the kernel's matrix barely positive


class Kernel:
    """Kernel ridge regression from inputs (rows, features) to outputs (rows, width), both float64."""

    def __init__(self, inputs: Tensor, outputs: Tensor, anchors: Tensor, share: float):
        """`anchors`: rows of the inputs that span the functions; `share`: see WIDTHS."""
        self.mean = inputs.mean(0)
        spread = inputs.std(0, correction=0)
        self.spread = spread.where(spread > 0, 1)  # an input that never varies says nothing
        self.offset = outputs.mean(0)
        self.anchors = self.standardised(inputs[anchors])
        between = torch.cdist(self.anchors, self.anchors).square()
        apart = between[~torch.eye(len(between), dtype=torch.bool)]
        self.width = share * (apart.median() if len(apart) else torch.tensor(1.0, dtype=torch.float64))
        rows = self.against(inputs)  # (rows, anchors)
        self.gram = rows.T @ rows
        self.own = torch.exp(-between / (2 * self.width))
        self.cross = rows.T @ (outputs - self.offset)

    def standardised(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) / self.spread

    def against(self, inputs: Tensor) -> Tensor:
        """exp(-|x - a|^2 / (2 width)), (rows, anchors)."""
        return torch.exp(-torch.cdist(self.standardised(inputs), self.anchors).square() / (2 * self.width))

    def solve(self, penalty: float) -> Tensor:
        """(anchors, width): minimises |Y - K a|^2 + penalty a' K a."""
        matrix = self.gram + penalty * self.own
        matrix.diagonal().add_(JITTER * matrix.diagonal().mean())
        return torch.cholesky_solve(self.cross, torch.linalg.cholesky(matrix))

    def guess(self, inputs: Tensor, solved: Tensor) -> Tensor:
        return self.offset + self.against(inputs) @ solved


def rows(seen: BothSides, texts: Tensor, previous: int) -> tuple[Tensor, Tensor]:
    """Inputs, ridge_map.features, and what is added to the state, float64, of these texts' ordinary tokens.

    An earlier token among a token's inputs may be a giant one; ridge and kernel see it alike.
    """
    ordinary = seen.ordinary[texts]
    inputs = ridge_map.features(seen.entering[texts], seen.mask[texts], previous)
    added = seen.leaving[texts] - seen.entering[texts]
    return inputs[ordinary].double(), added[ordinary].double()


def linear(seen: BothSides, previous: int) -> Tensor:
    """Weights (features, width) of the ridge; penalty and number of earlier tokens are chosen as the kernel's are."""
    equations = []
    for texts in (seen.fitted & ~seen.choosing, seen.choosing):
        inputs, outputs = rows(seen, texts, previous)
        equations.append(ridge_map.Equations(inputs.shape[1], outputs.shape[1], inputs.device))
        equations[-1].add(inputs, outputs)
    return ridge_map.chosen(*equations, previous, scaled=True)


def drawn(count: int) -> Tensor:
    """Places of the anchors among so many rows."""
    return torch.randperm(count, generator=generator(SEED, "anchors"))[:ANCHORS]


def fit(seen: BothSides, previous: int) -> tuple[Kernel, Tensor]:
    """The best kernel ridge on a token's state and so many before it: the kernel and its solution.

    Width and penalty are chosen on every ninth fitted text; then all fitted texts count.
    """
    inputs, outputs = rows(seen, seen.fitted & ~seen.choosing, previous)
    others, truth = rows(seen, seen.choosing, previous)
    tried = []
    for share in WIDTHS:
        kernel = Kernel(inputs, outputs, drawn(len(inputs)), share)
        for penalty in PENALTIES:
            off = kernel.guess(others, kernel.solve(penalty)) - truth
            tried.append((off.square().sum().item(), share, penalty))
    _, share, penalty = min(tried)
    inputs, outputs = rows(seen, seen.fitted, previous)
    kernel = Kernel(inputs, outputs, drawn(len(inputs)), share)
    return kernel, kernel.solve(penalty)


def guessed(seen: BothSides, previous: int) -> Tensor:
    """The kernel's states of the held-out texts, (texts, tokens, width); others than ordinary ones as they entered."""
    kernel, solved = fit(seen, previous)
    inputs, _ = rows(seen, seen.held_out, previous)
    guess = seen.entering[seen.held_out].clone()
    guess[seen.ordinary[seen.held_out]] += kernel.guess(inputs, solved).to(guess)
    return guess


def nonlinearity(seen: BothSides, previous: int) -> float:
    """1 - R^2 of a ridge over that of a kernel on the same inputs; nan where the kernel explains nothing.

    `previous`: earlier tokens that the ridge may look at; the kernel looks at as many as it chose.
    """
    weights = linear(seen, previous)
    entering, mask = seen.entering[seen.held_out], seen.mask[seen.held_out]
    ridge = 1 - centred_residual(seen, ridge_map.mapped(entering, mask, weights))
    kernel = 1 - centred_residual(seen, guessed(seen, ridge_map.lags(weights)))
    return 1 - ridge / kernel if kernel > 0 else float("nan")
