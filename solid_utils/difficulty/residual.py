"""How far one linear map is off on texts that it was not fitted on: no training, and only the layers up to the set.

residual: mean over tokens of |s - t|^2 / |t|^2, s the map's state and t the victim's; what SEM trains on.
centred_residual: sum of |s - t|^2 over sum of |t - mean t|^2, ordinary tokens alone: 1 - R^2. (Not in the paper.)
"""

from torch import Tensor

from solid_utils.difficulty.both_sides import BothSides
from solid_utils.model import ridge_map


def fit(seen: BothSides, previous: int) -> Tensor:
    """Weights (features, width) of the map, penalty and number of earlier tokens chosen on every ninth fitted text."""
    width = seen.leaving.shape[2]
    inputs = 2 + (previous + 1) * width
    parts = []
    for texts in (seen.fitted & ~seen.choosing, seen.choosing):
        part = ridge_map.Equations(inputs, width, seen.leaving.device)
        for some in texts.nonzero()[:, 0].split(
            ridge_map.HELD_OUT
        ):  # a few texts at a time: features in float64 are wide
            part.take(seen.entering[some], seen.leaving[some], seen.mask[some], previous)
        parts.append(part)
    return ridge_map.chosen(*parts, previous, scaled=True)


def guessed(seen: BothSides, weights: Tensor) -> Tensor:
    """The map's states of the held-out texts, (texts, tokens, width)."""
    chosen = seen.held_out
    return ridge_map.mapped(seen.entering[chosen], seen.mask[chosen], weights)


def residual(seen: BothSides, guess: Tensor) -> float:
    """Mean relative squared error over the held-out texts' real tokens."""
    real = seen.mask[seen.held_out].bool()
    truth = seen.leaving[seen.held_out][real].double()  # (tokens, width)
    off = guess[real].double() - truth
    return (off.square().sum(1) / truth.square().sum(1)).mean().item()


def centred_residual(seen: BothSides, guess: Tensor) -> float:
    """Share of the centred variance that a guess of the held-out texts' states leaves, giant states apart."""
    ordinary = seen.ordinary[seen.held_out]
    truth = seen.leaving[seen.held_out][ordinary].double()  # (tokens, width)
    off = guess[ordinary].double() - truth
    return (off.square().sum() / (truth - truth.mean(0)).square().sum()).item()
