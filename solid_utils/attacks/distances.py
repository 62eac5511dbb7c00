"""How far an attacker's states are from the victim's, token by token, and how much the first token counts (SEM).

The first token of a text is where later layers' attention drains to: on SmolLM2-135M its state is 1.3 times as long as
the median token's after layer 0, 3.2 times after layer 1, 9.5 times after layer 2, 152 times after layer 14.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]  # states and target, (tokens, width) each -> (tokens,)
STANDARDISED = "standardised_mse"
LEAST_SPREAD = 1e-6  # of a coordinate's size; what varies less is rounding


def mse(states: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the width, the paper's loss (B.2); (tokens, width) each -> (tokens,)."""
    return (states - target).square().mean(-1)


def relative_mse(states: Tensor, target: Tensor) -> Tensor:
    """|s - t|^2 / |t|^2: long states count no more than short ones."""
    return (states - target).square().sum(-1) / target.square().sum(-1)


def cosine(states: Tensor, target: Tensor) -> Tensor:
    """1 - cos(s, t). It does not see a state's length, which the residual stream carries on."""
    return 1 - torch.cosine_similarity(states, target, dim=-1)


LOSSES: dict[str, Distance] = {"mse": mse, "relative_mse": relative_mse, "cosine": cosine}


def standardised_mse(spread: Tensor) -> Distance:
    """MSE with each coordinate's error divided by its `spread` (width,): 1 is what guessing the mean gives.

    In no unit, so that a few giant coordinates do not rule. On Gemma a lower relative MSE went with a lower agreement.
    """

    def distance(states: Tensor, target: Tensor) -> Tensor:
        return ((states - target) / spread.to(states)).square().mean(-1)  # in this order: giant coordinates cancel

    return distance


def spread(texts: Iterable[Tensor]) -> Tensor:
    """Standard deviation of each coordinate over the tokens of `texts`, (tokens, width) each; (width,), float32.

    The first token of each text is left out. A coordinate that does not vary has its size (root mean square) instead,
    one that is zero everywhere has 1: no division by nothing, and still no unit. Raises ValueError without a token.
    """
    count, total, squares, mean_so_far = 0, 0.0, 0.0, 0.0
    for text in texts:
        rows = text[1:].double()
        if not len(rows):
            continue
        # Deviations from means, merged text by text (Chan et al. 1979): sums of squares of a coordinate far from zero
        # would cancel.
        mean_here, both = rows.mean(0), count + len(rows)
        apart = mean_here - mean_so_far
        squares = squares + (rows - mean_here).square().sum(0) + apart.square() * (count * len(rows) / both)
        mean_so_far = mean_so_far + apart * (len(rows) / both)
        total, count = total + rows.square().sum(0), both
    if not count:
        raise ValueError("spread: no token but first ones; longer texts have others")
    deviation, size = (squares / count).sqrt(), (total / count).sqrt()
    varies = deviation > LEAST_SPREAD * size
    return torch.where(varies, deviation, torch.where(size > 0, size, 1.0)).float()


def named(loss: str, texts: Callable[[], Iterable[Tensor]]) -> Distance:
    """The distance of this name; `texts` gives the recorded targets, text by text, to one that needs their spread."""
    return standardised_mse(spread(texts())) if loss == STANDARDISED else LOSSES[loss]


def mean(errors: Tensor, mask: Tensor, first_weight: float) -> Tensor:
    """Mean of errors (tokens,) at the real positions of a mask (batch, tokens), row after row.

    The first token of each row counts `first_weight` times as much as another one; 0 leaves it out.
    """
    first = (mask.cumsum(1) == 1)[mask.bool()]
    weights = torch.where(first, first_weight, 1.0).to(errors)
    return (errors * weights).sum() / weights.sum()
